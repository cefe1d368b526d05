package wire

import "net/netip"

// Encoder writes one packet of bounded size. TLVs are added until one does not
// fit; the state of the compression is that of the packet. It allocates nothing
// but the packets themselves.
type Encoder struct {
	buf    []byte // nil without TLVs
	memory []byte // of a packet that was taken as a copy
	limit  int
	spare  int
	said
	stampAt int
}

// said is the parser state that the receiver of the packet will have.
type said struct {
	id       RouterID
	nextHop4 netip.Addr
	nextHop6 netip.Addr // zero: the packet's source
	defaults [AEv4viav6 + 1]encoderDefault
}

type encoderDefault struct {
	full [16]byte
	n    int // octets worth omitting
}

// slack is room for the TLV that does not fit any more.
const slack = 64

// NewEncoder begins a packet of at most limit octets.
func NewEncoder(limit int) *Encoder {
	return &Encoder{limit: limit}
}

// Take ends the packet like Bytes and Reset, but gives a copy, in the memory given
// if that is enough, or in new memory of no more than its own size, and Spare; the
// next packet is written where this one was.
func (e *Encoder) Take(memory []byte) []byte {
	b := e.Bytes()
	if cap(memory) < len(b)+e.spare {
		memory = make([]byte, 0, len(b)+e.spare)
	}
	packet := append(memory[:0], b...)
	e.memory = b[:0]
	e.Reset()
	return packet
}

// Limit changes the size of the packets that begin from here on.
func (e *Encoder) Limit(limit int) { e.limit = limit }

// Spare makes room for octets that others append to the packets.
func (e *Encoder) Spare(octets int) { e.spare = max(octets, 0) }

// Reset begins another packet; the bytes of the last one stay with their owner.
func (e *Encoder) Reset() {
	e.buf, e.said, e.stampAt = nil, said{}, 0
}

// IsEmpty tells whether no TLV was added.
func (e *Encoder) IsEmpty() bool { return len(e.buf) <= HeaderLen }

// Len is the length of the packet so far.
func (e *Encoder) Len() int { return max(len(e.buf), HeaderLen) }

// Bytes ends the packet.
func (e *Encoder) Bytes() []byte {
	e.begin()
	n := len(e.buf) - HeaderLen
	e.buf[2], e.buf[3] = byte(n>>8), byte(n)
	return e.buf
}

// StampAt is the offset of the transmit timestamp of the packet's Hello, to be
// overwritten just before sending, or 0.
func (e *Encoder) StampAt() int { return e.stampAt }

func (e *Encoder) begin() {
	if e.buf == nil {
		if size := e.limit + max(e.spare, slack); cap(e.memory) < size {
			e.memory = make([]byte, 0, size)
		}
		e.buf, e.memory = e.memory[:HeaderLen], nil
		e.buf[0], e.buf[1] = magic, Version
	}
}

// fits keeps what was added at the offset, or takes it back.
func (e *Encoder) fits(at int) bool {
	if len(e.buf) > e.limit {
		e.buf = e.buf[:at]
		return false
	}
	return true
}

// Add appends a TLV, and before an Update the Router-Id and Next Hop TLVs that
// it needs. If the limit does not allow it, it is false and nothing changed.
func (e *Encoder) Add(tlv TLV) bool {
	switch t := tlv.(type) {
	case *Update:
		return e.AddUpdate(t)
	case *Hello:
		return e.AddHello(t)
	case *IHU:
		return e.AddIHU(t)
	case interface{ append([]byte) []byte }:
		e.begin()
		at := len(e.buf)
		e.buf = t.append(e.buf)
		return e.fits(at)
	}
	return true
}

// AddHello is Add. StampAt is the place of its timestamp from here on.
func (e *Encoder) AddHello(h *Hello) bool {
	e.begin()
	at := len(e.buf)
	e.buf = h.append(e.buf)
	if !e.fits(at) {
		return false
	}
	if h.Timestamp.Present {
		e.stampAt = at + 2 + 6 + 2
	}
	return true
}

// AddIHU is Add.
func (e *Encoder) AddIHU(u *IHU) bool {
	e.begin()
	at := len(e.buf)
	e.buf = u.append(e.buf)
	return e.fits(at)
}

// AddUpdate is Add.
func (e *Encoder) AddUpdate(u *Update) bool {
	e.begin()
	start, ae := len(e.buf), updateAE(u.Prefix, u.NextHop)
	id, next4, next6, def := e.id, e.nextHop4, e.nextHop6, e.defaults[ae]
	if u.RouterID != (RouterID{}) && u.RouterID != e.id {
		e.id = u.RouterID
		e.buf = append(append(e.buf, byte(TypeRouterID), 10, 0, 0), u.RouterID[:]...)
	}
	if u.Metric != Infinity {
		e.addNextHop(u.NextHop)
	}
	at := len(e.buf)
	e.buf = append(e.buf, byte(TypeUpdate), 0, byte(ae), 0)
	if ae == AEWildcard {
		e.buf = append(e.buf, 0, 0)
		e.buf = e.appendUpdateFields(u)
	} else {
		e.appendPrefix(ae, u, at)
	}
	// The attachment comes last: there is an old parser that takes each sub-TLV
	// for the first one, and it must not take this one for the source prefix.
	e.buf = appendSourcePrefix(e.buf, u.From)
	if len(u.Attachment) <= AttachmentMax {
		e.buf = append(e.buf, u.Attachment...)
	}
	e.buf = closeTLV(e.buf, at)
	if !e.fits(start) {
		e.id, e.nextHop4, e.nextHop6, e.defaults[ae] = id, next4, next6, def
		return false
	}
	return true
}

// appendPrefix omits what the prefix has in common with the one before, which
// becomes the default by flag P. Source-specific Updates never become it: a
// neighbour without RFC 9079 ignores them, and one with an old parser forgets
// to remember their prefix.
func (e *Encoder) appendPrefix(ae AE, u *Update, at int) {
	full, n := prefixOctets(u.Prefix)
	def := &e.defaults[ae]
	omitted := 0
	for omitted < min(n, def.n) && full[omitted] == def.full[omitted] {
		omitted++
	}
	if !u.From.IsValid() {
		e.buf[at+3] = flagPrefix
		*def = encoderDefault{full, n}
	}
	e.buf = append(e.buf, byte(u.Prefix.Bits()), byte(omitted))
	e.buf = append(e.appendUpdateFields(u), full[omitted:n]...)
}

func (e *Encoder) appendUpdateFields(u *Update) []byte {
	return append16(append16(append16(e.buf, uint16(u.Interval)), u.Seqno), u.Metric)
}

// addNextHop writes a Next Hop TLV where the last one of the family differs.
func (e *Encoder) addNextHop(a netip.Addr) {
	last := &e.nextHop6
	if a.Is4() {
		last = &e.nextHop4
	}
	if !a.IsValid() || *last == a {
		return
	}
	*last = a
	at := len(e.buf)
	e.buf = append(e.buf, byte(TypeNextHop), 0, byte(aeOf(a)), 0)
	e.buf = closeTLV(appendAddress(e.buf, a), at)
}
