package advert

import (
	"net/netip"
	"slices"
	"time"
)

// Lifetimes. RFC 9096, section 3.3, bounds what machines keep of a prefix when
// its router vanishes without a word: 45 minutes preferred, 90 minutes valid.
const (
	routerLifetime    = 3 * maxInterval // RFC 4861, section 6.2.1, AdvDefaultLifetime
	preferredLifetime = 2700 * time.Second
	validLifetime     = 5400 * time.Second
	offerLifetime     = 3 * maxInterval // RFC 8106, section 5.1, and 8781, section 4.1
)

// Limits that keep an advertisement within 1280 bytes.
const (
	maxNetworks  = 4
	maxAnnounced = 8
	maxServers   = 3
	maxLeaving   = 8
	maxDomain    = 230  // longer ones do not fit an option that the library can write
	minMTU       = 1280 // RFC 8200, section 5
)

// Mesh is what the mesh has to offer to the machines of a LAN.
type Mesh struct {
	Networks  []netip.Prefix // its own IPv6 prefixes
	Announced []netip.Prefix // others that are reached through it
	Default   bool           // it has a way to the Internet
	DNS       []netip.Addr   // answer for its names
	DNS4      []netip.Addr   // the same for machines with IPv4
	Resolves  bool           // and for all others as well
	Domain    string
	NAT64     netip.Prefix // invalid where none
	MTU       int          // of its tunnels; 0 where unknown
}

// Kind says what is offered.
type Kind int

// The kinds.
const (
	Route  Kind = iota // RFC 4191: through us to Prefix
	DNS                // RFC 8106: the server at Addr
	Search             // RFC 8106: Domain
	NAT64              // RFC 8781: Prefix
)

// An Offer is one thing that machines may use, comparable.
type Offer struct {
	Kind   Kind
	Prefix netip.Prefix
	Addr   netip.Addr
	Domain string
}

// Offered is an offer and for how long it holds; zero takes it back.
type Offered struct {
	Offer
	Lifetime time.Duration
}

// Advertisement is the content of a router advertisement.
type Advertisement struct {
	RouterLifetime time.Duration // zero: no default router
	Prefix         netip.Prefix
	Preferred      time.Duration // zero: its addresses are for old connections only
	Valid          time.Duration
	Offers         []Offered
	MTU            int // zero: not said
}

// offers lists what the mesh has, bounded. A server that answers for the mesh's
// names alone is not offered where machines have another router: they would ask
// us for what they find there, and some go no further.
func (m Mesh) offers(isAlone bool) []Offer {
	var all []Offer
	prefixes := slices.Concat(m.Networks[:min(len(m.Networks), maxNetworks)], m.Announced[:min(len(m.Announced), maxAnnounced)])
	for _, p := range prefixes {
		if p.IsValid() && p.Addr().Is6() && p.Bits() > 0 {
			all = append(all, Offer{Kind: Route, Prefix: p.Masked()})
		}
	}
	servers := m.DNS[:min(len(m.DNS), maxServers)]
	if !isAlone && !m.Resolves {
		servers = nil
	}
	for _, a := range servers {
		all = append(all, Offer{Kind: DNS, Addr: a})
	}
	if m.Domain != "" && len(m.Domain) <= maxDomain && len(servers) > 0 {
		all = append(all, Offer{Kind: Search, Domain: m.Domain})
	}
	if m.NAT64.IsValid() {
		all = append(all, Offer{Kind: NAT64, Prefix: m.NAT64})
	}
	return all
}

// content is what r has to say. What was offered and is no more goes out with
// lifetime zero for a while, or machines would go on using it.
func (r *Router) content(now time.Time) Advertisement {
	a := Advertisement{Prefix: r.lan.Prefix, Preferred: preferredLifetime, Valid: validLifetime}
	isAlone := !r.others.hasDefault(now)
	lifetime := offerLifetime
	if r.stopping {
		a.Preferred, lifetime = 0, 0
	}
	if r.mesh.Default && isAlone && !r.stopping {
		a.RouterLifetime = routerLifetime
	}
	// To lower what they send on the link would not be ours to say if other
	// routers had them send elsewhere too.
	if isAlone && r.mesh.MTU >= minMTU && r.mesh.MTU < r.linkMTU {
		a.MTU = r.mesh.MTU
	}
	for _, o := range r.offers {
		a.Offers = append(a.Offers, Offered{o, lifetime})
	}
	for _, l := range r.leaving {
		a.Offers = append(a.Offers, Offered{Offer: l.offer})
	}
	return a
}
