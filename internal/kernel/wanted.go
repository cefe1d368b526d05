package kernel

import (
	"iter"
	"net/netip"
)

// wantedRoutes are the routes that Watch keeps: a second copy of the forwarding
// table, and so a lean one. 50,000 routes have few next hops, tables and source
// prefixes; each of those is stored once, and a route is 36 bytes.
type wantedRoutes struct {
	routes map[wantedKey]wantedRoute
	heads  interned[routeHead]
	tails  interned[routeTail]
}

type wantedKey struct {
	dst  [16]byte // IPv4 in the first four
	bits uint8
	is4  bool
	head uint32
}

type wantedRoute struct {
	tail uint32
	// isSeen belongs to a comparison with the kernel's table.
	isSeen bool
}

// routeHead is what routes of a table have in common in their keys.
type routeHead struct {
	src      netip.Prefix
	priority uint32
	table    uint32
}

// routeTail is what routes over a next hop have in common.
type routeTail struct {
	gateway  netip.Addr
	prefSrc  netip.Addr
	ifindex  int
	kind     RouteType
	protocol uint8
}

func newWantedRoutes() *wantedRoutes {
	return &wantedRoutes{routes: make(map[wantedKey]wantedRoute)}
}

func (k routeKey) head() routeHead { return routeHead{k.src, k.priority, k.table} }

func (r Route) tail() routeTail {
	return routeTail{r.Gateway, r.PrefSrc, r.Ifindex, r.Type, r.Protocol}
}

func keyWith(dst netip.Prefix, head uint32) wantedKey {
	k := wantedKey{bits: uint8(dst.Bits()), is4: dst.Addr().Is4(), head: head}
	if k.is4 {
		a := dst.Addr().As4()
		copy(k.dst[:], a[:])
	} else {
		k.dst = dst.Addr().As16()
	}
	return k
}

func (k wantedKey) prefix() netip.Prefix {
	if k.is4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(k.dst[:4])), int(k.bits))
	}
	return netip.PrefixFrom(netip.AddrFrom16(k.dst), int(k.bits))
}

// find gives the key under which a route is stored, if one is.
func (w *wantedRoutes) find(k routeKey) (wantedKey, wantedRoute, bool) {
	head, ok := w.heads.find(k.head())
	if !ok {
		return wantedKey{}, wantedRoute{}, false
	}
	key := keyWith(k.dst, head)
	r, ok := w.routes[key]
	return key, r, ok
}

func (w *wantedRoutes) route(key wantedKey, r wantedRoute) Route {
	head, tail := w.heads.get(key.head), w.tails.get(r.tail)
	return Route{
		Dst: key.prefix(), Src: head.src, Priority: head.priority, Table: head.table,
		Gateway: tail.gateway, PrefSrc: tail.prefSrc, Ifindex: tail.ifindex, Type: tail.kind, Protocol: tail.protocol,
	}
}

func (w *wantedRoutes) get(k routeKey) (Route, bool) {
	key, r, ok := w.find(k)
	if !ok {
		return Route{}, false
	}
	return w.route(key, r), true
}

func (w *wantedRoutes) put(r Route) {
	tail := w.tails.hold(r.tail())
	key, old, there := w.find(r.key())
	if there {
		w.tails.release(old.tail)
	} else {
		key = keyWith(r.Dst, w.heads.hold(r.key().head()))
	}
	w.routes[key] = wantedRoute{tail: tail}
}

func (w *wantedRoutes) delete(k routeKey) {
	key, old, there := w.find(k)
	if there {
		delete(w.routes, key)
		w.tails.release(old.tail)
		w.heads.release(key.head)
	}
}

// ofTable are the routes of a table, in no order.
func (w *wantedRoutes) ofTable(table uint32) iter.Seq[Route] {
	return func(yield func(Route) bool) {
		for key, r := range w.routes {
			if w.heads.get(key.head).table == table && !yield(w.route(key, r)) {
				return
			}
		}
	}
}

// tables are those that have routes.
func (w *wantedRoutes) tables() map[uint32]bool {
	all := make(map[uint32]bool)
	for h := range w.heads.all() {
		all[h.table] = true
	}
	return all
}

// usesLink says whether a route goes by the link.
func (w *wantedRoutes) usesLink(index int) bool {
	for t := range w.tails.all() {
		if t.ifindex == index {
			return true
		}
	}
	return false
}

// unsee begins the comparison of a family.
func (w *wantedRoutes) unsee(is4 bool) {
	for key, r := range w.routes {
		if r.isSeen && key.is4 == is4 {
			r.isSeen = false
			w.routes[key] = r
		}
	}
}

// see notes that the kernel has the route as it is wanted.
func (w *wantedRoutes) see(k routeKey) {
	if key, r, ok := w.find(k); ok && !r.isSeen {
		r.isSeen = true
		w.routes[key] = r
	}
}

// unseen are the routes of a table that were not seen.
func (w *wantedRoutes) unseen(table uint32) (missing []Route) {
	for key, r := range w.routes {
		if !r.isSeen && w.heads.get(key.head).table == table {
			missing = append(missing, w.route(key, r))
		}
	}
	SortRoutes(missing)
	return missing
}

// interned stores equal values once, and forgets those that nobody holds.
type interned[T comparable] struct {
	numbers map[T]uint32
	values  []T
	holders []int
	free    []uint32
}

func (s *interned[T]) find(v T) (uint32, bool) {
	n, ok := s.numbers[v]
	return n, ok
}

func (s *interned[T]) get(n uint32) T { return s.values[n] }

func (s *interned[T]) hold(v T) uint32 {
	n, ok := s.numbers[v]
	switch {
	case ok:
	case len(s.free) > 0:
		n = s.free[len(s.free)-1]
		s.free = s.free[:len(s.free)-1]
		s.values[n] = v
	default:
		n = uint32(len(s.values))
		s.values, s.holders = append(s.values, v), append(s.holders, 0)
	}
	if !ok {
		if s.numbers == nil {
			s.numbers = make(map[T]uint32)
		}
		s.numbers[v] = n
	}
	s.holders[n]++
	return n
}

func (s *interned[T]) release(n uint32) {
	if s.holders[n]--; s.holders[n] > 0 {
		return
	}
	delete(s.numbers, s.values[n])
	var none T
	s.values[n] = none
	s.free = append(s.free, n)
}

func (s *interned[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) {
		for v := range s.numbers {
			if !yield(v) {
				return
			}
		}
	}
}
