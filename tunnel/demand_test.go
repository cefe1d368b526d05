package tunnel

import (
	"testing"
	"time"

	"re6st/tunnel/control"
)

// calm is a node with all its tunnels, whose next turn is far away: what it does
// then is done on demand.
func calm(t *testing.T, seed uint64) *scene {
	t.Helper()
	sc := newScene(t, seed, 60)
	sc.tenOwn()
	for n := 20; n < 40; n++ {
		sc.route(n, 300, 4, 400)
	}
	sc.in.Age, sc.in.Parameters.Refresh = 2*middleAge, time.Hour
	sc.s.nextAt = sc.now.Add(10 * time.Hour)
	return sc
}

func (sc *scene) demand(ds ...Demand) { sc.in.Demand = ds }

func own(n int, rate float64) Demand { return Demand{Peer: pid(n), BytesPerSecond: rate} }

// wantOpen wants one tunnel, on demand.
func (sc *scene) wantOpen(d Decision, n int) Open {
	sc.t.Helper()
	if len(d.Open) != 1 || d.Open[0].Peer != pid(n) || d.Open[0].Reason != control.Demand || len(d.Close) != 0 {
		sc.t.Fatalf("%+v, want a tunnel to %d", d, n)
	}
	return d.Open[0]
}

// Much traffic for a while opens a tunnel; little for longer closes it. Both once.
func TestDemandOpensAndCloses(t *testing.T) {
	sc := calm(t, 10)
	sc.demand(own(30, 10*demandOpenRate))
	sc.wantNothing(sc.step(0), "traffic has just begun")
	sc.wantOpen(sc.step(demandOpenWait), 30)
	sc.own(30, control.Demand, time.Millisecond, 0)
	sc.route(30, 10, 30, 400)
	sc.wantNothing(sc.step(time.Minute), "the tunnel is used")
	sc.demand()
	sc.wantNothing(sc.step(time.Second), "traffic has just ended")
	sc.demand(own(30, 10*demandOpenRate))
	sc.wantNothing(sc.step(demandCloseWait/2), "it came back")
	sc.demand(own(30, 2*demandCloseRate))
	sc.wantNothing(sc.step(time.Second), "it is less, and enough")
	sc.wantNothing(sc.step(2*demandCloseWait), "it is less, and enough")
	sc.demand()
	sc.wantNothing(sc.step(time.Second), "traffic has ended again")
	if d := sc.step(demandCloseWait); len(d.Close) != 1 || d.Close[0] != pid(30) {
		t.Errorf("%+v", d)
	}
}

// With a short refresh the wait is half of one; bursts between quiet times never
// open anything.
func TestDemandWaitsForHalfARefreshAtMost(t *testing.T) {
	sc := calm(t, 11)
	sc.in.Parameters.Refresh = 6 * time.Second
	sc.s.nextAt = sc.now.Add(7 * time.Second)
	for range 5 {
		sc.s.nextAt = sc.now.Add(7 * time.Second)
		sc.demand(own(30, 1e9))
		sc.wantNothing(sc.step(time.Second), "a burst")
		sc.wantNothing(sc.step(time.Second), "a burst")
		sc.demand()
		sc.wantNothing(sc.step(time.Second), "it is over")
	}
	sc.s.nextAt = sc.now.Add(7 * time.Second)
	sc.demand(own(30, 1e9))
	sc.wantNothing(sc.step(time.Second), "it begins")
	sc.wantOpen(sc.step(3*time.Second), 30)
}

// A relay leaves the first go to those who send it the traffic.
func TestDemandOfOthersWaitsLonger(t *testing.T) {
	sc := calm(t, 12)
	sc.demand(Demand{Peer: pid(30), Carried: 10 * demandOpenRate})
	sc.wantNothing(sc.step(0), "carried for others")
	sc.wantNothing(sc.step(demandOpenWait), "carried for others")
	sc.demand(Demand{Peer: pid(30), BytesPerSecond: demandOpenRate, Carried: 10 * demandOpenRate})
	sc.wantOpen(sc.step(0), 30) // our own is enough, and has waited

	sc = calm(t, 13)
	sc.demand(Demand{Peer: pid(30), Carried: 10 * demandOpenRate})
	sc.wantNothing(sc.step(0), "carried for others")
	sc.wantOpen(sc.step(demandRelayFactor*demandOpenWait), 30)
}

// The destinations that carry most get the few tunnels; one that carries much
// more takes the place of the least, which closes when the new one carries.
func TestDemandIsBoundedAndGoesToTheBusiest(t *testing.T) {
	sc := calm(t, 14)
	for n := 20; n < 40; n++ {
		sc.in.Demand = append(sc.in.Demand, own(n, float64(n)*demandOpenRate))
	}
	sc.step(0)
	d := sc.step(demandOpenWait)
	if len(d.Open) != 2 || d.Open[0].Peer != pid(39) || d.Open[1].Peer != pid(38) {
		t.Fatalf("%+v, want tunnels to 39 and 38", d)
	}
	sc.own(39, control.Demand, time.Millisecond, 0)
	sc.own(38, control.Demand, time.Millisecond, 0)
	sc.route(39, 10, 39, 400)
	sc.route(38, 10, 38, 400)
	sc.wantNothing(sc.step(0), "there are two")
	sc.wantNothing(sc.step(demandOpenWait), "37 carries little less than 38")
	sc.demand(own(39, 39*demandOpenRate), own(38, 10*demandOpenRate), own(37, 30*demandOpenRate))
	sc.wantNothing(sc.step(time.Second), "37 carries thrice as much")
	if o := sc.wantOpen(sc.step(demandOpenWait), 37); o.Replaces != pid(38) {
		t.Errorf("%+v, want it to replace 38", o)
	}
}

// The parameter applies to tunnels that are there.
func TestDemandTurnedOff(t *testing.T) {
	sc := calm(t, 15)
	sc.own(30, control.Demand, time.Millisecond, 0)
	sc.own(31, control.Demand, time.Millisecond, 0)
	sc.route(30, 10, 30, 400)
	sc.route(31, 10, 31, 400)
	sc.demand(own(30, 1e9), own(31, 2e9), own(32, 3e9))
	sc.in.Parameters.DemandTunnels = 1
	if d := sc.step(0); len(d.Close) != 1 || d.Close[0] != pid(30) {
		t.Errorf("one: %+v", d)
	}
	sc.in.Parameters.DemandTunnels = 0
	if d := sc.step(0); len(d.Close) != 2 || len(d.Open) != 0 {
		t.Errorf("none: %+v", d)
	}
	sc.in.Own = sc.in.Own[:10]
	for range 20 {
		sc.wantNothing(sc.step(time.Minute/2), "turned off")
	}
}

// A tunnel that the routing does not use closes, and is not opened again at once:
// the way by relays is shorter.
func TestDemandForAPeerWithABetterWay(t *testing.T) {
	sc := calm(t, 16)
	sc.own(30, control.Demand, time.Second, 0)
	sc.demand(own(30, 1e9))
	sc.wantNothing(sc.step(0), "it is new")
	d := sc.step(demandCloseWait)
	if len(d.Close) != 1 || d.Close[0] != pid(30) {
		t.Fatalf("%+v", d)
	}
	sc.in.Own = sc.in.Own[:10]
	sc.in.Known[29].Neighbour = false
	for range 9 {
		sc.wantNothing(sc.step(time.Minute), "shunned")
	}
	sc.step(time.Minute)
	sc.wantOpen(sc.step(time.Minute), 30)
	if len(sc.s.shunned) != 0 {
		t.Errorf("%d are shunned for ever", len(sc.s.shunned))
	}
}

// Who is full may have a place for such tunnels; who failed otherwise is left alone.
func TestDemandForAFullPeer(t *testing.T) {
	sc := calm(t, 17)
	sc.demand(own(30, 1e9))
	sc.in.Known[29].Blocked = true
	sc.step(0)
	sc.wantNothing(sc.step(demandOpenWait), "it failed")
	sc.in.Known[29].Full = true
	sc.answer(30, time.Millisecond, 30, 0)
	sc.step(0)
	sc.wantOpen(sc.step(demandOpenWait), 30)
}

// A turn does not replace the tunnel through which most of the traffic goes.
func TestBusyTunnelsAreNoVictims(t *testing.T) {
	sc := newScene(t, 18, 40)
	sc.tenOwn()
	for n := 4; n <= 10; n++ {
		for i := range 5 {
			sc.route(10+5*n+i, 100, n, 200)
		}
	}
	v := view{Input: sc.in}
	if p, ok := v.victim(); !ok || p != pid(3) {
		t.Fatalf("victim %v, %v; 3 serves nobody", p, ok)
	}
	v.Demand = []Demand{own(3, demandOpenRate)}
	if p, ok := v.victim(); !ok || p == pid(3) {
		t.Errorf("victim %v, %v, though it carries much", p, ok)
	}
	v.Parameters.DemandTunnels = 0
	if p, _ := v.victim(); p != pid(3) {
		t.Errorf("victim %v, though traffic does not matter", p)
	}
}

// A line of four, the ends of which are full: traffic from end to end opens a
// tunnel between them beyond their limits, within two refreshes, and closes
// it when it ends. Without the parameter nothing happens.
func TestDemandOverTwoRelays(t *testing.T) {
	for _, most := range []int{0, 2} {
		w := newWorld(t, 21, 4)
		w.talk = func(a, b int) bool { return (a-b)*(a-b) == 1 || a+b == 3 }
		p := DefaultParameters()
		p.Refresh, p.DemandTunnels = 5*time.Second, most
		incoming := []int{0, 2, 0, 1}
		for _, i := range []int{1, 3, 2, 0} { // 2 opens to 1 and 3, then 0 to 1, and all are full
			p.MaxIncoming = incoming[i]
			w.boot(i, p, 0, 1, 2, 3)
			w.run(2 * time.Second)
		}
		a, b := w.nodes[0], w.nodes[3]
		w.runUntil("a line", 30*time.Second, w.isConnected)
		w.run(20 * time.Second)
		if a.hasUp(b) {
			t.Fatal("there is a tunnel from end to end")
		}
		stream := func(rate float64) {
			d := []Demand{{Peer: b.self.ID(), BytesPerSecond: rate}}
			if rate == 0 {
				d = nil
			}
			a.m.SetDemand(w.now, d)
			a.pump()
		}
		for range 10 {
			stream(1e6)
			w.run(time.Second)
		}
		if a.hasUp(b) != (most > 0) {
			t.Fatalf("at most %d on demand: a tunnel: %v", most, a.hasUp(b))
		}
		w.check()
		stream(0)
		w.run(demandCloseWait + 20*time.Second)
		if a.hasUp(b) || b.hasUp(a) {
			t.Error("it did not end with the traffic")
		}
		w.check()
	}
}

// The reserve for tunnels on demand is as small as said, for whoever asks.
func TestT15_IncomingQuotaOnDemand(t *testing.T) {
	s := newSolo(t, 1)
	offer := func(n int, reason control.Reason) bool {
		id := control.TunnelID{byte(n), byte(n >> 8), 1}
		s.receiveOfferFor(n, id, reason)
		if s.m.tunnels[id] == nil {
			take[Reply](s, "refused")
			return false
		}
		s.makeDevice(take[Create](s, "accepted"))
		take[Reply](s, "accepted")
		s.m.Observed(s.now, id, Stats{LastHandshake: s.now})
		s.m.checkInvariants(t, s.now)
		return true
	}
	accepted := map[control.Reason]int{}
	for n := 2; n < 200; n++ {
		reason := control.Elected
		if n%2 == 0 {
			reason = control.Demand
		}
		if offer(n, reason) {
			accepted[reason]++
		}
	}
	p := s.m.parameters
	if all := accepted[control.Elected] + accepted[control.Demand]; all != p.MaxIncoming+p.DemandTunnels {
		t.Errorf("accepted %v, the limit is %d and %d on demand", accepted, p.MaxIncoming, p.DemandTunnels)
	}
	if _, room := s.m.Load(); room != 0 {
		t.Errorf("room for %d", room)
	}
}

// relayed is how many relays carry what each node sends to the one given.
func (w *world) relayed(to []int) int {
	relays := 0
	for i, n := range w.nodes {
		goal := w.nodes[to[i]].self.ID()
		for ; n.self.ID() != goal; relays++ {
			n = w.byID[n.m.routes[goal].Via]
		}
		relays-- // the goal itself
	}
	return relays
}

// What it is for: each of 30 nodes sends much to another one, and relays carry
// hardly any of it. When the traffic has ended the mesh is as before.
func TestDemandSparesRelays(t *testing.T) {
	w := newWorld(t, 22, 30)
	p := DefaultParameters()
	p.Tunnels = 3
	w.bootAll(p)
	w.run(15 * time.Minute)
	onDemand := func() (all int) {
		for _, n := range w.nodes {
			for _, x := range n.m.tunnels {
				if x.reason == control.Demand && x.direction == Out {
					all++
				}
			}
		}
		return all
	}
	to := make([]int, len(w.nodes))
	for i := range to {
		to[i] = (i + 7) % len(to)
	}
	before := w.relayed(to)
	send := func(rate float64) {
		for i, n := range w.nodes {
			n.m.SetDemand(w.now, []Demand{{Peer: w.nodes[to[i]].self.ID(), BytesPerSecond: rate}})
			n.pump()
		}
	}
	for range 60 {
		send(1e6)
		w.run(time.Second)
	}
	after, held := w.relayed(to), onDemand()
	t.Logf("relays of 30 streams: %d before, %d with %d tunnels on demand", before, after, held)
	if before < 10 || after > before/5 || held > before {
		t.Errorf("%d relays, %d before, %d tunnels on demand", after, before, held)
	}
	w.check()
	send(0)
	w.run(2 * time.Minute)
	if n := onDemand(); n > 0 {
		t.Errorf("%d tunnels on demand are left", n)
	}
	w.check()
}
