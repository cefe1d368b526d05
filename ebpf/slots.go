package ebpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// A Flow is what went into a tunnel since it was first seen: packets and bytes as
// they are inside the tunnel, segments of large ones told one by one.
type Flow struct {
	// To is the destination of the route; invalid for what follows no route of the
	// table: Babel's own packets, multicast, what the host sends by rules of its own.
	To netip.Prefix
	// Into is the tunnel. 0: of all that came when no counter was free any more,
	// where To is invalid as well.
	Into    int
	Transit bool // came out of a tunnel
	Packets uint64
	Bytes   uint64
}

// slotKey says what a counter counts; the zero one is that of nothing.
type slotKey struct {
	to   netip.Prefix
	into int
}

const (
	// noSlot is beyond every map.
	noSlot = 1<<32 - 1
	// overflow is the counter of those that found none.
	overflow = 0
	slotSize = 4 * 8
)

// slots gives out counters. One that nothing refers to any more keeps what it has
// counted until another needs it, the longest unused first.
type slots struct {
	kernel *ebpf.Map
	seen   []byte // the kernel's memory, as far as counters were given out at the last look
	by     map[slotKey]*slot
	owner  []*slot // by number; nil: never given out, or not again yet
	free   []uint32
	idle   []*slot // by the time of their last use
}

type slot struct {
	key    slotKey
	number uint32
	users  int
	isIdle bool // stands in idle
}

func newSlots(m *ebpf.Map) *slots {
	return &slots{kernel: m, by: map[slotKey]*slot{}, owner: make([]*slot, 1)}
}

// close lets the kernel's memory go.
func (s *slots) close() error {
	if s.seen == nil {
		return nil
	}
	seen := s.seen
	s.seen = nil
	return unix.Munmap(seen)
}

// look is the kernel's memory of the counters that are given out. All of the map would
// be half a megabyte that a small mesh never uses.
func (s *slots) look() ([]byte, error) {
	size := len(s.owner) * slotSize
	if size > len(s.seen) {
		if err := s.close(); err != nil {
			return nil, err
		}
		page := os.Getpagesize()
		seen, err := unix.Mmap(s.kernel.FD(), 0, (size+page-1)/page*page, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return nil, err
		}
		s.seen = seen
	}
	return s.seen[:size], nil
}

// take gives the number of the key's counter.
func (s *slots) take(k slotKey) uint32 {
	if k == (slotKey{}) {
		return noSlot
	}
	c := s.by[k]
	if c == nil {
		if c = s.vacant(); c == nil {
			return overflow
		}
		c.key = k
		s.by[k] = c
	}
	c.users++
	return c.number
}

// vacant finds a counter that nobody needs, set to zero.
func (s *slots) vacant() *slot {
	c := &slot{}
	switch {
	case len(s.free) > 0:
		c.number = s.free[len(s.free)-1]
		s.free = s.free[:len(s.free)-1]
	case len(s.owner) < int(s.kernel.MaxEntries()):
		c.number = uint32(len(s.owner))
		s.owner = append(s.owner, nil)
	default:
		old := s.longestIdle()
		if old == nil {
			return nil
		}
		delete(s.by, old.key)
		c.number = old.number
	}
	if s.kernel.Put(c.number, shortcutCounter{}) != nil {
		s.free = append(s.free, c.number)
		return nil
	}
	s.owner[c.number] = c
	return c
}

func (s *slots) longestIdle() *slot {
	for len(s.idle) > 0 {
		c := s.idle[0]
		s.idle = s.idle[1:]
		c.isIdle = false
		if c.users == 0 && s.owner[c.number] == c {
			return c
		}
	}
	return nil
}

// give says that one who took it does not use it any more.
func (s *slots) give(number uint32) {
	if number == overflow || number == noSlot || s.owner[number] == nil {
		return
	}
	c := s.owner[number]
	if c.users--; c.users == 0 && !c.isIdle {
		c.isIdle = true
		s.idle = append(s.idle, c)
	}
}

// drop forgets all counters of an interface.
func (s *slots) drop(into int) {
	for k, c := range s.by {
		if k.into == into {
			delete(s.by, k)
			s.owner[c.number] = nil
			s.free = append(s.free, c.number)
		}
	}
	s.idle = slices.DeleteFunc(s.idle, func(c *slot) bool { return c.key.into == into })
}

// flows reads the counters that are not zero.
func (s *slots) flows() ([]Flow, error) {
	b, err := s.look()
	if err != nil {
		return nil, fmt.Errorf("mapping the counters: %w", err)
	}
	var all []Flow
	for i, c := range s.owner {
		var k slotKey
		switch {
		case c != nil:
			k = c.key
		case i != overflow:
			continue
		}
		n := func(at int) uint64 { return binary.NativeEndian.Uint64(b[i*slotSize+at*8:]) }
		if n(0) > 0 {
			all = append(all, Flow{To: k.to, Into: k.into, Packets: n(0), Bytes: n(1)})
		}
		if n(2) > 0 {
			all = append(all, Flow{To: k.to, Into: k.into, Transit: true, Packets: n(2), Bytes: n(3)})
		}
	}
	return all, nil
}
