package ebpf

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// MaxPairs bounds the pairs of one translator: the programs look through them
// one by one.
const MaxPairs = 32

// A Pair is two prefixes whose addresses stand for each other.
type Pair struct{ Inside, Outside netip.Prefix }

func (p Pair) String() string { return fmt.Sprintf("%v <-> %v", p.Inside, p.Outside) }

// length is that of what is replaced: RFC 6296, section 3.1, has the shorter
// prefix extended with zeroes.
func (p Pair) length() int { return max(p.Inside.Bits(), p.Outside.Bits()) }

// valid says what the programs can translate. Beyond /64 no mapping is defined:
// the adjustment has its place in the interface identifier.
func (p Pair) valid() error {
	for _, x := range []netip.Prefix{p.Inside, p.Outside} {
		switch {
		case !x.IsValid() || !x.Addr().Is6() || x.Addr().Is4In6():
			return fmt.Errorf("prefix %v: not an IPv6 prefix", x)
		case x != x.Masked():
			return fmt.Errorf("prefix %v: bits are set beyond its length; did you mean %v?", x, x.Masked())
		case x.Bits() < 1 || x.Bits() > 64:
			return fmt.Errorf("prefix %v: its length must be between 1 and 64 (RFC 6296)", x)
		}
	}
	if p.Inside.Overlaps(p.Outside) {
		return fmt.Errorf("prefixes %v and %v: they overlap", p.Inside, p.Outside)
	}
	return nil
}

// CheckPairs says why a translator would refuse them.
func CheckPairs(pairs []Pair) error {
	_, err := compile(pairs)
	return err
}

// A Hole is the sources of a pair's inside that have no counterpart: those in Inside
// whose bits under Mask are those of Value.
type Hole struct {
	Inside      netip.Prefix
	Mask, Value netip.Addr
}

// Holes are those of all pairs, the longest inside first: that of an address is the
// first whose inside holds it. Pairs whose outside is the longer prefix have more, and
// are left out.
func Holes(pairs []Pair) []Hole {
	var all []Hole
	for _, p := range pairs {
		if p.Outside.Bits() > p.Inside.Bits() {
			continue
		}
		// RFC 6296, section 3.4: bits 48 to 63; section 3.5: the whole identifier.
		from, to := 48, 64
		if p.length() > 48 {
			from, to = 64, 128
		}
		mask, value := [16]byte{}, p.Inside.Addr().As16()
		for bit := range 128 {
			if b := byte(0x80) >> (bit % 8); bit < p.Inside.Bits() || (bit >= from && bit < to) {
				mask[bit/8] |= b
				if bit >= from {
					value[bit/8] |= b
				}
			}
		}
		all = append(all, Hole{p.Inside, netip.AddrFrom16(mask), netip.AddrFrom16(value)})
	}
	slices.SortStableFunc(all, func(a, b Hole) int { return cmp.Compare(b.Inside.Bits(), a.Inside.Bits()) })
	return all
}

// compile makes what the programs read.
func compile(pairs []Pair) (translateConfig, error) {
	var c translateConfig
	if len(pairs) > MaxPairs {
		return c, fmt.Errorf("%d pairs of prefixes: at most %d are possible", len(pairs), MaxPairs)
	}
	for i, p := range pairs {
		if err := p.valid(); err != nil {
			return c, err
		}
		for _, q := range pairs[:i] {
			if p.Inside == q.Inside || p.Outside == q.Outside {
				return c, fmt.Errorf("pairs %v and %v: a prefix can have one counterpart only", q, p)
			}
			if p.Inside.Overlaps(q.Outside) || p.Outside.Overlaps(q.Inside) {
				return c, fmt.Errorf("pairs %v and %v: the inside of one overlaps the outside of the other", q, p)
			}
		}
	}
	c.Count = uint32(len(pairs))
	fill(c.Egress[:], pairs, func(p Pair) (from, to netip.Prefix) { return p.Inside, p.Outside })
	fill(c.Ingress[:], pairs, func(p Pair) (from, to netip.Prefix) { return p.Outside, p.Inside })
	return c, nil
}

// fill writes one direction, the longest prefix first.
func fill(into []translateMapping, pairs []Pair, direction func(Pair) (from, to netip.Prefix)) {
	pairs = slices.SortedStableFunc(slices.Values(pairs), func(a, b Pair) int {
		x, _ := direction(a)
		y, _ := direction(b)
		return cmp.Compare(y.Bits(), x.Bits())
	})
	for i, p := range pairs {
		from, to := direction(p)
		into[i] = translateMapping{
			From: half(from), FromMask: mask(from.Bits()), To: half(to), Mask: mask(p.length()),
			Adjustment: adjustment(from, to),
		}
		if p.length() > 48 {
			into[i].InIid = 1
		}
	}
}

// half is the first half of a prefix as it lies in a packet.
func half(p netip.Prefix) uint64 {
	a := p.Addr().As16()
	return binary.NativeEndian.Uint64(a[:])
}

func mask(bits int) uint64 {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], ^uint64(0)<<(64-bits))
	return binary.NativeEndian.Uint64(b[:])
}

// adjustment is what makes up for the exchange of prefixes: the difference of
// their ones' complement sums (RFC 6296, section 3.1), in the packet's order of
// bytes. Negating it gives that of the other direction.
func adjustment(from, to netip.Prefix) uint16 {
	return onesSum(sum64(from), ^sum64(to))
}

func sum64(p netip.Prefix) uint16 {
	a := p.Addr().As16()
	var sum uint16
	for i := 0; i < 8; i += 2 {
		sum = onesSum(sum, binary.NativeEndian.Uint16(a[i:]))
	}
	return sum
}

func onesSum(a, b uint16) uint16 {
	sum := uint32(a) + uint32(b)
	return uint16(sum + sum>>16)
}
