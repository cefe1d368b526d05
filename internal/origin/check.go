package origin

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"re6st/addressing"
)

// Verdict is the answer.
type Verdict uint8

const (
	// Admit: the router-id may.
	Admit Verdict = iota
	// Refuse: it may not, whatever certificates come.
	Refuse
	// Unknown: it depends on a certificate that is not at hand.
	Unknown
)

func (v Verdict) String() string {
	switch v {
	case Admit:
		return "admit"
	case Refuse:
		return "refuse"
	}
	return "unknown"
}

// The reasons for a refusal.
var (
	ErrMalformed      = errors.New("not a prefix that may be announced")
	ErrWhole          = errors.New("the prefix covers a whole network of the mesh")
	ErrRouterID       = errors.New("the router-id is not the one of the prefix")
	ErrSourceSpecific = errors.New("there are no such source-specific routes here")
	ErrAnySource      = errors.New("IPv6 ways out are for sources of the mesh only")
	ErrNotListed      = errors.New("the certificate of the router-id does not list the prefix")
	ErrNoGateway      = errors.New("the certificate of the router-id does not allow default routes")
	ErrUnknown        = errors.New("no certificate of the router-id is at hand")
	ErrUnknownSource  = errors.New("no certificate at hand lists the source prefix")
)

// Check says whether id may announce packets to prefix, from the source prefix
// from (invalid or of length 0: any source).
func (c *Claims) Check(prefix, from netip.Prefix, id addressing.RouterID) Verdict {
	switch err := c.Why(prefix, from, id); {
	case err == nil:
		return Admit
	case errors.Is(err, ErrUnknown) || errors.Is(err, ErrUnknownSource):
		return Unknown
	}
	return Refuse
}

// Why is Check with the reason: nil for Admit; ErrUnknown or ErrUnknownSource for
// Unknown.
func (c *Claims) Why(prefix, from netip.Prefix, id addressing.RouterID) error {
	if err := addressing.CheckPrefix(prefix); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if from.Bits() <= 0 {
		from = netip.Prefix{}
	}
	switch {
	case prefix.Bits() == 0 || prefix == c.nat64:
		return c.gateway(prefix, from, id)
	case from.IsValid():
		return ErrSourceSpecific
	}
	for _, network := range c.networks {
		switch {
		case !network.Overlaps(prefix):
			continue
		case prefix.Bits() <= network.Bits():
			return ErrWhole
		case prefix.Addr().Is6():
			return nodePrefix(prefix, id)
		}
		return c.listed(id, func(own netip.Prefix, _ addressing.Rights) bool { return own == prefix })
	}
	if isSpecial(prefix) {
		return fmt.Errorf("%w: %v is not routed", ErrMalformed, prefix)
	}
	return c.listed(id, func(_ netip.Prefix, r addressing.Rights) bool { return slices.Contains(r.Announce, prefix) })
}

// nodePrefix needs no certificate: nobody else has the router-id.
func nodePrefix(prefix netip.Prefix, id addressing.RouterID) error {
	if want := addressing.RouterIDOf(prefix); want != id {
		return fmt.Errorf("%w: it is %v, not %v", ErrRouterID, want, id)
	}
	return nil
}

func (c *Claims) listed(id addressing.RouterID, isListed func(ipv4 netip.Prefix, r addressing.Rights) bool) error {
	n, ok := c.nodes[id]
	switch {
	case !ok:
		return ErrUnknown
	case !isListed(n.IPv4, n.Rights):
		return ErrNotListed
	}
	return nil
}

// gateway is about the ways out: default routes, and the network's NAT64 prefix,
// which is one for IPv4. For IPv6 they are for sources of the mesh only (RFC
// 9079): the network, or a prefix that some node may announce. IPv4 has no
// source-specific routes in Linux; there the rules of the kernel see to it.
func (c *Claims) gateway(prefix, from netip.Prefix, id addressing.RouterID) error {
	switch {
	case prefix.Addr().Is4() && from.IsValid():
		return ErrSourceSpecific
	case prefix.Addr().Is6() && !from.IsValid():
		return ErrAnySource
	}
	if err := c.source(prefix, from); err != nil && !errors.Is(err, ErrUnknownSource) {
		return err
	}
	switch n, ok := c.nodes[id]; {
	case !ok:
		return ErrUnknown
	case !n.Rights.Gateway:
		return ErrNoGateway
	}
	return c.source(prefix, from)
}

func (c *Claims) source(prefix, from netip.Prefix) error {
	switch {
	case prefix.Addr().Is4() || slices.Contains(c.networks, from):
		return nil
	case addressing.CheckPrefix(from) != nil || !from.Addr().Is6() || c.overlapsNetwork(from):
		return ErrSourceSpecific
	case c.announced[from] == 0:
		return ErrUnknownSource
	}
	return nil
}

func (c *Claims) overlapsNetwork(p netip.Prefix) bool {
	return slices.ContainsFunc(c.networks, func(n netip.Prefix) bool { return n.Overlaps(p) })
}

// special are the addresses that mean something on one host or link only: no
// router forwards them (RFC 4291, sections 2.5.2 to 2.7; RFC 6890, section 2.2.2).
var special = []netip.Prefix{
	netip.MustParsePrefix("::/127"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
}

func isSpecial(p netip.Prefix) bool {
	return slices.ContainsFunc(special, func(s netip.Prefix) bool { return s.Overlaps(p) })
}
