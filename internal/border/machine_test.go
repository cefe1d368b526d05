package border

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	start    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	network  = netip.MustParsePrefix("2001:db8:42::/48")
	second   = netip.MustParsePrefix("fd00:42::/32")
	network4 = netip.MustParsePrefix("10.42.0.0/16")
	foreign  = netip.MustParsePrefix("2001:db8:99::/48")
	nat64    = netip.MustParsePrefix("64:ff9b::/96")
)

func dual() Config {
	return Config{Networks: []netip.Prefix{network, network4, second}, IPv6: true, IPv4: true}
}

// a gateway under test: verbs in, wants out.
type player struct {
	t    testing.TB
	m    *Machine
	now  time.Time
	told map[Default]bool
	open [families]bool
}

func play(t testing.TB, c Config) *player {
	return &player{t: t, m: New(c), now: start, told: map[Default]bool{}}
}

func (p *player) drain() []Change {
	p.t.Helper()
	out := p.m.Output()
	p.open = out.Open
	for _, c := range out.Changes {
		if p.told[c.Default] == c.On {
			p.t.Fatalf("%v is said twice", c)
		}
		p.told[c.Default] = c.On
	}
	return out.Changes
}

func (p *player) report(f Family, isWell bool) []Change {
	p.t.Helper()
	p.m.Report(p.now, f, isWell, "a reason")
	return p.drain()
}

// pass lets time go on, from deadline to deadline.
func (p *player) pass(d time.Duration) {
	p.t.Helper()
	end := p.now.Add(d)
	for {
		at := p.m.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		if at.Before(p.now) {
			p.t.Fatalf("deadline %v is in the past", p.now.Sub(at))
		}
		p.now = at
		p.m.Advance(at)
		if again := p.m.Deadline(); !again.IsZero() && !again.After(at) {
			p.t.Fatalf("after Advance at its deadline, it is due still")
		}
		p.drain()
	}
	p.now = end
	p.m.Advance(end)
	p.drain()
}

func (p *player) want(sentence string, routes ...string) {
	p.t.Helper()
	var got []string
	for d, on := range p.told {
		if on {
			text := d.Prefix.String()
			if d.From.IsValid() {
				text += " from " + d.From.String()
			}
			got = append(got, text)
		}
	}
	slices.Sort(got)
	slices.Sort(routes)
	if !slices.Equal(got, routes) {
		p.t.Fatalf("%s: originated %q, want %q", sentence, got, routes)
	}
}

func TestDefaultsOfAHealthyGateway(t *testing.T) {
	p := play(t, dual())
	p.drain()
	p.want("nothing is known")
	p.report(IPv6, true)
	p.want("IPv6 has a source for each IPv6 network, IPv4 has not come yet", "::/0 from 2001:db8:42::/48", "::/0 from fd00:42::/32")
	p.report(IPv4, true)
	p.want("IPv4 has one plain default", "0.0.0.0/0", "::/0 from 2001:db8:42::/48", "::/0 from fd00:42::/32")
	p.m.Admit([]netip.Prefix{foreign, network4, foreign, network})
	p.drain()
	p.want("an admitted prefix is one more source, once", "0.0.0.0/0", "::/0 from 2001:db8:42::/48", "::/0 from 2001:db8:99::/48", "::/0 from fd00:42::/32")
	p.m.Admit(nil)
	if out := p.drain(); len(out) != 1 || out[0].On {
		t.Errorf("a prefix that is gone: %v, want one withdrawal", out)
	}
	p.m.Stop()
	p.drain()
	p.want("it stops")
	if p.open != [families]bool{} {
		t.Error("a stopped gateway is open")
	}
}

func TestFamiliesAreApart(t *testing.T) {
	p := play(t, dual())
	p.report(IPv4, true)
	p.report(IPv6, true)
	p.report(IPv6, false)
	p.want("IPv4 goes on", "0.0.0.0/0")
	if !p.open[IPv4] || p.open[IPv6] {
		t.Errorf("open %v", p.open)
	}
	off := dual()
	off.IPv4 = false
	p = play(t, off)
	p.report(IPv4, true)
	p.want("IPv4 is not offered")
	if p.open[IPv4] {
		t.Error("open in a family that is not offered")
	}
}

func TestNAT64GoesWithTheIPv4Upstream(t *testing.T) {
	p := play(t, Config{Networks: []netip.Prefix{network}, IPv6: true, NAT64: nat64})
	p.report(IPv6, true)
	p.want("IPv4 is not there", "::/0 from 2001:db8:42::/48")
	p.report(IPv4, true)
	p.want("it is", "::/0 from 2001:db8:42::/48", "64:ff9b::/96 from 2001:db8:42::/48")
	if p.open[IPv4] {
		t.Error("NAT64 opens no IPv4 default")
	}
	p.report(IPv4, false)
	p.want("it is not", "::/0 from 2001:db8:42::/48")
}

func TestWithdrawnAtOnceAndTakenBackAfterAWhile(t *testing.T) {
	p := play(t, dual())
	p.report(IPv6, true)
	held := time.Duration(0)
	for n := range 12 {
		p.pass(time.Second)
		if out := p.report(IPv6, false); len(out) != 2 || out[0].On || out[1].On {
			t.Fatalf("failure %d: %v, want both withdrawn at once", n, out)
		}
		p.pass(time.Second)
		p.report(IPv6, true)
		p.want("it has not been well for long")
		before := p.now
		for len(p.m.told) == 0 {
			p.pass(100 * time.Millisecond)
		}
		waited := p.now.Sub(before)
		if waited < held || waited > holdMax+time.Second {
			t.Fatalf("failure %d: waited %v after %v", n, waited, held)
		}
		held = waited
	}
	if held < holdMax {
		t.Errorf("after a dozen failures the wait is %v, want %v", held, holdMax)
	}
	p.pass(forgiveAfter * (flapsMax + 1))
	p.report(IPv6, false)
	p.report(IPv6, true)
	p.pass(holdFirst)
	p.want("what was long ago is forgotten", "::/0 from 2001:db8:42::/48", "::/0 from fd00:42::/32")
}

func TestFailsWhileItWaits(t *testing.T) {
	p := play(t, dual())
	p.report(IPv4, true)
	p.report(IPv4, false)
	p.report(IPv4, true)
	p.pass(holdFirst - time.Millisecond)
	p.report(IPv4, false)
	p.pass(time.Hour)
	p.want("a failed upstream is never taken")
	p.report(IPv4, true)
	p.pass(holdFirst - time.Millisecond)
	p.want("the wait begins anew")
	p.pass(time.Millisecond)
	p.want("and ends", "0.0.0.0/0")
}

func TestStatesTellWhy(t *testing.T) {
	p := play(t, Config{Networks: []netip.Prefix{network}, IPv6: true})
	if s := p.m.States(); s[IPv4].Why != "not offered" || s[IPv6].Why != "not known yet" || s[IPv6].Originated {
		t.Errorf("at first: %+v", s)
	}
	p.report(IPv6, true)
	if s := p.m.States()[IPv6]; !s.Well || !s.Originated || s.Why != "" {
		t.Errorf("well: %+v", s)
	}
	p.report(IPv6, false)
	if s := p.m.States()[IPv6]; s.Well || s.Originated || s.Why != "a reason" || s.Flaps != 1 {
		t.Errorf("failed: %+v", s)
	}
	p.report(IPv6, true)
	if s := p.m.States()[IPv6]; !s.Well || s.Originated || !strings.Contains(s.Why, "waiting") || s.Until != p.now.Add(holdFirst) {
		t.Errorf("waiting: %+v", s)
	}
}

func TestAdmittedIsBounded(t *testing.T) {
	p := play(t, dual())
	var many []netip.Prefix
	for i := range 2 * admittedMax {
		many = append(many, netip.MustParsePrefix(fmt.Sprintf("2001:db9:%x::/48", i)))
	}
	p.m.Admit(many)
	p.report(IPv6, true)
	if len(p.told) != admittedMax+2 {
		t.Errorf("%d defaults, want %d", len(p.told), admittedMax+2)
	}
}

// Whatever the upstreams do: what is withdrawn is so at once, nothing is open
// that is not originated, what stays well is used in the end, and the mesh hears
// of a bounded number of changes.
func TestPropertyFlappingDoesNotFlapTheMesh(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p := play(t, dual())
		announced := [families]int{}
		was := [families]bool{}
		count := func() {
			for f := range families {
				is := p.m.States()[f].Originated
				if is && !was[f] {
					announced[f]++
				}
				was[f] = is
				if p.open[f] != is {
					r.Fatalf("%v: open %v, originated %v", f, p.open[f], is)
				}
			}
		}
		var elapsed time.Duration
		for elapsed < 2*time.Hour {
			f := Family(rapid.IntRange(0, 1).Draw(r, "family"))
			isWell := rapid.Bool().Draw(r, "well")
			p.report(f, isWell)
			count()
			if !isWell && p.m.States()[f].Originated {
				r.Fatalf("%v failed and is still originated", f)
			}
			d := time.Duration(rapid.Int64Range(1, int64(3*time.Minute)).Draw(r, "pause"))
			if rapid.Bool().Draw(r, "short") {
				d /= 60
			}
			elapsed += d
			p.pass(d)
			count()
		}
		// 7 until the hold is at its largest, then one each time that long has
		// passed, and one more for each failure that was forgiven.
		limit := flapsMax + int(elapsed/holdMax) + 2*int(elapsed/forgiveAfter) + 1
		for f, n := range announced {
			if n > limit {
				r.Fatalf("%v was announced %d times in %v, at most %d", Family(f), n, elapsed, limit)
			}
		}
		p.report(IPv6, true)
		p.pass(holdMax)
		if !p.m.States()[IPv6].Originated {
			r.Fatalf("well for %v and not used", holdMax)
		}
	})
}
