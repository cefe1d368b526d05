package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"re6st/addressing"
	"re6st/babel"
	"re6st/internal/identity"
	"re6st/internal/origin"
	"re6st/tunnel/agent"
	"re6st/tunnel/control"
)

const (
	// questionsMax is how many neighbours are asked for certificates at a time.
	questionsMax = 4
	// quietPause lies between questions that nothing but names waits for.
	quietPause = 500 * time.Millisecond
	// lookAtRoutesEvery finds nodes whose certificate is not at hand; it is longer
	// when the last look found none: the look costs a walk over all routes.
	lookAtRoutesEvery = 5 * time.Second
	lookWhenQuiet     = 15 * time.Second
	// rejudgePause lies between two times that Babel judges all routes anew.
	rejudgePause = 500 * time.Millisecond
	// dropPause lies between two times that it does so only to drop what cannot be
	// proved: it is not used meanwhile, and a neighbour could make us busy with it.
	dropPause = 30 * time.Second
	// remindEvery has Babel say again what waits: what it repeats it does not judge.
	remindEvery = 5 * time.Minute
	// heldMax bounds the examples of updates that wait for a certificate.
	heldMax = 4096
)

// A keeper gets the certificates that this node needs from its neighbours, and
// judges by them what Babel hears. The filter runs in Babel's loop, Met in the
// control API's handlers; all else is the keeper's own loop.
type keeper struct {
	claims *claims
	self   addressing.RouterID
	log    *slog.Logger

	fetch        func(ctx context.Context, index int, ids []addressing.RouterID) ([]identity.Node, error)
	tunnels      func() ([]agent.Tunnel, error)
	destinations func() []babel.Destination
	rejudge      func() // FilterChanged
	store        certificateStore

	poke chan struct{} // capacity 1: there is something new

	mu       sync.Mutex // guards the fields below; never held while another part is called
	wants    *origin.Wants
	held     map[heldKey]babel.Update // an example of what waits
	refusals refusals
	isStale  bool // Babel has to judge anew
	isDirty  bool // not all is on disk

	isDroppable bool // Babel holds what it would refuse now
}

type heldKey struct {
	id    addressing.RouterID
	index int
}

func newKeeper(c *claims, self addressing.RouterID, store certificateStore, log *slog.Logger) *keeper {
	return &keeper{
		claims: c, self: self, log: log, store: store, poke: make(chan struct{}, 1),
		wants: origin.NewWants(control.MaxCertificates), held: map[heldKey]babel.Update{}, refusals: newRefusals(),
	}
}

func (k *keeper) wake() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

// judge is Babel's import filter. A node's own prefix proves itself; anything
// else waits for the certificate of its router-id, which is asked for. Who was
// asked for the certificate of what he sent, and has none, is not waited for.
func (k *keeper) judge(u babel.Update) babel.Verdict {
	id := addressing.RouterID(u.RouterID)
	err := k.claims.why(u.Prefix, u.From, id)
	switch {
	case err == nil:
		return babel.Accept
	case errors.Is(err, origin.ErrUnknownSource):
		return babel.Hold // until somebody announces the source prefix
	}
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	// A later certificate may list what the one at hand does not.
	isHopeless := !errors.Is(err, origin.ErrUnknown) && !errors.Is(err, origin.ErrNotListed) && !errors.Is(err, origin.ErrNoGateway)
	if isHopeless || k.wants.Want(now, id, u.Interface, true) {
		k.refusals.note(now, u, err)
		k.wake()
		return babel.Refuse
	}
	if len(k.held) < heldMax {
		k.held[heldKey{id, u.Interface}] = u
	}
	k.wake()
	return babel.Hold
}

// Certificate is one that a neighbour asks for.
func (k *keeper) Certificate(id addressing.RouterID) ([]byte, bool) {
	n, ok := k.claims.Owner(id)
	return n.Raw, ok
}

// Met takes the certificate of a node that has just proved who it is.
func (k *keeper) Met(n identity.Node) { k.take(n) }

// take keeps a verified certificate; it reports whether that is news.
func (k *keeper) take(n identity.Node) bool {
	old, isKnown := k.claims.Owner(n.RouterID)
	if isKnown && bytes.Equal(old.Raw, n.Raw) || !k.claims.Add(n) {
		return false
	}
	k.mu.Lock()
	wasUrgent := k.wants.Got(n.RouterID)
	for key := range k.held {
		if key.id == n.RouterID {
			delete(k.held, key)
		}
	}
	if wasUrgent || !n.Rights.IsZero() || isKnown && (!old.Rights.IsZero() || old.IPv4 != n.IPv4) {
		k.isStale = true
	}
	k.isDirty = true
	k.mu.Unlock()
	k.wake()
	return true
}

// changed says that something else than a certificate made Babel's judgement
// stale.
func (k *keeper) changed() {
	k.mu.Lock()
	k.isStale = true
	k.mu.Unlock()
	k.wake()
}

// answer is what came of a question.
type answer struct {
	question origin.Question
	nodes    []identity.Node
	err      error
}

// run is the keeper's loop.
func (k *keeper) run(ctx context.Context) error {
	asking, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	defer k.save()
	l := keeperLoop{keeper: k, answers: make(chan answer, questionsMax), rejudged: time.Now().Add(-rejudgePause)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		l.chores(now)
		for {
			q, ok := l.next(now)
			if !ok {
				break
			}
			workers.Go(func() {
				nodes, err := k.fetch(asking, q.Neighbour, q.IDs)
				l.answers <- answer{q, nodes, err}
			})
		}
		timer.Reset(l.pause(now))
		select {
		case <-ctx.Done():
			return nil
		case <-k.poke:
		case <-timer.C:
		case a := <-l.answers:
			l.open--
			k.answered(time.Now(), a)
		}
	}
}

// answered takes what a neighbour sent. What it sent and cannot prove is refused
// from now on.
func (k *keeper) answered(now time.Time, a answer) {
	if a.err != nil {
		k.log.Debug("asking a neighbour for certificates", "index", a.question.Neighbour, "count", len(a.question.IDs), "err", a.err)
	}
	var got []addressing.RouterID
	for _, n := range a.nodes {
		if k.take(n) {
			got = append(got, n.RouterID)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range k.wants.Answered(now, a.question, got, a.err != nil) {
		key := heldKey{id, a.question.Neighbour}
		if u, ok := k.held[key]; ok {
			delete(k.held, key)
			k.refusals.note(now, u, k.claims.why(u.Prefix, u.From, id))
			k.isDroppable = true
		}
	}
}

// keeperLoop is what belongs to the loop alone.
type keeperLoop struct {
	*keeper
	answers    chan answer // capacity questionsMax: whoever asked never waits
	open       int         // questions under way
	neighbours []int       // interfaces of the tunnels
	names      map[int]string

	looksAt                          time.Time // when the routes are due to be looked at
	quiet, reported, rejudged, saved time.Time // when these were done last
}

// chores does what is due.
func (l *keeperLoop) chores(now time.Time) {
	l.look(now)
	l.report(now)
	if gone := l.claims.Expire(now); len(gone) > 0 {
		l.log.Info("certificates have ended", "count", len(gone), "first", gone[0].Name)
		l.changed()
	}
	l.mu.Lock()
	since := now.Sub(l.rejudged)
	isDue := l.isStale && since >= rejudgePause || l.isDroppable && since >= dropPause || len(l.held) > 0 && since >= remindEvery
	if isDue {
		l.isStale, l.isDroppable, l.rejudged = false, false, now
		clear(l.held)
	}
	l.mu.Unlock()
	if isDue {
		l.rejudge()
	}
	if now.Sub(l.saved) >= saveCertificatesEvery {
		l.saved = now
		l.save()
	}
}

// look finds the neighbours of now, and nodes that are reached and whose
// certificate is missing or was renewed, probably.
func (l *keeperLoop) look(now time.Time) {
	if now.Before(l.looksAt) && !l.hasStrangers() {
		return
	}
	l.looksAt = now.Add(lookAtRoutesEvery)
	tunnels, err := l.tunnels()
	if err != nil {
		return // the tunnels' loop is about to end
	}
	l.neighbours, l.names = l.neighbours[:0], map[int]string{}
	for _, t := range tunnels {
		if t.Index != 0 { // it has a device
			l.names[t.Index] = t.Peer
			l.neighbours = append(l.neighbours, t.Index)
		}
	}
	slices.Sort(l.neighbours)
	destinations := l.destinations()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range destinations {
		id := addressing.RouterID(d.RouterID)
		if id != l.self && addressing.RouterIDOf(d.Prefix) == id && !l.isFresh(now, id) {
			l.wants.Want(now, id, d.Interface, false)
		}
	}
	l.wants.Tidy(now, l.neighbours)
	if l.wants.Len() == 0 && len(l.neighbours) > 0 {
		l.looksAt = now.Add(lookWhenQuiet)
	}
	for key := range l.held {
		if !slices.Contains(l.neighbours, key.index) {
			delete(l.held, key)
		}
	}
}

// hasStrangers tells whether something came over a tunnel that was not there at
// the last look.
func (l *keeperLoop) hasStrangers() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range l.held {
		if _, ok := l.names[key.index]; !ok {
			return true
		}
	}
	return false
}

// isFresh is false when there is no certificate, and when three quarters of its
// life are over: then its owner has a new one.
func (l *keeperLoop) isFresh(now time.Time, id addressing.RouterID) bool {
	n, ok := l.claims.Owner(id)
	return ok && n.NotAfter.Sub(now) > n.NotAfter.Sub(n.NotBefore)/4
}

// next is a question that may be asked now.
func (l *keeperLoop) next(now time.Time) (origin.Question, bool) {
	if l.open >= questionsMax {
		return origin.Question{}, false
	}
	isQuietDue := now.Sub(l.quiet) >= quietPause
	l.mu.Lock()
	q, ok := l.wants.Next(now, l.neighbours, !isQuietDue)
	l.mu.Unlock()
	if ok {
		l.open++
		l.quiet = now
	}
	return q, ok
}

// pause is how long nothing will be due.
func (l *keeperLoop) pause(now time.Time) time.Duration {
	wake := l.looksAt
	if e := l.claims.nextExpiry(); !e.IsZero() && e.Before(wake) {
		wake = e.Add(time.Millisecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isStale {
		wake = earlier(wake, l.rejudged.Add(rejudgePause))
	}
	if d := l.wants.Deadline(); !d.IsZero() && l.open < questionsMax {
		if !d.After(now) { // not urgent, or nobody is free to be asked
			d = now.Add(quietPause)
		}
		wake = earlier(wake, d)
	}
	return max(wake.Sub(now), 10*time.Millisecond)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
