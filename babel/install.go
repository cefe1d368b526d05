package babel

import (
	"fmt"
	"net/netip"
	"time"
)

// failure is a change that the kernel refused: what is there must be said again.
type failure struct {
	isUnknown bool
	failed    Route
	retryAt   instant
	retryWait time.Duration
	forgetAt  instant // when it has gone well for long enough
}

const (
	retryWaitMin = time.Second
	retryWaitMax = time.Minute
)

// noteChange is called when what the forwarding table should have may differ
// from what it has.
func (p *entry) noteChange() {
	if p.installed == p.wanted() && !p.isUnknown() {
		return
	}
	p.markChanged()
}

func (p *entry) markChanged() {
	if !p.isMarked(changed) {
		p.mark(changed)
		p.e.changed = append(p.e.changed, p)
	}
}

func (p *entry) failure() *failure {
	if p.x == nil {
		return nil
	}
	return p.x.failure
}

func (p *entry) isUnknown() bool {
	f := p.failure()
	return f != nil && f.isUnknown
}

// wanted is the gateway that the forwarding table should have, zero if none.
func (p *entry) wanted() uint32 {
	switch {
	case p.own() != nil:
		// What is ours is in the host's own tables.
		return 0
	case p.chosen != 0:
		r := p.selected()
		return p.neighbour(r).hops[r.hop].gateway
	case p.isHeld():
		return gatewayUnreachable
	}
	return 0
}

// routeBy is the route of the forwarding table by a gateway.
func (p *entry) routeBy(number uint32) Route {
	route := Route{Prefix: p.prefix(), From: p.from()}
	switch number {
	case 0:
	case gatewayUnreachable:
		route.Unreachable = true
	default:
		g := p.e.gateways.at(number)
		route.NextHop, route.Interface = g.hop, g.index
	}
	return route
}

// install says the difference between what is wanted and what is installed.
func (p *entry) install(out *Output) {
	want := p.wanted()
	f := p.failure()
	isUnknown := f != nil && f.isUnknown
	if !isUnknown && want == p.installed {
		p.collect()
		return
	}
	route := p.routeBy(want)
	if isUnknown && f.retryAt != 0 && (want == 0 || route == f.failed) {
		return // it has just failed: not before its time
	}
	p.setInstalled(want)
	if isUnknown {
		f.isUnknown = false
		p.wakeAt(f.due())
	}
	out.Routes = append(out.Routes, RouteChange{Route: route, Delete: want == 0})
	p.collect()
}

// Installed is what the forwarding table has for a destination, as far as the
// engine knows.
func (e *Engine) Installed(prefix, from netip.Prefix) (Route, bool) {
	p := e.find(keyOf(prefix, from))
	if p == nil || p.installed == 0 {
		return Route{}, false
	}
	return p.routeBy(p.installed), true
}

func (p *entry) setInstalled(want uint32) {
	was := p.installed
	p.installed = p.e.gateways.again(want)
	p.e.gateways.drop(was)
}

// RouteFailed says that the kernel refused a change of the last Output. A route
// that is not installed must not be used, or packets that neighbours send us for
// it are lost: another one is selected, and it is tried again later.
func (e *Engine) RouteFailed(now time.Time, route Route, err error) {
	if !e.begin(now) {
		return
	}
	p := e.entry(keyOf(route.Prefix, route.From))
	x := p.extra()
	if x.failure == nil {
		x.failure = &failure{}
	}
	f := x.failure
	p.setInstalled(0)
	f.isUnknown, f.failed = true, route
	f.retryWait = min(max(2*f.retryWait, retryWaitMin), retryWaitMax)
	f.retryAt, f.forgetAt = e.after(now, f.retryWait), e.after(now, 2*f.retryWait)
	p.wakeAt(f.retryAt)
	for i := range p.routes {
		r := &p.routes[i]
		n := p.neighbour(r)
		if n.hops[r.hop].addr == route.NextHop && n.link.Index == route.Interface && !route.Unreachable {
			r.set(blocked, true)
		}
	}
	e.emit(Event{
		Kind: RouteUninstalled, Prefix: p.prefix(), From: p.from(), Interface: route.Interface,
		Neighbour: route.NextHop, Text: fmt.Sprint(err),
	})
	p.markChanged()
	p.reconsider(now)
}

func (f *failure) due() instant {
	if f.retryAt != 0 || f.isUnknown {
		return f.retryAt
	}
	return f.forgetAt
}

// unblock lets routes be tried again.
func (p *entry) unblock() {
	for i := range p.routes {
		p.routes[i].set(blocked, false)
	}
}
