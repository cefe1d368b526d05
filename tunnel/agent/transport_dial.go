package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"re6st/tunnel/control"
)

// controlOfDial marks a TCP socket of ours before it connects.
func controlOfDial(mark uint32) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		return onFD(c, func(fd int) error { return setMark(fd, mark) })
	}
}

// dialled is the outcome of one protocol's attempt.
type dialled struct {
	protocol protocol
	conn     *conn
	err      error
}

// race connects over HTTP/3 and HTTP/2: the one that worked last time begins, the other follows after RaceDelay or when
// the first has failed, and the first good connection wins (after RFC 8305, section 5).
func (c *client) race(ctx context.Context, to target) (*conn, error) {
	d, err := c.t.door(to.overlay)
	if err != nil {
		return nil, err
	}
	if err := c.budget.allow(time.Now(), to, c.t.networks()); err != nil {
		return nil, err
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, c.t.limits.DialTime)
	defer cancel() // ends the loser
	order := c.order(to)
	results := make(chan dialled, len(order))
	begin := func(p protocol) {
		if !c.t.enter() {
			results <- dialled{p, nil, errStopped}
			return
		}
		go func() {
			defer c.t.leave()
			results <- c.dialOne(ctx, d, to, p)
		}()
	}
	begin(order[0])
	begun, ended := 1, 0
	head := time.NewTimer(c.t.limits.RaceDelay)
	defer head.Stop()
	var failures []error
	for ended < begun || begun < len(order) {
		select {
		case <-head.C:
		case r := <-results:
			ended++
			if r.err == nil {
				c.reap(results, begun-ended)
				c.won(to, r.protocol)
				c.budget.succeeded(to)
				return r.conn, nil
			}
			failures = append(failures, fmt.Errorf("%s: %w", r.protocol, r.err))
			if _, fatal := errors.AsType[*identityError](r.err); fatal || ctx.Err() != nil {
				c.reap(results, begun-ended)
				c.lost(caller, to)
				return nil, errors.Join(failures...)
			}
		}
		if begun < len(order) {
			begin(order[begun])
			begun++
		}
	}
	c.lost(caller, to)
	return nil, errors.Join(failures...)
}

// lost counts a failure, unless the caller has lost interest: that says nothing about the endpoint.
func (c *client) lost(caller context.Context, to target) {
	if !errors.Is(caller.Err(), context.Canceled) {
		c.budget.failed(time.Now(), to)
	}
}

func (c *client) dialOne(ctx context.Context, d *door, to target, p protocol) dialled {
	dial := c.dialQUIC
	if p == overTCP {
		dial = c.dialTCP
	}
	conn, err := dial(ctx, d, to)
	return dialled{p, conn, err}
}

// reap closes what the losers still bring.
func (c *client) reap(results <-chan dialled, n int) {
	for range n {
		if !c.t.enter() {
			return // the loser leaves its connection to the end of its socket
		}
		go func() {
			defer c.t.leave()
			if r := <-results; r.conn != nil {
				r.conn.abort()
			}
		}()
	}
}

// worked remembers the protocol that a target answered on, for a while: UDP that is blocked may be opened again.
type worked struct {
	protocol protocol
	until    time.Time
}

const workedTime = 10 * time.Minute

func (c *client) order(to target) []protocol {
	c.mu.Lock()
	defer c.mu.Unlock()
	order := slices.Clone(c.protocols)
	if w, ok := c.worked.get(keyOf(to)); ok && time.Now().Before(w.until) && w.protocol != order[0] {
		slices.Reverse(order)
	}
	return order
}

func (c *client) won(to target, p protocol) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.worked.put(keyOf(to), worked{p, time.Now().Add(workedTime)})
}

// budget bounds what others can make us send to a third party by naming its address (reliability.md T-14): three tries,
// then a back-off that doubles; and a rate for all of them together. Targets in the mesh are not counted.
type budget struct {
	limits transportLimits

	mu       sync.Mutex // guards all below
	all      *rate.Limiter
	failures *lru[netip.AddrPort, *failure]
}

type failure struct {
	count int
	until time.Time
}

const (
	triesBeforeBackoff = 3
	failuresKept       = 4096
)

func newBudget(l transportLimits) *budget {
	return &budget{
		limits: l, all: rate.NewLimiter(rate.Limit(l.Dials), l.DialBurst),
		failures: newLRU[netip.AddrPort, *failure](failuresKept),
	}
}

var errBudget = errors.New("too many connections begun at once; later")

// allow refuses what must not be dialled now, or ever.
func (b *budget) allow(now time.Time, to target, networks []netip.Prefix) error {
	if to.overlay {
		return nil
	}
	// Loopback and link-local are the operator's or the LAN's business, they cannot come from a message.
	for _, n := range networks {
		if n.Contains(to.addr.Addr().Unmap()) {
			return fmt.Errorf("%v is inside the mesh: %w", to.addr, control.Refuse(control.Invalid, "not an endpoint"))
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if f, ok := b.failures.get(to.addr); ok && now.Before(f.until) {
		return fmt.Errorf("no answer %d times, next try in %v", f.count, f.until.Sub(now).Round(time.Millisecond))
	}
	if !b.all.AllowN(now, 1) {
		return errBudget
	}
	return nil
}

func (b *budget) failed(now time.Time, to target) {
	if to.overlay {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	f, ok := b.failures.get(to.addr)
	if !ok {
		f = new(failure)
		b.failures.put(to.addr, f)
	}
	if f.count++; f.count >= triesBeforeBackoff {
		f.until = now.Add(min(b.limits.BackoffMin<<min(f.count-triesBeforeBackoff, 16), b.limits.BackoffMax))
	}
}

func (b *budget) succeeded(to target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures.remove(to.addr)
}
