package babel

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"re6st/babel/mac"
	"re6st/babel/wire"
)

// connectKeyed is connect with keys.
func (w *world) connectKeyed(kind Kind, keys []mac.Key, nodes ...*node) *cable {
	c := &cable{kind: kind, delay: time.Millisecond, keys: keys}
	w.plug(c, nodes...)
	return c
}

func TestAuthLinkConvergesAsFastAsWithout(t *testing.T) {
	for _, kind := range []Kind{Wired, Tunnel, Wireless} {
		var took [2]time.Duration
		for i, keys := range [][]mac.Key{nil, {keyA, keyB}} {
			w := newWorld(t, 1)
			w.connectKeyed(kind, keys, w.add(), w.add())
			took[i] = w.await("convergence", 10*time.Second, w.allReach)
		}
		t.Logf("%v: %v without MAC, %v with", kind, took[0], took[1])
		if took[1] > took[0]+200*time.Millisecond {
			t.Errorf("%v: %v without MAC, %v with", kind, took[0], took[1])
		}
	}
}

func TestAuthKeepsOthersOut(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c, d := w.add(), w.add(), w.add(), w.add()
	w.connectKeyed(Wired, []mac.Key{keyA}, a, b, c, d)
	c.engine.SetKeys(w.now, 1, []mac.Key{keyC}, false)
	d.engine.SetKeys(w.now, 1, nil, false)
	w.run(30 * time.Second)
	if !w.reaches(a, b) || !w.reaches(b, a) {
		t.Error("those with the key do not reach each other")
	}
	for _, n := range []*node{a, b} {
		if w.reaches(n, c) || w.reaches(n, d) || len(n.engine.Neighbours()) != 1 {
			t.Errorf("node %d has %d neighbours", n.index, len(n.engine.Neighbours()))
		}
	}
	if w.reaches(c, a) {
		t.Error("the one with another key reaches others")
	}
}

// A neighbour that does not know of our restart yet goes on saying that it hears
// us. Until it has acknowledged a Hello of this life it is not believed.
func TestAuthIHUOfAnEarlierLife(t *testing.T) {
	d := newDialogue(t, InterfaceConfig{})
	isUsed := func() bool {
		for _, n := range d.e.Neighbours() {
			if n.Reachable {
				return true
			}
		}
		return false
	}
	prove := func() {
		for _, p := range d.say(wire.Group(), &wire.Hello{Seqno: 1, Interval: 400}) {
			src, dst := selfTo(p.Dst)
			if v := d.peer.Verify(d.now, src, dst, p.Data); v.MustReply {
				d.say(self, &wire.ChallengeReply{Nonce: v.Reply})
			}
		}
	}
	prove()
	ihu := &wire.IHU{RxCost: 96, Interval: 1200, Address: self}
	for n := range 5 {
		d.say(wire.Group(), &wire.Hello{Seqno: uint16(n + 2), Interval: 400}, ihu)
	}
	if d.counters().Accepted < 5 || isUsed() {
		t.Fatal("an IHU about an earlier life is believed")
	}
	d.say(self, &wire.Ack{Opaque: d.e.link(1).auth.meeting.opaque + 1})
	d.say(wire.Group(), ihu)
	if isUsed() {
		t.Fatal("any acknowledgment will do")
	}
	d.say(self, &wire.Ack{Opaque: d.e.link(1).auth.meeting.opaque})
	d.say(wire.Group(), ihu)
	d.pass(100 * time.Millisecond)
	if !isUsed() {
		t.Fatal("it is not believed after it has heard us")
	}
}

// Whoever acknowledges nothing is believed after a while.
func TestAuthMuteNeighbour(t *testing.T) {
	d := newDialogue(t, InterfaceConfig{})
	for n := range 8 {
		for _, p := range d.say(wire.Group(), &wire.Hello{Seqno: uint16(n), Interval: 200}, &wire.IHU{RxCost: 96, Interval: 1200, Address: self}) {
			src, dst := selfTo(p.Dst)
			if v := d.peer.Verify(d.now, src, dst, p.Data); v.MustReply {
				d.say(self, &wire.ChallengeReply{Nonce: v.Reply})
			}
		}
		d.now = d.now.Add(2 * time.Second)
		d.e.Advance(d.now)
		d.drain()
	}
	if n := d.e.Neighbours(); len(n) != 1 || !n[0].Reachable {
		t.Errorf("%+v", n)
	}
}

// Timestamps are under the MAC, and written before it.
func TestAuthRTTIsMeasured(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(), w.add()
	c := &cable{kind: Tunnel, delay: 30 * time.Millisecond, keys: []mac.Key{keyA}}
	w.plug(c, a, b)
	w.run(30 * time.Second)
	for _, n := range a.engine.Neighbours() {
		if n.RTT < 59*time.Millisecond || n.RTT > 62*time.Millisecond {
			t.Errorf("RTT %v", n.RTT)
		}
	}
	if s := a.engine.Interfaces()[0].MAC; s.Forged > 0 || s.Accepted == 0 {
		t.Errorf("%+v", s)
	}
}

// Packets get lost, overtake each other and come twice; nodes restart. F-12.
func TestF12_AuthOverABadNetwork(t *testing.T) {
	for seed := range *seeds {
		w := newWorld(t, seed)
		nodes := make([]*node, 5)
		for i := range nodes {
			nodes[i] = w.add()
		}
		for i := range nodes {
			c := &cable{
				kind: []Kind{Tunnel, Wired}[i%2], delay: 20 * time.Millisecond, keys: []mac.Key{keyA},
				loss: 0.1, shuffle: 100 * time.Millisecond,
			}
			w.plug(c, nodes[i], nodes[(i+1)%5])
		}
		w.await("convergence", 60*time.Second, w.allReach)
		for range 4 {
			n := nodes[w.rand.IntN(5)]
			n.kill()
			w.run(time.Duration(w.rand.IntN(30)) * time.Second)
			n.start(Config{})
			w.await("convergence after a restart", 60*time.Second, w.allReach)
		}
		for _, n := range nodes {
			for _, i := range n.engine.Interfaces() {
				if m := i.MAC; m.Forged+m.Unsigned+m.Uncounted > 0 {
					t.Errorf("seed %d, node %d: %+v", seed, n.index, m)
				}
			}
		}
	}
}

// Over a round trip that is longer than the time between two challenges.
func TestAuthOverALongWay(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.add(), w.add()
	w.plug(&cable{kind: Tunnel, delay: 800 * time.Millisecond, keys: []mac.Key{keyA}, hello: 300 * time.Millisecond}, a, b)
	t.Log(w.await("convergence", 20*time.Second, w.allReach))
}

func TestKeysAreNotPrinted(t *testing.T) {
	c := InterfaceConfig{Keys: []mac.Key{keyA}}
	if s := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(s, "48") && strings.Contains(s, "0x30") {
		t.Error(s)
	}
}
