package babel

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// order is the entries in the order of a dump, the one that compresses best: by
// router-id, then by prefix. It is brought up to date when someone wants to see
// it, from what has changed since; a list that was handed out never changes.
type order struct {
	sorted []*entry
	moved  []*entry // new, or with another router-id
	gone   int      // still in sorted
}

// sortedEntries is every entry. The caller must not write to it.
func (e *Engine) sortedEntries() []*entry {
	o := &e.order
	if len(o.moved) == 0 && o.gone == 0 {
		return o.sorted
	}
	fresh := slices.DeleteFunc(o.moved, func(p *entry) bool { return p.isGone() })
	slices.SortFunc(fresh, compareEntries)
	merged := make([]*entry, 0, e.entries.count)
	for _, p := range o.sorted {
		if p.isGone() || p.isMarked(moved) {
			continue
		}
		for len(fresh) > 0 && compareEntries(fresh[0], p) < 0 {
			merged, fresh = append(merged, fresh[0]), fresh[1:]
		}
		merged = append(merged, p)
	}
	merged = append(merged, fresh...)
	for _, p := range o.moved {
		if p != nil {
			p.unmark(moved)
		}
	}
	*o = order{sorted: merged}
	return merged
}

// move is called when an entry is new, or is announced by another router-id.
func (o *order) move(p *entry) {
	if !p.isMarked(moved) {
		p.mark(moved)
		o.moved = append(o.moved, p)
	}
}

// forget is called when an entry is gone. Nobody may ever want to see the order
// again: what is gone must not fill it.
func (o *order) forget(e *Engine) {
	o.gone++
	if o.gone > e.entries.count+64 {
		e.sortedEntries()
	}
}

func compareEntries(a, b *entry) int {
	ida, idb := binary.BigEndian.Uint64(a.advertised.id[:]), binary.BigEndian.Uint64(b.advertised.id[:])
	if ida != idb {
		return cmp.Compare(ida, idb)
	}
	return a.compare(b)
}

// compare is by prefix, IPv4 first, then by source prefix.
func (p *entry) compare(q *entry) int {
	a, b := &p.dest, &q.dest
	if a.is4 != b.is4 {
		if a.is4 {
			return -1
		}
		return 1
	}
	c := cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo), cmp.Compare(a.bits, b.bits))
	if c != 0 || a.source == b.source {
		return c
	}
	return comparePrefix(p.from(), q.from())
}
