package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Apply carries the changes out in order, many to a system call, and answers
// each: nil, or why the kernel refused. An added route is kept, by Watch, until
// it is deleted. Deleting what this Host has not added is no error and does
// nothing. The slice is not kept.
func (h *Host) Apply(changes []RouteChange) []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.applyLocked(changes)
}

func (h *Host) applyLocked(changes []RouteChange) []error {
	b := routeBatch{host: h, changes: changes, answers: make([]error, len(changes)), requests: h.socket.begin()}
	defer b.requests.end()
	for i, c := range changes {
		r := c.Route.normal()
		if c.Delete {
			b.delete(i, r)
		} else {
			b.add(i, r)
		}
	}
	b.flush()
	return b.answers
}

// routeBatch notes each change as done before the kernel has seen it, so that a
// later change of the same batch finds what will be there, and takes it back
// where the kernel refuses.
type routeBatch struct {
	host     *Host
	changes  []RouteChange
	answers  []error
	requests *requests
	sent     []sentChange // since the last flush: one a request
	replaced []Route
	scratch  message
}

type sentChange struct {
	change   int // index; -1: no one asked
	replaced int // index of the route that was there before; -1: none
}

func (b *routeBatch) add(i int, r Route) {
	if b.answers[i] = r.check(); b.answers[i] != nil {
		return
	}
	s := sentChange{i, -1}
	if old, isReplaced := b.host.wanted.put(r); isReplaced {
		s.replaced = len(b.replaced)
		b.replaced = append(b.replaced, old)
	}
	b.scratch = appendAddRoute(b.scratch, r)
	b.queue(s)
}

func (b *routeBatch) delete(i int, r Route) {
	byKey := r
	byKey.Type = Unreachable // the key alone matters
	if b.answers[i] = byKey.check(); b.answers[i] != nil {
		return
	}
	if !b.host.wanted.delete(r.key()) {
		return // nothing to do, and asking would do harm: see below
	}
	b.scratch = appendDeleteRoute(b.scratch, r)
	b.queue(sentChange{i, -1})
	// Where the kernel has no entry with this source, it deletes the one without
	// a source (fib6_locate falls back to the destination's node; seen on 6.18).
	// Who else took ours away we learn later than now: so the plain one is put
	// back, which changes nothing where it still is.
	if !r.Src.IsValid() {
		return
	}
	plain := r.key()
	plain.src = Route{}.Src
	if old, ok := b.host.wanted.get(plain); ok {
		b.scratch = appendAddRoute(b.scratch, old)
		b.queue(sentChange{-1, -1})
	}
}

func (b *routeBatch) queue(s sentChange) {
	b.sent = append(b.sent, s)
	if b.requests.add(b.scratch) {
		b.flush()
	}
}

func (b *routeBatch) flush() {
	b.requests.flush(func(n int, err error) {
		if s := b.sent[n]; s.change >= 0 {
			b.answers[s.change] = b.refused(s, err)
		}
	})
	b.sent, b.replaced = b.sent[:0], b.replaced[:0]
}

// refused settles a change that the kernel did not carry out.
func (b *routeBatch) refused(s sentChange, err error) error {
	c := b.changes[s.change]
	r := c.Route.normal()
	if c.Delete {
		if isAbsent(err) {
			return nil
		}
		return fmt.Errorf("deleting route %v: %w", r, err)
	}
	// A route that was there under the same key has not been replaced. A later
	// change of the batch counts for more.
	if now, there := b.host.wanted.get(r.key()); there && now == r {
		if s.replaced >= 0 {
			b.host.wanted.put(b.replaced[s.replaced])
		} else {
			b.host.wanted.delete(r.key())
		}
	}
	return fmt.Errorf("adding route %v: %w", r, err)
}

// isAbsent says that the entry, or its whole table, is not there.
func isAbsent(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}
