package babel

import (
	"testing"
	"time"

	"re6st/babel/wire"
)

// What RFC 9046 lists can be looked at, and is true.
func TestC136_Snapshot(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	s.e.InterfaceUp(s.now, InterfaceConfig{Index: 2, Name: "wg", LinkLocal: self, Kind: Tunnel, UnicastHello: true, ExtraCost: 7})
	b := s.peer(2)
	s.e.Originate(s.now, prefixB, nowhere, 0)
	a.announce(prefixA, originA, 5, 10)
	b.announce(prefixA, originA, 5, 500)
	s.idle(time.Minute, a, b)
	a.hear(true, 700, 400)
	s.said()

	x := s.e.Snapshot(s.now)
	if x.Version != 2 || x.RouterID != selfID || x.Seqno != 100 || len(x.Interfaces) != 2 || len(x.Neighbours) != 2 {
		t.Fatalf("%+v", x)
	}
	one, two := x.Interfaces[0], x.Interfaces[1]
	if one.Index != 1 || one.Name != "if1" || one.Kind != Wired || one.LinkLocal != self || one.MTU != 1420 ||
		one.HelloInterval != 4*time.Second || one.UpdateInterval != 16*time.Second || one.SplitHorizon || one.MAC.Keys != 0 || one.MAC.AcceptUnsigned {
		t.Errorf("%+v", one)
	}
	if two.Kind != Tunnel || !two.SplitHorizon || two.ExtraCost != 7 || two.UpdateInterval != 300*time.Second || two.UnicastHellos == 0 {
		t.Errorf("%+v", two)
	}
	var hellos, ihus, updates, packets, octets uint64
	var last uint16
	for _, p := range s.packets {
		if p.Interface != 1 {
			continue
		}
		packets++
		octets += uint64(len(p.Data))
		var d wire.Decoder
		for _, tlv := range d.Parse(p.Data, self).TLVs {
			switch tlv := tlv.(type) {
			case *wire.Hello:
				hellos++
				last = tlv.Seqno
			case *wire.IHU:
				ihus++
			case *wire.Update:
				updates++
			}
		}
	}
	if one.HellosOut != hellos || one.IHUsOut != ihus || one.HelloSeqno != last || one.PacketsOut != packets || one.BytesOut != octets || one.UpdatesOut != updates {
		t.Errorf("%+v; sent %d Hellos, the last %d, %d IHUs, %d Updates, %d packets, %d octets", one, hellos, last, ihus, updates, packets, octets)
	}
	if one.PacketsIn < 20 || one.UpdatesIn < 2 || one.BytesIn == 0 || one.UnicastHellos != 0 {
		t.Errorf("%+v", one)
	}

	n, _ := s.neighbour(a)
	if n.Multicast != 0xFFFF || n.Unicast != 0x8000 || n.NextMulticast != a.seqno+1 || n.NextUnicast != 701 ||
		n.RxCost != 96 || n.TxCost != 96 || n.Cost != 96 || !n.Reachable || n.Routes != 1 || n.Selected != 1 {
		t.Errorf("%+v", n)
	}

	// All routes, own, selected and not.
	if len(x.Routes) != 3 {
		t.Fatalf("%+v", x.Routes)
	}
	r, _ := s.route(prefixA, a)
	if r.RouterID != originA || r.Seqno != 5 || r.Received != 10 || r.Metric != 106 || r.NextHop != a.addr || !r.Feasible || !r.Selected || !r.Installed {
		t.Errorf("%+v", r)
	}
	if r, ok := s.route(prefixA, b); !ok || r.Received != 500 || r.Feasible || r.Selected || r.Installed {
		t.Errorf("%+v", r)
	}
	if own := x.Routes[2]; !own.Own || own.Prefix != prefixB || own.RouterID != selfID || own.Seqno != 100 || own.Metric != 0 {
		t.Errorf("%+v", own)
	}
	if x, ok := s.source(prefixA, nowhere, originA); !ok || x.Seqno != 5 || x.Metric != 106 {
		t.Errorf("%+v", x)
	}
}
