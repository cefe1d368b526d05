package names

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/gaissmai/bart"
	"github.com/miekg/dns"
)

// Host is what is known of a node.
type Host struct {
	Name    string
	Address netip.Addr
	IPv4    netip.Addr // may be invalid: none
	Prefix  netip.Prefix
	Subnet  netip.Prefix // IPv4; may be invalid
	Issued  time.Time    // its certificate
	Ends    time.Time    // its certificate
	Serial  string       // of its certificate
}

// Config says of which mesh a Directory tells.
type Config struct {
	Domain   string // of the nodes' names; empty: there are no names, only addresses
	Networks []netip.Prefix
	NAT64    netip.Prefix // may be invalid: none
	Self     Host
	Serial   uint32 // of the zones: higher than that of the Directory before
	// Pending: of some nodes that can be reached the certificates are not at hand
	// yet, so that a name may exist that is not here.
	Pending bool
}

// Directory is all that is known at one time. It does not change.
type Directory struct {
	domain   string // with its final dot, or empty
	nat64    netip.Prefix
	pending  bool
	serial   uint32
	self     string // the name of this node, which stands as the zones' server
	zones    []netip.Prefix
	hosts    map[string]Host // by name
	pointers map[netip.Addr]string
	sorted   []netip.Addr // keys of pointers
	owned    bart.Lite    // prefixes whose owner is known
}

// New makes a directory of all hosts that are known, ourselves included.
//
// Two certificates can hold one name: a node that was enrolled anew under the
// name of a lost one. The one that was issued last has it; of two issued in the
// same second the one with the larger serial, so that all nodes say the same.
func New(c Config, hosts iter.Seq[Host]) *Directory {
	d := &Directory{
		nat64: c.NAT64, pending: c.Pending, serial: c.Serial, zones: c.Networks,
		hosts: make(map[string]Host), pointers: make(map[netip.Addr]string),
	}
	if c.Domain != "" {
		d.domain = dns.CanonicalName(c.Domain)
	}
	d.self = d.qualify(c.Self.Name)
	d.add(c.Self)
	for h := range hosts {
		d.add(h)
	}
	for _, h := range d.hosts {
		d.point(h)
	}
	d.sorted = slices.SortedFunc(mapKeys(d.pointers), netip.Addr.Compare)
	return d
}

func mapKeys[K comparable, V any](m map[K]V) iter.Seq[K] {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (d *Directory) add(h Host) {
	for _, p := range []netip.Prefix{h.Prefix, h.Subnet} {
		if p.IsValid() {
			d.owned.Insert(p)
		}
	}
	if other, ok := d.hosts[h.Name]; ok && !h.replaces(other) {
		return
	}
	d.hosts[h.Name] = h
}

func (h Host) replaces(other Host) bool {
	return cmp.Or(h.Issued.Compare(other.Issued), h.Ends.Compare(other.Ends), cmp.Compare(h.Serial, other.Serial)) > 0
}

// point: an address has one name. Two hosts have one address only where a prefix
// was given again after its owner's certificate had ended.
func (d *Directory) point(h Host) {
	for _, a := range []netip.Addr{h.Address, h.IPv4} {
		if !a.IsValid() {
			continue
		}
		name := d.qualify(h.Name)
		if other, ok := d.pointers[a]; !ok || name < other {
			d.pointers[a] = name
		}
	}
}

// qualify gives a node's name in full.
func (d *Directory) qualify(name string) string { return name + "." + d.domain }

// Len is how many names there are.
func (d *Directory) Len() int { return len(d.hosts) }

// hasWithin says whether a pointer exists in a prefix.
func (d *Directory) hasWithin(p netip.Prefix) bool {
	i, _ := slices.BinarySearchFunc(d.sorted, p.Addr(), netip.Addr.Compare)
	return i < len(d.sorted) && p.Contains(d.sorted[i])
}

// mayAppear says whether a name could exist that is not here yet.
func (d *Directory) mayAppear(p netip.Prefix) bool {
	return d.pending && (!p.IsValid() || p.Bits() < p.Addr().BitLen() || !d.owned.Contains(p.Addr()))
}
