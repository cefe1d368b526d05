package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// The names of systems in reports.
const (
	nameBare  = "bare link"
	nameStock = "wireguard-go"
	nameNode  = "re6st"
	nameRelay = "wireguard-go, our relay"
)

// contender is a system that can be had or not.
type contender struct {
	name     string
	needs    []string // programs
	make     func(l *lab.Lab, k int, c config) *system
	optional bool
	only     int // relays; 0: all that it can do
}

var contenders = []contender{
	{name: nameBare, make: func(l *lab.Lab, k int, _ config) *system { return bare(l, k) }},
	{name: nameStock, make: func(l *lab.Lab, k int, c config) *system {
		return wireGuard(l, k, nameStock, c.tunnels, stock, stock, stock, stock)
	}},
	{name: nameNode, optional: true, make: func(l *lab.Lab, k int, c config) *system { return nodes(l, k, 4, c.shortcut) }},
	{name: nameRelay, optional: true, only: 1, make: func(l *lab.Lab, k int, c config) *system {
		return wireGuard(l, k, nameRelay, c.tunnels, stock, ours, stock)
	}},
	{name: "nebula", optional: true, needs: []string{"nebula", "nebula-cert"}, make: func(l *lab.Lab, k int, _ config) *system { return nebula(l, k) }},
	{name: "yggdrasil", optional: true, needs: []string{"yggdrasil"}, make: func(l *lab.Lab, k int, _ config) *system { return yggdrasil(l, k) }},
}

func optional() []string {
	var out []string
	for _, c := range contenders {
		if c.optional {
			out = append(out, c.name)
		}
	}
	return out
}

// underlays are the modes: veth as it is, and without what passes large packets.
var underlays = []string{"offload", "plain"}

const (
	upWithin  = 60 * time.Second
	settling  = 3 * time.Second
	firstRate = 30000
)

// paths measures all systems in turn, on rows of hosts side by side. All daemons run
// all the time; those not in use are idle.
func paths(t lab.TB, c config, r *report) {
	chosen, _ := choose(c.systems, optional()) // was checked
	l := lab.New(t)
	var systems []*system
	for k, contender := range contenders {
		if contender.optional && !slices.Contains(chosen, contender.name) {
			continue
		}
		missing := func(err error) {
			r.Missing = append(r.Missing, fmt.Sprintf("%s: %v", contender.name, err))
			fmt.Fprintf(os.Stderr, "bench-dataplane: without %s: %v\n", contender.name, err)
		}
		if err := installed(contender.needs...); err != nil {
			missing(err)
			continue
		}
		s := contender.make(l, k, c)
		s.listen(c.self)
		if err := s.await(upWithin); err != nil {
			if len(contender.needs) == 0 { // ours, or what all is compared with
				t.Fatalf("%v", err)
			}
			missing(err)
			continue
		}
		systems = append(systems, s)
		for relays := range s.relays() + 1 {
			if contender.only != 0 && contender.only != relays {
				continue
			}
			for _, u := range underlays {
				r.Paths = append(r.Paths, &path{System: s.name, Underlay: u, Relays: relays, of: s})
			}
		}
	}
	<-time.After(settling) // what the start has cost is not the load's
	for _, s := range systems {
		if s.daemons != nil {
			r.Memory = append(r.Memory, &systemMemory{System: s.name, Idle: s.memory(t)})
		}
	}
	measureAll(t, c, r, r.Paths)
	for _, m := range r.Memory {
		for _, s := range systems {
			if s.name == m.System {
				m.Busy = s.memory(t)
			}
		}
	}
}

// systemMemory is what the daemons of a system hold, from end to end.
type systemMemory struct {
	System string     `json:"system"`
	Idle   []memoryOf `json:"idle"`
	Busy   []memoryOf `json:"busy"` // after all rounds
}

func (s *system) memory(t lab.TB) []memoryOf {
	var out []memoryOf
	for _, d := range s.daemons {
		m, err := readMemory(d.PID)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		out = append(out, m)
	}
	return out
}

// measureAll takes the paths in turn, those of one kind next to each other, every
// second round backwards: what grows warm or tired does so for all.
func measureAll(t lab.TB, c config, r *report, all []*path) {
	order := slices.Clone(all)
	slices.SortStableFunc(order, func(a, b *path) int {
		if d := slices.Index(underlays, a.Underlay) - slices.Index(underlays, b.Underlay); d != 0 {
			return d
		}
		return a.Relays - b.Relays
	})
	tm := timing{tcp: time.Second, warm: 250 * time.Millisecond, train: 250 * time.Millisecond, pings: 20, turns: 4}
	if c.quick {
		tm = timing{tcp: 600 * time.Millisecond, warm: 200 * time.Millisecond, train: 200 * time.Millisecond, pings: 20, turns: 2}
	}
	begun := time.Now()
	for round := range c.rounds {
		if took := time.Since(begun); round > 0 && took+took/time.Duration(round) > c.limit {
			r.Missing = append(r.Missing, fmt.Sprintf("%d of %d rounds: those before took %.0f s", c.rounds-round, c.rounds, took.Seconds()))
			return
		}
		for _, group := range groups(order) {
			switchAll(t, group, group[0].Underlay == "plain")
			rtt := roundTripsOf(t, r, group, tm)
			for _, p := range group {
				if err := interrupted(); err != nil {
					t.Fatalf("%v", err)
				}
				o, err := p.measure(c.self, tm, p.firstRate())
				if err != nil {
					r.fail(t, p, fmt.Errorf("round %d: %w", round+1, err))
				}
				o.RTT = rtt[p]
				// A round that failed keeps its place: ratios are by rounds.
				p.Rounds = append(p.Rounds, o)
			}
		}
		slices.Reverse(order)
	}
}

// groups are the neighbours of one underlay and so many relays.
func groups(order []*path) (out [][]*path) {
	for i, p := range order {
		if i > 0 && order[i-1].Underlay == p.Underlay && order[i-1].Relays == p.Relays {
			out[len(out)-1] = append(out[len(out)-1], p)
			continue
		}
		out = append(out, []*path{p})
	}
	return out
}

// roundTripsOf has a group take short turns: the round trip of an idle tunnel is that of
// a few wake-ups, and changes with all else that the machine does.
func roundTripsOf(t lab.TB, r *report, group []*path, tm timing) map[*path]float64 {
	all := map[*path][]float64{}
	for range tm.turns {
		for _, p := range group {
			us, err := p.ping(tm.pings)
			if err != nil {
				r.fail(t, p, err)
				continue
			}
			all[p] = append(all[p], us)
		}
	}
	out := map[*path]float64{}
	for p, us := range all {
		out[p] = measure.Median(us)
	}
	return out
}

// fail notes what could not be measured. A competitor's failure is not ours.
func (r *report) fail(t lab.TB, p *path, err error) {
	err = fmt.Errorf("%v: %w", p, err)
	r.Missing = append(r.Missing, err.Error())
	if ours := []string{nameBare, nameStock, nameNode, nameRelay}; slices.Contains(ours, p.System) {
		t.Errorf("%v", err)
	} else {
		fmt.Fprintf(os.Stderr, "bench-dataplane: %v\n", err)
	}
}

func switchAll(t lab.TB, all []*path, plain bool) {
	done := map[*system]bool{}
	for _, p := range all {
		if done[p.of] {
			continue
		}
		done[p.of] = true
		if err := p.of.plain(plain); err != nil {
			t.Fatalf("%s: %v", p.System, err)
		}
	}
}

// firstRate is near what was found before.
func (p *path) firstRate() float64 {
	if known := measure.Median(p.figures(func(o once) float64 { return o.PPS })); known > 0 {
		return 0.9 * known
	}
	return firstRate
}

// figures picks one figure of each round.
func (p *path) figures(pick func(once) float64) []float64 {
	var out []float64
	for _, o := range p.Rounds {
		out = append(out, pick(o))
	}
	return out
}
