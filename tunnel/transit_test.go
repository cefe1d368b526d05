package tunnel

import (
	"slices"
	"testing"
	"time"

	"re6st/tunnel/control"
)

// nine own tunnels of ten that are wanted, and no turn meanwhile.
func (sc *scene) oneMissing() {
	for i := 1; i <= 9; i++ {
		sc.own(i, control.Random, 10*time.Millisecond, time.Hour)
	}
	sc.in.Incoming = 8
	sc.in.Age = 2 * middleAge
	sc.s.nextAt = sc.now.Add(sc.in.Parameters.Refresh)
}

func (sc *scene) carriesNothing(n int) {
	sc.in.Answers[pid(n)] = ProbeAnswer{RTT: time.Millisecond, Room: 20, NoTransit: true}
}

// A gap is filled with a node that carries packets of others, however loaded and however far.
func TestSelect_NoTransitIsTheLastChoice(t *testing.T) {
	sc := newScene(t, 31, 12)
	sc.oneMissing()
	d := sc.step(0)
	if len(d.Probe) != 3 {
		t.Fatalf("%+v", d)
	}
	for _, p := range d.Probe {
		sc.in.Answers[p] = ProbeAnswer{RTT: time.Millisecond, Room: 20, NoTransit: true}
	}
	carries := d.Probe[1]
	sc.in.Answers[carries] = ProbeAnswer{RTT: 200 * time.Millisecond, Room: 1, Incoming: 29}
	if d = sc.step(time.Second); len(d.Open) != 1 || d.Open[0].Peer != carries {
		t.Errorf("%+v, want %v", d, carries)
	}
}

// All of a lot carry nothing: others are asked before one of these is taken.
func TestSelect_NoTransitWhileOthersAreUnknown(t *testing.T) {
	sc := newScene(t, 32, 13)
	sc.oneMissing()
	d := sc.step(0)
	for _, p := range d.Probe {
		sc.in.Answers[p] = ProbeAnswer{RTT: time.Millisecond, Room: 20, NoTransit: true}
	}
	lot := d.Probe
	d = sc.step(time.Second)
	if len(d.Open) != 1 || slices.Contains(lot, d.Open[0].Peer) {
		t.Errorf("after %v, who carry nothing: %+v", lot, d)
	}
}

// Where there is nobody else they are neighbours like others.
func TestSelect_NoTransitWhereThereAreNoOthers(t *testing.T) {
	sc := newScene(t, 33, 12)
	sc.oneMissing()
	for n := 10; n <= 12; n++ {
		sc.carriesNothing(n)
	}
	if d := sc.step(0); len(d.Open) != 1 {
		t.Errorf("%+v", d)
	}
	alone := newScene(t, 34, 2)
	alone.carriesNothing(1)
	alone.in.Parameters.Tunnels = 1
	alone.in.Incoming = 20
	opened := map[PeerID]bool{}
	for seed := range uint64(20) {
		alone.s = NewSelector(newScene(t, seed, 0).s.rand)
		for _, o := range alone.step(time.Minute).Open {
			opened[o.Peer] = true
		}
	}
	if !opened[pid(1)] {
		t.Error("a node without any tunnel waits for a better one")
	}
}

// A turn does not exchange a tunnel that leads elsewhere for one that does not.
func TestSelect_NoTransitReplacesNothing(t *testing.T) {
	for _, noTransit := range []bool{false, true} {
		sc := newScene(t, 35, 11)
		sc.tenOwn()
		sc.in.Age = 2 * middleAge
		for n := 3; n <= 10; n++ {
			sc.route(n, 44, n, 100)
		}
		sc.route(11, 900, 4, 900)
		sc.in.Answers[pid(11)] = ProbeAnswer{RTT: 5 * time.Millisecond, Room: 20, NoTransit: noTransit}
		replaced := false
		for range rotateEvery {
			replaced = replaced || len(sc.step(sc.in.Parameters.Refresh*2).Open) > 0
		}
		if replaced == noTransit {
			t.Errorf("no transit %t: replaced %t", noTransit, replaced)
		}
	}
}

// What goes to the node itself needs no transit.
func TestSelect_NoTransitOnDemand(t *testing.T) {
	sc := newScene(t, 36, 20)
	sc.tenOwn()
	sc.carriesNothing(15)
	sc.route(15, 400, 3, 400)
	sc.in.Demand = []Demand{{Peer: pid(15), BytesPerSecond: 10 * demandOpenRate}}
	var open []Open
	for range 10 {
		open = append(open, sc.step(demandOpenWait).Open...)
	}
	if !slices.ContainsFunc(open, func(o Open) bool { return o.Peer == pid(15) && o.Reason == control.Demand }) {
		t.Errorf("%+v", open)
	}
}

// What a node says of itself is known by all that talk to it: who asks, who offers, who is offered; and what third
// nodes say is not asked for.
func TestNoTransitIsTold(t *testing.T) {
	s := newSolo(t, 9)
	o := s.offered(1)
	if o.Offer.NoTransit {
		t.Error("an offer says no transit before that is told")
	}
	a := answerOf(1)
	a.NoTransit = true
	s.m.Answered(s.now, o.Tunnel, a, nil)
	isEnd := func() bool {
		return slices.ContainsFunc(s.m.Peers(), func(p Peer) bool { return p.ID() == o.Peer.ID() && p.NoTransit })
	}
	if !isEnd() {
		t.Error("what an answer says is not known")
	}
	s.m.LearnPeers(s.now, []Peer{{Name: "x", Prefix: o.Peer.Prefix}}, false)
	if !isEnd() {
		t.Error("it is forgotten when others speak of the node")
	}
	s = newSolo(t, 9)
	s.m.SetNoTransit(s.now, true)
	if o = s.offered(1); !o.Offer.NoTransit {
		t.Error("an offer does not say it")
	}
}
