package ebpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// reference is RFC 6296 written a second time, as plainly as it can be, in the
// order of bytes of the standard and without a thought of speed. What the
// programs do is compared with it.
type reference []Pair

type refOutcome int

const (
	refForeign refOutcome = iota
	refTranslated
	refUnmapped
)

// address translates one, outwards or inwards.
func (r reference) address(a netip.Addr, outwards bool) (netip.Addr, refOutcome) {
	best := -1
	from := func(i int) netip.Prefix {
		if outwards {
			return r[i].Inside
		}
		return r[i].Outside
	}
	for i := range r {
		if from(i).Contains(a) && (best < 0 || from(i).Bits() > from(best).Bits()) {
			best = i
		}
	}
	if best < 0 {
		return a, refForeign
	}
	inside, outside := r[best].Inside, r[best].Outside
	bits := max(inside.Bits(), outside.Bits())
	inside, outside = netip.PrefixFrom(inside.Addr(), bits), netip.PrefixFrom(outside.Addr(), bits)
	old, now := inside, outside
	if !outwards {
		old, now = outside, inside
	}
	if !old.Contains(a) {
		return a, refUnmapped
	}
	b, p := a.As16(), now.Addr().As16()
	for bit := range bits {
		m := byte(0x80) >> (bit % 8)
		b[bit/8] = b[bit/8]&^m | p[bit/8]&m
	}
	words := []int{6} // bits 48 to 63
	if bits > 48 {
		words = []int{8, 10, 12, 14}
	}
	for _, at := range words {
		w := int(binary.BigEndian.Uint16(b[at:]))
		if w == 0xffff {
			continue
		}
		// The sums differ by inside - outside (mod 2^16 - 1); one direction adds it,
		// the other takes it away.
		delta := sumOf(inside.Addr()) - sumOf(outside.Addr())
		if !outwards {
			delta = -delta
		}
		w = ((w+delta)%0xffff + 0xffff) % 0xffff
		binary.BigEndian.PutUint16(b[at:], uint16(w))
		return netip.AddrFrom16(b), refTranslated
	}
	return a, refUnmapped
}

// sumOf adds the words of an address, modulo 2^16 - 1.
func sumOf(a netip.Addr) int {
	b := a.As16()
	sum := 0
	for i := 0; i < 16; i += 2 {
		sum += int(binary.BigEndian.Uint16(b[i:]))
	}
	return sum % 0xffff
}

type refVerdict int

const (
	refNext refVerdict = iota
	refDrop
	refTurn
)

// packet translates a frame and says what becomes of it.
func (r reference) packet(frame []byte, outwards bool) ([]byte, refVerdict) {
	out := slices.Clone(frame)
	if len(frame) < 54 || frame[12] != 0x86 || frame[13] != 0xdd || frame[14]>>4 != 6 {
		return out, refNext
	}
	ip := out[14:]
	src, dst := netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
	if dst.IsLinkLocalUnicast() || dst.IsMulticast() && ip[25]&15 <= 2 {
		return out, refNext
	}
	icmp := icmpOf(ip)
	if len(icmp) > 0 && icmp[0] >= 133 && icmp[0] <= 137 {
		return out, refNext
	}
	if _, outcome := r.address(dst, true); outwards && outcome != refForeign {
		return out, refNext // from inside to inside
	}
	own, at, quotedAt := src, 8, 24
	if !outwards {
		own, at, quotedAt = dst, 24, 8
	}
	now, outcome := r.address(own, outwards)
	if outcome == refUnmapped {
		if outwards {
			return out, refDrop
		}
		return out, refNext
	}
	put(ip[at:], now)
	if len(icmp) > 0 && icmp[0] < 128 && len(icmp) >= 8+quotedAt+16 && icmp[8]>>4 == 6 {
		quoted := icmp[8+quotedAt:]
		if now, outcome := r.address(netip.AddrFrom16([16]byte(quoted[:16])), outwards); outcome == refTranslated {
			put(quoted, now)
		}
	}
	if outwards && outcome == refTranslated {
		if _, hairpin := r.address(dst, false); hairpin != refForeign {
			copy(out[:6], out[6:12])
			return out, refTurn
		}
	}
	return out, refNext
}

func put(b []byte, a netip.Addr) {
	x := a.As16()
	copy(b, x[:])
}

// icmpOf finds the ICMPv6 message of a packet, nil where it has none.
func icmpOf(ip []byte) []byte {
	next, rest := ip[6], ip[40:]
	for range MaxExtensions {
		if next == 58 {
			return rest
		}
		if !slices.Contains([]byte{0, 43, 44, 51, 60}, next) || len(rest) < 4 {
			return nil
		}
		n := 8 * (int(rest[1]) + 1)
		switch next {
		case 44:
			if rest[2] != 0 || rest[3]&0xf8 != 0 {
				return nil
			}
			n = 8
		case 51:
			n = 4 * (int(rest[1]) + 2)
		}
		if len(rest) < n {
			return nil
		}
		next, rest = rest[0], rest[n:]
	}
	return nil
}
