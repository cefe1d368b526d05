package trace

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Kind is what came back.
type Kind uint8

const (
	Silence     Kind = iota
	Passed           // the hop limit ended there: the packet came so far
	Arrived          // the target answered
	Unreachable      // somebody says that there is no way
)

func (k Kind) String() string {
	return [...]string{"silence", "passed", "arrived", "unreachable"}[k]
}

// The protocol numbers of IANA.
const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// echo makes a request. The kernel fills in the checksum of ICMPv6.
func echo(to netip.Addr, id, seq uint16) ([]byte, error) {
	m := icmp.Message{Type: ipv6.ICMPTypeEchoRequest, Body: &icmp.Echo{ID: int(id), Seq: int(seq), Data: payload[:]}}
	if to.Is4() {
		m.Type = ipv4.ICMPTypeEcho
	}
	return m.Marshal(nil)
}

// payload is that of ping(8) in size, and tells who sends it to whoever looks.
var payload = [56]byte{'r', 'e', '6', 's', 't', ' ', 't', 'r', 'a', 'c', 'e'}

// parse reads what came from an address: if it belongs to a request to target
// with our id, seq says to which one.
func parse(b []byte, from, target netip.Addr, id uint16) (kind Kind, seq uint16, ok bool) {
	if target.Is4() {
		return parse4(b, from, target, id)
	}
	if len(b) < 8 {
		return Silence, 0, false
	}
	switch ipv6.ICMPType(b[0]) {
	case ipv6.ICMPTypeEchoReply:
		return Arrived, binary.BigEndian.Uint16(b[6:]), from == target && binary.BigEndian.Uint16(b[4:]) == id
	case ipv6.ICMPTypeTimeExceeded:
		kind = Passed
	case ipv6.ICMPTypeDestinationUnreachable:
		kind = Unreachable
	default:
		return Silence, 0, false
	}
	// RFC 4443, section 2.4 (c): as much of the packet as fits. We send no
	// extension headers.
	quoted := b[8:]
	if len(quoted) < 48 || quoted[0]>>4 != 6 || quoted[6] != protocolICMPv6 || netip.AddrFrom16([16]byte(quoted[24:40])) != target {
		return Silence, 0, false
	}
	seq, ok = requested(quoted[40:], byte(ipv6.ICMPTypeEchoRequest), id)
	return kind, seq, ok
}

func parse4(b []byte, from, target netip.Addr, id uint16) (kind Kind, seq uint16, ok bool) {
	if len(b) < 8 {
		return Silence, 0, false
	}
	switch ipv4.ICMPType(b[0]) {
	case ipv4.ICMPTypeEchoReply:
		return Arrived, binary.BigEndian.Uint16(b[6:]), from == target && binary.BigEndian.Uint16(b[4:]) == id
	case ipv4.ICMPTypeTimeExceeded:
		kind = Passed
	case ipv4.ICMPTypeDestinationUnreachable:
		kind = Unreachable
	default:
		return Silence, 0, false
	}
	// RFC 792: the IP header and 64 bits of the packet.
	quoted := b[8:]
	if len(quoted) < 20 || quoted[0]>>4 != 4 || quoted[9] != protocolICMP || netip.AddrFrom4([4]byte(quoted[16:20])) != target {
		return Silence, 0, false
	}
	header := int(quoted[0]&0xf) * 4
	if header < 20 || len(quoted) < header+8 {
		return Silence, 0, false
	}
	seq, ok = requested(quoted[header:], byte(ipv4.ICMPTypeEcho), id)
	return kind, seq, ok
}

// requested reads the first eight bytes of a request of ours.
func requested(b []byte, kind byte, id uint16) (seq uint16, ok bool) {
	return binary.BigEndian.Uint16(b[6:]), b[0] == kind && binary.BigEndian.Uint16(b[4:]) == id
}
