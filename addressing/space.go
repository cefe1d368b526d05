package addressing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// What Space answers. Compare with errors.Is.
var (
	ErrExhausted = errors.New("no free prefix")
	ErrOverlap   = errors.New("overlaps another prefix")
	ErrOutside   = errors.New("not a prefix of the network")
)

// Space knows which prefixes of a network are taken. Those never overlap, so
// they are kept as intervals in order of their first address: what overlaps is
// found by one binary search, and the free prefixes of any length are counted in
// one walk over the gaps between them, without a word of state per free block.
//
// It has one owner and no lock.
type Space struct {
	network netip.Prefix
	width   int     // bits of an address: 32 or 128
	base    uint128 // the network's first address
	taken   []interval
}

// interval is a taken prefix, counted from the network's first address.
type interval struct {
	first, size uint128
}

func (i interval) end() uint128 { return i.first.add(i.size) }

// NewSpace is the empty space of a network, IPv6 or IPv4. One that is invalid or
// of length 0 has no prefixes: everything in it is ErrOutside or ErrExhausted.
func NewSpace(network netip.Prefix) *Space {
	if !network.IsValid() || network.Bits() == 0 || network.Addr().Is4In6() {
		return &Space{}
	}
	s := &Space{network: network.Masked(), width: network.Addr().BitLen()}
	s.base = number(s.network.Addr())
	return s
}

// Network returns what NewSpace was given.
func (s *Space) Network() netip.Prefix { return s.network }

// Len is the number of taken prefixes.
func (s *Space) Len() int { return len(s.taken) }

// Insert marks a prefix as taken. It also takes prefixes that Pick never gives.
func (s *Space) Insert(p netip.Prefix) error {
	i, err := s.interval(p)
	if err != nil {
		return err
	}
	at := s.search(i.first)
	if s.overlapsAt(at, i) {
		return fmt.Errorf("prefix %v: %w", p, ErrOverlap)
	}
	s.taken = slices.Insert(s.taken, at, i)
	return nil
}

// Remove frees a prefix and reports whether it was taken, as it is: a part of a
// taken prefix, or one that contains several, is not.
func (s *Space) Remove(p netip.Prefix) bool {
	at, ok := s.find(p)
	if ok {
		s.taken = slices.Delete(s.taken, at, at+1)
	}
	return ok
}

// Contains reports whether exactly this prefix is taken.
func (s *Space) Contains(p netip.Prefix) bool {
	_, ok := s.find(p)
	return ok
}

// Overlaps reports whether any address of the prefix is taken.
func (s *Space) Overlaps(p netip.Prefix) bool {
	i, err := s.interval(p)
	return err == nil && s.overlapsAt(s.search(i.first), i)
}

// attempts of drawing blindly, before the free prefixes are counted. In a space
// that is at most three quarters full they miss once in ten times.
const attempts = 8

// Pick draws one of the free prefixes of the length, each with the same
// probability, and does not mark it as taken. Random, never lowest-first: after
// a restored backup a first-fit allocator certainly gives a prefix twice.
//
// It never gives a prefix that holds the network's first address: that would be
// the Subnet-Router anycast address of the network itself (RFC 4291, section
// 2.6.1). An IPv4 subnet may begin or end where the network does: nothing in the
// mesh is broadcast to all of it; a single address may not be the one or the other.
func (s *Space) Pick(r *rand.Rand, length int) (netip.Prefix, error) {
	if !s.network.IsValid() {
		return netip.Prefix{}, fmt.Errorf("picking a /%d in no network: %w", length, ErrExhausted)
	}
	if length < s.network.Bits() || length > s.width {
		return netip.Prefix{}, fmt.Errorf("picking a /%d in %v: %w", length, s.network, ErrOutside)
	}
	count := powerOfTwo(length - s.network.Bits())
	size := powerOfTwo(s.width - length)
	for range attempts {
		first := uniform(r, count).shl(s.width - length)
		if i := (interval{first, size}); s.mayGive(i) && !s.overlapsAt(s.search(first), i) {
			return s.prefix(first, length), nil
		}
	}
	free := s.count(length)
	if free.isZero() {
		return netip.Prefix{}, fmt.Errorf("picking a /%d in %v: %w", length, s.network, ErrExhausted)
	}
	return s.prefix(s.nth(length, uniform(r, free)), length), nil
}

// mayGive leaves out what Pick does not give.
func (s *Space) mayGive(i interval) bool {
	start, end := s.bounds(i.size)
	return !i.first.less(start) && !end.less(i.end())
}

// bounds are where that begins and ends which Pick gives in a size.
func (s *Space) bounds(size uint128) (start, end uint128) {
	one, end := uint128{lo: 1}, powerOfTwo(s.width-s.network.Bits())
	switch {
	case s.width == 128:
		return one, end
	case one.less(size):
		return uint128{}, end
	}
	return one, end.sub(one)
}

// gaps calls yield with the aligned prefixes of a length in each gap: the number
// of the first, and how many there are.
func (s *Space) gaps(length int, yield func(first, count uint128) bool) {
	shift := s.width - length
	start, limit := s.bounds(powerOfTwo(shift))
	gap := func(end uint128) bool {
		// The first multiple of the size at or after start; it cannot wrap, as
		// start is at most 2^127.
		first := start.add(powerOfTwo(shift).sub(uint128{lo: 1})).shr(shift)
		last := end.shr(shift)
		return !first.less(last) || yield(first, last.sub(first))
	}
	for _, i := range s.taken {
		if start.less(i.first) && !gap(i.first) {
			return
		}
		if start.less(i.end()) {
			start = i.end()
		}
	}
	gap(limit)
}

// count says how many free prefixes of a length there are.
func (s *Space) count(length int) uint128 {
	var sum uint128
	s.gaps(length, func(_, n uint128) bool {
		sum = sum.add(n)
		return true
	})
	return sum
}

// nth is the first address of the free prefix of that index, which is below count.
func (s *Space) nth(length int, index uint128) uint128 {
	var found uint128
	s.gaps(length, func(first, n uint128) bool {
		if index.less(n) {
			found = first.add(index)
			return false
		}
		index = index.sub(n)
		return true
	})
	return found.shl(s.width - length)
}

// search returns where an interval that begins at first belongs.
func (s *Space) search(first uint128) int {
	at, _ := slices.BinarySearchFunc(s.taken, first, func(i interval, first uint128) int {
		switch {
		case i.first.less(first):
			return -1
		case first.less(i.first):
			return 1
		}
		return 0
	})
	return at
}

// overlapsAt compares with the two neighbours: no other can overlap.
func (s *Space) overlapsAt(at int, i interval) bool {
	return at > 0 && i.first.less(s.taken[at-1].end()) ||
		at < len(s.taken) && s.taken[at].first.less(i.end())
}

func (s *Space) find(p netip.Prefix) (int, bool) {
	i, err := s.interval(p)
	if err != nil {
		return 0, false
	}
	at := s.search(i.first)
	return at, at < len(s.taken) && s.taken[at] == i
}

func (s *Space) interval(p netip.Prefix) (interval, error) {
	if !Covers(s.network, p) {
		return interval{}, fmt.Errorf("prefix %v in %v: %w", p, s.network, ErrOutside)
	}
	return interval{number(p.Addr()).sub(s.base), powerOfTwo(s.width - p.Bits())}, nil
}

func (s *Space) prefix(first uint128, length int) netip.Prefix {
	v := s.base.add(first)
	if s.width == 32 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(v.lo))
		return netip.PrefixFrom(netip.AddrFrom4(b), length)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], v.hi)
	binary.BigEndian.PutUint64(b[8:], v.lo)
	return netip.PrefixFrom(netip.AddrFrom16(b), length)
}

func number(a netip.Addr) uint128 {
	if a.Is4() {
		b := a.As4()
		return uint128{lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return uint128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}
