package babel

import (
	"testing"
	"time"

	"re6st/babel/wire"
)

// alive is whether the neighbour can be used.
func (p *peer) alive() bool {
	return p.s.e.link(p.index).neighbour(p.addr).isReachable()
}

// probed counts the probes since the last call.
func (s *script) probed() (n int) {
	for _, u := range s.heard {
		if a, ok := u.tlv.(*wire.AckRequest); ok && a.Opaque == 0 {
			n++
		}
	}
	s.heard = nil
	return n
}

// "2-out-of-3": up after two of the last three Hellos, down after the second miss,
// 10 s after the last one. The neighbour never acknowledged anything.
func TestC049_TwoOfThree(t *testing.T) {
	s := newScript(t, nil)
	s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, LinkLocal: self})
	p := &peer{s: s, index: 1, addr: originAddr(1), mute: true}
	s.peers = append(s.peers, p)
	for i, want := range []bool{false, true, true} {
		p.greet()
		if p.alive() != want {
			t.Errorf("after %d Hellos: up %v", i+1, p.alive())
		}
		s.pass(4 * time.Second)
	}
	// The last came 4 s ago.
	s.pass(1900 * time.Millisecond)
	if !p.alive() {
		t.Error("down before the first miss")
	}
	s.pass(4 * time.Second)
	if !p.alive() {
		t.Error("down before the second miss")
	}
	s.pass(200 * time.Millisecond)
	if p.alive() {
		t.Error("up after the second miss")
	}
	p.greet()
	p.seqno++ // one is lost
	p.greet()
	if !p.alive() {
		t.Error("down with two of three")
	}
}

// A silent cut is known 3 to 7.1 s after it, where the neighbour acknowledges, and
// both ends know then.
func TestC049_SilentCutIsNoticed(t *testing.T) {
	for _, kind := range []Kind{Wired, Tunnel} {
		var all []time.Duration
		for seed := range uint64(40) {
			w := newWorld(t, seed)
			a, b := w.add(), w.add()
			c := w.connect(kind, time.Millisecond, a, b)
			w.run(time.Minute + time.Duration(w.rand.IntN(4000))*time.Millisecond)
			c.isCut = true
			took := w.await("the loss", 11*time.Second, func() bool {
				return a.fib[keyOf(b.prefix, nowhere)].NextHop != b.address && b.fib[keyOf(a.prefix, nowhere)].NextHop != a.address
			})
			if took < 2900*time.Millisecond || took > 7200*time.Millisecond {
				t.Errorf("%v: after %v", kind, took)
			}
			all = append(all, took)
		}
		t.Log(kind, spread(all))
	}
}

// One missed Hello is no death: the probe is answered.
func TestDesign5_MissedHelloIsNoDeath(t *testing.T) {
	for _, kind := range []Kind{Wired, Tunnel} {
		s := newScript(t, nil)
		p := s.link(1, kind)
		s.e.Originate(s.now, prefixB, nowhere, 0) // which it acknowledges
		s.idle(20*time.Second, p)
		p.say(&wire.Ack{Opaque: 1})
		s.heard = nil
		s.pass(2100 * time.Millisecond) // 6.1 s after the last Hello
		p.say(&wire.Ack{Opaque: 0})
		s.pass(1200 * time.Millisecond)
		if n := s.probed(); n < 1 || n > 3 {
			t.Errorf("%v: %d probes, the first was answered", kind, n)
		}
		if !p.alive() {
			t.Errorf("%v: dead, though it answered", kind)
		}
		// Not again: a second later it is dead.
		s.idle(20*time.Second, p)
		s.probed()
		s.pass(1900 * time.Millisecond)
		if !p.alive() {
			t.Errorf("%v: dead before the miss", kind)
		}
		s.pass(1200 * time.Millisecond)
		if p.alive() || s.probed() != probesMax {
			t.Errorf("%v: alive, though no probe was answered", kind)
		}
		p.greet()
		if !p.alive() {
			t.Errorf("%v: dead, though it speaks", kind)
		}
	}
}

// On a link with many neighbours nobody probes: a switch that dies makes no storm.
func TestSuspicion_ManyNeighboursAreNotProbed(t *testing.T) {
	s := newScript(t, nil)
	peers := []*peer{s.link(1, Wired)}
	for range 2 * suspectsMax {
		peers = append(peers, s.peer(1))
	}
	s.idle(20*time.Second, peers...)
	s.heard = nil
	s.pass(20 * time.Second)
	if n := s.probed(); n != 0 {
		t.Errorf("%d probes", n)
	}
	for _, p := range peers {
		if p.alive() {
			t.Errorf("%v is alive after 20 s", p.addr)
		}
	}
}
