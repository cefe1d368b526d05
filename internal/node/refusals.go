package node

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"re6st/addressing"
	"re6st/babel"
	"re6st/internal/origin"
	"re6st/internal/status"
)

const (
	// refusalsMax bounds what is remembered of routes that were refused.
	refusalsMax = 256
	// refusalTime is how long one is: three times as long as tunnels' updates are
	// apart.
	refusalTime = 15 * time.Minute
	// reportPause lies between two looks at them for the log.
	reportPause = time.Second
	// culpritsMax bounds what status says of them.
	culpritsMax = 8
)

// refusals are the routes that neighbours announced and nothing proves. Its owner
// holds the lock.
type refusals struct {
	total  uint64
	recent map[refusalKey]*refusal
	told   map[int]time.Time // when the log last heard of an interface
}

type refusalKey struct {
	index        int
	prefix, from netip.Prefix
	id           addressing.RouterID
}

type refusal struct {
	count       int
	first, last time.Time
	why         error
}

func newRefusals() refusals {
	return refusals{recent: map[refusalKey]*refusal{}, told: map[int]time.Time{}}
}

func (r *refusals) note(now time.Time, u babel.Update, why error) {
	r.total++
	key := refusalKey{u.Interface, u.Prefix, u.From, addressing.RouterID(u.RouterID)}
	known := r.recent[key]
	if known == nil {
		if len(r.recent) >= refusalsMax {
			return // counted, and its culprit is known for others
		}
		known = &refusal{first: now}
		r.recent[key] = known
	}
	known.count, known.last, known.why = known.count+1, now, why
}

func (r *refusals) forget(now time.Time) {
	maps.DeleteFunc(r.recent, func(_ refusalKey, x *refusal) bool { return now.Sub(x.last) > refusalTime })
	maps.DeleteFunc(r.told, func(_ int, at time.Time) bool { return now.Sub(at) > refusalTime })
}

// culprit is a neighbour with what it announced.
type culprit struct {
	index  int
	count  int
	routes int
	key    refusalKey // the first of them
	refusal
}

func (r *refusals) culprits() []culprit {
	byIndex := map[int]*culprit{}
	for key, x := range r.recent {
		c := byIndex[key.index]
		if c == nil {
			c = &culprit{index: key.index, key: key, refusal: *x}
			byIndex[key.index] = c
		} else if isBefore := cmp.Or(x.first.Compare(c.first), addressing.ComparePrefixes(key.prefix, c.key.prefix)) < 0; isBefore {
			c.key, c.refusal = key, *x
		}
		c.count += x.count
		c.routes++
	}
	return slices.SortedFunc(func(yield func(culprit) bool) {
		for _, c := range byIndex {
			if !yield(*c) {
				return
			}
		}
	}, func(a, b culprit) int { return cmp.Compare(a.index, b.index) })
}

// report tells the log of each culprit once.
func (l *keeperLoop) report(now time.Time) {
	if now.Sub(l.reported) < reportPause {
		return
	}
	l.reported = now
	l.mu.Lock()
	l.refusals.forget(now)
	var news []culprit
	if len(l.refusals.recent) > 0 {
		for _, c := range l.refusals.culprits() {
			if _, ok := l.refusals.told[c.index]; !ok {
				l.refusals.told[c.index] = now
				news = append(news, c)
			}
		}
	}
	l.mu.Unlock()
	for _, c := range news {
		l.log.Warn("a neighbour announces what it cannot prove; such routes are not used (more: re6stnode status)",
			"peer", l.names[c.index], "prefix", c.key.prefix, "from", c.key.from, "router_id", c.key.id, "why", c.why)
	}
}

// health is what status says of refused routes. names are those of the peers, by
// interface.
func (k *keeper) health(names map[int]string) []status.Health {
	k.mu.Lock()
	culprits := k.refusals.culprits()
	k.mu.Unlock()
	var list []status.Health
	for i, c := range culprits {
		if i == culpritsMax {
			list = append(list, status.Health{Code: "unproved-route", Text: fmt.Sprintf("and %d other neighbours", len(culprits)-i)})
			break
		}
		list = append(list, status.Health{Code: "unproved-route", Text: k.describe(c, cmp.Or(names[c.index], "a neighbour that is gone"))})
	}
	return list
}

func (k *keeper) describe(c culprit, peer string) string {
	what := c.key.prefix.String()
	if c.key.from.IsValid() {
		what += " from " + c.key.from.String()
	}
	as := c.key.id.String()
	if n, ok := k.claims.Owner(c.key.id); ok {
		as = n.Name
	}
	why := c.why
	if errors.Is(why, origin.ErrUnknown) {
		why = errors.New("it has no certificate of that node to show")
	}
	text := fmt.Sprintf("%s announces %s as %s, which is refused: %v", peer, what, as, why)
	if c.routes > 1 {
		text += fmt.Sprintf(" (and %d more routes)", c.routes-1)
	}
	return text
}

func (k *keeper) refused() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.refusals.total
}
