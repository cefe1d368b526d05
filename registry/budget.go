package registry

import (
	"net/netip"
	"sync"
	"time"
)

// A budget limits failed attempts by the generic cell rate algorithm: one is
// given back every interval, and burst of them may be used at once. The zero
// time is a full budget.
type budget struct {
	interval time.Duration
	burst    int
}

var (
	// sourceBudget: 5 a minute, as many as an operator with a bad clipboard
	// needs, and 20 at once.
	sourceBudget = budget{interval: 12 * time.Second, burst: 20}
	// globalBudget bounds the work that many sources cause together.
	globalBudget = budget{interval: 50 * time.Millisecond, burst: 200}
)

// sourcesMax bounds the memory for sources: about 1 MB.
const sourcesMax = 10_000

// isSpent says whether nothing is left at now; until is the budget's state.
func (b budget) isSpent(until, now time.Time) bool {
	return until.Sub(now) > time.Duration(b.burst-1)*b.interval
}

// spend takes one, and gives the budget's new state.
func (b budget) spend(until, now time.Time) time.Time {
	if until.Before(now) {
		until = now
	}
	return until.Add(b.interval)
}

// budgets count failed attempts to enrol, by source and in all.
type budgets struct {
	mu      sync.Mutex
	sources map[netip.Prefix]time.Time
	global  time.Time
}

func newBudgets() *budgets { return &budgets{sources: map[netip.Prefix]time.Time{}} }

// sourceOf is what counts as one source: an IPv4 address, or the /56 that one
// customer usually has.
func sourceOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 56
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // all that have no address share one budget
	}
	return p
}

// allows says whether a source may try. The global budget is for those that
// have failed lately: guessers with many addresses do not lock out others.
func (b *budgets) allows(source netip.Prefix, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	until, hasFailed := b.sources[source]
	if !hasFailed || !until.After(now) {
		return true
	}
	return !sourceBudget.isSpent(until, now) && !globalBudget.isSpent(b.global, now)
}

// fail notes a failed attempt.
func (b *budgets) fail(source netip.Prefix, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.sources[source]; !known && len(b.sources) >= sourcesMax {
		b.makeRoomLocked(now)
	}
	b.sources[source] = sourceBudget.spend(b.sources[source], now)
	b.global = globalBudget.spend(b.global, now)
}

// makeRoomLocked forgets sources whose budget is full, and an arbitrary one
// where there is none.
func (b *budgets) makeRoomLocked(now time.Time) {
	for source, until := range b.sources {
		if !until.After(now) {
			delete(b.sources, source)
		}
	}
	for source := range b.sources {
		if len(b.sources) < sourcesMax {
			return
		}
		delete(b.sources, source)
	}
}
