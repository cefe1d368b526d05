package wire

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Random lists of TLVs, of few prefixes that have much in common, read back as
// what was written: whatever is compressed, attached and of which family.
func TestC021_C024_RoundTrip(t *testing.T) {
	var d Decoder
	for seed := range uint64(1000) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 3)), isExplicit: seed%4 == 0}
		limit := []int{512, 1232, 1372, 9000}[g.IntN(4)]
		e := NewEncoder(limit)
		var want []TLV
		for range g.IntN(60) {
			tlv := g.tlv()
			before := e.Len()
			if !e.Add(tlv) {
				// It is as if it had not been tried.
				if e.Len() != before {
					t.Fatalf("seed %d: %d octets, before %d", seed, e.Len(), before)
				}
				continue
			}
			want = append(want, read(tlv))
		}
		if e.IsEmpty() {
			continue
		}
		if e.Len() > limit {
			t.Fatalf("seed %d: %d octets, limit %d", seed, e.Len(), limit)
		}
		p := d.Parse(e.Bytes(), source)
		if p.Err != nil || p.Ignored > 0 {
			t.Fatalf("seed %d: %v, %d ignored", seed, p.Err, p.Ignored)
		}
		got := make([]TLV, 0, len(p.TLVs))
		for _, tlv := range p.TLVs {
			got = append(got, read(tlv))
		}
		if diff := cmp.Diff(want, got, compare, compareAddr); diff != "" {
			t.Fatalf("seed %d (-written +read):\n%s", seed, diff)
		}
	}
}

// read is what of a TLV comes back: the reader says the encoding, and the next
// hop where the writer leaves it to the packet's source; a retraction's router-id
// and next hop mean nothing.
func read(tlv TLV) TLV {
	u, ok := tlv.(*Update)
	if !ok {
		return tlv
	}
	v := *u
	if v.AE = updateAE(u.Prefix, u.NextHop); u.Metric == Infinity {
		v.RouterID, v.NextHop, v.AE = RouterID{}, netip.Addr{}, 0
	} else if !v.NextHop.IsValid() {
		v.NextHop = source
	}
	return &v
}

type generator struct {
	*rand.Rand
	isExplicit bool // every Update says its next hop
}

func (g *generator) tlv() TLV {
	switch g.IntN(12) {
	case 0:
		return &AckRequest{Opaque: uint16(g.Uint32()), Interval: g.interval()}
	case 1:
		return &Ack{Opaque: uint16(g.Uint32())}
	case 2:
		h := &Hello{Unicast: g.IntN(2) == 0, Seqno: uint16(g.Uint32()), Interval: Interval(g.Uint32())}
		if g.IntN(2) == 0 {
			h.Timestamp = Timestamp{true, g.Uint32()}
		}
		return h
	case 3:
		u := &IHU{RxCost: uint16(g.Uint32()), Interval: g.interval(), Address: g.address()}
		if g.IntN(2) == 0 {
			u.Echo = Echo{true, g.Uint32(), g.Uint32()}
		}
		return u
	case 4:
		if g.IntN(4) == 0 {
			return &RouteRequest{}
		}
		p := g.prefix()
		return &RouteRequest{Prefix: p, From: g.from(p)}
	case 5:
		p := g.prefix()
		return &SeqnoRequest{Prefix: p, From: g.from(p), Seqno: uint16(g.Uint32()), HopCount: uint8(1 + g.IntN(255)), RouterID: g.id()}
	case 6:
		return &Update{Interval: g.interval(), Seqno: uint16(g.Uint32()), Metric: Infinity}
	}
	return g.update()
}

func (g *generator) update() *Update {
	p := g.prefix()
	u := &Update{Prefix: p, From: g.from(p), Interval: g.interval(), Seqno: uint16(g.Uint32()), Metric: uint16(g.IntN(Infinity)), RouterID: g.id()}
	if g.IntN(5) == 0 {
		u.Metric = Infinity
	}
	if p.Addr().Is4() && g.IntN(2) == 0 {
		u.NextHop = netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + g.IntN(3))})
	}
	if g.isExplicit && !u.NextHop.IsValid() {
		u.NextHop = netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 15: byte(g.IntN(3))})
	}
	if g.IntN(4) == 0 {
		list := []SubTLV{{uint8(112 + g.IntN(8)), make([]byte, g.IntN(90))}, {uint8(112 + g.IntN(8)), make([]byte, g.IntN(90))}}
		u.Attachment, _ = NewAttachment(list[:1+g.IntN(2)])
	}
	return u
}

func (g *generator) interval() Interval { return Interval(1 + g.IntN(0xFFFF)) }

func (g *generator) id() RouterID { return RouterID{0: 1, 7: byte(g.IntN(3))} }

func (g *generator) address() netip.Addr {
	switch g.IntN(4) {
	case 0:
		return netip.Addr{}
	case 1:
		return netip.AddrFrom4([4]byte{192, 0, 2, byte(g.Uint32())})
	case 2:
		return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: byte(g.Uint32()), 15: 1})
	}
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 15: byte(g.Uint32())})
}

func (g *generator) prefix() netip.Prefix {
	if g.IntN(3) == 0 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(g.IntN(3)), byte(g.IntN(3))}), g.IntN(33)).Masked()
	}
	a := [16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 5: byte(g.IntN(3)), 7: byte(g.IntN(5)), 15: byte(g.IntN(3))}
	return netip.PrefixFrom(netip.AddrFrom16(a), []int{0, 3, 17, 48, 63, 64, 65, 127, 128}[g.IntN(9)]).Masked()
}

func (g *generator) from(p netip.Prefix) netip.Prefix {
	if g.IntN(4) > 0 {
		return netip.Prefix{}
	}
	for {
		if from := g.prefix(); from.Addr().Is4() == p.Addr().Is4() && from.Bits() > 0 {
			return from
		}
	}
}
