package packets

import "encoding/binary"

const header4 = 20

// build4 is RFC 791, section 3.1.
func (d *draft) build4() []byte {
	room := 0
	head := header4 + len(d.options)
	if d.total > 0 {
		room = max(1, d.total-head)
	}
	b := make([]byte, header4, head)
	b = append(b, d.options...)
	b = append(b, d.transport(room)...)
	d.offload = d.offload.placed(head)
	b[0], b[1] = byte(4<<4|head/4), d.class
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[4:], d.id+uint16(d.count))
	at := uint16(d.offset / 8)
	if d.more {
		at |= 1 << 13
	}
	if d.df {
		at |= 1 << 14
	}
	binary.BigEndian.PutUint16(b[6:], at)
	b[8], b[9] = d.hop, d.protocol
	copy(b[12:], d.src.AsSlice())
	copy(b[16:], d.dst.AsSlice())
	sum4(b)
	return b
}

// sum4 puts the header's checksum in.
func sum4(b []byte) {
	head := min(len(b), int(b[0]&15)*4)
	if head < header4 {
		return
	}
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^fold(add(0, b[:head])))
}

var odd4 = append(addresses(
	"loopback", "127.0.0.1", "loopback", "127.5.6.7", "unspecified", "0.0.0.0", "multicast", "224.0.0.1",
	"multicast", "239.1.2.3", "broadcast", "255.255.255.255",
), spread(8, addresses(
	"this network", "0.1.2.0", "link-local", "169.254.7.0", "reserved", "240.0.1.0", "reserved", "250.1.1.0", "private", "192.168.77.0", "shared", "100.64.9.0",
))...)

func spread(bits int, all []Address) []Address {
	for i := range all {
		all[i].Spread = bits
	}
	return all
}

var twists4 = []func(*draft){
	func(d *draft) { d.odd(odd4, &d.src, "source") },
	func(d *draft) { d.odd(odd4, &d.dst, "destination") },
	hopLimit, hopLimit, connecting, connecting, message, length, length, class, protocol4, protocol4, checksums, spoil, spoil4, spoil4, options4, options4, offload, offload,
	func(d *draft) {
		d.df = !d.df
		d.note("DF %t", d.df)
	},
	func(d *draft) { d.cut(func(offset int, more bool) { d.offset, d.more = offset, more }) },
	func(d *draft) {
		d.cut(func(offset int, more bool) { d.offset, d.more, d.df = offset, more, false })
		length(d)
	},
}

func protocol4(d *draft) {
	d.protocol = pick(d, []uint8{tcp, tcp, icmp4, icmp4, icmp4, unassigned, 0xff, 4, 41, 47, esp, icmp6})
	d.inner = d.protocol == icmp4 && d.rand.IntN(2) == 0
	d.note("protocol %d error %t", d.protocol, d.inner)
}

// options4 are RFC 791, section 3.1, RFC 1108 and RFC 2113. None has room for a
// time: that would differ by itself.
func options4(d *draft) {
	o := pick(d, [][]byte{
		{1, 1, 1, 0},
		{0, 0, 0, 0},
		{7, 7, 4, 0, 0, 0, 0, 0},                // record route, one place free
		{7, 7, 8, 10, 42, 0, 9, 0},              // record route, full
		{7, 7, 2, 0, 0, 0, 0, 0},                // record route, its pointer is wrong
		{131, 7, 4, 10, 42, 2, 1, 0},            // loose source route
		{137, 7, 4, 10, 42, 2, 1, 0},            // strict source route
		{131, 7, 8, 10, 42, 2, 1, 0},            // loose source route, at its end
		{68, 8, 9, 0x10, 0, 0, 0, 1},            // timestamp, full
		{148, 4, 0, 0},                          // router alert
		{130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, // security
		{200, 4, 1, 2},                          // unknown, copied
		{30, 4, 1, 2},                           // unknown
		{7, 40, 4, 0},                           // longer than the header
		{200, 1, 0, 0},                          // shorter than itself
		{200, 0, 0, 0},                          // of no length
		{1, 1, 1, 7},                            // cut off
	})
	d.options = append([]byte{}, o...)
	d.note("options %x", o)
}

// spoil4 makes the header lie.
func spoil4(d *draft) {
	how := d.rand.IntN(12)
	d.note("lie %d of the header", how)
	by := 1 + d.rand.IntN(12)
	version := pick(d, []byte{0, 5, 6, 15})
	d.spoil = append(d.spoil, func(b []byte) []byte {
		if len(b) < header4 {
			return b
		}
		n := len(b)
		switch how {
		case 0:
			b[0] = version<<4 | b[0]&15
		case 1: // a header shorter than the least
			b[0] = 4<<4 | byte(by%5)
		case 2: // a header longer than the packet
			b = b[:min(n, 40)]
			b[0] = 4<<4 | 15
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		case 3: // bytes behind the end
			binary.BigEndian.PutUint16(b[2:], uint16(max(0, n-by)))
			sum4(b)
		case 4: // longer than the buffer
			binary.BigEndian.PutUint16(b[2:], uint16(n+by))
			sum4(b)
		case 5: // shorter than the header
			binary.BigEndian.PutUint16(b[2:], uint16(by))
			sum4(b)
		case 6:
			b[10] ^= 1 << (by % 8)
		case 7: // no checksum
			b[10], b[11] = 0, 0
		case 8: // the reserved flag
			b[6] |= 0x80
			sum4(b)
		case 9: // nothing but the header
			b = b[:min(n, max(header4, int(b[0]&15)*4))]
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
			sum4(b)
		case 10: // a checksum of all ones, where it is one's complement zero
			settle(b)
		case 11: // the checksum's update carries
			b[8] = 0xff
			sum4(b)
		}
		return b
	})
}

// settle chooses the identification so that the header sums up to all ones
// without its checksum, which then is 0; and writes 0xffff, the other zero.
func settle(b []byte) {
	head := int(b[0]&15) * 4
	if head < header4 || head > len(b) {
		return
	}
	b[4], b[5], b[10], b[11] = 0, 0, 0, 0
	binary.BigEndian.PutUint16(b[4:], ^fold(add(0, b[:head])))
	b[10], b[11] = 0xff, 0xff
}
