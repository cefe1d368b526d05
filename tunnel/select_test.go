package tunnel

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"re6st/tunnel/control"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func pid(n int) PeerID { return PeerID{0x20, 1, 0x0d, 0xb8, 0, 0x42, byte(n >> 8), byte(n)} }

// scene is an Input under construction, with a Selector and a clock.
type scene struct {
	t   *testing.T
	s   *Selector
	now time.Time
	in  Input
}

// newScene knows n nodes, numbered from 1.
func newScene(t *testing.T, seed uint64, n int) *scene {
	t.Helper()
	sc := &scene{t: t, s: NewSelector(rand.New(rand.NewPCG(seed, seed))), now: epoch, in: Input{
		Destinations: make(map[PeerID]Destination), Answers: make(map[PeerID]ProbeAnswer), Parameters: DefaultParameters(),
	}}
	for i := range n {
		sc.in.Known = append(sc.in.Known, Known{Peer: pid(i + 1)})
	}
	return sc
}

func (sc *scene) own(n int, reason control.Reason, rtt time.Duration, age time.Duration) {
	sc.in.Own = append(sc.in.Own, Own{Peer: pid(n), RTT: rtt, Reason: reason, Since: sc.now.Add(-age), Up: true})
	sc.in.Known[n-1].Neighbour = true
	sc.in.Connected++
}

// tenOwn are two random tunnels (1, 2) and eight elected ones (3 to 10).
func (sc *scene) tenOwn() {
	for i := 1; i <= 10; i++ {
		reason := control.Elected
		if i <= 2 {
			reason = control.Random
		}
		sc.own(i, reason, 10*time.Millisecond, time.Duration(100-i)*time.Minute)
	}
	sc.in.Incoming = 10
}

func (sc *scene) route(n, metric, via, alternate int) {
	sc.in.Destinations[pid(n)] = Destination{Peer: pid(n), Metric: metric, Via: pid(via), Alternate: alternate}
}

func (sc *scene) answer(n int, rtt time.Duration, incoming, room int) {
	sc.in.Answers[pid(n)] = ProbeAnswer{RTT: rtt, Incoming: incoming, Room: room}
}

func (sc *scene) step(d time.Duration) Decision {
	sc.now = sc.now.Add(d)
	return sc.s.Select(sc.now, sc.in)
}

func (sc *scene) wantNothing(d Decision, why string) {
	sc.t.Helper()
	if len(d.Open)+len(d.Close)+len(d.Probe) > 0 {
		sc.t.Errorf("%s: %+v", why, d)
	}
}

// Rule 1: own < want, nobody is connected yet: at once, several, blindly.
func TestSelect1_NewNodeOpensSeveralAtOnce(t *testing.T) {
	sc := newScene(t, 1, 30)
	d := sc.step(0)
	if len(d.Open) != openingMax || len(d.Probe) != 0 {
		t.Fatalf("%+v", d)
	}
	random := 0
	for _, o := range d.Open {
		if o.Reason == control.Random {
			random++
		}
	}
	if random != randomTunnels {
		t.Errorf("%d of them are random, want %d", random, randomTunnels)
	}
}

// Rule 1: the least loaded of three.
func TestSelect1_LeastLoadedOfThree(t *testing.T) {
	sc := newScene(t, 2, 60)
	for i := 1; i <= 9; i++ {
		sc.own(i, control.Elected, 10*time.Millisecond, time.Hour)
	}
	sc.in.Incoming = 8
	sc.in.Age = 2 * middleAge
	sc.s.nextAt = sc.now.Add(sc.in.Parameters.Refresh) // no turn meanwhile
	d := sc.step(0)
	if len(d.Probe) != lotSize || len(d.Open) != 0 {
		t.Fatalf("%+v", d)
	}
	for i, p := range d.Probe {
		sc.in.Answers[p] = ProbeAnswer{RTT: time.Millisecond, Incoming: 9 - i, Room: 20}
	}
	least := d.Probe[len(d.Probe)-1]
	d = sc.step(10 * time.Millisecond)
	if len(d.Open) != 1 || d.Open[0].Peer != least {
		t.Errorf("%+v, want %v", d, least)
	}
}

func TestSelect1_SilentAndFullCandidatesAreOut(t *testing.T) {
	sc := newScene(t, 3, 60)
	for i := 1; i <= 9; i++ {
		sc.own(i, control.Random, 10*time.Millisecond, time.Hour)
	}
	sc.in.Incoming = 8
	sc.in.Age = 2 * middleAge
	sc.s.nextAt = sc.now.Add(sc.in.Parameters.Refresh) // no turn meanwhile
	d := sc.step(0)
	sc.in.Answers[d.Probe[0]] = ProbeAnswer{RTT: time.Millisecond, Room: 0}
	sc.in.Answers[d.Probe[1]] = ProbeAnswer{Failed: true}
	sc.wantNothing(sc.step(time.Second), "one of three has not answered yet")
	d = sc.step(answerWait)
	for _, o := range d.Open {
		if a := sc.in.Answers[o.Peer]; a.Room == 0 {
			t.Errorf("opened to %v, whose answer is %+v", o.Peer, a)
		}
	}
}

// want = max(10, 18 - incoming).
func TestWant(t *testing.T) {
	p := DefaultParameters()
	for incoming, want := range map[int]int{0: 18, 3: 15, 8: 10, 30: 10} {
		if got := Want(p, incoming); got != want {
			t.Errorf("with %d incoming: %d, want %d", incoming, got, want)
		}
	}
}

// Rule 2.
func TestSelect2_TooManyCloseTheVictim(t *testing.T) {
	sc := newScene(t, 4, 40)
	sc.tenOwn()
	sc.own(11, control.Elected, time.Millisecond, time.Minute)
	sc.own(12, control.Elected, time.Millisecond, time.Minute)
	for n := 3; n <= 12; n++ {
		sc.route(n, 44, n, 100)
	}
	delete(sc.in.Destinations, pid(7)) // next hop of nothing
	if d := sc.step(0); len(d.Close) != 1 || d.Close[0] != pid(7) || len(d.Open)+len(d.Probe) != 0 {
		t.Errorf("%+v", d)
	}
}

// Rule 3.
func TestSelect3_EveryTenthTurnTheOldestRandomTunnelGoes(t *testing.T) {
	sc := newScene(t, 5, 40)
	sc.tenOwn()
	var rounds []round
	for range rotateEvery {
		before := len(sc.s.rounds)
		sc.step(time.Minute)
		rounds = append(rounds, sc.s.rounds[min(before, len(sc.s.rounds)):]...)
		sc.s.rounds = nil
	}
	last := rounds[len(rounds)-1]
	if last.victim != pid(1) || last.reason != control.Random || last.purpose != fill {
		t.Errorf("the tenth turn is %+v", last)
	}
	for _, r := range rounds[:len(rounds)-1] {
		if r.victim == pid(1) || r.victim == pid(2) {
			t.Errorf("a random tunnel is the victim of an ordinary turn: %+v", r)
		}
	}
}

// Rules 4 to 8: the elected tunnel that serves least gives way to the candidate that saves most, if that is worth it.
func TestSelect8_ReplaceByTheBetter(t *testing.T) {
	for _, x := range []struct {
		name    string
		rtt     time.Duration // of the direct way to 20
		metric  int           // of its route now
		want    bool
		victims int // what the victim's own tunnel saves
	}{
		{"saves much more", 5 * time.Millisecond, 400, true, 100},
		{"saves a little more", 5 * time.Millisecond, 24 + 105, false, 100},
		{"saves a tenth more and a bit", 5 * time.Millisecond, 24 + 112, true, 100},
		{"is farther than the detour", 200 * time.Millisecond, 400, false, 0},
		{"victim is useless, candidate saves little", 5 * time.Millisecond, 30, true, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			sc := newScene(t, 6, 20)
			sc.tenOwn()
			for n := 3; n <= 10; n++ {
				sc.route(n, 44, n, 44+x.victims)
				if n != 5 {
					sc.route(n+8, 60, n, 1000) // each but 5 serves two
				}
			}
			sc.route(20, x.metric, 3, 1000)
			for n := 11; n <= 19; n++ {
				sc.answer(n, 500*time.Millisecond, 0, 5)
			}
			sc.answer(20, x.rtt, 0, 5)
			opened := false
			for range 8 {
				for _, o := range sc.step(time.Minute).Open {
					if o.Peer != pid(20) || o.Replaces != pid(5) || o.Reason != control.Elected {
						t.Fatalf("%+v", o)
					}
					opened = true
				}
			}
			if opened != x.want {
				t.Errorf("opened %v, want %v", opened, x.want)
			}
		})
	}
}

// A tunnel whose end would be unreachable without it is never given up for latency.
func TestSelect8_TheOnlyWayIsKept(t *testing.T) {
	sc := newScene(t, 7, 20)
	sc.tenOwn()
	for n := 3; n <= 10; n++ {
		sc.route(n, 44, n, Unreachable)
	}
	for n := 11; n <= 20; n++ {
		sc.route(n, 1000, 4, 1200)
		sc.answer(n, time.Millisecond, 0, 5)
	}
	for range 8 {
		sc.wantNothing(sc.step(time.Minute), "every tunnel is the only way to its end")
	}
}

// Rule 10.
func TestSelect10_NAT(t *testing.T) {
	for _, x := range []struct {
		we, they bool
		want     Method
	}{{false, false, Direct}, {true, false, Direct}, {false, true, CallBack}, {true, true, Punch}} {
		sc := newScene(t, 8, 1)
		sc.in.NAT, sc.in.Known[0].NAT = x.we, x.they
		if d := sc.step(0); len(d.Open) != 1 || d.Open[0].Method != x.want {
			t.Errorf("we %v, they %v: %+v", x.we, x.they, d)
		}
	}
}

func TestSelect10_BlockedPeersAreLeftAlone(t *testing.T) {
	sc := newScene(t, 9, 3)
	sc.in.Known[1].Blocked = true
	for _, o := range sc.step(0).Open {
		if o.Peer == pid(2) {
			t.Error("opened to a peer that failed just now")
		}
	}
}

func TestSelectTurnsSlowDown(t *testing.T) {
	p := DefaultParameters()
	for _, x := range []struct{ age, want time.Duration }{
		{0, 20 * time.Second}, {youngAge - 1, 20 * time.Second}, {youngAge, time.Minute}, {middleAge, p.Refresh},
	} {
		if got := interval(x.age, p.Refresh); got != x.want {
			t.Errorf("at %v: every %v, want %v", x.age, got, x.want)
		}
	}
	if got := interval(0, 10*time.Second); got != 10*time.Second {
		t.Errorf("refresh 10 s: every %v", got)
	}
}

func TestSelectShorterRefreshAppliesAtOnce(t *testing.T) {
	sc := newScene(t, 12, 40)
	sc.tenOwn()
	sc.in.Age = 2 * middleAge
	sc.step(0)
	sc.in.Parameters.Refresh = 10 * time.Second
	sc.step(time.Second)
	if d := sc.s.Deadline().Sub(sc.now); d > 13*time.Second {
		t.Errorf("the next turn is in %v", d)
	}
}

// Whatever the input: nothing is opened to a neighbour, a blocked or a taken node, nothing twice, never too many, and
// the next deadline is in the future.
func TestSelectProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := NewSelector(rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0)))
		now := epoch
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 100_000).Draw(r, "ms")) * time.Millisecond)
			in := drawInput(r, now)
			d := s.Select(now, in)
			checkDecision(r, in, d)
			if s.Deadline().Before(now) {
				r.Fatalf("the deadline %v is in the past", s.Deadline().Sub(now))
			}
		}
	})
}

func drawInput(r *rapid.T, now time.Time) Input {
	in := Input{
		Age:        time.Duration(rapid.IntRange(0, 7200).Draw(r, "age")) * time.Second,
		NAT:        rapid.Bool().Draw(r, "nat"),
		Incoming:   rapid.IntRange(0, 30).Draw(r, "incoming"),
		Connected:  rapid.IntRange(0, 3).Draw(r, "connected"),
		Parameters: DefaultParameters(),

		Destinations: make(map[PeerID]Destination), Answers: make(map[PeerID]ProbeAnswer),
	}
	in.Parameters.Tunnels = rapid.IntRange(1, 12).Draw(r, "tunnels")
	in.Parameters.DemandTunnels = rapid.IntRange(0, 3).Draw(r, "demand tunnels")
	n := rapid.IntRange(0, 25).Draw(r, "nodes")
	metric := rapid.IntRange(1, Unreachable)
	for i := range n {
		k := Known{Peer: pid(i + 1), Blocked: rapid.Bool().Draw(r, "blocked"), Full: rapid.Bool().Draw(r, "full"), NAT: rapid.Bool().Draw(r, "nat")}
		switch rapid.IntRange(0, 4).Draw(r, "kind") {
		case 0:
			k.Neighbour = true
			reason := rapid.SampledFrom([]control.Reason{control.Random, control.Elected, control.Demand}).Draw(r, "reason")
			up := rapid.Bool().Draw(r, "up")
			in.Own = append(in.Own, Own{Peer: k.Peer, Reason: reason, Since: now.Add(-time.Minute), Up: up, RTT: time.Millisecond})
			if !up {
				in.Opening++
			}
		case 1:
			k.Neighbour = true
		case 2:
			in.Answers[k.Peer] = ProbeAnswer{
				Failed: rapid.Bool().Draw(r, "failed"), Room: rapid.IntRange(0, 3).Draw(r, "room"),
				RTT: time.Duration(rapid.IntRange(0, 300).Draw(r, "rtt")) * time.Millisecond,
			}
		}
		if rapid.Bool().Draw(r, "routed") {
			in.Destinations[k.Peer] = Destination{Peer: k.Peer, Metric: metric.Draw(r, "metric"), Via: pid(1 + i/2), Alternate: metric.Draw(r, "alternate")}
		}
		if rapid.IntRange(0, 5).Draw(r, "demand") == 0 {
			in.Demand = append(in.Demand, Demand{Peer: k.Peer, BytesPerSecond: 1e7 * rapid.Float64Range(0, 1).Draw(r, "rate"), Carried: 1e7})
		}
		in.Known = append(in.Known, k)
	}
	return in
}

func checkDecision(r *rapid.T, in Input, d Decision) {
	known := make(map[PeerID]Known)
	for _, k := range in.Known {
		known[k.Peer] = k
	}
	seen := make(map[PeerID]bool)
	for _, o := range d.Open {
		k, ok := known[o.Peer]
		if !ok || k.Neighbour || seen[o.Peer] {
			r.Fatalf("open %+v of %+v, again %v", o, k, seen[o.Peer])
		}
		seen[o.Peer] = true
	}
	for _, p := range d.Probe {
		if k, ok := known[p]; !ok || k.Neighbour || k.Blocked || seen[p] {
			r.Fatalf("probe %v of %+v", p, k)
		}
		if _, fresh := in.Answers[p]; fresh {
			r.Fatalf("probe %v, which answered", p)
		}
		seen[p] = true
	}
	own := make(map[PeerID]bool)
	for _, o := range in.Own {
		own[o.Peer] = true
	}
	for _, p := range d.Close {
		if !own[p] {
			r.Fatalf("close %v, which is not ours", p)
		}
	}
	if len(d.Open) > 2*openingMax+in.Parameters.DemandTunnels {
		r.Fatalf("%d tunnels at once", len(d.Open))
	}
}

func ExampleWant() {
	fmt.Println(Want(DefaultParameters(), 0), Want(DefaultParameters(), 5), Want(DefaultParameters(), 20))
	// Output: 18 13 10
}
