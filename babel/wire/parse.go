package wire

import (
	"fmt"
	"net/netip"
)

// FormatError says what of a packet could not be read.
type FormatError struct {
	Offset int // in the packet
	Type   Type
	Reason string
}

func (e *FormatError) Error() string {
	if e.Offset < HeaderLen {
		return "packet header: " + e.Reason
	}
	return fmt.Sprintf("TLV %d at octet %d: %s", e.Type, e.Offset, e.Reason)
}

// Packet is what was read of one datagram. It and its TLVs are the Decoder's and
// live until the next Parse.
type Packet struct {
	TLVs    []TLV
	Trailer []byte // uninterpreted
	Ignored int    // TLVs skipped: unknown, malformed or not to be understood
	Err     error  // why reading ended before the end of the body, or nil
}

// Decoder reads packets. It keeps its memory between them; the parser state is
// that of one packet. The zero value is ready.
type Decoder struct {
	packet Packet
	state  state

	acks          []Ack
	ackRequests   []AckRequest
	hellos        []Hello
	ihus          []IHU
	updates       []Update
	routeRequests []RouteRequest
	seqnoRequests []SeqnoRequest
}

// state is the parser state of RFC 8966, section 4.5. "The default prefix is
// per address encoding": here AE 1, 2 and 4.
type state struct {
	defaults [AEv4viav6 + 1]defaultPrefix
	id       RouterID // zero: none
	nextHop4 netip.Addr
	nextHop6 netip.Addr
}

type defaultPrefix struct {
	isSet bool
	full  [16]byte
}

// result is what became of a TLV.
type result uint8

const (
	good   result = iota
	ignore        // this TLV alone; parser state may have changed
)

// row describes one TLV. parse reads the fixed part, updates the parser state
// and says how much it took; what remains of the body are sub-TLVs.
type row struct {
	minLen int
	parse  func(d *Decoder, body []byte) (tlv TLV, taken int, r result)
}

// rows is indexed by Type. A TLV without parse is skipped.
var rows = [...]row{
	TypeAckRequest:   {6, parseAckRequest},
	TypeAck:          {2, parseAck},
	TypeHello:        {6, parseHello},
	TypeIHU:          {6, parseIHU},
	TypeRouterID:     {10, parseRouterID},
	TypeNextHop:      {2, parseNextHop},
	TypeUpdate:       {10, parseUpdate},
	TypeRouteRequest: {2, parseRouteRequest},
	TypeSeqnoRequest: {14, parseSeqnoRequest},
}

// Parse reads a datagram from src, which is the default next hop of its family.
// It never fails as a whole but for the header: what is readable before a
// malformed place is good (conformance: truncation loses the last TLV alone).
func (d *Decoder) Parse(b []byte, src netip.Addr) *Packet {
	d.reset(src)
	p := &d.packet
	body, trailer, err := splitPacket(b)
	if err != nil {
		p.Err = err
		return p
	}
	p.Trailer = trailer
	w := walker{rest: body}
	for w.next() {
		tlv, r := d.parseTLV(Type(w.kind), w.body)
		switch {
		case r == ignore:
			p.Ignored++
		case tlv != nil:
			p.TLVs = append(p.TLVs, tlv)
		}
	}
	if w.broken {
		p.Err = &FormatError{HeaderLen + len(body) - len(w.rest), Type(w.kind), "runs past the end of the body"}
	}
	return p
}

func splitPacket(b []byte) (body, trailer []byte, err error) {
	switch {
	case len(b) < HeaderLen:
		return nil, nil, &FormatError{Reason: "too short"}
	case b[0] != magic:
		return nil, nil, &FormatError{Reason: "wrong magic"}
	case b[1] != Version:
		return nil, nil, &FormatError{Reason: "unknown version"}
	}
	n := int(b[2])<<8 | int(b[3])
	if n > len(b)-HeaderLen {
		// What was cut off may have changed the meaning of what is left.
		return nil, nil, &FormatError{Reason: "body longer than the datagram"}
	}
	return b[HeaderLen : HeaderLen+n], b[HeaderLen+n:], nil
}

func (d *Decoder) reset(src netip.Addr) {
	src = src.Unmap().WithZone("")
	d.state = state{}
	if src.Is4() {
		d.state.nextHop4 = src
	} else if src.IsValid() {
		d.state.nextHop6 = src
	}
	d.packet = Packet{TLVs: d.packet.TLVs[:0]}
	d.acks, d.ackRequests = d.acks[:0], d.ackRequests[:0]
	d.hellos, d.ihus = d.hellos[:0], d.ihus[:0]
	d.updates = d.updates[:0]
	d.routeRequests, d.seqnoRequests = d.routeRequests[:0], d.seqnoRequests[:0]
}

func (d *Decoder) parseTLV(t Type, body []byte) (TLV, result) {
	if int(t) >= len(rows) || rows[t].parse == nil {
		if t == TypePadN || t.isAuth() {
			return nil, good
		}
		return nil, ignore
	}
	if len(body) < rows[t].minLen {
		return nil, ignore
	}
	tlv, taken, r := rows[t].parse(d, body)
	if r != good {
		return nil, r
	}
	if !parseSubTLVs(tlv, body[taken:]) {
		return nil, ignore
	}
	if u, ok := tlv.(*Update); ok && !d.isUsable(u) {
		return nil, ignore
	}
	return tlv, good
}

// walker goes through TLVs or sub-TLVs, which are framed alike.
type walker struct {
	rest   []byte
	kind   uint8
	body   []byte
	whole  []byte // with type and length
	broken bool   // the last one was cut off
}

// next steps to the next TLV that is not Pad1.
func (w *walker) next() bool {
	for len(w.rest) > 0 && w.rest[0] == 0 {
		w.rest = w.rest[1:]
	}
	if len(w.rest) == 0 {
		return false
	}
	w.kind = w.rest[0]
	if len(w.rest) < 2 || len(w.rest)-2 < int(w.rest[1]) {
		w.broken = true
		return false
	}
	n := 2 + int(w.rest[1])
	w.body, w.whole, w.rest = w.rest[2:n], w.rest[:n], w.rest[n:]
	return true
}

// add appends a zero value to a slab and gives its address. The TLVs of earlier
// slabs stay valid when it grows: they are complete by then.
func add[T any](slab *[]T) *T {
	var zero T
	*slab = append(*slab, zero)
	return &(*slab)[len(*slab)-1]
}

func be16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

func be32(b []byte) uint32 { return uint32(be16(b))<<16 | uint32(be16(b[2:])) }
