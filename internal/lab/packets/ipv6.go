package packets

import (
	"encoding/binary"
	"net/netip"
)

const header6 = 40

// header is an extension header; its body lacks the first two octets but for a
// fragment's, of which it lacks the first.
type header struct {
	kind uint8
	body []byte
}

// build6 is RFC 8200, section 3.
func (d *draft) build6() []byte {
	chain := d.chain()
	room := 0
	if d.total > 0 {
		room = max(1, d.total-header6-len(chain))
	}
	protocol := d.protocol
	b := make([]byte, header6, header6+len(chain))
	b = append(b, chain...)
	b = append(b, d.transport(room)...)
	d.offload = d.offload.placed(header6 + len(chain))
	binary.BigEndian.PutUint32(b, 6<<28|uint32(d.class)<<20|d.flow)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-header6))
	b[6], b[7] = protocol, d.hop
	if len(d.headers) > 0 {
		b[6] = d.headers[0].kind
	}
	copy(b[8:], d.src.AsSlice())
	copy(b[24:], d.dst.AsSlice())
	return b
}

// chain writes the extension headers, each naming the next.
func (d *draft) chain() []byte {
	var b []byte
	for i, h := range d.headers {
		next := d.protocol
		if i+1 < len(d.headers) {
			next = d.headers[i+1].kind
		}
		switch h.kind {
		case fragment:
			b = append(b, next)
			b = append(b, h.body...)
		case esp: // all behind it is opaque
			b = append(b, h.body...)
		case ah:
			b = append(b, next, byte((len(h.body)+2)/4-2))
			b = append(b, h.body...)
		default:
			b = append(b, next, byte((len(h.body)+2)/8-1))
			b = append(b, h.body...)
		}
	}
	return b
}

// option pads one option to a header's body of 6 + 8n octets.
func option(kind byte, data ...byte) []byte {
	b := append([]byte{kind, byte(len(data))}, data...)
	switch pad := (8 - (len(b)+2)%8) % 8; pad {
	case 0:
	case 1:
		b = append(b, 0)
	default:
		b = append(b, append([]byte{1, byte(pad - 2)}, make([]byte, pad-2)...)...)
	}
	return b
}

// anyHeader draws an extension header.
func (d *draft) anyHeader() header {
	options := [][]byte{
		option(1, 0, 0, 0, 0),                 // padding
		option(5, 0, 0),                       // router alert, RFC 2711
		option(0x3e, 1, 2, 3, 4),              // unknown: skip
		option(0x7e, 1, 2, 3, 4),              // unknown: discard
		option(0xbe, 1, 2, 3, 4),              // unknown: discard, answer
		option(0xfe, 1, 2, 3, 4),              // unknown: discard, answer unless multicast
		option(0xc2, 0, 1, 0, 0),              // jumbo payload, RFC 2675
		{0x3e, 200, 0, 0, 0, 0},               // an option longer than its header
		append(option(0x3e, 1), option(0)...), // more than one
	}
	for i := range options {
		for (len(options[i])+2)%8 != 0 {
			options[i] = append(options[i], 0)
		}
	}
	switch kind := pick(d, []uint8{hopByHop, hopByHop, destination, destination, routing, fragment, ah, esp, mobility, hip, shim6}); kind {
	case hopByHop, destination:
		return header{kind, pick(d, options)}
	case routing:
		b := make([]byte, 22)
		b[0] = pick(d, []byte{0, 2, 3, 4, 253}) // type
		b[1] = byte(d.rand.IntN(3))             // segments left
		copy(b[6:], d.dst.AsSlice())
		return header{kind, b}
	case fragment:
		return d.fragment6(0, false)
	case ah:
		return header{kind, make([]byte, 22)}
	case esp:
		return header{kind, []byte{0, 0, 1, 1, 0, 0, 0, 7}}
	default:
		return header{kind, make([]byte, 6)}
	}
}

// fragment6 is RFC 8200, section 4.5: reserved, offset and flag, identification.
func (d *draft) fragment6(offset int, more bool) header {
	b := make([]byte, 7)
	at := uint16(offset) &^ 7
	if more {
		at |= 1
	}
	binary.BigEndian.PutUint16(b[1:], at)
	binary.BigEndian.PutUint32(b[3:], uint32(d.count)+1)
	return header{fragment, b}
}

var odd6 = addresses(
	"link-local", "fe80::1234", "link-local", "fe80::1:1", "all nodes", "ff02::1", "interface-local multicast", "ff01::1",
	"site multicast", "ff05::2", "global multicast", "ff0e::101", "reserved multicast", "ff00::1", "loopback", "::1",
	"unspecified", "::", "IPv4-mapped", "::ffff:10.42.1.1", "IPv4-compatible", "::10.42.1.1", "site-local", "fec0::1",
	"discard-only", "100::1", "6to4", "2002:7f00:1::1",
)

var twists6 = []func(*draft){
	func(d *draft) { d.odd(odd6, &d.src, "source") },
	func(d *draft) { d.odd(odd6, &d.dst, "destination") },
	hopLimit, hopLimit, connecting, connecting, message, length, length, class, protocol6, protocol6, checksums, spoil, spoil6, spoil6, offload, offload,
	func(d *draft) {
		d.flow = d.rand.Uint32N(1 << 20)
		d.note("flow label %#x", d.flow)
	},
	func(d *draft) {
		for range 1 + d.rand.IntN(4) {
			h := d.anyHeader()
			d.headers = append(d.headers, h)
			d.note("header %d", h.kind)
		}
	},
	func(d *draft) {
		h := d.anyHeader()
		d.headers = append(d.headers, h)
		d.note("header %d %x", h.kind, h.body)
	},
	func(d *draft) {
		d.cut(func(offset int, more bool) { d.headers = append(d.headers, d.fragment6(offset, more)) })
	},
}

func protocol6(d *draft) {
	d.protocol = pick(d, []uint8{tcp, tcp, icmp6, icmp6, icmp6, noNext, unassigned, 0xff, icmp4, 4, 41})
	d.inner = d.protocol == icmp6 && d.rand.IntN(2) == 0
	d.note("protocol %d error %t", d.protocol, d.inner)
}

// spoil6 makes the fixed header lie.
func spoil6(d *draft) {
	how := d.rand.IntN(7)
	d.note("lie %d of the header", how)
	by := 1 + d.rand.IntN(12)
	version := pick(d, []byte{0, 4, 5, 7, 15})
	d.spoil = append(d.spoil, func(b []byte) []byte {
		if len(b) < header6 {
			return b
		}
		at := b[4:6]
		switch n := int(binary.BigEndian.Uint16(at)); how {
		case 0:
			b[0] = version<<4 | b[0]&15
		case 1: // bytes behind the end
			binary.BigEndian.PutUint16(at, uint16(max(0, n-by)))
		case 2: // longer than the buffer
			binary.BigEndian.PutUint16(at, uint16(n+by))
		case 3: // a jumbogram's, without its option
			binary.BigEndian.PutUint16(at, 0)
		case 4:
			binary.BigEndian.PutUint16(at, 0xffff)
		case 5: // nothing but the header
			b = b[:header6]
			binary.BigEndian.PutUint16(at, 0)
		case 6:
			b[6] = noNext
		}
		return b
	})
}

func addresses(pairs ...string) []Address {
	var all []Address
	for i := 0; i+1 < len(pairs); i += 2 {
		all = append(all, Address{What: pairs[i], Addr: netip.MustParseAddr(pairs[i+1])})
	}
	return all
}
