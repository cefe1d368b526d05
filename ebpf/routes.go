package ebpf

import (
	"errors"
	"net/netip"

	"github.com/gaissmai/bart"

	"re6st/internal/fib"
)

// routes keeps the programs' map equal to what fib compiles, as far as there is
// room. A destination that finds none must not be answered by a shorter one around
// it: those are left to the stack as long.
type routes struct {
	prefixes *prefixes
	resolve  func(fib.Decision) written
	wanted   map[netip.Prefix]*destination
	lost     *bart.Lite            // destinations that have no room
	locals   map[netip.Prefix]bool // whether it has room
	tables   uint32                // given out last
}

// destination is what fib says of one.
type destination struct {
	any      fib.Decision
	hasAny   bool
	bySource map[netip.Prefix]fib.Decision
	table    uint32                    // of its sources, once it has had any
	placed   map[netip.Prefix]struct{} // sources that are in the map
}

func newRoutes(p *prefixes, resolve func(fib.Decision) written) *routes {
	return &routes{
		prefixes: p, resolve: resolve, wanted: map[netip.Prefix]*destination{}, lost: &bart.Lite{},
		locals: map[netip.Prefix]bool{}, tables: tableLocals,
	}
}

func (r *routes) newTable() uint32 {
	r.tables++
	return r.tables
}

// update takes what has changed. What is added comes first: a packet never finds
// less than before and after.
func (r *routes) update(add []fib.Entry, remove []fib.Key) error {
	var failures []error
	touched := map[netip.Prefix]struct{}{}
	for _, e := range add {
		switch {
		case !e.Dst.IsValid():
			failures = append(failures, r.addLocal(e.Src))
		case !isNeverAsked(e.Dst):
			r.want(e)
			touched[e.Dst] = struct{}{}
		}
	}
	for _, k := range remove {
		if !k.Dst.IsValid() {
			failures = append(failures, r.removeLocal(k.Src))
		} else if d := r.wanted[k.Dst]; d != nil {
			d.forget(k.Src)
			touched[k.Dst] = struct{}{}
		}
	}
	for _, isGoing := range []bool{false, true} {
		for dst := range touched {
			if r.wanted[dst].isEmpty() == isGoing {
				failures = append(failures, r.sync(dst))
			}
		}
	}
	return errors.Join(append(failures, r.retry())...)
}

func (r *routes) want(e fib.Entry) {
	d := r.wanted[e.Dst]
	if d == nil {
		d = &destination{bySource: map[netip.Prefix]fib.Decision{}, placed: map[netip.Prefix]struct{}{}}
		r.wanted[e.Dst] = d
	}
	if e.Src.Bits() == 0 {
		d.any, d.hasAny = e.Decision, true
	} else {
		d.bySource[e.Src] = e.Decision
	}
}

func (d *destination) forget(src netip.Prefix) {
	if src.Bits() == 0 {
		d.any, d.hasAny = fib.Decision{}, false
	} else {
		delete(d.bySource, src)
	}
}

func (d *destination) isEmpty() bool { return d == nil || !d.hasAny && len(d.bySource) == 0 }

// rewrite looks again at the destinations that lead out by an interface.
func (r *routes) rewrite(index int) error {
	var failures []error
	for dst, d := range r.wanted {
		if d.uses(index) {
			failures = append(failures, r.sync(dst))
		}
	}
	return errors.Join(append(failures, r.retry())...)
}

func (d *destination) uses(index int) bool {
	if d.any.Interface == index {
		return true
	}
	for _, x := range d.bySource {
		if x.Interface == index {
			return true
		}
	}
	return false
}

// sync makes the map have what is wanted of a destination.
func (r *routes) sync(dst netip.Prefix) error {
	d := r.wanted[dst]
	if d == nil {
		return nil
	}
	if d.isEmpty() {
		delete(r.wanted, dst)
		return errors.Join(r.remove(dst, d), r.found(dst))
	}
	err := r.write(dst, d)
	if errors.Is(err, errFull) {
		return r.lose(dst, d)
	}
	return errors.Join(err, r.found(dst))
}

// write puts sources before the destination that names their table.
func (r *routes) write(dst netip.Prefix, d *destination) error {
	if r.isShadowed(dst) {
		err := r.prefixes.put(destinationAt(dst), r.resolve(fib.Decision{}))
		return errors.Join(err, r.clear(d, nil))
	}
	if len(d.bySource) > 0 && d.table == 0 {
		d.table = r.newTable()
	}
	for src, decision := range d.bySource {
		if err := r.prefixes.put(d.sourceAt(src), r.resolve(decision)); err != nil {
			return err
		}
		d.placed[src] = struct{}{}
	}
	w := r.resolve(d.any)
	if len(d.bySource) > 0 {
		w.route.Sources = d.table
	}
	if err := r.prefixes.put(destinationAt(dst), w); err != nil {
		return err
	}
	return r.clear(d, d.bySource)
}

func destinationAt(dst netip.Prefix) place { return place{listDestinations, tableDestinations, dst} }

func (d *destination) sourceAt(src netip.Prefix) place { return place{listSources, d.table, src} }

// remove takes a destination out of the map, then its sources.
func (r *routes) remove(dst netip.Prefix, d *destination) error {
	return errors.Join(r.prefixes.delete(destinationAt(dst)), r.clear(d, nil))
}

// clear deletes the sources that are not to be kept.
func (r *routes) clear(d *destination, keep map[netip.Prefix]fib.Decision) error {
	var failures []error
	for src := range d.placed {
		if _, ok := keep[src]; ok {
			continue
		}
		err := r.prefixes.delete(d.sourceAt(src))
		if err == nil {
			delete(d.placed, src)
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// isShadowed: something inside is not in the map.
func (r *routes) isShadowed(dst netip.Prefix) bool {
	for inner := range r.lost.Subnets(dst) {
		if inner != dst {
			return true
		}
	}
	return false
}

// lose leaves a destination without an entry, and before that all around it to the
// stack.
func (r *routes) lose(dst netip.Prefix, d *destination) error {
	var failures []error
	if !r.lost.Get(dst) {
		r.lost.Insert(dst)
		failures = append(failures, r.syncAround(dst))
	}
	return errors.Join(append(failures, r.remove(dst, d))...)
}

// found is called for a destination that is as it should be.
func (r *routes) found(dst netip.Prefix) error {
	if !r.lost.Get(dst) {
		return nil
	}
	r.lost.Delete(dst)
	return r.syncAround(dst)
}

func (r *routes) syncAround(dst netip.Prefix) error {
	var failures []error
	for bits := dst.Bits() - 1; bits >= 0; bits-- {
		failures = append(failures, r.sync(netip.PrefixFrom(dst.Addr(), bits).Masked()))
	}
	return errors.Join(failures...)
}

// retry looks whether there is room for what was lost.
func (r *routes) retry() error {
	var all []netip.Prefix
	for dst := range r.lost.All() {
		all = append(all, dst)
	}
	for _, dst := range all {
		if err := r.sync(dst); err != nil {
			return err
		}
		if r.lost.Get(dst) {
			return nil // the next would find no more
		}
	}
	return nil
}

// permit sets the sources of a LAN. None are permitted while they change that are
// not in both.
func (r *routes) permit(p *port, sources []netip.Prefix) error {
	next := map[netip.Prefix]struct{}{}
	for _, src := range sources {
		src = src.Masked()
		if err := r.prefixes.put(place{listPermitted, p.sources, src}, written{}); err != nil {
			return err
		}
		next[src] = struct{}{}
		p.permitted[src] = struct{}{}
	}
	for src := range p.permitted {
		if _, ok := next[src]; ok {
			continue
		}
		if err := r.prefixes.delete(place{listPermitted, p.sources, src}); err != nil {
			return err
		}
		delete(p.permitted, src)
	}
	return nil
}

// isNeverAsked: packets with any of these addresses do not get as far as a lookup
// (packet.h, special6 and special4). The kernel's table of local addresses has many,
// and each length of prefix costs every packet a lookup.
func isNeverAsked(p netip.Prefix) bool {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		return p.Bits() >= 3 && b[0] >= 224 || p.Bits() >= 8 && (b[0] == 0 || b[0] == 127) || p.Bits() >= 16 && b[0] == 169 && b[1] == 254
	}
	b := p.Addr().As16()
	return p.Bits() >= 8 && b[0] == 0xff || p.Bits() >= 10 && b[0] == 0xfe && b[1]&0xc0 == 0x80 || p.Bits() >= 80 && [10]byte(b[:10]) == [10]byte{}
}

// addLocal: packets of IPv4 from there are the stack's.
func (r *routes) addLocal(src netip.Prefix) error {
	if isNeverAsked(src) {
		return nil
	}
	err := r.prefixes.put(place{listLocals, tableLocals, src}, written{})
	r.locals[src] = err == nil
	if errors.Is(err, errFull) {
		return nil
	}
	return err
}

func (r *routes) removeLocal(src netip.Prefix) error {
	if _, ok := r.locals[src]; !ok {
		return nil
	}
	delete(r.locals, src)
	return r.prefixes.delete(place{listLocals, tableLocals, src})
}

// knowsLocals: where one has no room, IPv4 is the stack's.
func (r *routes) knowsLocals() bool {
	for src, hasRoom := range r.locals {
		if !hasRoom && r.addLocal(src) == nil && !r.locals[src] {
			return false
		}
	}
	return true
}
