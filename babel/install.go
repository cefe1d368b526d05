package babel

import (
	"fmt"
	"time"
)

// installation is what the forwarding table has for an entry.
type installation struct {
	installed    Route
	hasInstalled bool
	isUnknown    bool  // a change failed: what is there must be said again
	isChanged    bool  // in Engine.changed
	failed       Route // of the last failure
	retryAt      time.Time
	retryWait    time.Duration
}

const (
	retryWaitMin = time.Second
	retryWaitMax = time.Minute
)

func (p *entry) markChanged() {
	if !p.isChanged {
		p.isChanged = true
		p.e.changed = append(p.e.changed, p)
	}
}

// wanted is what the forwarding table should have.
func (p *entry) wanted() (Route, bool) {
	switch {
	case p.own != nil:
		// What is ours is in the host's own tables.
		return Route{}, false
	case p.selected != nil:
		r := p.selected
		return Route{Prefix: p.prefix, From: p.from, NextHop: r.nextHop, Interface: r.n.link.Index}, true
	case p.isHeld:
		return Route{Prefix: p.prefix, From: p.from, Unreachable: true}, true
	}
	return Route{}, false
}

// install says the difference between what is wanted and what is installed.
func (p *entry) install(out *Output) {
	want, isWanted := p.wanted()
	if !p.isUnknown && isWanted == p.hasInstalled && want == p.installed {
		p.collect()
		return
	}
	if p.isUnknown && !p.retryAt.IsZero() && (!isWanted || want == p.failed) {
		return // it has just failed: not before its time
	}
	change := RouteChange{Route: want}
	if !isWanted {
		change = RouteChange{Route{Prefix: p.prefix, From: p.from}, true}
	}
	p.installed, p.hasInstalled, p.isUnknown = want, isWanted, false
	out.Routes = append(out.Routes, change)
	p.collect()
}

// RouteFailed says that the kernel refused a change of the last Output. A route
// that is not installed must not be used, or packets that neighbours send us for
// it are lost: another one is selected, and it is tried again later.
func (e *Engine) RouteFailed(now time.Time, route Route, err error) {
	if !e.begin(now) {
		return
	}
	p := e.entry(keyOf(route.Prefix, route.From))
	p.isUnknown, p.hasInstalled, p.installed, p.failed = true, false, Route{}, route
	p.retryWait = min(max(2*p.retryWait, retryWaitMin), retryWaitMax)
	p.retryAt = now.Add(p.retryWait)
	p.wakeAt(p.retryAt)
	for _, r := range p.routes {
		if r.nextHop == route.NextHop && r.n.link.Index == route.Interface && !route.Unreachable {
			r.blockedUntil = p.retryAt
		}
	}
	e.emit(Event{
		Kind: RouteUninstalled, Prefix: p.prefix, From: p.from, Interface: route.Interface,
		Neighbour: route.NextHop, Text: fmt.Sprint(err),
	})
	p.reconsider(now)
}
