package babel

import (
	"net/netip"
	"testing"
	"time"

	"re6st/babel/wire"
)

// However often intervals change, no Hello and no IHU comes later than the one
// before it promised, and no Unicast Hello either.
func TestC042_PromisesSurviveManyChanges(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		s := newScript(t, nil)
		s.e.Rand = w.rand
		s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, LinkLocal: self, Kind: Wired, UnicastHello: seed%2 == 0})
		p := s.peer(1)
		promised := map[string]time.Time{}
		keep := func(what string, u utterance, interval wire.Interval) {
			if until := promised[what]; !until.IsZero() && u.at.After(until) {
				t.Fatalf("seed %d: %s %v late", seed, what, u.at.Sub(until))
			}
			promised[what] = u.at.Add(interval.Duration())
		}
		for range 400 {
			s.e.SetIntervals(s.now, 1, time.Duration(10+w.rand.IntN(8000))*time.Millisecond, 0)
			if w.rand.IntN(4) == 0 {
				p.greet()
			}
			s.pass(time.Duration(w.rand.IntN(300)) * time.Millisecond)
			if w.rand.IntN(20) == 0 {
				s.idle(time.Duration(w.rand.IntN(20))*time.Second, p)
			}
			for _, u := range s.heard {
				switch x := u.tlv.(type) {
				case *wire.Hello:
					if x.Interval == 0 {
						t.Fatal("an unscheduled Hello")
					}
					keep(map[bool]string{false: "Hello", true: "Unicast Hello"}[x.Unicast], u, x.Interval)
				case *wire.IHU:
					keep("IHU", u, x.Interval)
				}
			}
			s.heard = nil
		}
	}
}

// Scheduled Unicast Hellos have seqnos of their own for each neighbour; multicast
// ones, which find neighbours, are rarer then.
func TestC038_UnicastHellos(t *testing.T) {
	s := newScript(t, nil)
	s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, LinkLocal: self, Kind: Wired, UnicastHello: true, RTT: true})
	peers := []*peer{s.peer(1), s.peer(1)}
	s.heard = nil
	s.idle(100*time.Second, peers...)
	seqnos, multicast := map[netip.Addr][]uint16{}, 0
	for _, u := range s.heard {
		h, ok := u.tlv.(*wire.Hello)
		if !ok {
			continue
		}
		if h.Unicast == u.dst.IsMulticast() {
			t.Errorf("unicast %v to %v", h.Unicast, u.dst)
		}
		if !h.Timestamp.Present {
			t.Error("a Hello without timestamp")
		}
		if !h.Unicast {
			multicast++
			continue
		}
		seqnos[u.dst] = append(seqnos[u.dst], h.Seqno)
	}
	if multicast < 5 || multicast > 9 {
		t.Errorf("%d multicast Hellos in 100 s, want one in 16 s", multicast)
	}
	for _, p := range peers {
		all := seqnos[p.addr]
		if len(all) < 24 || len(all) > 28 {
			t.Errorf("%d Unicast Hellos in 100 s, want one in 4 s", len(all))
		}
		for i := 1; i < len(all); i++ {
			if all[i] != all[i-1]+1 {
				t.Errorf("seqno %d after %d", all[i], all[i-1])
			}
		}
	}
}

// Two of ours with Unicast Hellos find each other, measure, and notice a cut as
// soon as others.
func TestUnicastHellos_Work(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(), w.add()
	c := w.connect(Wired, 10*time.Millisecond, a, b)
	for _, e := range c.ends {
		e.n.engine.InterfaceUp(w.now, InterfaceConfig{
			Index: e.index, LinkLocal: e.n.address, MTU: 1420, Kind: Wired, UnicastHello: true, RTT: true,
		})
		e.n.drain()
	}
	w.await("routes", 3*time.Second, w.allReach)
	w.run(time.Minute)
	if n := a.engine.Snapshot(w.now).Neighbours[0]; n.Unicast != 0xffff && n.Unicast < 0xfff0 || n.RTT != 20*time.Millisecond {
		t.Errorf("%+v", n)
	}
	c.isCut = true
	w.await("the loss", 7500*time.Millisecond, func() bool { return a.fib[keyOf(b.prefix, nowhere)].NextHop != b.address })
}

// Several hundred neighbours on one link with timestamps: each IHU that echoes one
// shares a packet with a Hello, and every neighbour gets its share in time.
func TestC129_ManyNeighboursShareHellos(t *testing.T) {
	for _, mtu := range []int{512, 1500} {
		s := newScript(t, nil)
		s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, LinkLocal: self, Kind: Wired, RTT: true, MTU: mtu})
		const size = 200
		peers := make([]*peer, size)
		greet := func() {
			for i := range peers {
				if peers[i] == nil {
					peers[i] = &peer{s: s, index: 1, addr: originAddr(i + 1), mute: true}
				}
				p := peers[i]
				p.seqno++
				enc := wire.NewEncoder(512)
				enc.AddHello(&wire.Hello{Seqno: p.seqno, Interval: 400, Timestamp: wire.Timestamp{Present: true, Transmit: uint32(p.seqno)}})
				enc.AddIHU(&wire.IHU{RxCost: 96, Interval: 60000, Address: self})
				s.e.Receive(s.now, 1, netip.AddrPortFrom(p.addr, wire.Port), wire.Group(), enc.Bytes())
			}
		}
		said, hellos := map[netip.Addr]time.Time{}, 0
		check := func() {
			for _, packet := range s.e.Output().Packets {
				var d wire.Decoder
				x := d.Parse(packet.Data, self)
				hasHello := false
				for _, tlv := range x.TLVs {
					switch u := tlv.(type) {
					case *wire.Hello:
						hasHello = true
						hellos++
					case *wire.IHU:
						if u.Echo.Present && !hasHello {
							t.Errorf("MTU %d: an echo without a Hello", mtu)
						}
						if last := said[u.Address]; u.Echo.Present && !last.IsZero() && s.now.Sub(last) > 12*time.Second {
							t.Errorf("MTU %d: %v without IHU for %v", mtu, s.now.Sub(last), u.Address)
						}
						if u.Echo.Present {
							said[u.Address] = s.now
						}
					}
				}
			}
		}
		for range 10 {
			greet()
			for until := s.now.Add(4 * time.Second); s.now.Before(until); s.now = s.now.Add(5 * time.Millisecond) {
				s.e.Advance(s.now)
				check()
			}
		}
		if len(said) != size {
			t.Errorf("MTU %d: %d of %d neighbours got an echo", mtu, len(said), size)
		}
		t.Logf("MTU %d: %d Hellos in 40 s", mtu, hellos)
	}
}

// An orderly end: all is retracted, several times, and a Hello is promised that
// will never come. Neighbours drop us at once, though they have lost all but one.
func TestC078_Farewell(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(), w.add()
	w.connect(Wired, time.Millisecond, a, b)
	w.run(time.Minute)
	a.engine.Stop(w.now)
	out := a.engine.Output()
	if len(out.Packets) != farewellCopies {
		t.Fatalf("%d packets", len(out.Packets))
	}
	for _, p := range out.Packets {
		var d wire.Decoder
		hello, retraction := false, false
		for _, tlv := range d.Parse(p.Data, a.address).TLVs {
			switch x := tlv.(type) {
			case *wire.Hello:
				hello = x.Interval == 1 && !x.Unicast
			case *wire.Update:
				retraction = x.Metric == Infinity && !x.Prefix.IsValid()
			}
		}
		if !hello || !retraction {
			t.Errorf("Hello %v, retraction %v", hello, retraction)
		}
	}
	w.send(a, out.Packets[farewellCopies-1])
	a.isDead = true
	w.await("the route is gone", 100*time.Millisecond, func() bool { return b.fib[keyOf(a.prefix, nowhere)].NextHop != a.address })
	w.await("the neighbour is gone", time.Second, func() bool { return len(b.engine.Neighbours()) == 0 })
}
