package lease

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"
)

const (
	// Time is how long a machine has an address without asking again.
	Time = time.Hour
	// offerTime is how long an offered address waits for its machine.
	offerTime = time.Minute
	// declineTime is how long an address rests that a machine found in use.
	declineTime = time.Hour
	// maxPool bounds the leases of one network.
	maxPool = 4096
	// MaxKey bounds what a machine may name itself by (RFC 2132, section 9.14: an
	// option has 255 bytes), and the kind of name before it.
	MaxKey = 256
)

// state of an address that was given out. One whose time is over is anybody's,
// but its machine's first.
type state int

const (
	offered state = iota
	bound
	declined
)

// entry is what is known of an address.
type entry struct {
	key   string
	state state
	until time.Time
}

// Table is the leases of one network. It has one owner and no lock.
type Table struct {
	first   netip.Addr // of the pool
	size    int
	gateway netip.Addr
	byAddr  map[netip.Addr]entry
	byKey   map[string]netip.Addr // the latest of the key's, offered or bound
}

// New makes the table of a network without leases.
func New(n Network) *Table {
	first := n.Gateway().Addr().Next()
	hosts := 1<<min(32-n.Subnet.Bits(), 16) - 3 // without the subnet's own, ours, and the broadcast address
	return &Table{
		first: first, size: min(hosts, maxPool), gateway: n.Gateway().Addr(),
		byAddr: map[netip.Addr]entry{}, byKey: map[string]netip.Addr{},
	}
}

func (t *Table) at(i int) netip.Addr {
	a := t.first.As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+uint32(i))
	return netip.AddrFrom4(a)
}

func (t *Table) has(a netip.Addr) bool {
	return a.Is4() && !a.Less(t.first) && a.Less(t.at(t.size))
}

// isFree says whether the machine may have the address: no other has it.
func (t *Table) isFree(now time.Time, key string, a netip.Addr) bool {
	e, isKnown := t.byAddr[a]
	if !isKnown || !now.Before(e.until) {
		return true
	}
	return e.state != declined && e.key == key
}

// choose finds an address for the machine: the one it has or had, the one it
// wants, the one that its name leads to, any that was never given, and then the
// one that has been free for longest.
func (t *Table) choose(now time.Time, key string, wanted netip.Addr) (netip.Addr, bool) {
	if a, ok := t.byKey[key]; ok && t.isFree(now, key, a) {
		return a, true
	}
	if t.has(wanted) && t.isFree(now, key, wanted) {
		return wanted, true
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	start := int(h.Sum32() % uint32(t.size))
	for i := range t.size {
		a := t.at((start + i) % t.size)
		if _, isKnown := t.byAddr[a]; !isKnown {
			return a, true
		}
	}
	var oldest netip.Addr
	for a, e := range t.byAddr {
		if !now.Before(e.until) && (!oldest.IsValid() || olderOf(e, t.byAddr[oldest], a, oldest)) {
			oldest = a
		}
	}
	return oldest, oldest.IsValid()
}

// olderOf breaks ties by address, so that the same input gives the same answer.
func olderOf(e, f entry, a, b netip.Addr) bool {
	if c := e.until.Compare(f.until); c != 0 {
		return c < 0
	}
	return a.Less(b)
}

// set gives the address to the machine, which gives back what it had.
func (t *Table) set(a netip.Addr, e entry) {
	if old, ok := t.byAddr[a]; ok && t.byKey[old.key] == a {
		delete(t.byKey, old.key)
	}
	if old, ok := t.byKey[e.key]; ok && old != a && t.byAddr[old].state != declined {
		delete(t.byAddr, old)
	}
	t.byAddr[a] = e
	t.byKey[e.key] = a
}

// Lease is one that is or was held, as it is kept on disk.
type Lease struct {
	Key     string // bytes
	Address netip.Addr
	Until   time.Time
}

// Leases lists those that were ever bound, by address: ended ones too, as their
// machines are to find their addresses again.
func (t *Table) Leases() []Lease {
	var all []Lease
	for a, e := range t.byAddr {
		if e.state == bound {
			all = append(all, Lease{e.key, a, e.until})
		}
	}
	slices.SortFunc(all, func(a, b Lease) int { return a.Address.Compare(b.Address) })
	return all
}

// Load takes leases of before. Those that this table could not have given are
// left out: the subnet may be another now.
func (t *Table) Load(now time.Time, leases []Lease) {
	for _, l := range leases {
		_, isTaken := t.byAddr[l.Address]
		_, isKnown := t.byKey[l.Key]
		if !t.has(l.Address) || l.Key == "" || len(l.Key) > MaxKey || isTaken || isKnown {
			continue
		}
		// A clock that was wrong then, or is now, must not block an address for years.
		if latest := now.Add(Time); l.Until.After(latest) {
			l.Until = latest
		}
		t.set(l.Address, entry{l.Key, bound, l.Until})
	}
}
