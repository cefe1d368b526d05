package speaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"re6st/babel"
	"re6st/internal/kernel"
)

// FIB is the forwarding table: *kernel.Host, or its twin in tests. Apply carries
// the changes out in order and answers each; nil says that all were carried out.
// It does not keep the slice.
type FIB interface {
	Apply(changes []kernel.RouteChange) []error
}

// Config is what a Speaker is made of.
type Config struct {
	Engine babel.Config
	FIB    FIB
	// Table, Priority and Protocol are put into every route. Zero: the kernel
	// package's defaults.
	Table    uint32
	Priority uint32
	Protocol uint8
	// Reserve makes durable that every seqno before next may have been used; the
	// next life's Engine.Seqno is that. It returns when it is on disk. Nil: the
	// seqno does not survive.
	Reserve func(next uint16) error
	// Event is told what the engine reports, by the loop: it must not wait. Nil:
	// nobody is.
	Event func(babel.Event)
	Log   *slog.Logger

	listen func(babel.InterfaceConfig) (socket, error)
	alarm  func() alarm
}

// Speaker drives one engine.
type Speaker struct {
	config Config
	log    *slog.Logger
	inbox  chan datagram
	poke   chan struct{} // capacity 1: posts is not empty
	done   chan struct{} // closed when Run has returned

	mu        sync.Mutex
	posts     []func(now time.Time)
	isRunning bool // Run was called
	isDone    bool

	// Owned by the loop.
	engine  *babel.Engine
	sockets map[int]*port
	readers sync.WaitGroup
	backlog backlog
	halves  halves
	// bufferSize is the receive buffer that each socket has now.
	bufferSize int
	isFirst    bool // nothing was reserved yet
}

// inboxSize is how many datagrams wait for the loop; further ones wait in the
// sockets' own, larger, buffers.
const (
	inboxSize        = 64
	inboxWithBacklog = 4 // hold at most half of routesAtOnce
)

// New makes a speaker without interfaces. Nothing happens before Run.
func New(config Config) *Speaker {
	if config.listen == nil {
		config.listen, config.alarm = listen, newAlarm
	}
	if config.alarm == nil {
		config.alarm = newGoAlarm
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	return &Speaker{
		config:  config,
		log:     config.Log,
		inbox:   make(chan datagram, inboxSize),
		poke:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		engine:  babel.New(config.Engine),
		sockets: make(map[int]*port),
		isFirst: true,
	}
}

func (s *Speaker) String() string { return "babel" }

// errRunning is the answer to a second Run.
var errRunning = errors.New("running the speaker: it has run already")

// Run drives the engine until the context ends; then it lets the neighbours turn
// away, retracts everything, takes its routes out of the table and closes its
// sockets, which takes about a second. It returns nil after
// an orderly end. A Speaker runs once.
func (s *Speaker) Run(ctx context.Context) error {
	s.mu.Lock()
	was := s.isRunning
	s.isRunning = true
	s.mu.Unlock()
	if was {
		return errRunning
	}
	defer s.end()
	alarm := s.config.alarm()
	defer alarm.stop()
	done := ctx.Done()
	var drained <-chan time.Time
	for {
		if err := s.step(); err != nil {
			return err
		}
		alarm.set(s.engine.Deadline())
		select {
		case <-s.more():
		case <-done:
			done, drained = nil, s.drain()
		case <-drained:
			return s.retire()
		case <-s.poke:
		case d := <-s.inbox:
			s.receive(d)
		case <-alarm.rings():
		}
	}
}

// always is ready.
var always = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// more is ready while there is a backlog.
func (s *Speaker) more() <-chan struct{} {
	if s.backlog.isEmpty() {
		return nil
	}
	return always
}

const (
	// drainCost makes every way through us worse than any other, and leaves it
	// one: the metric stays finite over a dozen hops.
	drainCost = 8000
	// drainTime is for the neighbours to find other ways, a seqno request and its
	// answer included.
	drainTime = 800 * time.Millisecond
	// lingerTime is how long we forward after the retraction.
	lingerTime = 300 * time.Millisecond
	// farewells is how often the retraction is sent in that time: nobody
	// acknowledges it, and packets get lost.
	farewells = 3
)

// drain makes others route around us while we go on forwarding. Retracting at
// once would leave those without another feasible route with none, until their
// seqno request is answered. The channel says when it is enough.
func (s *Speaker) drain() <-chan time.Time {
	if len(s.sockets) == 0 {
		return time.After(0)
	}
	for index := range s.sockets {
		s.engine.SetExtraCost(time.Now(), index, drainCost)
	}
	return time.After(drainTime)
}

// retire retracts everything, goes on forwarding for a moment, and only then
// takes the routes out of the table.
func (s *Speaker) retire() error {
	s.engine.Stop(time.Now())
	out := s.engine.Output()
	isReserved, err := s.reserve(out)
	s.backlog.add(out.Routes)
	if isReserved && len(out.Packets) > 0 {
		ticker := time.NewTicker(lingerTime / farewells)
		defer ticker.Stop()
		for range farewells {
			s.send(out.Packets)
			<-ticker.C
		}
	}
	for !s.backlog.isEmpty() {
		s.applySome()
	}
	return err
}

// step does all that can be done now, so that the effects of many datagrams and
// posts go to the kernel together.
func (s *Speaker) step() error {
	// With a backlog: fewer, so that it becomes shorter and not longer. The rest
	// waits in the sockets' buffers.
	atOnce := inboxSize
	if !s.backlog.isEmpty() {
		atOnce = inboxWithBacklog
	}
	for range atOnce {
		select {
		case d := <-s.inbox:
			s.receive(d)
			continue
		default:
		}
		break
	}
	for _, post := range s.takePosts() {
		post(time.Now())
	}
	now := time.Now()
	if at := s.engine.Deadline(); !at.IsZero() && !at.After(now) {
		s.engine.Advance(now)
	}
	return s.carryOut()
}

// end leaves nothing behind: sockets closed, readers gone, callers released.
func (s *Speaker) end() {
	for index := range s.sockets {
		s.closePort(index)
	}
	stop := make(chan struct{})
	go func() {
		s.readers.Wait()
		close(stop)
	}()
	for isOver := false; !isOver; {
		select {
		case <-s.inbox: // a reader may be waiting to hand over
		case <-stop:
			isOver = true
		}
	}
	s.mu.Lock()
	s.isDone = true
	posts := s.posts
	s.posts = nil
	s.mu.Unlock()
	// Interfaces that were added too late still have sockets to close.
	for _, post := range posts {
		post(time.Time{})
	}
	close(s.done)
}

// post hands a piece of work to the loop. It never blocks. After Run has ended
// the work gets the zero time at once, and must only clean up.
func (s *Speaker) post(f func(now time.Time)) {
	s.mu.Lock()
	isDone := s.isDone
	if !isDone {
		s.posts = append(s.posts, f)
	}
	s.mu.Unlock()
	if isDone {
		f(time.Time{})
		return
	}
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

func (s *Speaker) takePosts() []func(time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	posts := s.posts
	s.posts = nil
	return posts
}

// input posts a call of the engine.
func (s *Speaker) input(f func(now time.Time)) {
	s.post(func(now time.Time) {
		if !now.IsZero() {
			f(now)
		}
	})
}

// Originate announces a prefix. A zero from means any source.
func (s *Speaker) Originate(prefix, from netip.Prefix, metric uint16) {
	s.input(func(now time.Time) { s.engine.Originate(now, prefix, from, metric) })
}

// Withdraw ends that.
func (s *Speaker) Withdraw(prefix, from netip.Prefix) {
	s.input(func(now time.Time) { s.engine.Withdraw(now, prefix, from) })
}

// FilterChanged says that the import filter may judge differently now.
func (s *Speaker) FilterChanged() {
	s.input(func(now time.Time) { s.engine.FilterChanged(now) })
}

// Snapshot is the engine's state; empty when the speaker does not run.
func (s *Speaker) Snapshot() babel.Snapshot {
	return ask(s, func(now time.Time) babel.Snapshot { return s.engine.Snapshot(now) })
}

// Interfaces are the interfaces and their counters; none when the speaker does
// not run.
func (s *Speaker) Interfaces() []babel.InterfaceState {
	return ask(s, func(time.Time) []babel.InterfaceState { return s.engine.Interfaces() })
}

// Neighbours are the neighbours and their links; none when the speaker does not
// run.
func (s *Speaker) Neighbours() []babel.NeighbourState {
	return ask(s, func(time.Time) []babel.NeighbourState { return s.engine.Neighbours() })
}

// Destinations is what can be reached; empty when the speaker does not run.
func (s *Speaker) Destinations() []babel.Destination {
	return ask(s, func(time.Time) []babel.Destination { return s.engine.Destinations() })
}

// ask has the loop answer a question.
func ask[T any](s *Speaker, f func(now time.Time) T) T {
	s.mu.Lock()
	isRunning := s.isRunning
	s.mu.Unlock()
	var none T
	if !isRunning {
		return none
	}
	answer := make(chan T, 1)
	s.post(func(now time.Time) {
		if now.IsZero() {
			answer <- none
			return
		}
		answer <- f(now)
	})
	return <-answer
}

// errReserve makes the first failure to reserve a seqno fatal: without it every
// restart would be believed by nobody, or worse.
func errReserve(err error) error { return fmt.Errorf("reserving Babel seqnos: %w", err) }
