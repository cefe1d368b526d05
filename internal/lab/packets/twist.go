package packets

import "net/netip"

// The twists of both families.

// odd puts an address where it does not belong.
func (d *draft) odd(from []Address, to *netip.Addr, what string) {
	a := pick(d, from)
	*to = a.number(d.count)
	d.note("%s %s %v", what, a.What, a.Addr)
}

func hopLimit(d *draft) {
	d.hop = pick(d, []uint8{0, 1, 1, 2, 3, 255})
	d.note("hop limit %d", d.hop)
}

func class(d *draft) {
	d.class = uint8(d.rand.UintN(256))
	d.note("class %#x", d.class)
}

// length chooses one at a limit.
func length(d *draft) {
	d.total = pick(d, d.limits())
	d.note("length %d", d.total)
}

func checksums(d *draft) {
	d.checksum = pick(d, []checksumKind{wrong, zero})
	d.note("transport checksum %d", d.checksum)
}

// cut makes a fragment: the first, one of the middle, the last, a tiny one, one
// that ends behind the greatest length, and one that is all there is.
func (d *draft) cut(apply func(offset int, more bool)) {
	f := pick(d, []struct {
		what    string
		offset  int
		more    bool
		payload int
	}{
		{"first fragment", 0, true, 1192 - 8},
		{"tiny first fragment", 0, true, 0},
		{"odd first fragment", 0, true, 101},
		{"middle fragment", 1192, true, 1192 - 8},
		{"tiny fragment", 8, true, 0},
		{"last fragment", 1192, false, 77},
		{"fragment behind the end", 65528, false, 1000},
		{"whole in one fragment", 0, false, 100},
	})
	d.payload = f.payload
	apply(f.offset, f.more)
	d.note("%s", f.what)
}

// spoil cuts bytes off, or adds some.
func spoil(d *draft) {
	how, by := d.rand.IntN(6), d.rand.IntN(64)
	d.note("spoilt %d by %d", how, by)
	d.spoil = append(d.spoil, func(b []byte) []byte {
		if len(b) == 0 {
			return b
		}
		switch how {
		case 0, 1: // within the headers
			return b[:min(len(b), by)]
		case 2: // near the end
			return b[:max(1, len(b)-1-by)]
		case 3:
			return append(b, make([]byte, 1+by)...)
		case 4: // a bit of the header's
			b[by%min(len(b), header6)] ^= 1 << (by % 8)
		case 5: // and one of what follows
			b[(header4+by)%len(b)] ^= 1 << (by % 8)
		}
		return b
	})
}

// offload leaves the checksum, or the cutting too, to the interface.
func offload(d *draft) {
	if !d.plan.Offload {
		return
	}
	d.protocol, d.inner, d.checksum = pick(d, []uint8{tcp, tcp, udp}), false, right
	d.want.partial = true
	d.note("checksum left out of protocol %d", d.protocol)
	if d.rand.IntN(3) == 0 {
		return
	}
	head := header6 + 20
	d.want.segment = max(100, pick(d, d.limits())-head)
	if d.rand.IntN(2) == 0 {
		d.want.segment = 1000 + d.rand.IntN(400)
	}
	d.payload = d.want.segment*(2+d.rand.IntN(20)) + d.rand.IntN(d.want.segment)
	d.payload = min(d.payload, 65535-header6-20)
	d.note("to be cut into %d", d.want.segment)
}

// connecting is TCP that begins, ends, or is nonsense.
func connecting(d *draft) {
	d.protocol, d.inner = tcp, false
	d.flags = pick(d, []uint8{0x02, 0x02, 0x12, 0x01, 0x04, 0x08, 0xc2, 0xff})
	d.note("TCP flags %#x", d.flags)
}

// message is an ICMP message that is no error: some of those that routers use
// among themselves must never be forwarded, others must.
func message(d *draft) {
	d.protocol, d.inner = icmp4, false
	d.message = pick(d, []uint8{0, 5, 9, 10, 13, 17, 42, 255})
	if d.dst.Is6() {
		d.protocol = icmp6
		d.message = pick(d, []uint8{5, 129, 130, 131, 132, 133, 134, 135, 136, 137, 138, 139, 140, 141, 143, 151, 160, 200, 255})
		d.hop = pick(d, []uint8{64, 255})
	}
	d.note("message %d", d.message)
}
