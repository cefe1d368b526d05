package fib

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// reference is the naive answer: the rules in their order, in the table the longest
// destination, under it the longest source, and back to shorter destinations.
type reference struct {
	rules  []Rule
	routes []Route
	locals []netip.Prefix
	links  map[int]Link
}

func (m reference) lookup(src, dst netip.Addr) Decision {
	inside := func(a netip.Addr) bool {
		return slices.ContainsFunc(m.locals, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	if inside(dst) || (src.Is4() && inside(src)) {
		return Decision{}
	}
	for _, r := range m.rules {
		if r.IPv4 != dst.Is4() || (r.To.IsValid() && !r.To.Contains(dst)) || (r.From.IsValid() && !r.From.Contains(src)) {
			continue
		}
		if !r.Lookup {
			return Decision{}
		}
		if found, ok := m.table(src, dst); ok && !found.Throw {
			l := m.links[found.Interface]
			if !found.Ordinary || !l.Up || l.Kind == Other {
				return Decision{}
			}
			mtu := l.MTU
			if dst.Is6() && l.MTU6 != 0 && l.MTU6 < mtu {
				mtu = l.MTU6
			}
			return Decision{Forward, found.Interface, found.Gateway, mtu, found.Dst}
		}
	}
	return Decision{}
}

func (m reference) table(src, dst netip.Addr) (best Route, ok bool) {
	for bits := dst.BitLen(); bits >= 0; bits-- {
		d, _ := dst.Prefix(bits)
		var plain, specific []Route
		for _, r := range m.routes {
			switch {
			case r.Dst != d:
			case r.Src.IsValid():
				specific = append(specific, r)
			default:
				plain = append(plain, r)
			}
		}
		candidates := plain
		if len(specific) > 0 {
			candidates = slices.DeleteFunc(specific, func(r Route) bool { return !r.Src.Contains(src) })
			if len(candidates) == 0 && bits == 0 {
				candidates = plain
			}
		}
		if len(candidates) == 0 {
			continue
		}
		best := slices.MinFunc(candidates, func(a, b Route) int {
			if a.Src.Bits() != b.Src.Bits() {
				return b.Src.Bits() - a.Src.Bits()
			}
			return int(int64(a.Priority) - int64(b.Priority))
		})
		if best.Src.IsValid() && bits > 0 {
			best.Ordinary, best.Throw = false, false // the kernel may have lost sight of it
		}
		return best, true
	}
	return Route{}, false
}

// byEntries looks up as a reader of maps does.
func byEntries(entries map[Key]Decision, src, dst netip.Addr) Decision {
	var target netip.Prefix
	for k := range entries {
		if !k.Dst.IsValid() && k.Src.Contains(src) {
			return Decision{}
		}
		if k.Dst.Contains(dst) && (!target.IsValid() || k.Dst.Bits() > target.Bits()) {
			target = k.Dst
		}
	}
	var best netip.Prefix
	for k := range entries {
		if k.Dst == target && k.Src.Contains(src) && (!best.IsValid() || k.Src.Bits() > best.Bits()) {
			best = k.Src
		}
	}
	return entries[Key{target, best}]
}

// universe is small, so that prefixes nest and meet.
type universe struct {
	is4 bool
	bit func(n int) int // 0 to n-1
}

func (u universe) addr() netip.Addr {
	if u.is4 {
		return netip.AddrFrom4([4]byte{10, 42, byte(u.bit(4) << 6), byte(u.bit(4) << 6)})
	}
	b := [16]byte{0x20, 1, 0x0d, 0xb8, 0, 0x42}
	if u.bit(4) == 0 {
		b[5] = 0x43
	}
	b[6], b[7] = byte(u.bit(4)<<6), byte(u.bit(4)<<6)
	return netip.AddrFrom16(b)
}

func (u universe) prefix() netip.Prefix {
	lengths := []int{0, 48, 49, 50, 56, 57, 58, 128}
	if u.is4 {
		lengths = []int{0, 16, 17, 18, 24, 25, 26, 32}
	}
	p, _ := u.addr().Prefix(lengths[u.bit(len(lengths))])
	return p
}

func (u universe) rule() Rule {
	r := Rule{IPv4: u.is4, Lookup: u.bit(3) > 0}
	if u.bit(2) == 0 {
		r.To = u.prefix()
	}
	if u.bit(2) == 0 {
		r.From = u.prefix()
	}
	return r
}

func (u universe) route() Route {
	r := Route{RouteKey: RouteKey{Dst: u.prefix(), Priority: uint32(u.bit(3))}, Interface: 1 + u.bit(4)}
	switch u.bit(6) {
	case 0:
		r.Throw = true
	case 1:
	default:
		r.Ordinary, r.Gateway = true, addr("fe80::1")
	}
	if !u.is4 && u.bit(2) == 0 {
		if r.Src = u.prefix(); r.Src.Bits() == 0 {
			r.Src = netip.Prefix{}
		}
	}
	return r
}

func (u universe) link() Link {
	return Link{Index: 1 + u.bit(4), Kind: Kind(u.bit(3)), Up: u.bit(4) > 0, MTU: 1400 + u.bit(2), MTU6: u.bit(2) * 1399}
}

// world is a FIB beside its reference and a copy kept by the differences.
type world struct {
	reference
	fib     *FIB
	entries map[Key]Decision
}

func newWorld() *world {
	return &world{reference: reference{links: map[int]Link{}}, fib: New(), entries: map[Key]Decision{}}
}

// change does something at random, and says it to the FIB.
func (w *world) change(u universe) {
	switch u.bit(10) {
	case 0, 1, 2, 3:
		r := u.route()
		w.routes = append(slices.DeleteFunc(w.routes, func(o Route) bool { return o.RouteKey == r.RouteKey }), r)
		w.fib.Apply(RouteAdded{r})
	case 4, 5:
		k := u.route().RouteKey
		if len(w.routes) > 0 {
			k = w.routes[u.bit(len(w.routes))].RouteKey
		}
		w.routes = slices.DeleteFunc(w.routes, func(o Route) bool { return o.RouteKey == k })
		w.fib.Apply(RouteRemoved{k})
	case 6:
		l := u.link()
		if old := w.links[l.Index]; old.Up && !l.Up {
			w.routes = slices.DeleteFunc(w.routes, func(o Route) bool { return o.Interface == l.Index })
		}
		w.links[l.Index] = l
		w.fib.Apply(LinkChanged{l})
	case 7:
		if p := u.prefix(); p.Bits() > 20 {
			w.locals = append(w.locals, p)
			w.fib.Apply(LocalAdded{Local{p}})
		}
	case 8:
		if len(w.locals) > 0 {
			i := u.bit(len(w.locals))
			w.fib.Apply(LocalRemoved{Local{w.locals[i]}})
			w.locals = slices.Delete(w.locals, i, i+1)
		}
	case 9:
		w.rules = slices.DeleteFunc(slices.Clone(w.rules), func(r Rule) bool { return r.IPv4 == u.is4 })
		for range u.bit(6) {
			w.rules = append(w.rules, u.rule())
		}
		w.fib.Apply(RulesChanged{slices.Clone(w.rules)})
	}
}

func (w *world) compile(t interface{ Fatalf(string, ...any) }) *Table {
	table, add, remove := w.fib.Compile()
	for _, k := range remove {
		if _, ok := w.entries[k]; !ok {
			t.Fatalf("%v is removed, and was not there", k)
		}
		delete(w.entries, k)
	}
	for _, e := range add {
		if slices.Contains(remove, e.Key) {
			t.Fatalf("%v is both removed and added", e.Key)
		}
		w.entries[e.Key] = e.Decision
	}
	all := map[Key]Decision{}
	for e := range table.Entries() {
		all[e.Key] = e.Decision
	}
	if !maps.Equal(all, w.entries) || table.Len() != len(all) {
		t.Fatalf("the differences do not add up: %d entries by them, %d in the table, which says %d\n%v\n%v", len(w.entries), len(all), table.Len(), w.entries, all)
	}
	return table
}

// scratch is the table of a FIB that was told everything at once.
func (w *world) scratch() *Table {
	f := New()
	f.Apply(w.snapshot())
	table, _, _ := f.Compile()
	return table
}

func (w *world) snapshot() Snapshot {
	s := Snapshot{Routes: w.routes, Rules: w.rules, Links: slices.Collect(maps.Values(w.links))}
	for _, p := range w.locals {
		s.Locals = append(s.Locals, Local{p})
	}
	return s
}

var byValue = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func TestLookupEqualsReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := universe{is4: rapid.Bool().Draw(t, "IPv4"), bit: func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") }}
		w := newWorld()
		for range rapid.IntRange(1, 40).Draw(t, "changes") {
			w.change(u)
			if u.bit(3) > 0 {
				continue
			}
			if u.bit(8) == 0 {
				w.fib.Apply(w.snapshot()) // as after a loss of events
			}
			table := w.compile(t)
			if diff := cmp.Diff(maps.Collect(split(w.scratch())), maps.Collect(split(table)), byValue); diff != "" {
				t.Fatalf("told step by step it differs from told at once (-at once +stepwise):\n%s", diff)
			}
			for range 20 {
				src, dst := u.addr(), u.addr()
				want := w.lookup(src, dst)
				if got := table.Lookup(src, dst); got != want {
					t.Fatalf("from %v to %v: %+v, want %+v\n%+v", src, dst, got, want, w.reference)
				}
				if got := byEntries(w.entries, src, dst); got != want {
					t.Fatalf("from %v to %v by the entries: %+v, want %+v", src, dst, got, want)
				}
			}
		}
	})
}

func split(t *Table) func(func(Key, Decision) bool) {
	return func(yield func(Key, Decision) bool) {
		for e := range t.Entries() {
			if !yield(e.Key, e.Decision) {
				return
			}
		}
	}
}

// big is a table like a large mesh's: n prefixes, some gateways.
func big(n int) (*Table, []netip.Addr) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := Snapshot{Rules: meshRules()}
	for i := 1; i <= 20; i++ {
		s.Links = append(s.Links, Link{Index: i, Kind: Raw, Up: true, MTU: 1420})
	}
	var inside []netip.Addr
	for i := range n {
		b := network.Addr().As16()
		b[6], b[7] = byte(i>>8), byte(i)
		p := netip.PrefixFrom(netip.AddrFrom16(b), 64)
		s.Routes = append(s.Routes, route(p.String(), 1+rng.IntN(20)))
		b[15] = 1
		inside = append(inside, netip.AddrFrom16(b))
	}
	s.Routes = append(s.Routes, from(network.String(), route("::/0", 1)), Route{RouteKey: RouteKey{Dst: network, Priority: 1<<32 - 1}})
	f := New()
	f.Apply(s)
	t, _, _ := f.Compile()
	return t, inside
}

func TestLookupAllocatesNothing(t *testing.T) {
	table, all := big(100)
	out := addr("2001:4860::8888")
	if n := testing.AllocsPerRun(100, func() {
		table.Lookup(all[3], all[7])
		table.Lookup(all[3], out)
	}); n != 0 {
		t.Errorf("%v allocations a lookup", n)
	}
}

func BenchmarkCompile(b *testing.B) {
	table, _ := big(10000)
	f := New()
	s := Snapshot{Rules: meshRules(), Links: []Link{{Index: 1, Kind: Raw, Up: true, MTU: 1420}, {Index: 2, Kind: Raw, Up: true, MTU: 1420}}}
	for e := range table.Entries() {
		s.Routes = append(s.Routes, route(e.Dst.String(), 1))
	}
	f.Apply(s)
	f.Compile()
	b.Run("one of 10000", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			f.Apply(RouteAdded{route("2001:db8:42:7::/64", 1+i%2)})
			f.Compile()
		}
	})
	b.Run("10000 at once", func(b *testing.B) {
		for b.Loop() {
			f := New()
			f.Apply(s)
			f.Compile()
		}
	})
}
