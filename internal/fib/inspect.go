package fib

import (
	"encoding/binary"
	"net/netip"
)

// Verdict is what Inspect finds. Everything but Ordinary is for the stack.
type Verdict uint8

// The reasons, in the order in which they are looked for.
const (
	Ordinary   Verdict = iota
	Malformed          // no header, or lengths that contradict each other
	Version            // neither 4 nor 6
	Options            // IPv4 options, IPv6 extension headers
	Fragment           // of either family
	HopLimit           // ends here
	Address            // of a kind that is not sent on
	Checksum           // of the IPv4 header
	Connecting         // a TCP SYN, whose MSS a gateway may have to clamp
	Neighbour          // Neighbour Discovery
)

func (v Verdict) String() string {
	names := [...]string{
		"ordinary", "malformed", "version", "options", "fragment", "hop limit", "address", "checksum", "connecting", "neighbour discovery",
	}
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

const (
	header4 = 20
	header6 = 40

	protocolTCP    = 6
	protocolICMPv6 = 58

	tcpFlags = 13 // their place in the TCP header
	tcpSYN   = 0x02
)

// Inspect says whether a packet, from its first to its last byte, is one that a
// router sends on with nothing but its hop limit lowered. The program in the kernel
// follows the same rules, and a packet of which only the head is at hand (one that
// segmentation offload made long) may be given as that: it is size bytes long.
func Inspect(packet []byte, size int) Verdict {
	if len(packet) == 0 {
		return Malformed
	}
	switch packet[0] >> 4 {
	case 4:
		return inspect4(packet, size)
	case 6:
		return inspect6(packet, size)
	}
	return Version
}

func inspect4(b []byte, size int) Verdict {
	switch {
	case len(b) < header4 || int(binary.BigEndian.Uint16(b[2:])) != size:
		return Malformed
	case b[0] != 0x45:
		return Options
	case binary.BigEndian.Uint16(b[6:])&0x3fff != 0: // more fragments, or an offset
		return Fragment
	case b[8] <= 1:
		return HopLimit
	case !isOrdinary4(b[12:16]) || !isOrdinary4(b[16:20]):
		return Address
	case sum4(b) != 0xffff:
		return Checksum
	}
	return inspectPayload(b[header4:], size-header4, b[9])
}

// isOrdinary4: not of this network, loopback, link-local (RFC 3927), multicast,
// reserved or broadcast.
func isOrdinary4(a []byte) bool {
	return a[0] != 0 && a[0] != 127 && a[0] < 224 && (a[0] != 169 || a[1] != 254)
}

// sum4 is all ones for a right header (RFC 1071).
func sum4(b []byte) uint16 {
	var sum uint32
	for i := 0; i < header4; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum)
}

func inspect6(b []byte, size int) Verdict {
	switch {
	case len(b) < header6 || int(binary.BigEndian.Uint16(b[4:]))+header6 != size:
		return Malformed
	case isFragment6(b[6]):
		return Fragment
	case isExtension(b[6]):
		return Options
	case b[7] <= 1:
		return HopLimit
	case !isOrdinary6(b[8:24]) || !isOrdinary6(b[24:40]):
		return Address
	}
	return inspectPayload(b[header6:], size-header6, b[6])
}

func isFragment6(next byte) bool { return next == 44 }

// isExtension: hop-by-hop options, routing, destination options, mobility, HIP,
// shim6 and the experimental ones (RFC 7045). What is encrypted or authenticated by
// IPsec is payload to a router.
func isExtension(next byte) bool {
	switch next {
	case 0, 43, 60, 135, 139, 140, 253, 254:
		return true
	}
	return false
}

// isOrdinary6: not unspecified, loopback, mapped (all within ::/80), link-local or
// multicast.
func isOrdinary6(a []byte) bool {
	switch {
	case binary.BigEndian.Uint64(a) == 0 && binary.BigEndian.Uint16(a[8:]) == 0:
		return false
	case a[0] == 0xff, a[0] == 0xfe && a[1]&0xc0 == 0x80:
		return false
	}
	return true
}

func inspectPayload(b []byte, size int, protocol byte) Verdict {
	switch {
	case protocol == protocolTCP && (size <= tcpFlags || len(b) <= tcpFlags):
		return Malformed
	case protocol == protocolTCP && b[tcpFlags]&tcpSYN != 0:
		return Connecting
	case protocol == protocolICMPv6 && (size < 1 || len(b) < 1):
		return Malformed
	case protocol == protocolICMPv6 && b[0] >= 133 && b[0] <= 137: // RFC 4861
		return Neighbour
	}
	return Ordinary
}

// Addresses are those of a packet that Inspect found to be ordinary.
func Addresses(packet []byte) (src, dst netip.Addr) {
	if packet[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(packet[12:16])), netip.AddrFrom4([4]byte(packet[16:20]))
	}
	return netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[24:40]))
}

// LowerHopLimit does what a router does to a packet that Inspect found to be
// ordinary, and keeps the checksum of an IPv4 header right (RFC 1141) by the very sum
// of Linux, which writes 0 where all ones would be as right.
func LowerHopLimit(packet []byte) {
	if packet[0]>>4 == 6 {
		packet[7]--
		return
	}
	packet[8]--
	sum := uint32(binary.BigEndian.Uint16(packet[10:])) + 0x0100
	if sum >= 0xffff {
		sum++
	}
	binary.BigEndian.PutUint16(packet[10:], uint16(sum))
}
