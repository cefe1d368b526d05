package advert

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// maxOthers bounds the routers of one link that we remember.
	maxOthers = 16
	// forgetAfter is how long we remember one that is no default router: until it
	// must have spoken again (RFC 4861, section 6.2.1: 1800 s at most).
	forgetAfter = 1900 * time.Second
)

// Heard is what the advertisement of another router says.
type Heard struct {
	RouterLifetime time.Duration
	Prefixes       []netip.Prefix // on link, or for autonomous configuration
	Routes         []netip.Prefix
}

// Other is another router on the link.
type Other struct {
	Addr      netip.Addr
	IsMember  bool // it advertises a prefix of the mesh that is not ours
	Conflicts bool // it advertises ours
	Default   bool // it is a default router
	Prefixes  []netip.Prefix

	defaultUntil time.Time
	until        time.Time
}

type others struct {
	list []Other
}

// heard remembers the router and says whether that changes what we have to say.
func (o *others) heard(now time.Time, lan netip.Prefix, networks []netip.Prefix, from netip.Addr, h Heard) {
	next := Other{Addr: from, defaultUntil: now.Add(h.RouterLifetime), until: now.Add(max(h.RouterLifetime, forgetAfter)), Prefixes: h.Prefixes}
	for _, p := range h.Prefixes {
		switch {
		case p.Overlaps(lan):
			next.Conflicts = true
		case isInside(p, networks):
			next.IsMember = true
		}
	}
	o.expire(now)
	i := slices.IndexFunc(o.list, func(k Other) bool { return k.Addr == from })
	switch {
	case i >= 0:
		o.list[i] = next
	case len(o.list) < maxOthers:
		o.list = append(o.list, next)
	}
}

func isInside(p netip.Prefix, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Bits() <= p.Bits() && n.Contains(p.Addr()) })
}

func (o *others) expire(now time.Time) {
	o.list = slices.DeleteFunc(o.list, func(k Other) bool { return !now.Before(k.until) })
}

// hasDefault says whether the link has another way to the Internet. A member of
// the mesh is none: if each stood back for the other, no one would be left.
func (o *others) hasDefault(now time.Time) bool {
	return slices.ContainsFunc(o.list, func(k Other) bool { return !k.IsMember && now.Before(k.defaultUntil) })
}

// deadline is when the answer of hasDefault changes by itself.
func (o *others) deadline(now time.Time) (at time.Time) {
	for _, k := range o.list {
		if !k.IsMember && now.Before(k.defaultUntil) && k.defaultUntil.After(at) {
			at = k.defaultUntil
		}
	}
	return at
}

func (o *others) view(now time.Time) []Other {
	o.expire(now)
	all := slices.Clone(o.list)
	for i := range all {
		all[i].Default = now.Before(all[i].defaultUntil)
	}
	return all
}
