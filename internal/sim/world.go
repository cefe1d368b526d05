package sim

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"re6st/babel"
)

// Config is what a World is made of.
type Config struct {
	Seed    uint64
	Workers int         // processors to use; 0: one
	Fault   babel.Fault // planted in every engine
	Trace   io.Writer   // every event as a line; nil: none
}

// epoch is the start of virtual time.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// never is after everything.
const never = time.Duration(1<<63 - 1)

// World is a network. Its methods must not be called while Run runs, except by
// the actions that At has scheduled.
type World struct {
	config  Config
	rand    *rand.Rand
	now     time.Duration // since epoch
	nodes   []*Node
	links   []*Link
	agenda  agenda
	serial  int
	ahead   time.Duration // least latency of any link
	waiting schedule
	batch   []*Node
	moved   []*Node // whose next event may have changed
	changes []change
	lines   []line
	fib     forwarding
	faults  []Violation
	// restartLoops are those that a restart has made: see hasRestarted.
	restartLoops int
	fast         int // windows that ran on several processors
}

// Violation is something that must never happen.
type Violation struct {
	At   time.Duration
	What string
}

func (v Violation) String() string { return fmt.Sprintf("%v: %s", v.At, v.What) }

// New makes an empty world.
func New(config Config) *World {
	return &World{
		config: config,
		rand:   rand.New(rand.NewPCG(config.Seed, 0x5eed)),
		ahead:  never,
	}
}

// Now is the time since the world began.
func (w *World) Now() time.Duration { return w.now }

// Node is the node with that index.
func (w *World) Node(i int) *Node { return w.nodes[i] }

// Nodes are all of them.
func (w *World) Nodes() []*Node { return w.nodes }

// Link is the link with that index.
func (w *World) Link(i int) *Link { return w.links[i] }

// Links are all of them.
func (w *World) Links() []*Link { return w.links }

// Rand is the world's own chance: for topologies and faults.
func (w *World) Rand() *rand.Rand { return w.rand }

// RestartLoops counts loops through routers that had just restarted, unnoticed.
func (w *World) RestartLoops() int { return w.restartLoops }

// Violations are those of all oracles that watch at every instant.
func (w *World) Violations() []Violation { return w.faults }

func (w *World) violate(at time.Duration, format string, args ...any) {
	const most = 1000
	if len(w.faults) < most {
		w.faults = append(w.faults, Violation{at, fmt.Sprintf(format, args...)})
	}
}

// action is something that happens to the whole world at once.
type action struct {
	at     time.Duration
	serial int
	do     func()
}

type agenda []action

// At has the action done at the time, after what was scheduled for it before.
func (w *World) At(at time.Duration, do func()) {
	w.serial++
	a := action{max(at, w.now), w.serial, do}
	i, _ := slices.BinarySearchFunc(w.agenda, a, func(x, y action) int {
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.serial, y.serial))
	})
	w.agenda = slices.Insert(w.agenda, i, a)
}

// After is At, from now.
func (w *World) After(d time.Duration, do func()) { w.At(w.now+d, do) }

// Run lets time pass.
func (w *World) Run(d time.Duration) {
	until := w.now + d
	w.settle()
	for {
		next, planned := w.waiting.next(), never
		if len(w.agenda) > 0 {
			planned = w.agenda[0].at
		}
		switch {
		case min(next, planned) > until:
			w.now = until
			return
		case planned <= next:
			w.now = planned
			do := w.agenda[0].do
			w.agenda = slices.Delete(w.agenda, 0, 1)
			do()
		default:
			w.now = next
			w.window(min(window(next, w.ahead), planned, until+1))
		}
		w.settle()
	}
}

func window(from, ahead time.Duration) time.Duration {
	if ahead == never {
		return from + time.Millisecond
	}
	return from + ahead
}

// window runs every node up to the end. None can reach another within it.
func (w *World) window(end time.Duration) {
	w.batch = w.batch[:0]
	for w.waiting.next() < end {
		w.batch = append(w.batch, w.waiting.pop())
	}
	const worthwhile = 8
	if w.config.Workers > 1 && len(w.batch) >= worthwhile {
		w.spread(end)
	} else {
		for _, n := range w.batch {
			n.run(end)
		}
	}
	w.moved = append(w.moved, w.batch...)
	for _, n := range w.batch {
		w.now = max(w.now, n.now)
	}
}

// spread runs the batch on several processors.
func (w *World) spread(end time.Duration) {
	w.fast++
	var taken atomic.Int64
	var done sync.WaitGroup
	for range w.config.Workers {
		done.Go(func() {
			for {
				i := int(taken.Add(1)) - 1
				if i >= len(w.batch) {
					return
				}
				w.batch[i].run(end)
			}
		})
	}
	done.Wait()
}

// touch notes that something was done to a node from outside.
func (w *World) touch(n *Node) { w.moved = append(w.moved, n) }

// settle brings what the nodes did to the others, in an order that does not
// depend on who ran first.
func (w *World) settle() {
	if len(w.moved) == 0 {
		return
	}
	slices.SortFunc(w.moved, func(a, b *Node) int { return cmp.Compare(a.Index, b.Index) })
	w.moved = slices.Compact(w.moved)
	w.changes, w.lines = w.changes[:0], w.lines[:0]
	senders := len(w.moved)
	for _, n := range w.moved[:senders] {
		for i := range n.outbox {
			d := &n.outbox[i]
			to := d.to
			to.queue.push(d.delivery)
			w.moved = append(w.moved, to)
			*d = outgoing{}
		}
		n.outbox = n.outbox[:0]
		w.changes = append(w.changes, n.changes...)
		w.lines = append(w.lines, n.lines...)
		n.changes, n.lines = n.changes[:0], n.lines[:0]
		for _, what := range n.wrongs {
			w.violate(n.now, "node %d: %s", n.Index, what)
		}
		n.wrongs = n.wrongs[:0]
	}
	w.applyChanges()
	w.writeLines()
	for _, n := range w.moved {
		w.waiting.set(n, n.next())
	}
	w.moved = w.moved[:0]
}

func (w *World) applyChanges() {
	slices.SortStableFunc(w.changes, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.node, b.node))
	})
	for i := range w.changes {
		w.fib.apply(w, &w.changes[i])
	}
}

// Await runs until the condition holds, looking after every step in which a
// forwarding table changed, and says how long that took; or that the time was
// over.
func (w *World) Await(atMost time.Duration, cond func() bool) (time.Duration, bool) {
	const step = 10 * time.Millisecond
	begin, seen := w.now, -1
	for {
		if w.fib.version != seen {
			seen = w.fib.version
			if cond() {
				return w.now - begin, true
			}
		}
		if w.now-begin >= atMost {
			return w.now - begin, cond()
		}
		w.Run(step)
	}
}
