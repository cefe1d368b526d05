package fib

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// FIB is the state that Events describe. It is not for concurrent use.
type FIB struct {
	rules []Rule
	links map[int]Link
	// nodes are the destinations at which decisions can change: of routes, of the
	// local table, of rules.
	nodes *bart.Table[*node]
	by    map[int]map[netip.Prefix]struct{} // destinations with routes by a link
	dirty dirt
	table *Table
}

// node is what a destination has.
type node struct {
	routes []Route // those of a source together, the least priority first
	locals int
	rules  int
}

func (n *node) isEmpty() bool { return len(n.routes) == 0 && n.locals == 0 && n.rules == 0 }

// isFinal: whatever shorter destinations have does not matter. A source in none of
// the routes from sources goes on to them.
func (n *node) isFinal() bool {
	return n.locals > 0 || (len(n.routes) > 0 && !slices.ContainsFunc(n.routes, func(r Route) bool { return r.Src.IsValid() || r.Throw }))
}

// dirt is what has to be compiled again.
type dirt struct {
	all     bool
	nodes   map[netip.Prefix]bool // true: with all that is inside, whatever it has
	sources map[netip.Prefix]struct{}
}

// New makes an empty one: everything passes.
func New() *FIB {
	f := &FIB{table: &Table{targets: &bart.Fast[*target]{}, sources: &bart.Lite{}}}
	f.clear()
	return f
}

func (f *FIB) clear() {
	f.rules, f.links, f.by = nil, map[int]Link{}, map[int]map[netip.Prefix]struct{}{}
	f.nodes = &bart.Table[*node]{}
	f.dirty = dirt{all: true, nodes: map[netip.Prefix]bool{}, sources: map[netip.Prefix]struct{}{}}
}

// Apply takes events. What it makes of them shows at the next Compile.
func (f *FIB) Apply(events ...Event) {
	for _, e := range events {
		switch e := e.(type) {
		case RouteAdded:
			f.addRoute(e.Route)
		case RouteRemoved:
			f.removeRoute(e.RouteKey.masked())
		case LocalAdded:
			f.countLocal(e.Prefix, 1)
		case LocalRemoved:
			f.countLocal(e.Prefix, -1)
		case LinkChanged:
			f.changeLink(e.Link)
		case LinkRemoved:
			f.removeLink(e.Index)
		case RulesChanged:
			f.changeRules(e.Rules)
		case Snapshot:
			f.replace(e)
		}
	}
}

func (f *FIB) replace(s Snapshot) {
	f.clear()
	for _, l := range s.Links {
		f.links[l.Index] = l
	}
	for _, l := range s.Locals {
		f.countLocal(l.Prefix, 1)
	}
	for _, r := range s.Routes {
		f.addRoute(r)
	}
	f.changeRules(s.Rules)
}

func (k RouteKey) masked() RouteKey {
	k.Dst = k.Dst.Masked()
	if k.Src.IsValid() && k.Src.Bits() == 0 {
		k.Src = netip.Prefix{}
	}
	if k.Src.IsValid() {
		k.Src = k.Src.Masked()
	}
	return k
}

func (f *FIB) addRoute(r Route) {
	r.RouteKey = r.masked()
	if !r.Dst.IsValid() {
		return
	}
	f.unlink(r.RouteKey)
	n := f.node(r.Dst)
	// IPv4 tries a type of service before all others of the destination.
	at := slices.IndexFunc(n.routes, func(o Route) bool { return o.Src == r.Src && o.Priority > r.Priority })
	if at < 0 {
		at = len(n.routes)
	}
	n.routes = slices.Insert(n.routes, at, r)
	if f.by[r.Interface] == nil {
		f.by[r.Interface] = map[netip.Prefix]struct{}{}
	}
	f.by[r.Interface][r.Dst] = struct{}{}
	f.touch(r.Dst, false)
}

func (f *FIB) removeRoute(k RouteKey) {
	if k.Dst.IsValid() && f.unlink(k) {
		f.touch(k.Dst, false)
		f.prune(k.Dst)
	}
}

// unlink takes the route out and leaves its node.
func (f *FIB) unlink(k RouteKey) (isThere bool) {
	n, ok := f.nodes.Get(k.Dst)
	if !ok {
		return false
	}
	at := slices.IndexFunc(n.routes, func(o Route) bool { return o.RouteKey == k })
	if at < 0 {
		return false
	}
	iface := n.routes[at].Interface
	n.routes = slices.Delete(n.routes, at, at+1)
	if !slices.ContainsFunc(n.routes, func(o Route) bool { return o.Interface == iface }) {
		delete(f.by[iface], k.Dst)
		if len(f.by[iface]) == 0 {
			delete(f.by, iface)
		}
	}
	return true
}

func (f *FIB) countLocal(p netip.Prefix, by int) {
	if !p.IsValid() {
		return
	}
	p = p.Masked()
	n := f.node(p)
	n.locals = max(0, n.locals+by)
	if p.Addr().Is4() {
		f.dirty.sources[p] = struct{}{}
	}
	f.touch(p, true)
	f.prune(p)
}

func (f *FIB) changeLink(l Link) {
	old, known := f.links[l.Index]
	f.links[l.Index] = l
	if known && old == l {
		return
	}
	if known && old.Up && !l.Up {
		f.flush(l.Index)
	}
	for dst := range f.by[l.Index] {
		f.touch(dst, false)
	}
}

func (f *FIB) removeLink(index int) {
	f.flush(index)
	delete(f.links, index)
}

// flush takes the routes of a link that went: the kernel tells of each in IPv6,
// and of none in IPv4.
func (f *FIB) flush(index int) {
	for dst := range f.by[index] {
		n, _ := f.nodes.Get(dst)
		n.routes = slices.DeleteFunc(n.routes, func(r Route) bool { return r.Interface == index })
		f.touch(dst, false)
		f.prune(dst)
	}
	delete(f.by, index)
}

func (f *FIB) changeRules(rules []Rule) {
	if slices.Equal(f.rules, rules) {
		return
	}
	for _, r := range f.rules {
		f.countRule(r, -1)
	}
	f.rules = slices.Clone(rules)
	for i, r := range f.rules {
		f.rules[i].To, f.rules[i].From = masked(r.To), masked(r.From)
		f.countRule(f.rules[i], 1)
	}
	f.dirty.all = true
}

// masked keeps the zero prefix, and makes it of one that matches everything.
func masked(p netip.Prefix) netip.Prefix {
	if p.Bits() <= 0 {
		return netip.Prefix{}
	}
	return p.Masked()
}

func (f *FIB) countRule(r Rule, by int) {
	if r.To.IsValid() {
		f.node(r.To).rules += by
		f.prune(r.To)
	}
}

// node is that of the destination, made if need be.
func (f *FIB) node(dst netip.Prefix) *node {
	n, ok := f.nodes.Get(dst)
	if !ok {
		n = &node{}
		f.nodes.Insert(dst, n)
	}
	return n
}

// prune forgets a node that has nothing. Compile is told, as it was touched.
func (f *FIB) prune(dst netip.Prefix) {
	if n, ok := f.nodes.Get(dst); ok && n.isEmpty() {
		f.nodes.Delete(dst)
	}
}

func (f *FIB) touch(dst netip.Prefix, within bool) {
	f.dirty.nodes[dst] = f.dirty.nodes[dst] || within
}
