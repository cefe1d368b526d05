package nat64

import (
	"encoding/binary"
	"time"
)

// to6 translates from IPv4 (RFC 7915, section 4).
func (t *Translator) to6(now time.Time, b []byte, next func(int) []byte) Result {
	p, r := parse4(b, false)
	if r != Translated {
		return r
	}
	to, ok := t.pool.source(binary.BigEndian.Uint32(p.header[16:]))
	if !ok {
		return Unmapped
	}
	if p.protocol == protoICMP4 && p.offset == 0 && isError4(p.payload) {
		return t.errorTo6(p, to, next)
	}
	source := binary.BigEndian.Uint32(p.header[12:])
	if !t.isReachable(source) {
		return Source
	}
	if r := check4(p); r != Translated {
		return r
	}
	t.pool.use(now, to)
	var header [header6]byte
	t.header6(header[:], p, source, to)
	var first [tcpHeader]byte // the part of the payload that changes
	n := copy(first[:], p.payload)
	if p.offset == 0 {
		transport6(first[:n], p, header[:])
	}
	switch {
	case p.whole() && (p.dontFrag || header6+len(p.payload) <= minMTU6):
		if header6+len(p.payload) > maxPacket {
			return Malformed
		}
		out := next(header6 + len(p.payload))
		finish6(out, header[:], p.payload, first[:n])
	default:
		fragments6(p, header[:], first[:n], next)
	}
	return Translated
}

// check4 finds what cannot be translated in the payload.
func check4(p packet4) Result {
	switch p.protocol {
	case protoICMP4:
		return checkEcho(p.payload, p.whole(), echoRequest4, echoReply4)
	case protoICMP6, protoFragment, protoHopByHop, protoRouting, protoDestination:
		return Unsupported // it would be read as something else there
	}
	r, hasSum := checkTransport(p.protocol, p.payload, p.offset)
	// RFC 7915, section 4.5: without a checksum one has to be computed, over the
	// whole.
	if r == Translated && !hasSum {
		if !p.whole() {
			return Fragment
		}
		if length := int(binary.BigEndian.Uint16(p.payload[4:])); length < udpHeader || length > len(p.payload) {
			return Malformed
		}
	}
	return r
}

// header6 writes the IPv6 header, for the payload without a fragment header.
func (t *Translator) header6(out []byte, p packet4, source uint32, to *[16]byte) {
	out[0], out[1], out[2], out[3] = 6<<4|p.header[1]>>4, p.header[1]<<4, 0, 0
	binary.BigEndian.PutUint16(out[4:], uint16(len(p.payload)))
	out[6], out[7] = p.protocol, p.header[8]
	if p.protocol == protoICMP4 {
		out[6] = protoICMP6
	}
	t.embed(out[8:24], source)
	copy(out[24:40], to[:])
}

// transport6 mends the checksum of a payload for new addresses, as far as it is
// there.
func transport6(payload []byte, p packet4, header []byte) {
	if p.protocol == protoICMP4 {
		echo6(payload, p, header)
		return
	}
	at, _ := checksumAt(p.protocol)
	if at == 0 || len(payload) < at+2 {
		return
	}
	field := payload[at : at+2]
	if p.protocol == protoUDP && field[0] == 0 && field[1] == 0 {
		compute(field, p, header)
		return
	}
	adjust(field, sum(p.header[12:20]), sum(header[8:40]))
	if p.protocol == protoUDP && field[0] == 0 && field[1] == 0 {
		field[0], field[1] = 0xff, 0xff
	}
}

// compute makes a checksum for a datagram that has none. That of one inside an
// error, where the end is missing, stays away.
func compute(field []byte, p packet4, header []byte) {
	if len(p.payload) < udpHeader {
		return
	}
	length := int(binary.BigEndian.Uint16(p.payload[4:]))
	if length > len(p.payload) {
		return
	}
	v := ^fold(pseudo6(header[8:24], header[24:40], length, protoUDP) + sum(p.payload[:length]))
	if v == 0 {
		v = 0xffff
	}
	binary.BigEndian.PutUint16(field, v)
}

// echo6 is the reverse of echo4.
func echo6(payload []byte, p packet4, header []byte) {
	if len(payload) < 4 {
		return
	}
	old := uint32(payload[0]) << 8
	if payload[0] == echoRequest4 {
		payload[0] = echoRequest6
	} else {
		payload[0] = echoReply6
	}
	adjust(payload[2:4], old, uint32(payload[0])<<8+pseudo6(header[8:24], header[24:40], len(p.payload), protoICMP6))
}

// finish6 puts a packet together: payload, whose beginning has changed.
func finish6(out, header, payload, first []byte) {
	copy(out, header)
	copy(out[header6:], payload)
	copy(out[header6:], first)
}

// fragments6 makes packets that pass everywhere (RFC 7915, section 4.1): of a
// datagram that may be fragmented and is too long, or of a fragment.
func fragments6(p packet4, header, first []byte, next func(int) []byte) {
	const room = (minMTU6 - header6 - fragmentSize) &^ 7
	for at := 0; at == 0 || at < len(p.payload); at += room {
		part := p.payload[at:min(at+room, len(p.payload))]
		isLast := at+room >= len(p.payload)
		out := next(header6 + fragmentSize + len(part))
		copy(out, header)
		binary.BigEndian.PutUint16(out[4:], uint16(fragmentSize+len(part)))
		protocol := out[6]
		out[6] = protoFragment
		f := out[header6 : header6+fragmentSize]
		f[0], f[1] = protocol, 0
		field := (p.offset + uint16(at/8)) << 3
		if !isLast || p.more {
			field |= 1
		}
		binary.BigEndian.PutUint16(f[2:], field)
		binary.BigEndian.PutUint32(f[4:], uint32(p.id))
		copy(out[header6+fragmentSize:], part)
		if at == 0 {
			copy(out[header6+fragmentSize:], first)
		}
	}
}
