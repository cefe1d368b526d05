package border

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// echoes runs a probe in virtual time against a target; answers says whether the
// echo sent at a time is answered.
func echoes(p *Probe, now time.Time, span time.Duration, rtt time.Duration, answers func(at time.Time) bool, each func(now time.Time, sent int)) time.Time {
	type answer struct{ at time.Time }
	var coming []answer
	sent := 0
	end := now.Add(span)
	for now.Before(end) {
		for len(coming) > 0 && !coming[0].at.After(now) {
			p.Answered(now)
			coming = coming[1:]
		}
		if !p.Next(now).After(now) {
			p.Sent(now)
			sent++
			if answers(now) {
				coming = append(coming, answer{now.Add(rtt)})
			}
		}
		if each != nil {
			each(now, sent)
		}
		now = now.Add(10 * time.Millisecond)
	}
	return now
}

func always(time.Time) bool { return true }
func never(time.Time) bool  { return false }

func TestProbeOfALivingTargetIsCalm(t *testing.T) {
	var p Probe
	n := 0
	now := echoes(&p, start, time.Minute, 300*time.Millisecond, always, func(_ time.Time, sent int) { n = sent })
	if p.Sign(now) != Alive || n < 55 || n > 65 {
		t.Errorf("%v after a minute and %d echoes, want about 60", p.Sign(now), n)
	}
}

func TestProbeKnowsDeathInTime(t *testing.T) {
	var p Probe
	now := echoes(&p, start, 10*time.Second, 20*time.Millisecond, always, nil)
	died := now
	var known time.Duration
	echoes(&p, now, 10*time.Second, 0, never, func(at time.Time, _ int) {
		if known == 0 && p.Sign(at) == Dead {
			known = at.Sub(died)
		}
	})
	if known == 0 || known > 4*time.Second || known < 2*time.Second {
		t.Errorf("death was known after %v", known)
	}
	now = echoes(&p, now.Add(10*time.Second), 3*time.Second, 20*time.Millisecond, always, nil)
	if p.Sign(now) != Alive {
		t.Errorf("it answers again, and is %v", p.Sign(now))
	}
}

func TestProbeTellsNothingTooEarly(t *testing.T) {
	var p Probe
	if p.Sign(start) != Unknown {
		t.Errorf("before any echo: %v", p.Sign(start))
	}
	now := echoes(&p, start, 2*time.Second, 0, never, nil)
	if p.Sign(now) != Unknown {
		t.Errorf("after two seconds: %v", p.Sign(now))
	}
	now = echoes(&p, now, 3*time.Second, 0, never, nil)
	if p.Sign(now) != Dead {
		t.Errorf("after five: %v", p.Sign(now))
	}
}

// A path that loses 20 % in each direction is not a dead one.
func TestProbeBearsLoss(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var p Probe
	deaths := 0
	echoes(&p, start, 6*time.Hour, 50*time.Millisecond, func(time.Time) bool { return rng.Float64() > 0.36 }, func(now time.Time, _ int) {
		if p.Sign(now) == Dead {
			deaths++
		}
	})
	if deaths != 0 {
		t.Errorf("dead at %d of the looks in 6 hours", deaths)
	}
}

func TestJudge(t *testing.T) {
	good := Upstream{Interface: "eth0", Exists: true, Carrier: true, Default: true, NextHop: netip.MustParseAddr("192.0.2.1"), Neighbour: Alive}
	far := netip.MustParseAddr("198.51.100.1")
	with := func(change func(*Upstream)) Upstream {
		u := good
		change(&u)
		return u
	}
	for _, c := range []struct {
		name string
		in   Upstream
		why  string // part of it; empty: well
	}{
		{"all is well", good, ""},
		{"no upstream at all", Upstream{}, "no default route"},
		{"a named interface that is absent", Upstream{Interface: "wan"}, "wan does not exist"},
		{"no carrier", with(func(u *Upstream) { u.Carrier = false }), "no carrier"},
		{"the default is gone", with(func(u *Upstream) { u.Default = false }), "no default route by eth0"},
		{"next hop not heard", with(func(u *Upstream) { u.Neighbour = Unknown }), "not answered yet"},
		{"next hop dead", with(func(u *Upstream) { u.Neighbour = Dead }), "192.0.2.1 on eth0 does not answer"},
		{"check dead", with(func(u *Upstream) { u.Checks = []Check{{far, Dead}} }), "no answer from 198.51.100.1"},
		{"check early", with(func(u *Upstream) { u.Checks = []Check{{far, Dead}, {far, Unknown}} }), "no answer yet"},
		{"one of two answers", with(func(u *Upstream) { u.Checks = []Check{{far, Dead}, {far, Alive}} }), ""},
		{"something else is missing", with(func(u *Upstream) { u.Missing = "no NAT" }), "no NAT"},
	} {
		isWell, why := Judge(c.in)
		if isWell != (c.why == "") || !strings.Contains(why, c.why) {
			t.Errorf("%s: %v %q, want %q", c.name, isWell, why, c.why)
		}
	}
}
