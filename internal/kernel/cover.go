package kernel

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// surroundings are what the host has beside us.
type surroundings struct {
	// onLink are the prefixes that the main table reaches without a gateway, by an
	// interface that is no tunnel of ours; of this node's own prefixes also those
	// that it reaches by a router on its LAN.
	onLink []netip.Prefix
	// ways are the other prefixes of the main table, but its default, and the
	// addresses of the host: those by which something for a candidate would go.
	ways []netip.Prefix
}

// surroundings looks around; ways are only for the candidates.
func (h *Host) surroundings(own, candidates []netip.Prefix) (s surroundings, err error) {
	found, err := h.dumpRoutes(tableMain)
	if err != nil {
		return s, err
	}
	all, err := h.Links()
	if err != nil {
		return s, err
	}
	links := make(map[int]Link, len(all))
	for _, l := range all {
		links[l.Index] = l
	}
	for _, f := range found {
		l, ok := links[f.Ifindex]
		isOurs := f.rtn == unix.RTN_UNICAST && partOfAny(f.Dst, own)
		if (f.isOnLink() || isOurs) && ok && !l.Loopback && !isOurLink(l.Name) && !slices.Contains(s.onLink, f.Dst) {
			s.onLink = append(s.onLink, f.Dst)
		}
		leads := f.many || ok && l.Up && !isOurLink(l.Name)
		if f.rtn == unix.RTN_UNICAST && leads && f.Dst.Bits() > 0 && overlapsAny(f.Dst, candidates) {
			s.ways = append(s.ways, f.Dst)
		}
	}
	if len(candidates) == 0 {
		return s, nil
	}
	addresses, err := h.AllAddresses()
	if err != nil {
		return s, err
	}
	for _, a := range addresses {
		one := netip.PrefixFrom(a.Addr(), a.Addr().BitLen())
		if l := links[a.Index]; l.Up && !isOurLink(l.Name) && overlapsAny(one, candidates) {
			s.ways = append(s.ways, one)
		}
	}
	return s, nil
}

func overlapsAny(p netip.Prefix, others []netip.Prefix) bool {
	return slices.ContainsFunc(others, p.Overlaps)
}

func partOfAny(p netip.Prefix, others []netip.Prefix) bool {
	return slices.ContainsFunc(others, func(o netip.Prefix) bool { return p.Bits() >= o.Bits() && o.Contains(p.Addr()) })
}

func (f foundRoute) isOnLink() bool {
	return f.rtn == unix.RTN_UNICAST && !f.many && !f.Gateway.IsValid() && f.Protocol != Protocol
}

// covered are the candidates into which the host has a way.
func (s surroundings) covered(candidates []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(candidates), func(c netip.Prefix) bool { return !overlapsAny(c, s.ways) })
}

// SetOrigins says which prefixes beside the network's this node may announce.
// What comes for one of them goes by the host's own routes, but never by its
// default; so only those into which the host has another way are Origins.
func (i *Installed) SetOrigins(prefixes []netip.Prefix) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.removed {
		return nil
	}
	i.candidates = bounded(prefixes)
	return i.followHostLocked()
}

// Origins are the prefixes that the node is to announce now.
func (i *Installed) Origins() []netip.Prefix {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.beside.origins)
}

// OriginsChanged tells that Origins is not what it was.
func (i *Installed) OriginsChanged() <-chan struct{} { return i.originsChanged }

// followHostLocked brings guards, throws and rules to what the host has now.
func (i *Installed) followHostLocked() error {
	s, err := i.host.surroundings(i.plan.Own, i.candidates)
	if err != nil {
		return err
	}
	i.onLink = s.onLink
	if now := s.covered(i.candidates); !slices.Equal(now, i.beside.origins) {
		i.beside.origins = now
		select {
		case i.originsChanged <- struct{}{}:
		default:
		}
		return i.syncBesideLocked()
	}
	return i.syncRoutesLocked()
}

// concerns says whether a change of a prefix in the main table, or of an address,
// is a reason to look around again.
func (i *Installed) concerns(p netip.Prefix) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.plan.inside(p, i.beside) || p.Bits() > 0 && overlapsAny(p, i.candidates)
}
