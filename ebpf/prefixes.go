package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sort"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Tables of prefixes in the map of routes; higher numbers are given out.
const (
	tableDestinations = 0
	tableLocals       = 1
)

// Lists of the lengths of prefix that exist, of IPv4; that of IPv6 is the next.
const (
	listDestinations = 0
	listSources      = 2
	listPermitted    = 4
	listLocals       = 6
	lists            = 8
)

// maxLengths is what the programs look through: a lookup for each.
const maxLengths = 32

// errFull: the map has no room, or the programs look for no more lengths.
var errFull = errors.New("no room in the map of routes")

// prefixes is the kernel's map of routes, and what we know to be in it.
type prefixes struct {
	kernel     *ebpf.Map
	generation *ebpf.Variable
	lengths    *ebpf.Variable
	slots      *slots

	written map[shortcutKey]held
	known   [2 * lists]shortcutLengths // both generations as the kernel has them
	current uint32                     // the one in use
}

// written is an entry: a route without its counter, and which it is to have.
type written struct {
	route shortcutRoute
	slot  slotKey
}

type held struct {
	written
	counter uint32
}

func newPrefixes(o *shortcutObjects, s *slots) *prefixes {
	return &prefixes{kernel: o.Routes, generation: o.Generation, lengths: o.PrefixLengths, slots: s, written: map[shortcutKey]held{}}
}

// place is where a prefix is found.
type place struct {
	list   int
	table  uint32
	prefix netip.Prefix
}

func (p place) key() shortcutKey {
	k := shortcutKey{Len: lengthOf(p.prefix), Table: p.table}
	a := p.prefix.Masked().Addr().As16()
	k.Address.Hi, k.Address.Lo = binary.NativeEndian.Uint64(a[:8]), binary.NativeEndian.Uint64(a[8:])
	return k
}

// lengthOf counts as if an IPv4 address were ::ffff:a.b.c.d.
func lengthOf(p netip.Prefix) uint32 {
	if p.Addr().Is4() {
		return uint32(p.Bits()) + 96
	}
	return uint32(p.Bits())
}

// put makes the map have an entry: all of it is there at once, or as before.
func (m *prefixes) put(p place, w written) error {
	k := p.key()
	old, isThere := m.written[k]
	if isThere && old.written == w {
		return nil
	}
	if !isThere && len(m.written) >= int(m.kernel.MaxEntries()) {
		return errFull
	}
	if err := m.knowLength(p); err != nil {
		return err
	}
	r := w.route
	r.Counter = m.slots.take(w.slot)
	if err := m.kernel.Put(k, r); err != nil {
		m.slots.give(r.Counter)
		if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOMEM) {
			return errFull
		}
		return fmt.Errorf("writing the route to %v: %w", p.prefix, err)
	}
	m.written[k] = held{w, r.Counter}
	if isThere {
		m.slots.give(old.counter)
	}
	return nil
}

// delete is no error where there is none.
func (m *prefixes) delete(p place) error {
	k := p.key()
	old, ok := m.written[k]
	if !ok {
		return nil
	}
	if err := m.kernel.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("deleting the route to %v: %w", p.prefix, err)
	}
	delete(m.written, k)
	m.slots.give(old.counter)
	return nil
}

// knowLength makes the programs look for prefixes of this length. They see the old
// lists or the new. Lengths are forgotten when there are too many only, which with
// plans of addresses never happens.
func (m *prefixes) knowLength(p place) error {
	list := p.list
	if p.list != listLocals && p.prefix.Addr().Is6() {
		list++
	}
	l := m.known[int(m.current)*lists+list]
	bits := lengthOf(p.prefix)
	for _, o := range l.Of[:l.Count] {
		if o.Len == bits {
			return nil
		}
	}
	if l.Count == maxLengths {
		return errFull
	}
	next := m.current ^ 1
	into := m.known[next*lists : (next+1)*lists]
	copy(into, m.known[m.current*lists:])
	into[list] = withLength(l, bits)
	if err := m.lengths.Set(m.known); err != nil {
		return fmt.Errorf("writing the lengths of prefixes: %w", err)
	}
	if err := m.generation.Set(next); err != nil {
		return fmt.Errorf("taking the lengths of prefixes into use: %w", err)
	}
	m.current = next
	return nil
}

func withLength(l shortcutLengths, bits uint32) shortcutLengths {
	one := &l.Of[l.Count]
	one.Len = bits
	var mask [16]byte
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	one.Mask.Hi, one.Mask.Lo = binary.NativeEndian.Uint64(mask[:8]), binary.NativeEndian.Uint64(mask[8:])
	l.Count++
	sort.Slice(l.Of[:l.Count], func(i, j int) bool { return l.Of[i].Len > l.Of[j].Len })
	return l
}
