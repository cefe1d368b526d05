package agent

import (
	"context"
	"sync"
	"time"
)

// mailbox is how others reach the loop: closures that run in its goroutine, in their order. It has no bound of its own:
// who posts is either the loop's own worker, of which there are few, or waits for the result.
type mailbox struct {
	filled chan struct{} // capacity 1: there is something; more than one signal says no more
	done   chan struct{} // closed when nobody will look any more

	mu     sync.Mutex // guards the fields below
	posts  []func(now time.Time)
	closed bool
}

func newMailbox() *mailbox {
	return &mailbox{filled: make(chan struct{}, 1), done: make(chan struct{})}
}

func (b *mailbox) post(f func(now time.Time)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.posts = append(b.posts, f)
	select {
	case b.filled <- struct{}{}:
	default:
	}
}

func (b *mailbox) take() []func(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.posts
	b.posts = nil
	return p
}

func (b *mailbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed, b.posts = true, nil
		close(b.done)
	}
}

// ask runs f in the loop and returns its result.
func ask[T any](ctx context.Context, b *mailbox, f func(now time.Time) T) (T, error) {
	result := make(chan T, 1) // capacity 1: the loop never waits for who asked
	b.post(func(now time.Time) { result <- f(now) })
	select {
	case v := <-result:
		return v, nil
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	case <-b.done:
		select {
		case v := <-result:
			return v, nil
		default:
		}
		var zero T
		return zero, errNotRunning
	}
}
