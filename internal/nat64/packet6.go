package nat64

import "encoding/binary"

// packet6 is what a packet of IPv6 says, its extension headers walked over.
type packet6 struct {
	header     []byte // the fixed one
	payload    []byte // behind the extension headers
	protocol   byte
	isFragment bool
	offset     uint16 // in units of 8 bytes
	more       bool
	id         uint32
}

// parse6 reads a packet. Of one inside an ICMP error the end may be missing.
func parse6(b []byte, isInner bool) (p packet6, r Result) {
	if len(b) < header6 || b[0]>>4 != 6 {
		return p, Malformed
	}
	p.header, p.protocol = b[:header6], b[6]
	length := int(binary.BigEndian.Uint16(b[4:]))
	rest := b[header6:]
	switch {
	case length <= len(rest):
		rest = rest[:length]
	case !isInner:
		return p, Malformed
	}
	for isFirst := true; ; isFirst = false {
		switch p.protocol {
		case protoHopByHop, protoDestination, protoRouting:
			if p.protocol == protoHopByHop && !isFirst {
				return p, Malformed
			}
			if !p.whole() {
				return p, Unsupported // taken out of one fragment, it would shift the others
			}
			size, ok := extension(rest)
			if !ok {
				return p, Malformed
			}
			// RFC 7915, section 5.1: with segments left it is not at its end yet.
			if p.protocol == protoRouting && rest[3] != 0 {
				return p, Unsupported
			}
			p.protocol, rest = rest[0], rest[size:]
		case protoFragment:
			if len(rest) < fragmentSize || p.isFragment {
				return p, Malformed
			}
			field := binary.BigEndian.Uint16(rest[2:])
			p.isFragment, p.offset, p.more = true, field>>3, field&1 != 0
			p.id = binary.BigEndian.Uint32(rest[4:])
			p.protocol, rest = rest[0], rest[fragmentSize:]
		default:
			p.payload = rest
			return p, Translated
		}
	}
}

// extension is the length of an extension header (RFC 8200, section 4.3).
func extension(b []byte) (int, bool) {
	if len(b) < 8 {
		return 0, false
	}
	size := (int(b[1]) + 1) * 8
	return size, size <= len(b)
}

// whole: it is not a part of a datagram.
func (p *packet6) whole() bool { return p.offset == 0 && !p.more }

// packet4 is the same of IPv4.
type packet4 struct {
	header   []byte // with options
	payload  []byte
	protocol byte
	offset   uint16
	more     bool
	dontFrag bool
	id       uint16
}

const (
	optionEnd, optionNop                = 0, 1
	optionLooseRoute, optionStrictRoute = 131, 137
)

func parse4(b []byte, isInner bool) (p packet4, r Result) {
	if len(b) < header4 || b[0]>>4 != 4 {
		return p, Malformed
	}
	size, length := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if size < header4 || size > len(b) || length < size || length > len(b) && !isInner {
		return p, Malformed
	}
	p.header, p.payload, p.protocol = b[:size], b[size:min(length, len(b))], b[9]
	field := binary.BigEndian.Uint16(b[6:])
	p.dontFrag, p.more, p.offset = field&0x4000 != 0, field&0x2000 != 0, field&0x1fff
	p.id = binary.BigEndian.Uint16(b[4:])
	if hasSourceRoute(b[header4:size]) {
		return p, Unsupported
	}
	return p, Translated
}

// hasSourceRoute: all other options are ignored (RFC 7915, section 4.1).
func hasSourceRoute(options []byte) bool {
	for len(options) > 0 {
		switch options[0] {
		case optionEnd:
			return false
		case optionNop:
			options = options[1:]
			continue
		case optionLooseRoute, optionStrictRoute:
			return true
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return false
		}
		options = options[options[1]:]
	}
	return false
}

func (p *packet4) whole() bool { return p.offset == 0 && !p.more }

// checksumAt is where a transport protocol has the checksum that covers the
// addresses; 0: nowhere. need is how much of the header must be there.
func checksumAt(protocol byte) (at, need int) {
	switch protocol {
	case protoTCP:
		return 16, tcpHeader
	case protoUDP, protoUDPLite:
		return 6, udpHeader
	case protoDCCP:
		return 6, 12
	}
	return 0, 0
}
