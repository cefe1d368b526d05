package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/ndp"

	"re6st/internal/lan/advert"
)

const (
	// maxMessageBytes is what is read of one; links carry 1500 bytes, and what a
	// larger one would say is not needed.
	maxMessageBytes = 2048
	// hopLimit proves that a message comes from the link itself (RFC 4861, section 6.1).
	hopLimitNDP = 255
	// currentHopLimit is what machines are to send with (IANA's default).
	currentHopLimit = 64
	// maxPrefixes bounds what is kept of another router's message.
	maxPrefixes = 16
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// encode writes an advertisement; an address of the link other than Ethernet's
// is left out (RFC 4861, section 6.2.3, lets us).
func encode(a advert.Advertisement, mac net.HardwareAddr) ([]byte, error) {
	m := &ndp.RouterAdvertisement{CurrentHopLimit: currentHopLimit, RouterLifetime: a.RouterLifetime}
	m.Options = append(m.Options, &ndp.PrefixInformation{
		PrefixLength: uint8(a.Prefix.Bits()), Prefix: a.Prefix.Addr(),
		OnLink: true, AutonomousAddressConfiguration: true,
		ValidLifetime: a.Valid, PreferredLifetime: a.Preferred,
	})
	for _, o := range a.Offers {
		m.Options = append(m.Options, option(o))
	}
	if a.MTU > 0 {
		m.Options = append(m.Options, ndp.NewMTU(uint32(a.MTU)))
	}
	if len(mac) == 6 {
		m.Options = append(m.Options, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac})
	}
	b, err := ndp.MarshalMessage(m)
	if err != nil {
		return nil, fmt.Errorf("composing a router advertisement: %w", err)
	}
	return b, nil
}

func option(o advert.Offered) ndp.Option {
	switch o.Kind {
	case advert.DNS:
		return &ndp.RecursiveDNSServer{Lifetime: o.Lifetime, Servers: []netip.Addr{o.Addr}}
	case advert.Search:
		return &ndp.DNSSearchList{Lifetime: o.Lifetime, DomainNames: []string{o.Domain}}
	case advert.NAT64:
		return &ndp.PREF64{Lifetime: o.Lifetime, Prefix: o.Prefix}
	default:
		return &ndp.RouteInformation{PrefixLength: uint8(o.Prefix.Bits()), Prefix: o.Prefix.Addr(), RouteLifetime: o.Lifetime}
	}
}

var errNotValid = errors.New("not a valid message of neighbour discovery")

// decode reads a solicitation, or what an advertisement of another router says.
// What RFC 4861, sections 6.1.1 and 6.1.2, has discarded is an error.
func decode(b []byte, from netip.Addr, hopLimit int) (isSolicitation bool, h advert.Heard, err error) {
	if hopLimit != hopLimitNDP {
		return false, h, fmt.Errorf("%w: hop limit %d", errNotValid, hopLimit)
	}
	if len(b) < 2 || b[1] != 0 {
		return false, h, fmt.Errorf("%w: code", errNotValid)
	}
	m, err := ndp.ParseMessage(b)
	if err != nil {
		return false, h, fmt.Errorf("%w: %w", errNotValid, err)
	}
	switch m := m.(type) {
	case *ndp.RouterSolicitation:
		if from.IsUnspecified() && hasSource(m.Options) {
			return false, h, fmt.Errorf("%w: a link-layer address from nobody", errNotValid)
		}
		return true, h, nil
	case *ndp.RouterAdvertisement:
		if !from.IsLinkLocalUnicast() {
			return false, h, fmt.Errorf("%w: a router at %v", errNotValid, from)
		}
		return false, heard(m), nil
	default:
		return false, h, fmt.Errorf("%w: type %v", errNotValid, m.Type())
	}
}

func hasSource(options []ndp.Option) bool {
	for _, o := range options {
		if l, ok := o.(*ndp.LinkLayerAddress); ok && l.Direction == ndp.Source {
			return true
		}
	}
	return false
}

func heard(m *ndp.RouterAdvertisement) advert.Heard {
	h := advert.Heard{RouterLifetime: m.RouterLifetime.Truncate(time.Second)}
	for _, o := range m.Options {
		p, ok := o.(*ndp.PrefixInformation)
		if !ok || !p.OnLink && !p.AutonomousAddressConfiguration || p.PreferredLifetime == 0 || len(h.Prefixes) >= maxPrefixes {
			continue
		}
		if prefix := netip.PrefixFrom(p.Prefix, int(p.PrefixLength)).Masked(); prefix.IsValid() && prefix.Bits() > 0 {
			h.Prefixes = append(h.Prefixes, prefix)
		}
	}
	return h
}
