package nat64

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// dontFragmentAbove is the size from which a translated packet may not be
// fragmented: what is smaller came from a host that believes that it passes
// everywhere (RFC 7915, section 5.1).
const dontFragmentAbove = 1260

// to4 translates from IPv6 (RFC 7915, section 5).
func (t *Translator) to4(now time.Time, b []byte, next func(int) []byte) Result {
	p, r := parse6(b, false)
	if r != Translated {
		if at, ok := uint32(0), false; r == Unsupported {
			if at, ok = segmentsLeft(b); ok {
				t.refuse(now, b, p, meaning{parameterProblem6, 0, at}, next)
			}
		}
		return r
	}
	destination, ok := t.embedded(p.header[24:40])
	if !ok || !t.isReachable(destination) {
		t.refuse(now, b, p, meaning{unreachable6, prohibited, 0}, next)
		return Destination
	}
	if p.protocol == protoICMP6 && isError6(p.payload) {
		return t.errorTo4(p, destination, next)
	}
	if !contains(t.config.Sources, netip.AddrFrom16([16]byte(p.header[8:24]))) {
		return Source
	}
	if r := check6(p); r != Translated {
		return r
	}
	source, ok := t.pool.use(now, (*[16]byte)(p.header[8:24]))
	if !ok {
		t.refuse(now, b, p, meaning{unreachable6, unreachableAddress, 0}, next)
		return Exhausted
	}
	size := header4 + len(p.payload)
	if size > maxPacket {
		return Malformed
	}
	out := next(size)
	copy(out[header4:], p.payload)
	t.header4(out, p, source, destination, size)
	transport4(out[header4:], p, out[12:20])
	return Translated
}

// check6 finds what cannot be translated in the payload.
func check6(p packet6) Result {
	switch p.protocol {
	case protoICMP6:
		return checkEcho(p.payload, p.whole(), echoRequest6, echoReply6)
	case protoICMP4:
		return Unsupported
	}
	r, hasSum := checkTransport(p.protocol, p.payload, p.offset)
	if r == Translated && !hasSum {
		return Malformed // RFC 8200, section 8.1
	}
	return r
}

// checkEcho: of ICMP's queries only echoes have a counterpart.
func checkEcho(payload []byte, isWhole bool, request, reply byte) Result {
	switch {
	case !isWhole:
		return Fragment
	case len(payload) < icmpHeader:
		return Malformed
	case payload[0] != request && payload[0] != reply:
		return Unsupported
	}
	return Translated
}

// checkTransport wants the header of a known protocol to be there, and says
// whether there is a checksum: UDP alone may have none.
func checkTransport(protocol byte, payload []byte, offset uint16) (r Result, hasSum bool) {
	at, need := checksumAt(protocol)
	if need == 0 || offset > 0 {
		return Translated, true
	}
	if len(payload) < need {
		return Malformed, false
	}
	return Translated, protocol != protoUDP || payload[at] != 0 || payload[at+1] != 0
}

// header4 writes the IPv4 header. total is the packet's real length, which of one
// inside an error is not that of the buffer.
func (t *Translator) header4(out []byte, p packet6, source, destination uint32, total int) {
	out[0] = 4<<4 | header4/4
	out[1] = p.header[0]<<4 | p.header[1]>>4 // the traffic class
	binary.BigEndian.PutUint16(out[2:], uint16(total))
	id, flags := uint16(p.id), uint16(0)
	switch {
	case p.isFragment:
		flags = p.offset & 0x1fff
		if p.more {
			flags |= 0x2000
		}
	case total > dontFragmentAbove:
		flags = 0x4000
	default:
		t.identification++
		id = t.identification
	}
	binary.BigEndian.PutUint16(out[4:], id)
	binary.BigEndian.PutUint16(out[6:], flags)
	out[8] = p.header[7]
	out[9] = p.protocol
	if p.protocol == protoICMP6 {
		out[9] = protoICMP4
	}
	out[10], out[11] = 0, 0
	binary.BigEndian.PutUint32(out[12:], source)
	binary.BigEndian.PutUint32(out[16:], destination)
	binary.BigEndian.PutUint16(out[10:], ^fold(sum(out[:header4])))
}

// transport4 mends the checksum of a payload for new addresses, as far as it is
// there.
func transport4(payload []byte, p packet6, addresses []byte) {
	if p.offset > 0 {
		return
	}
	if p.protocol == protoICMP6 {
		echo4(payload, p)
		return
	}
	at, _ := checksumAt(p.protocol)
	if at == 0 || len(payload) < at+2 {
		return
	}
	field := payload[at : at+2]
	adjust(field, sum(p.header[8:40]), sum(addresses))
	if p.protocol == protoUDP && field[0] == 0 && field[1] == 0 {
		field[0], field[1] = 0xff, 0xff // 0 would mean that there is none (RFC 768)
	}
}

// echo4 turns an echo message into one of ICMP for IPv4, whose checksum has no
// pseudo-header. Of one inside an error, whose end is missing, the checksum is
// not right after it; nobody can verify it there.
func echo4(payload []byte, p packet6) {
	if len(payload) < 4 {
		return
	}
	old := pseudo6(p.header[8:24], p.header[24:40], len(p.payload), protoICMP6) + uint32(payload[0])<<8
	if payload[0] == echoRequest6 {
		payload[0] = echoRequest4
	} else {
		payload[0] = echoReply4
	}
	adjust(payload[2:4], old, uint32(payload[0])<<8)
}
