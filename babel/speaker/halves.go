package speaker

import (
	"net/netip"

	"re6st/babel"
)

// halves makes Linux look at the source only among routes of one destination, as
// RFC 9079 demands (section 4). It keeps those that have a source in a tree of
// their own, and where a destination has such a tree, it does not see the route
// without a source (the default route aside; Linux 6.18): packets from all other
// sources would take a shorter destination. So where a destination has both, the
// route without a source is written twice more, from each half of all sources.
type halves struct {
	// sources are those of the routes that were written, by destination.
	sources map[netip.Prefix]map[netip.Prefix]bool
}

var bothHalves = [...]netip.Prefix{netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")}

// expand appends the changes that stand for one. plain finds the route without a
// source of a destination.
func (h *halves) expand(out []babel.RouteChange, c babel.RouteChange, plain func(netip.Prefix) (babel.Route, bool)) []babel.RouteChange {
	out = append(out, c)
	if c.Prefix.Bits() == 0 || !c.Prefix.Addr().Is6() {
		return out
	}
	if !c.From.IsValid() {
		if len(h.sources) == 0 || len(h.sources[c.Prefix]) == 0 {
			return out
		}
		return h.halve(out, c)
	}
	wasAlone := len(h.sources[c.Prefix]) == 0
	h.note(c)
	isAlone := len(h.sources[c.Prefix]) == 0
	route, isThere := plain(c.Prefix)
	switch {
	case !isThere || isAlone && wasAlone:
	case isAlone:
		out = h.halve(out, babel.RouteChange{Route: route, Delete: true})
	case wasAlone, c.Delete:
		out = h.halve(out, babel.RouteChange{Route: route})
	}
	return out
}

// halve appends the change of a route without source for both halves, but for one
// that a router really announces.
func (h *halves) halve(out []babel.RouteChange, c babel.RouteChange) []babel.RouteChange {
	for _, half := range bothHalves {
		if !h.sources[c.Prefix][half] {
			c.From = half
			out = append(out, c)
		}
	}
	return out
}

// origin is the route of the engine for which one was written.
func (h *halves) origin(r babel.Route) babel.Route {
	if r.Prefix.Bits() > 0 && (r.From == bothHalves[0] || r.From == bothHalves[1]) && !h.sources[r.Prefix][r.From] {
		r.From = netip.Prefix{}
	}
	return r
}

func (h *halves) note(c babel.RouteChange) {
	of := h.sources[c.Prefix]
	switch {
	case !c.Delete && of == nil:
		if h.sources == nil {
			h.sources = make(map[netip.Prefix]map[netip.Prefix]bool)
		}
		h.sources[c.Prefix] = map[netip.Prefix]bool{c.From: true}
	case !c.Delete:
		of[c.From] = true
	case len(of) > 1:
		delete(of, c.From)
	case of[c.From]:
		delete(h.sources, c.Prefix)
	}
}
