// Package ecn carries congestion marks into and out of a tunnel, as kernel WireGuard
// does. It knows the two bits of the traffic class and the IP headers that they are in;
// it neither marks by itself nor looks at the other six bits, the DSCP, which is not
// carried in either direction.
//
// RFC 6040 would write CE on the outer packet of one that is marked already (normal
// mode, §4.1), and would drop a packet whose sender has no ECN where it came marked
// (§4.2). Linux encapsulates after RFC 3168 §9.1.1, with ECT(0) for CE, and WireGuard
// forwards the packet as it was: a router must not mark such packets, and one that does
// would otherwise cut the connection off.
package ecn

import "encoding/binary"

// The codepoints of RFC 3168 §5.
const (
	NotECT uint8 = iota
	ECT1
	ECT0
	CE

	mask = 3
)

// Of is the codepoint of an IP packet. What is none, such as a keepalive's content,
// has no ECN.
func Of(packet []byte) uint8 {
	if len(packet) < 2 {
		return NotECT
	}
	switch packet[0] >> 4 {
	case 4:
		return packet[1] & mask
	case 6:
		return packet[1] >> 4 & mask
	}
	return NotECT
}

// Encapsulate gives the traffic class of the outer packet.
func Encapsulate(packet []byte) uint8 {
	if mark := Of(packet); mark != CE {
		return mark
	}
	return ECT0
}

// Decapsulate sets the codepoint of a packet that came in one of the given traffic
// class (RFC 6040, figure 4). The packet's header is whole.
func Decapsulate(packet []byte, outer uint8) {
	outer &= mask
	if outer == NotECT || outer == ECT0 {
		return // no news
	}
	inner := Of(packet)
	if inner == ECT0 || inner == ECT1 && outer == CE {
		set(packet, inner, outer)
	}
}

// set keeps the checksum of an IPv4 header right (RFC 1624), by the very sum of Linux,
// which writes 0 where all ones would be as right.
func set(packet []byte, from, to uint8) {
	if packet[0]>>4 == 6 {
		packet[1] = packet[1]&^(mask<<4) | to<<4
		return
	}
	packet[1] = packet[1]&^mask | to
	sum := uint32(binary.BigEndian.Uint16(packet[10:]))
	if to > from {
		sum += 0xffff - uint32(to-from)
	} else {
		sum += uint32(from - to)
	}
	if sum >= 0xffff {
		sum++
	}
	binary.BigEndian.PutUint16(packet[10:], uint16(sum))
}
