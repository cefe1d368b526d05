package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"re6st/babel"
)

// Trial is one run of everything against one network: it converges from nothing,
// goes through a storm, converges again, rests, and takes single changes with
// long rests between them. What is not said follows from the seed.
type Trial struct {
	Seed     uint64
	Topology string // line, ring, star, grid, diamond, random, segments
	Kind     string // tunnel, wired, mixed
	Nodes    int
	Degree   int
	Hello    time.Duration // zero: the default
	Storm    time.Duration
	Changes  int // single ones, with rests between
	Faults   Faults
	Planted  babel.Fault
	Workers  int
	Trace    io.Writer
}

// Topologies are what a Trial can be made of.
var Topologies = []string{"random", "ring", "line", "grid", "diamond", "star", "segments"}

// Kinds are the kinds of its links.
var Kinds = []string{"tunnel", "wired", "mixed"}

// Result is what came out.
type Result struct {
	Trial    Trial
	Hash     uint64
	Links    int
	Diameter int
	Converge time.Duration // from nothing
	Heal     time.Duration // after the storm
	Longest  time.Duration // after a single change
	Stretch  Stretch
	Virtual  time.Duration
	Packets  int
	// RestartLoops are no failures: see World.RestartLoops.
	RestartLoops int
	Failures     []string
}

// Filled is the trial with what follows from the seed.
func (t Trial) Filled() Trial {
	r := rand.New(rand.NewPCG(t.Seed, 0x7a1a1))
	topology, kind := Topologies[r.IntN(len(Topologies))], Kinds[r.IntN(len(Kinds))]
	nodes, degree := 4+r.IntN(13), 3+r.IntN(4)
	if t.Topology == "" {
		t.Topology = topology
	}
	if t.Kind == "" {
		t.Kind = kind
	}
	if t.Nodes == 0 {
		t.Nodes = nodes
	}
	if t.Degree == 0 {
		t.Degree = degree
	}
	if t.Storm == 0 {
		t.Storm = 3 * time.Minute
	}
	if t.Changes == 0 {
		t.Changes = 4
	}
	if t.Faults == 0 {
		t.Faults = AllFaults
	}
	return t
}

// Command is what repeats the trial, with a trace.
func (t Trial) Command() string {
	t = t.Filled()
	s := fmt.Sprintf("go run ./scripts/sim -trace -seed %d -topology %s -kind %s -nodes %d -degree %d -storm %v -changes %d -faults %v",
		t.Seed, t.Topology, t.Kind, t.Nodes, t.Degree, t.Storm, t.Changes, t.Faults)
	if t.Faults == AllFaults {
		s = strings.Replace(s, t.Faults.String(), "all", 1)
	}
	if t.Hello > 0 {
		s += fmt.Sprint(" -hello ", t.Hello)
	}
	if t.Planted != babel.FaultNone {
		s += fmt.Sprint(" -plant ", t.Planted)
	}
	return s
}

// Build makes the network of a topology.
func (t Trial) Build(w *World) error {
	kind := LinkMaker(Tunnels)
	switch t.Kind {
	case "tunnel":
	case "wired":
		kind = Wires
	case "mixed":
		kind = func(w *World, a, b int) LinkConfig {
			if w.rand.IntN(2) == 0 {
				return Tunnels(w, a, b)
			}
			return Wires(w, a, b)
		}
	default:
		return fmt.Errorf("kind %q is none of %v", t.Kind, Kinds)
	}
	m := kind.With(func(c *LinkConfig) { c.Interface.HelloInterval = t.Hello })
	switch t.Topology {
	case "line":
		Line(w, t.Nodes, m)
	case "ring":
		Ring(w, t.Nodes, m)
	case "star":
		Star(w, t.Nodes, m)
	case "grid":
		Grid(w, t.Nodes, m)
	case "diamond":
		Diamond(w, t.Nodes, m)
	case "random":
		Random(w, t.Nodes, t.Degree, m)
	case "segments":
		// A tunnel has two ends: shared links are wired.
		Segments(w, t.Nodes, t.Degree, LinkMaker(Wires).With(func(c *LinkConfig) { c.Interface.HelloInterval = t.Hello }))
	default:
		return fmt.Errorf("topology %q is none of %v", t.Topology, Topologies)
	}
	return nil
}

// hello is the Hello interval H of the bounds.
func (t Trial) hello() time.Duration {
	if t.Hello > 0 {
		return t.Hello
	}
	return 4 * time.Second
}

// Run carries the trial out.
func (t Trial) Run() (Result, error) {
	t = t.Filled()
	w := New(Config{Seed: t.Seed, Workers: t.Workers, Fault: t.Planted, Trace: t.Trace})
	r := Result{Trial: t}
	if err := t.Build(w); err != nil {
		return r, err
	}
	r.Links, r.Diameter = len(w.links), w.Diameter()
	run := trialRun{Trial: t, Result: &r, w: w}
	run.converge()
	run.storm()
	run.rest()
	run.changes()
	run.finish()
	return r, nil
}

type trialRun struct {
	Trial
	*Result
	w     *World
	sizes []babel.Sizes
}

func (r *trialRun) fail(format string, args ...any) {
	what := fmt.Sprintf("%v: %s", r.w.now, fmt.Sprintf(format, args...))
	r.w.Tell("FAILED: %s", what)
	r.Failures = append(r.Failures, what)
}

func (r *trialRun) await(what string, most time.Duration) time.Duration {
	d, ok := r.w.Await(most, r.w.AllReach)
	if !ok {
		r.fail("%s: not connected within %v: %s", what, most, r.w.Unreached())
	}
	return d
}

// converge is from nothing: Hellos come at once and often.
func (r *trialRun) converge() {
	r.Converge = r.await("from nothing", r.HealBound())
	r.w.Run(5 * time.Minute)
	r.checkStretch("after convergence")
	r.noteSizes()
}

func (r *trialRun) storm() {
	r.w.Storm(r.Trial.Storm, 3*time.Second, r.Faults)
	most := r.HealBound()
	if r.Faults&RefuseRoutes != 0 {
		most += time.Minute // the longest wait before a route is tried again
	}
	r.Heal = r.await("after the storm", most)
}

// HealBound is reliability, section 3.2: a link heals within three Hellos, news
// travels, a newer seqno may have to be asked for, at worst three times.
func (r *trialRun) HealBound() time.Duration {
	return 3*r.hello() + time.Duration(r.Diameter)*200*time.Millisecond + 500*time.Millisecond + 14*time.Second
}

// LossBound is the same for a link that dies.
func (r *trialRun) LossBound() time.Duration {
	return r.hello()*5/2 + time.Duration(len(r.w.nodes))*200*time.Millisecond + 500*time.Millisecond + 14*time.Second
}

// rest: what came with the storm must go: the longest time for which anything is
// remembered is that of sources.
func (r *trialRun) rest() {
	r.w.Run(50 * time.Minute)
	r.checkStretch("at rest")
	r.checkSizes()
}

// changes are single ones, after rests in which sources are forgotten or about
// to be.
func (r *trialRun) changes() {
	w := r.w
	for range r.Trial.Changes {
		w.Run(time.Minute + time.Duration(w.rand.Int64N(int64(40*time.Minute))))
		l := w.links[w.rand.IntN(len(w.links))]
		w.Tell("single: link %d cut", l.Index)
		l.Cut(true)
		r.Longest = max(r.Longest, r.await("after a cut", r.LossBound()))
		w.Run(time.Minute + time.Duration(w.rand.Int64N(int64(40*time.Minute))))
		if s := w.Unreached(); s != "" {
			r.fail("long after a cut: %s", s)
		}
		w.Tell("single: link %d mended", l.Index)
		l.Cut(false)
		r.Longest = max(r.Longest, r.await("after a cut was mended", r.HealBound()))
	}
}

func (r *trialRun) finish() {
	r.w.Run(5 * time.Minute)
	if s := r.w.Unreached(); s != "" {
		r.fail("at the end: %s", s)
	}
	for _, v := range r.w.Violations() {
		r.Failures = append(r.Failures, v.String())
	}
	r.Hash, r.Virtual, r.RestartLoops = r.w.Hash(), r.w.now, r.w.restartLoops
	for _, n := range r.w.nodes {
		r.Packets += n.counters.Packets
	}
}

// stretchMax is the stated factor.
const stretchMax = 1 + slackShare

func (r *trialRun) checkStretch(when string) {
	s := r.w.Stretch()
	r.Result.Stretch = s
	if s.Worst > stretchMax {
		r.fail("%s: ways are up to %.2f times the shortest: %s", when, s.Worst, s.WorstPair)
	}
	if s.Metric > slackShare {
		r.fail("%s: metrics are wrong by up to %.2f: %s", when, s.Metric, s.MetricAt)
	}
}

func (r *trialRun) noteSizes() {
	for _, n := range r.w.nodes {
		r.sizes = append(r.sizes, n.engine.Sizes())
	}
}

// checkSizes: nothing that came stays. A periodic update may be under way at one
// instant, not at each. Which of several equal ways was chosen decides what split
// horizon hides: the number of routes has only its bound.
func (r *trialRun) checkSizes() {
	for i, n := range r.w.nodes {
		for try := 1; ; try++ {
			got, want := n.engine.Sizes(), r.sizes[i]
			if got.Entries == want.Entries && got.Neighbours == want.Neighbours && got.Sources <= got.Entries &&
				got.Routes <= got.Entries*got.Neighbours && got.Held+got.Flights+got.Requests+got.Queued == 0 {
				break
			}
			if try == 5 {
				r.fail("node %d stores %+v, before the storm %+v", i, got, want)
				break
			}
			r.w.Run(3 * time.Second)
		}
	}
}

// Diameter is in hops.
func (w *World) Diameter() int {
	most := 0
	for _, n := range w.nodes {
		far := w.hops(n)
		most = max(most, slices.Max(far))
	}
	return most
}

// hops is the number of hops from a node to all others, by working links.
func (w *World) hops(from *Node) []int {
	dist := make([]int, len(w.nodes))
	for i := range dist {
		dist[i] = -1
	}
	dist[from.Index] = 0
	line := []*Node{from}
	for len(line) > 0 {
		n := line[0]
		line = line[1:]
		for _, p := range n.ports {
			for _, e := range p.link.ends {
				if dist[e.n.Index] < 0 && p.link.carries(p.end, e.end) {
					dist[e.n.Index] = dist[n.Index] + 1
					line = append(line, e.n)
				}
			}
		}
	}
	return dist
}
