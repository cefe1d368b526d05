package babel

import (
	"cmp"
	"encoding/binary"
	"iter"
	"math/bits"
	"net/netip"
)

// key names a destination: RFC 9079 makes the source prefix part of it.
type key struct{ prefix, from netip.Prefix }

// keyOf brings a prefix pair to its one form.
func keyOf(prefix, from netip.Prefix) key {
	prefix = prefix.Masked()
	if !from.IsValid() || from.Bits() == 0 {
		return key{prefix: prefix}
	}
	return key{prefix, from.Masked()}
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// dest is a key in 24 octets without pointers, as the table has it.
type dest struct {
	hi, lo uint64 // the address; IPv4 in the top of hi
	source uint32 // number of the source prefix in Engine.froms; zero: any source
	bits   uint8
	is4    bool
}

// destOf packs a prefix and the number of its source prefix.
func destOf(prefix netip.Prefix, source uint32) dest {
	d := dest{bits: uint8(prefix.Bits()), source: source}
	if a := prefix.Addr(); a.Is4() {
		b := a.As4()
		d.is4, d.hi = true, uint64(binary.BigEndian.Uint32(b[:]))<<32
	} else {
		b := a.As16()
		d.hi, d.lo = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	}
	// Shifts by 64 and more give zero.
	d.hi &= ^uint64(0) << (64 - min(d.bits, 64))
	d.lo &= ^uint64(0) << (128 - max(d.bits, 64))
	return d
}

func (d dest) prefix() netip.Prefix {
	if d.is4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(d.hi>>32))
		return netip.PrefixFrom(netip.AddrFrom4(b), int(d.bits))
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], d.hi)
	binary.BigEndian.PutUint64(b[8:], d.lo)
	return netip.PrefixFrom(netip.AddrFrom16(b), int(d.bits))
}

func (d dest) hash(seed uint64) uint64 {
	const odd = 0x9e3779b97f4a7c15
	hi, lo := bits.Mul64(d.hi^seed, d.lo^odd)
	hi, lo = bits.Mul64(hi^lo^uint64(d.source)<<16^uint64(d.bits), seed|1)
	return hi ^ lo
}

// table finds the entries: an open hash of their numbers. Neither the order of
// its slots nor its seed is ever seen outside: entries are walked by number,
// which follows from the inputs alone. The seed is random, or
// neighbours could choose prefixes that collide.
type table struct {
	seed  uint64
	slots []uint32 // tag and number + 1; zero is empty
	count int
	all   []*entry // by number
	free  []int32
}

const (
	slotsMin   = 16
	numberBits = 26
	numberMask = 1<<numberBits - 1
	entriesMax = numberMask - 1
)

func (t *table) isFull() bool { return t.count >= entriesMax }

// each walks the entries by number. Entries may come and go meanwhile.
func (t *table) each() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for i := 0; i < len(t.all); i++ {
			if p := t.all[i]; p != nil && !yield(p) {
				return
			}
		}
	}
}

func (t *table) find(d dest) *entry {
	if t.count == 0 {
		return nil
	}
	h, mask := d.hash(t.seed), uint64(len(t.slots)-1)
	tag := tagOf(h)
	for i := h & mask; t.slots[i] != 0; i = (i + 1) & mask {
		if s := t.slots[i]; s&^numberMask == tag {
			if p := t.all[s&numberMask-1]; p.dest == d {
				return p
			}
		}
	}
	return nil
}

// tagOf spares most looks at an entry that is not meant.
func tagOf(hash uint64) uint32 { return uint32(hash>>32) &^ numberMask }

// add takes in an entry whose dest is not there.
func (t *table) add(p *entry) {
	if n := len(t.free); n > 0 {
		p.number = t.free[n-1]
		t.free = t.free[:n-1]
		t.all[p.number] = p
	} else {
		p.number = int32(len(t.all))
		t.all = append(t.all, p)
	}
	t.count++
	if t.count*4 > len(t.slots)*3 {
		t.resize(max(2*len(t.slots), slotsMin))
		return
	}
	t.place(p)
}

func (t *table) place(p *entry) {
	h, mask := p.dest.hash(t.seed), uint64(len(t.slots)-1)
	i := h & mask
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = tagOf(h) | uint32(p.number+1)
}

func (t *table) resize(size int) {
	t.slots = make([]uint32, size)
	for p := range t.each() {
		t.place(p)
	}
}

// remove closes the gap, so that no search ends too early.
func (t *table) remove(p *entry) {
	mask := uint64(len(t.slots) - 1)
	gap := p.dest.hash(t.seed) & mask
	for t.slots[gap]&numberMask != uint32(p.number+1) {
		gap = (gap + 1) & mask
	}
	for i := (gap + 1) & mask; t.slots[i] != 0; i = (i + 1) & mask {
		home := t.all[t.slots[i]&numberMask-1].dest.hash(t.seed) & mask
		if (i-home)&mask >= (i-gap)&mask {
			t.slots[gap], gap = t.slots[i], i
		}
	}
	t.slots[gap] = 0
	t.all[p.number] = nil
	t.free = append(t.free, p.number)
	t.count--
	switch {
	case t.count == 0:
		*t = table{seed: t.seed}
	case len(t.slots) > slotsMin && t.count*8 < len(t.slots):
		t.resize(len(t.slots) / 2)
	}
}
