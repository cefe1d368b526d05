package fib

import (
	"iter"
	"net/netip"

	"github.com/gaissmai/bart"
)

// Action is what to do with a packet.
type Action uint8

const (
	// Pass leaves it to the stack.
	Pass Action = iota
	// Forward sends it on.
	Forward
)

func (a Action) String() string {
	if a == Forward {
		return "forward"
	}
	return "pass"
}

// Decision is the answer to a lookup. It is comparable. The zero one is Pass, and
// every Pass is zero. A packet larger than the MTU is the stack's, and so is one
// that would leave by the interface it came from: the stack may have to tell its
// sender of a better way.
type Decision struct {
	Action    Action
	Interface int
	Gateway   netip.Addr   // zero: the destination is on the link
	MTU       int          // of the link, for the family
	Prefix    netip.Prefix // the destination that matched, for those who count
}

// Key is where an Entry is found: first the longest Dst, then under it the longest
// Src. Both are always of one family, and what matches everything is a prefix of
// no bits. One kind of entry stands apart: with a zero Dst it says that packets
// from Src are the stack's wherever they go; it has to be asked for IPv4 alone.
type Key struct{ Dst, Src netip.Prefix }

// Entry is one compiled entry. A Dst that has entries shadows shorter ones, for
// sources too that are in none of them: those pass.
type Entry struct {
	Key
	Decision
}

// Table is a compiled state. It never changes.
type Table struct {
	// Fast: a third of the time of bart.Table, at some kilobytes a node of the trie.
	targets *bart.Fast[*target]
	sources *bart.Lite // those of IPv4 that are the stack's
	size    int
}

// target is what a destination has: a decision for every source, but for those in
// bySource.
type target struct {
	any      Decision
	bySource *bart.Table[Decision] // nil: none
}

// Lookup says what becomes of an ordinary packet.
func (t *Table) Lookup(src, dst netip.Addr) Decision {
	found, ok := t.targets.Lookup(dst)
	if !ok {
		return Decision{}
	}
	d := found.any
	if found.bySource != nil {
		if special, ok := found.bySource.Lookup(src); ok {
			d = special
		}
	}
	if d.Action == Pass || (src.Is4() && t.sources.Contains(src)) {
		return Decision{}
	}
	return d
}

// Len is the number of entries.
func (t *Table) Len() int { return t.size }

// Entries are all of the table's, in no order.
func (t *Table) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for src := range t.sources.All() {
			if !yield(Entry{Key: Key{Src: src}}) {
				return
			}
		}
		for dst, found := range t.targets.All() {
			for e := range found.entries(dst) {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// everything is the prefix of no bits.
func everything(is4 bool) netip.Prefix {
	if is4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

func (g *target) entries(dst netip.Prefix) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		if !yield(Entry{Key{dst, everything(dst.Addr().Is4())}, g.any}) || g.bySource == nil {
			return
		}
		for src, d := range g.bySource.All() {
			if !yield(Entry{Key{dst, src}, d}) {
				return
			}
		}
	}
}

func (g *target) len() int {
	switch {
	case g == nil:
		return 0
	case g.bySource == nil:
		return 1
	}
	return 1 + g.bySource.Size()
}
