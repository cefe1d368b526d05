package babel

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"re6st/babel/wire"
)

// 500 interfaces with a neighbour each: everything works, and the time for an
// input does not grow with their number.
func TestManyInterfaces(t *testing.T) {
	const size = 500
	e := New(Config{RouterID: selfID, Rand: rand.New(rand.NewPCG(1, 1))})
	now := epoch
	for i := range size {
		e.InterfaceUp(now, InterfaceConfig{Index: 1000 - i, LinkLocal: self, Kind: Tunnel, MTU: 1420})
	}
	e.Originate(now, prefixB, nowhere, 0)
	receive := func(i int, tlvs ...wire.TLV) {
		enc := wire.NewEncoder(1372)
		for _, tlv := range tlvs {
			enc.Add(tlv)
		}
		e.Receive(now, 1000-i, netip.AddrPortFrom(originAddr(1), wire.Port), wire.Group(), enc.Bytes())
	}
	sent, hellos := map[int]int{}, 0
	drain := func() {
		for _, p := range e.Output().Packets {
			sent[p.Interface]++
			var d wire.Decoder
			for _, tlv := range d.Parse(p.Data, self).TLVs {
				switch x := tlv.(type) {
				case *wire.Hello:
					hellos++
				case *wire.AckRequest:
					receive(1000-p.Interface, &wire.Ack{Opaque: x.Opaque})
				}
			}
		}
	}
	inputs := 0
	for round := range 30 {
		for i := range size {
			receive(i, &wire.Hello{Seqno: uint16(round), Interval: 200}, &wire.IHU{RxCost: 96, Interval: 600, Address: self})
			if round == 5 {
				receive(i, &wire.Update{Prefix: nodePrefix(i + 100), Interval: 60000, Seqno: 1, Metric: 10, RouterID: originA})
			}
			inputs++
		}
		for until := now.Add(time.Second); now.Before(until); {
			now = now.Add(20 * time.Millisecond)
			e.Advance(now)
			drain()
			inputs++
		}
	}
	up := 0
	for _, n := range e.Neighbours() {
		if n.Reachable && n.Selected == 1 {
			up++
		}
	}
	if up != size || len(sent) != size {
		t.Errorf("%d of %d neighbours are up, %d links were used", up, size, len(sent))
	}
	// A Hello each 4 s and some in haste at the start.
	if most := size * (30/3 + 12); hellos > most {
		t.Errorf("%d Hellos, want at most %d", hellos, most)
	}
	t.Logf("%d inputs, %d Hellos", inputs, hellos)
}

// The MTU shrinks and grows while a table is being said.
func TestC007_MTUChangesAtRunTime(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(), w.add()
	w.connect(Tunnel, time.Millisecond, a, b)
	w.run(10 * time.Second)
	w.burst(a, Tunnel, 10000)
	for _, mtu := range []int{560, 1280, 1420} {
		a.engine.SetMTU(w.now, 1, mtu)
		for range 20 {
			w.now = later(w.now, a.engine.Deadline())
			a.engine.Advance(w.now)
			for _, p := range a.engine.Output().Packets {
				if p.Interface == 1 && len(p.Data) > mtu-48 {
					t.Errorf("MTU %d: %d octets", mtu, len(p.Data))
				}
				w.send(a, p)
			}
			w.run(0)
		}
	}
	w.await("the peer is full", 10*time.Second, func() bool { return len(b.fib) > 10000 })
}

// A neighbour is lost for a while, and what it retracted meanwhile is not believed
// for long when it is back, though it had promised it for 300 s.
func TestRoutesOfAReturnedNeighbourAreDoubted(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Tunnel), s.link(2, Tunnel)
	for _, prefix := range []netip.Prefix{prefixA, prefixB} {
		a.say(&wire.Update{Prefix: prefix, Interval: 30000, Seqno: 1, Metric: 10, RouterID: originA})
	}
	s.idle(10*time.Second, a, b)
	s.idle(20*time.Second, b)
	s.wantUnreachableOrNone("a is lost", prefixA)
	a.seqno += 5
	s.idle(8*time.Second, a, b)
	s.wantRoute("it is back", prefixA, a)
	a.say(&wire.Update{Prefix: prefixB, Interval: 30000, Seqno: 1, Metric: 10, RouterID: originA})
	s.idle(60*time.Second, a, b)
	s.wantUnreachableOrNone("not said again", prefixA)
	s.wantRoute("said again", prefixB, a)
	s.idle(5*time.Minute, a, b)
	s.wantRoute("said again, long after", prefixB, a)
}

// Early release on a shared link with few neighbours: a retracted prefix is held
// for a second if all acknowledge, and until it has expired everywhere if one does
// not. "To beat" 14.
func TestC075_EarlyRelease(t *testing.T) {
	for _, kind := range []Kind{Wired, Wireless, Tunnel} {
		for _, isMute := range []bool{false, true} {
			s := newScript(t, nil)
			peers := []*peer{s.link(1, kind)}
			if kind != Tunnel {
				peers = append(peers, s.peer(1), s.peer(1))
			}
			last := peers[len(peers)-1]
			last.mute = isMute
			s.e.Originate(s.now, prefixA, nowhere, 0)
			s.idle(20*time.Second, peers...)
			s.e.Withdraw(s.now, prefixA, nowhere)
			s.drain()
			s.idle(900*time.Millisecond, peers...)
			s.wantUnreachable("packets are on their way", prefixA)
			s.idle(400*time.Millisecond, peers...)
			_, isHeld := s.fib[keyOf(prefixA, nowhere)]
			if isHeld != isMute {
				t.Errorf("%v, mute %v: held %v after 1.3 s", kind, isMute, isHeld)
			}
		}
	}
}
