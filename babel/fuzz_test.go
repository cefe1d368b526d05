package babel

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"re6st/babel/wire"
)

// Arbitrary inputs in an arbitrary order: never a panic, and the invariants of
// player.check hold after each.
func FuzzT13_A18_Inputs(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"))
	for seed := range uint64(20) {
		f.Add(randomBytes(seed, 400))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := play(b, FaultNone, nil); err != nil {
			t.Fatal(err)
		}
	})
}

// Arbitrary octets as packets of two neighbours, which are known already: each
// begins with its length, and whose it is.
func FuzzT13_A18_Engine(f *testing.F) {
	f.Add([]byte{20, 0x04, 0x06, 0, 0, 0, 1, 0, 100, 0x05, 0x06, 0, 0, 0, 96, 0, 100})
	f.Add([]byte{40, 0x06, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0x08, 0x12, 2, 0x80, 64, 0, 0, 100, 0, 1, 0, 96, 0x20, 1, 0xd, 0xb8, 0, 0x42, 0, 1})
	f.Add([]byte{20, 0x09, 0x02, 0, 0, 0x0a, 0x0e, 2, 0, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 9})
	for seed := range uint64(5) {
		f.Add(randomBytes(seed, 300))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		z := newPlayer(nil, FaultNone)
		for index := 1; index <= 2; index++ {
			for i := range uint16(3) {
				z.hello(index, 1, i)
			}
		}
		for len(b) > 0 {
			n := min(int(b[0]&0x7f), len(b)-1)
			body, index := b[1:1+n], int(b[0]>>7)+1
			b = b[1+n:]
			z.deliver(index, z.peer(1), wire.Group(), append([]byte{42, 2, 0, byte(n)}, body...))
			z.now = z.now.Add(50 * time.Millisecond)
			z.e.Advance(z.now)
			if err := z.settle(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The same as FuzzT13_A18_Inputs with long random inputs, of which more get deep.
func TestT13_RandomInputs(t *testing.T) {
	steps := 0
	for seed := range *seeds * 20 {
		err := play(randomBytes(seed, 6000), FaultNone, func(*player) { steps++ })
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	t.Log(steps, "inputs")
}

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// A test of the tests: faults in the engine, and state that is out of step, are
// found by the checker, in a few random inputs, and as what they are.
func TestT13_CheckerFindsFaults(t *testing.T) {
	corruptions := []struct {
		name    string
		fault   Fault
		corrupt func(e *Engine)
		want    string
	}{
		{"infeasible routes are selected", FaultFeasibility, nil, "not feasible"},
		{"updates leave before the source table knows", FaultSource, nil, "source table"},
		{"a source is forgotten", FaultNone, onEntry(func(p *entry) { p.source = source{} }), "source table"},
		{"a selected route is held by the filter", FaultNone, onEntry(func(p *entry) {
			if r := p.selected(); r != nil {
				r.setVerdict(Hold)
			}
		}), "selected"},
		{"the best route is not selected", FaultNone, onEntry(func(p *entry) { p.chosen = 0 }), ""},
		{"a metric is wrong", FaultNone, onEntry(func(p *entry) {
			for i := range p.routes {
				p.routes[i].metric ^= 1
			}
		}), "metric"},
		{"the forwarding table was not told", FaultNone, onEntry(func(p *entry) { p.installed = 0 }), "table"},
		{"a route is not listed by its neighbour", FaultNone, onEntry(func(p *entry) {
			for i := range p.routes {
				p.routes[i].slot++
			}
		}), "slot"},
		{"an alarm is lost", FaultNone, func(e *Engine) { e.alarms = nil }, "alarm"},
		{"a timer is lost", FaultNone, func(e *Engine) { e.timers = nil }, "timer"},
		{"routes are miscounted", FaultNone, func(e *Engine) { e.routeCount++ }, "routes counted"},
		{"a destination is counted for nobody", FaultNone, func(e *Engine) { clear(e.budgets.founders) }, "founded"},
		{"too many requests", FaultNone, onEntry(func(p *entry) {
			for range requestsMax + 1 {
				p.extra().requests = append(p.extra().requests, &request{})
			}
		}), "requests"},
		{"a next hop is miscounted", FaultNone, func(e *Engine) {
			for _, l := range e.links {
				for _, n := range l.neighbours {
					for i := range n.hops {
						n.hops[i].users += 2
					}
				}
			}
		}, "next hop"},
		{"a link sends more than its MTU", FaultNone, func(e *Engine) {
			for _, l := range e.links {
				l.reserved = -200
			}
		}, "octets"},
	}
	for _, c := range corruptions {
		found := map[string]bool{}
		for seed := range uint64(40) {
			steps := 0
			err := play(randomBytes(seed, 3000), c.fault, func(z *player) {
				if steps++; c.corrupt != nil && steps >= 20+int(seed)*5 {
					c.corrupt(z.e)
				}
			})
			if err != nil {
				found[err.Error()] = true
			}
		}
		isNamed := false
		for text := range found {
			isNamed = isNamed || strings.Contains(text, c.want)
		}
		if !isNamed {
			t.Errorf("%s: not found as %q, but %v", c.name, c.want, found)
		}
	}
}

func onEntry(f func(p *entry)) func(e *Engine) {
	return func(e *Engine) {
		for p := range e.entries.each() {
			f(p)
		}
	}
}

var fuzzPrefix4 = netip.MustParsePrefix("198.51.100.0/24")
