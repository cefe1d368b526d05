package nat64

import "encoding/binary"

// ICMP types.
const (
	echoRequest6, echoReply6                                  = 128, 129
	unreachable6, tooBig6, timeExceeded6, parameterProblem6   = 1, 2, 3, 4
	echoRequest4, echoReply4                                  = 8, 0
	unreachable4, timeExceeded4, parameterProblem4            = 3, 11, 12
	needsFragmentation, protocolUnreachable, addressFiltered4 = 4, 2, 10
	// difference between the headers, without options.
	difference = header6 - header4
)

// isError6: RFC 4443, section 2.1. Informational messages have the high bit.
func isError6(payload []byte) bool { return len(payload) > 0 && payload[0] < 128 }

func isError4(payload []byte) bool {
	if len(payload) == 0 {
		return false
	}
	switch payload[0] {
	case unreachable4, timeExceeded4, parameterProblem4:
		return true
	}
	return false
}

// meaning is type, code and the second word of an ICMP error.
type meaning struct {
	kind, code byte
	word       uint32
}

// meaningTo4: RFC 7915, section 5.2.
func meaningTo4(icmp []byte) (m meaning, ok bool) {
	code, word := icmp[1], binary.BigEndian.Uint32(icmp[4:])
	switch icmp[0] {
	case unreachable6:
		switch code {
		case 0, 2, 3:
			return meaning{unreachable4, 1, 0}, true
		case 1:
			return meaning{unreachable4, addressFiltered4, 0}, true
		case 4:
			return meaning{unreachable4, 3, 0}, true
		}
	case tooBig6:
		// Each IPv4 packet becomes longer by the difference.
		return meaning{unreachable4, needsFragmentation, min(max(word, minMTU6), maxPacket) - difference}, true
	case timeExceeded6:
		return meaning{timeExceeded4, code, 0}, code <= 1
	case parameterProblem6:
		switch code {
		case 0:
			pointer, ok := pointerTo4(word)
			return meaning{parameterProblem4, 0, uint32(pointer) << 24}, ok
		case 1:
			return meaning{unreachable4, protocolUnreachable, 0}, true
		}
	}
	return m, false
}

// pointerTo4: RFC 7915, figure 6.
func pointerTo4(p uint32) (byte, bool) {
	switch {
	case p <= 1:
		return byte(p), true
	case p == 4 || p == 5:
		return 2, true
	case p == 6:
		return 9, true
	case p == 7:
		return 8, true
	case p >= 8 && p <= 23:
		return 12, true
	case p >= 24 && p <= 39:
		return 16, true
	}
	return 0, false
}

// meaningTo6: RFC 7915, section 4.2. The length is that of the packet that was
// too long.
func meaningTo6(icmp []byte, length int) (m meaning, ok bool) {
	code := icmp[1]
	switch icmp[0] {
	case unreachable4:
		switch code {
		case 0, 1, 5, 6, 7, 8, 11, 12:
			return meaning{unreachable6, 0, 0}, true
		case protocolUnreachable:
			return meaning{parameterProblem6, 1, 6}, true // the next header field
		case 3:
			return meaning{unreachable6, 4, 0}, true
		case needsFragmentation:
			return meaning{tooBig6, 0, pathMTU(int(binary.BigEndian.Uint16(icmp[6:])), length)}, true
		case 9, addressFiltered4, 13, 15:
			return meaning{unreachable6, 1, 0}, true
		}
	case timeExceeded4:
		return meaning{timeExceeded6, code, 0}, code <= 1
	case parameterProblem4:
		if code == 0 || code == 2 {
			pointer, ok := pointerTo6(icmp[4])
			return meaning{parameterProblem6, 0, pointer}, ok
		}
	}
	return m, false
}

// pathMTU: routers that do not tell their MTU say 0, and mean the next of the
// usual ones (RFC 1191, section 7). Less than IPv6's own minimum is never asked
// of a host: what is smaller than that leaves us with leave to be fragmented.
func pathMTU(told, length int) uint32 {
	if told == 0 {
		for _, plateau := range [...]int{65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68} {
			if plateau < length {
				told = plateau
				break
			}
		}
	}
	return uint32(max(told+difference, minMTU6))
}

// pointerTo6: RFC 7915, figure 3.
func pointerTo6(p byte) (uint32, bool) {
	switch {
	case p <= 1:
		return uint32(p), true
	case p == 2 || p == 3:
		return 4, true
	case p == 8:
		return 7, true
	case p == 9:
		return 6, true
	case p >= 12 && p <= 15:
		return 8, true
	case p >= 16 && p <= 19:
		return 24, true
	}
	return 0, false
}

// original is the packet that an error quotes, without extensions (RFC 4884),
// which are not translated. lengthAt is where their presence shows, in words of
// the size.
func original(icmp []byte, lengthAt, words int) []byte {
	quoted := icmp[icmpHeader:]
	if n := int(icmp[lengthAt]) * words; n > 0 && n < len(quoted) {
		quoted = quoted[:n]
	}
	return quoted
}

// errorTo4 translates an ICMPv6 error about a packet that we had translated to
// IPv6. Its source may be any router on the way: where it has no address in the
// pool, ours stands for it.
func (t *Translator) errorTo4(p packet6, destination uint32, next func(int) []byte) Result {
	if !p.whole() {
		return Fragment
	}
	if len(p.payload) < icmpHeader {
		return Malformed
	}
	m, ok := meaningTo4(p.payload)
	if !ok {
		return Unsupported
	}
	quoted := p.payload[icmpHeader:]
	if p.payload[0] == unreachable6 || p.payload[0] == timeExceeded6 {
		quoted = original(p.payload, 4, 8)
	}
	inner, r := parse6(quoted, true)
	if r != Translated {
		return r
	}
	innerSource, ok := t.embedded(inner.header[8:24])
	if !ok {
		return Unsupported
	}
	innerTo, ok := t.pool.find((*[16]byte)(inner.header[24:40]))
	if !ok {
		return Unmapped
	}
	source, ok := t.pool.find((*[16]byte)(p.header[8:24]))
	if !ok {
		source = t.pool.own()
	}
	const headers = header4 + icmpHeader + header4
	size := min(headers+len(inner.payload), maxError4)
	out := next(size)
	icmp := out[header4:]
	icmp[0], icmp[1], icmp[2], icmp[3] = m.kind, m.code, 0, 0
	binary.BigEndian.PutUint32(icmp[4:], m.word)
	quote := icmp[icmpHeader:]
	copy(quote[header4:], inner.payload)
	total := int(binary.BigEndian.Uint16(inner.header[4:])) - headersBetween(quoted, inner) + header4
	t.header4(quote, inner, innerSource, innerTo, min(max(total, header4), maxPacket))
	transport4(quote[header4:], inner, quote[12:20])
	binary.BigEndian.PutUint16(icmp[2:], ^fold(sum(icmp)))
	p.isFragment = false
	t.header4(out, p, source, destination, size)
	return Translated
}

// headersBetween is the length of the extension headers of a quoted packet, which
// may be cut off at its end.
func headersBetween(quoted []byte, p packet6) int {
	length := int(binary.BigEndian.Uint16(p.header[4:]))
	return max(0, min(length, len(quoted)-header6)-len(p.payload))
}

// errorTo6 translates an ICMP error about a packet that we had translated to
// IPv4. Routers with addresses that are not to be shown in IPv6 are many; our own
// stands for them (RFC 6791).
func (t *Translator) errorTo6(p packet4, to *[16]byte, next func(int) []byte) Result {
	if !p.whole() {
		return Fragment
	}
	if len(p.payload) < icmpHeader {
		return Malformed
	}
	quoted := original(p.payload, 5, 4)
	inner, r := parse4(quoted, true)
	if r != Translated {
		return r
	}
	m, ok := meaningTo6(p.payload, int(binary.BigEndian.Uint16(inner.header[2:])))
	if !ok {
		return Unsupported
	}
	innerSource, ok := t.pool.source(binary.BigEndian.Uint32(inner.header[12:]))
	if !ok {
		return Unmapped
	}
	fragment := 0
	if !inner.whole() {
		fragment = fragmentSize
	}
	const headers = header6 + icmpHeader + header6
	size := min(headers+fragment+len(inner.payload), minMTU6)
	out := next(size)
	t.header6(out, p, binary.BigEndian.Uint32(p.header[12:]), to)
	if !t.isReachable(binary.BigEndian.Uint32(p.header[12:])) {
		copy(out[8:24], t.self[:])
	}
	binary.BigEndian.PutUint16(out[4:], uint16(size-header6))
	icmp := out[header6:]
	icmp[0], icmp[1], icmp[2], icmp[3] = m.kind, m.code, 0, 0
	binary.BigEndian.PutUint32(icmp[4:], m.word)
	t.quote6(icmp[icmpHeader:], inner, innerSource, fragment)
	binary.BigEndian.PutUint16(icmp[2:], ^fold(pseudo6(out[8:24], out[24:40], len(icmp), protoICMP6)+sum(icmp)))
	return Translated
}

// quote6 writes the packet that the IPv6 host had sent.
func (t *Translator) quote6(out []byte, inner packet4, source *[16]byte, fragment int) {
	length := int(binary.BigEndian.Uint16(inner.header[2:])) - len(inner.header) + fragment
	copy(out[8:24], source[:])
	t.embed(out[24:40], binary.BigEndian.Uint32(inner.header[16:]))
	out[0], out[1], out[2], out[3] = 6<<4|inner.header[1]>>4, inner.header[1]<<4, 0, 0
	binary.BigEndian.PutUint16(out[4:], uint16(min(max(length, 0), maxPacket)))
	protocol := inner.protocol
	if protocol == protoICMP4 {
		protocol = protoICMP6
	}
	out[6], out[7] = protocol, inner.header[8]
	payload := out[header6:]
	if fragment > 0 {
		out[6] = protoFragment
		payload[0], payload[1] = protocol, 0
		field := inner.offset << 3
		if inner.more {
			field |= 1
		}
		binary.BigEndian.PutUint16(payload[2:], field)
		binary.BigEndian.PutUint32(payload[4:], uint32(inner.id))
		payload = payload[fragmentSize:]
	}
	n := copy(payload, inner.payload)
	if inner.offset == 0 {
		transport6(payload[:n], inner, out)
	}
}
