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
	if p.protocol == protoICMP6 {
		switch {
		case !p.whole():
			return Fragment
		case len(p.payload) < icmpHeader:
			return Malformed
		case p.payload[0] != echoRequest6 && p.payload[0] != echoReply6:
			return Unsupported
		}
		return Translated
	}
	if p.protocol == protoICMP4 {
		return Unsupported
	}
	at, need := checksumAt(p.protocol)
	if need == 0 || p.offset > 0 {
		return Translated
	}
	if len(p.payload) < need {
		return Malformed
	}
	if p.protocol == protoUDP && p.payload[at] == 0 && p.payload[at+1] == 0 {
		return Malformed // RFC 8200, section 8.1
	}
	return Translated
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
