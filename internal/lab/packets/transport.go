package packets

import (
	"encoding/binary"
	"net/netip"
)

// Protocol numbers.
const (
	hopByHop    = 0
	icmp4       = 1
	tcp         = 6
	udp         = 17
	routing     = 43
	fragment    = 44
	esp         = 50
	ah          = 51
	icmp6       = 58
	noNext      = 59
	destination = 60
	mobility    = 135
	hip         = 139
	shim6       = 140
	unassigned  = 253 // RFC 3692, for experiments
)

// transport builds what follows the IP header, size bytes of it behind the
// transport header, with a checksum as asked for.
func (d *draft) transport(room int) []byte {
	var head []byte
	sum := -1 // where the checksum is
	switch d.protocol {
	case udp:
		head, sum = make([]byte, 8), 6
		binary.BigEndian.PutUint16(head, 4000+uint16(d.count%7))
		binary.BigEndian.PutUint16(head[2:], 33434)
	case tcp:
		head, sum = make([]byte, 20), 16
		binary.BigEndian.PutUint16(head, 4000+uint16(d.count%7))
		binary.BigEndian.PutUint16(head[2:], 33434)
		binary.BigEndian.PutUint32(head[4:], uint32(d.count)<<8)
		head[12], head[13] = 5<<4, d.flags|0x10 // ACK
		binary.BigEndian.PutUint16(head[14:], 1000)
	case icmp4, icmp6:
		head, sum = d.icmp(), 2
	}
	n := d.payload
	if room > 0 {
		n = max(0, room-len(head))
	}
	b := append(head, make([]byte, n)...)
	d.mark(b[len(head):])
	if d.protocol == udp {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	}
	if sum >= 0 {
		d.sum(b, sum)
	}
	d.offload = d.offloaded(b, head, sum)
	return b
}

// sum puts the checksum in.
func (d *draft) sum(b []byte, at int) {
	var acc uint32
	if d.protocol != icmp4 {
		acc = pseudoHeader(d.src, d.dst, d.protocol, len(b))
	}
	value := ^fold(add(acc, b))
	if d.protocol == udp && value == 0 {
		value = 0xffff
	}
	switch d.checksum {
	case wrong:
		value ^= 0x1234
	case zero:
		value = 0
	}
	binary.BigEndian.PutUint16(b[at:], value)
}

// offloaded leaves work to the interface, if that was wanted and can be.
func (d *draft) offloaded(b, head []byte, sum int) Offload {
	isTransport := d.protocol == tcp || d.protocol == udp
	if !d.plan.Offload || !isTransport || !d.want.partial || d.offset > 0 || d.more {
		return Offload{}
	}
	o := Offload{Partial: true, Header: len(head), Checksum: sum, UDP: d.protocol == udp}
	if d.want.segment > 0 && len(b)-len(head) > d.want.segment {
		o.Segment = uint16(d.want.segment)
	}
	binary.BigEndian.PutUint16(b[sum:], fold(pseudoHeader(d.src, d.dst, d.protocol, len(b))))
	return o
}

// placed says where the transport header lies.
func (o Offload) placed(at int) Offload {
	if o.Partial {
		o.Start, o.Header = at, o.Header+at
	}
	return o
}

// icmp is an echo request, or an error about a packet from the destination to the
// source, as it would be on its way back.
func (d *draft) icmp() []byte {
	is6 := d.protocol == icmp6
	if !d.inner {
		b := make([]byte, 8)
		b[0] = 8
		if is6 {
			b[0] = 128
		}
		if d.message != 0 {
			b[0] = d.message
		}
		binary.BigEndian.PutUint16(b[4:], 77)
		binary.BigEndian.PutUint16(b[6:], uint16(d.count))
		return b
	}
	about := *d
	about.src, about.dst, about.inner = d.dst, d.src, false
	about.headers, about.options, about.offload, about.want = nil, nil, Offload{}, wantedOffload{}
	about.protocol, about.total, about.payload, about.offset, about.more = udp, 0, 40, 0, false
	if is6 {
		kind := pick(d, [][2]byte{{1, 0}, {1, 3}, {1, 4}, {2, 0}, {3, 0}, {3, 1}, {4, 1}, {100, 0}, {127, 0}})
		b := append([]byte{kind[0], kind[1], 0, 0, 0, 0, 0, 0}, about.build6()...)
		if kind[0] == 2 {
			binary.BigEndian.PutUint32(b[4:], 1280+uint32(d.rand.IntN(300)))
		}
		return b
	}
	kind := pick(d, [][2]byte{{3, 0}, {3, 1}, {3, 3}, {3, 4}, {3, 13}, {4, 0}, {11, 0}, {12, 0}})
	return append([]byte{kind[0], kind[1], 0, 0, 0, 0, 5, 0}, about.build4()...)
}

func pseudoHeader(src, dst netip.Addr, protocol uint8, length int) uint32 {
	return add(add(uint32(protocol)+uint32(length), src.AsSlice()), dst.AsSlice())
}

// add sums 16 bit words; the packets are far too short to overflow it.
func add(acc uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		acc += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		acc += uint32(b[0]) << 8
	}
	return acc
}

func fold(acc uint32) uint16 {
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}

// UDP makes an ordinary datagram: with this traffic class or TOS, hop limit 64, and
// right checksums.
func UDP(src, dst netip.Addr, class uint8, payload []byte) []byte {
	d := &draft{Generator: &Generator{}, src: src, dst: dst, hop: 64, class: class, df: true, protocol: udp, payload: len(payload), checksum: right}
	build := (*draft).build6
	if dst.Is4() {
		build = (*draft).build4
	}
	b := build(d)
	head := len(b) - 8 - len(payload)
	copy(b[head+8:], payload)
	b[head+6], b[head+7] = 0, 0
	d.sum(b[head:], 6)
	return b
}
