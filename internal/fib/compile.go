package fib

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// Compile makes a Table of what Apply took, and says by which entries it differs
// from the one before: what is in add replaces an entry of the same key. No key is
// in both.
func (f *FIB) Compile() (t *Table, add []Entry, remove []Key) {
	next := &Table{targets: f.table.targets, sources: f.table.sources, size: f.table.size}
	c := compilation{fib: f, next: next}
	affected := f.affected()
	if len(affected) > copyAt {
		next.targets, c.isOwn = next.targets.Clone(), true
	}
	for dst := range affected {
		c.compile(dst)
	}
	for src := range f.dirty.sources {
		c.compileSource(src)
	}
	if f.dirty.all {
		c.dropSources()
	}
	f.dirty = dirt{nodes: map[netip.Prefix]bool{}, sources: map[netip.Prefix]struct{}{}}
	f.table = next
	return next, c.add, c.remove
}

// copyAt is where one copy of the whole is cheaper than one of a path for each
// change.
const copyAt = 64

// affected are the destinations whose decisions may have changed.
func (f *FIB) affected() map[netip.Prefix]struct{} {
	all := map[netip.Prefix]struct{}{}
	if f.dirty.all {
		for dst := range f.nodes.All() {
			all[dst] = struct{}{}
		}
		for dst := range f.table.targets.All() {
			all[dst] = struct{}{}
		}
		return all
	}
	for dst, within := range f.dirty.nodes {
		all[dst] = struct{}{}
		for inner, n := range f.nodes.Subnets(dst) {
			if within || !n.isFinal() {
				all[inner] = struct{}{}
			}
		}
	}
	return all
}

type compilation struct {
	fib    *FIB
	next   *Table
	isOwn  bool // nobody else has next.targets yet
	add    []Entry
	remove []Key
}

func (c *compilation) compile(dst netip.Prefix) {
	old, _ := c.next.targets.Get(dst)
	if _, ok := c.fib.nodes.Get(dst); !ok {
		if old != nil {
			c.note(dst, old, nil)
			if c.isOwn {
				c.next.targets.Delete(dst)
				return
			}
			c.next.targets = c.next.targets.DeletePersist(dst)
		}
		return
	}
	now := c.fib.target(dst)
	switch {
	case !c.note(dst, old, now):
	case c.isOwn:
		c.next.targets.Insert(dst, now)
	default:
		c.next.targets = c.next.targets.InsertPersist(dst, now)
	}
}

// note compares what a destination had and has.
func (c *compilation) note(dst netip.Prefix, old, now *target) (changed bool) {
	if old != nil && now != nil && old.bySource == nil && now.bySource == nil && old.any == now.any {
		return false
	}
	had := map[Key]Decision{}
	if old != nil {
		for e := range old.entries(dst) {
			had[e.Key] = e.Decision
		}
	}
	if now != nil {
		for e := range now.entries(dst) {
			was, ok := had[e.Key]
			delete(had, e.Key)
			if !ok || was != e.Decision {
				c.add = append(c.add, e)
				changed = true
			}
		}
	}
	for k := range had {
		c.remove = append(c.remove, k)
		changed = true
	}
	c.next.size += now.len() - old.len()
	return changed
}

func (c *compilation) compileSource(src netip.Prefix) {
	n, ok := c.fib.nodes.Get(src)
	isThere := ok && n.locals > 0
	switch had := c.next.sources.Get(src); {
	case isThere && !had:
		c.next.sources = c.next.sources.InsertPersist(src)
		c.add = append(c.add, Entry{Key: Key{Src: src}})
		c.next.size++
	case had && !isThere:
		c.next.sources = c.next.sources.DeletePersist(src)
		c.remove = append(c.remove, Key{Src: src})
		c.next.size--
	}
}

// dropSources forgets those that a Snapshot has not.
func (c *compilation) dropSources() {
	var all []netip.Prefix
	for src := range c.next.sources.All() {
		all = append(all, src)
	}
	for _, src := range all {
		c.compileSource(src)
	}
}

// target works out what becomes of packets to a destination that are to no longer
// one.
func (f *FIB) target(dst netip.Prefix) *target {
	way := f.way(dst)
	all := everything(dst.Addr().Is4())
	g := &target{any: f.walk(all, way)}
	if g.any.Action == Pass {
		g.any = Decision{}
	}
	sources := f.sources(way)
	if len(sources) == 0 {
		return g
	}
	// The shortest first, so that what says no more than a shorter one is left out.
	bySource := &bart.Table[Decision]{}
	for _, src := range sources {
		d := f.walk(src, way)
		before, ok := bySource.LookupPrefix(src)
		if !ok {
			before = g.any
		}
		if d != before {
			bySource.Insert(src, d)
		}
	}
	if bySource.Size() > 0 {
		g.bySource = bySource
	}
	return g
}

// way is all that can concern a destination.
type way struct {
	dst   netip.Prefix
	local bool
	steps []step // longest destination first
}

type step struct {
	dst    netip.Prefix
	routes []Route
}

func (f *FIB) way(dst netip.Prefix) way {
	w := way{dst: dst}
	for d, n := range f.nodes.Supernets(dst) {
		w.local = w.local || n.locals > 0
		if len(n.routes) > 0 {
			w.steps = append(w.steps, step{d, n.routes})
		}
	}
	return w
}

// sources are all that routes and rules name, shorter ones first.
func (f *FIB) sources(w way) []netip.Prefix {
	if w.local {
		return nil
	}
	var all []netip.Prefix
	for _, r := range f.rules {
		if r.From.IsValid() && r.IPv4 == w.dst.Addr().Is4() {
			all = append(all, r.From)
		}
	}
	for _, s := range w.steps {
		for _, r := range s.routes {
			if r.Src.IsValid() {
				all = append(all, r.Src)
			}
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		if a.Bits() != b.Bits() {
			return a.Bits() - b.Bits()
		}
		return a.Compare(b)
	})
	return slices.Compact(all)
}

// walk tries the rules in their order, as fib_rules_lookup does: a table that does
// not answer, or throws, lets the next rule be tried.
func (f *FIB) walk(src netip.Prefix, w way) Decision {
	if w.local {
		return Decision{}
	}
	for _, r := range f.rules {
		if r.IPv4 != w.dst.Addr().Is4() || !covers(r.To, w.dst) || !covers(r.From, src) {
			continue
		}
		if !r.Lookup {
			return Decision{}
		}
		if s, found, ok := w.route(src); ok && !found.Throw {
			return f.decide(s, found)
		}
	}
	return Decision{}
}

// covers: a zero prefix covers everything.
func covers(p, inner netip.Prefix) bool {
	return !p.IsValid() || (p.Bits() <= inner.Bits() && p.Contains(inner.Addr()))
}

// route finds what the kernel finds: the longest destination, under it the longest
// source; where none of its sources fits, the next shorter destination (RFC 9079,
// section 3.1). Where there is a route from a source, one from anywhere to the very
// same destination is not seen, unless that is a default route: this is Linux' own.
//
// And so is this: where a route from a source goes, and there is a longer destination,
// Linux may lose sight of the others of its destination (fib6_purge_rt in
// net/ipv6/ip6_fib.c takes the longer one's for what the node stands for), and answer
// that there is no way. Who cannot see what the kernel sees leaves it to the kernel.
// Default routes, which are what a mesh has from sources, are safe: theirs is the root.
func (w way) route(src netip.Prefix) (netip.Prefix, Route, bool) {
	for _, s := range w.steps {
		best, isSpecific := -1, false
		plain := slices.IndexFunc(s.routes, func(r Route) bool { return !r.Src.IsValid() })
		for i, r := range s.routes {
			if !r.Src.IsValid() {
				continue
			}
			isSpecific = true
			if covers(r.Src, src) && (best < 0 || r.Src.Bits() > s.routes[best].Src.Bits()) {
				best = i
			}
		}
		if !isSpecific || (best < 0 && s.dst.Bits() == 0) {
			best = plain
		}
		if best >= 0 {
			r := s.routes[best]
			isDoubtful := isSpecific && s.dst.Bits() > 0
			if isDoubtful || slices.ContainsFunc(s.routes, func(o Route) bool { return o.TOS != 0 }) {
				r.Ordinary, r.Throw = false, false
			}
			return s.dst, r, true
		}
	}
	return netip.Prefix{}, Route{}, false
}

func (f *FIB) decide(dst netip.Prefix, r Route) Decision {
	link := f.links[r.Interface]
	if !r.Ordinary || !link.Up || link.Kind == Other || link.MTU <= 0 {
		return Decision{}
	}
	d := Decision{Action: Forward, Interface: r.Interface, Gateway: r.Gateway, MTU: link.MTU, Prefix: dst}
	if dst.Addr().Is6() && link.MTU6 > 0 {
		d.MTU = min(link.MTU, link.MTU6)
	}
	return d
}
