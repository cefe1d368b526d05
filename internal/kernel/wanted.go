package kernel

import (
	"iter"
	"net/netip"
)

// wantedRoutes are the routes that Watch keeps: a second copy of the forwarding
// table, and so a lean one. 50,000 routes have few next hops, tables and source
// prefixes; each of those is stored once, and a route is 24 bytes.
type wantedRoutes struct {
	routes map[wantedKey]wantedTail
	heads  interned[routeHead]
	tails  interned[routeTail]
}

// wantedKey has no padding: it is hashed as one piece.
type wantedKey struct {
	dst  [16]byte // IPv4 in the first four
	rest uint32   // prefix length, bits4 for IPv4, and from headBits on the number of the head
}

const (
	bitsMask = 1<<8 - 1
	bits4    = 1 << 8
	headBits = 9 // leaves eight million heads
)

func (k wantedKey) bits() int    { return int(k.rest & bitsMask) }
func (k wantedKey) is4() bool    { return k.rest&bits4 != 0 }
func (k wantedKey) head() uint32 { return k.rest >> headBits }

// wantedTail is the number of a tail, and whether the route was seen in a
// comparison with the kernel's table.
type wantedTail uint32

const seen wantedTail = 1 << 31

func (t wantedTail) number() uint32 { return uint32(t &^ seen) }
func (t wantedTail) isSeen() bool   { return t&seen != 0 }

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
	return &wantedRoutes{routes: make(map[wantedKey]wantedTail)}
}

func (k routeKey) head() routeHead { return routeHead{k.src, k.priority, k.table} }

func (r Route) tail() routeTail {
	return routeTail{r.Gateway, r.PrefSrc, r.Ifindex, r.Type, r.Protocol}
}

func keyWith(dst netip.Prefix, head uint32) wantedKey {
	k := wantedKey{rest: head<<headBits | uint32(dst.Bits())&bitsMask}
	if dst.Addr().Is4() {
		k.rest |= bits4
		a := dst.Addr().As4()
		copy(k.dst[:], a[:])
	} else {
		k.dst = dst.Addr().As16()
	}
	return k
}

func (k wantedKey) prefix() netip.Prefix {
	if k.is4() {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(k.dst[:4])), k.bits())
	}
	return netip.PrefixFrom(netip.AddrFrom16(k.dst), k.bits())
}

// find gives the key under which a route is stored, if one is.
func (w *wantedRoutes) find(k routeKey) (wantedKey, wantedTail, bool) {
	head, ok := w.heads.find(k.head())
	if !ok {
		return wantedKey{}, 0, false
	}
	key := keyWith(k.dst, head)
	t, ok := w.routes[key]
	return key, t, ok
}

func (w *wantedRoutes) route(key wantedKey, t wantedTail) Route {
	head, tail := w.heads.get(key.head()), w.tails.get(t.number())
	return Route{
		Dst: key.prefix(), Src: head.src, Priority: head.priority, Table: head.table,
		Gateway: tail.gateway, PrefSrc: tail.prefSrc, Ifindex: tail.ifindex, Type: tail.kind, Protocol: tail.protocol,
	}
}

func (w *wantedRoutes) get(k routeKey) (Route, bool) {
	key, t, ok := w.find(k)
	if !ok {
		return Route{}, false
	}
	return w.route(key, t), true
}

// put stores a route and gives the one that it replaces.
func (w *wantedRoutes) put(r Route) (old Route, isReplaced bool) {
	tail := w.tails.hold(r.tail())
	key := keyWith(r.Dst, w.heads.hold(r.key().head()))
	was, isReplaced := w.routes[key]
	if isReplaced {
		old = w.route(key, was)
		w.tails.release(was.number())
		w.heads.release(key.head())
	}
	w.routes[key] = wantedTail(tail)
	return old, isReplaced
}

func (w *wantedRoutes) delete(k routeKey) (isThere bool) {
	key, old, isThere := w.find(k)
	if isThere {
		delete(w.routes, key)
		w.tails.release(old.number())
		w.heads.release(key.head())
	}
	return isThere
}

// ofTable are the routes of a table, in no order.
func (w *wantedRoutes) ofTable(table uint32) iter.Seq[Route] {
	return func(yield func(Route) bool) {
		for key, r := range w.routes {
			if w.heads.get(key.head()).table == table && !yield(w.route(key, r)) {
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
	for key, t := range w.routes {
		if t.isSeen() && key.is4() == is4 {
			w.routes[key] = t &^ seen
		}
	}
}

// see notes that the kernel has the route as it is wanted.
func (w *wantedRoutes) see(k routeKey) {
	if key, t, ok := w.find(k); ok && !t.isSeen() {
		w.routes[key] = t | seen
	}
}

// unseen are the routes of a table that were not seen.
func (w *wantedRoutes) unseen(table uint32) (missing []Route) {
	for key, t := range w.routes {
		if !t.isSeen() && w.heads.get(key.head()).table == table {
			missing = append(missing, w.route(key, t))
		}
	}
	SortRoutes(missing)
	return missing
}

// interned stores equal values once, and forgets those that nobody holds. Most
// often the value is that of the last call.
type interned[T comparable] struct {
	numbers map[T]uint32
	values  []T
	holders []int
	free    []uint32
	last    uint32
}

func (s *interned[T]) find(v T) (uint32, bool) {
	if n := s.last; int(n) < len(s.values) && s.holders[n] > 0 && s.values[n] == v {
		return n, true
	}
	n, ok := s.numbers[v]
	if ok {
		s.last = n
	}
	return n, ok
}

func (s *interned[T]) get(n uint32) T { return s.values[n] }

func (s *interned[T]) hold(v T) uint32 {
	n, ok := s.find(v)
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
