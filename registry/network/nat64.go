package network

import (
	"errors"
	"fmt"
	"net/netip"
)

// nat64Bits is the one length that we take of the six of RFC 6052, section 2.2:
// an address then reads as the prefix and the IPv4 address, and the translation
// with 64:ff9b::/96 leaves checksums as they are.
const nat64Bits = 96

// ParseNAT64 reads a prefix for IPv4 addresses in IPv6 ones (RFC 6052). The
// empty text, the zero Prefix, means that there is none.
func ParseNAT64(text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%.60q is not a prefix such as 64:ff9b::/96", text)
	}
	return p, CheckNAT64(p)
}

// CheckNAT64 says what is wrong with a NAT64 prefix.
func CheckNAT64(p netip.Prefix) error {
	a := p.Addr()
	switch {
	case !a.Is6() || a.Zone() != "":
		return fmt.Errorf("%v is not an IPv6 prefix", p)
	case p.Bits() != nat64Bits:
		return fmt.Errorf("%v is not of length %d", p, nat64Bits)
	case p != p.Masked():
		return fmt.Errorf("%v has bits beyond its length", p)
	// RFC 6052, section 2.2: "bits 64 to 71 of the address are reserved ... and
	// MUST be set to zero", also with a /96.
	case a.As16()[8] != 0:
		return fmt.Errorf("%v: bits 64 to 71 are not zero, as RFC 6052 wants", p)
	case a.Is4In6(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast():
		return fmt.Errorf("%v is not for addresses of hosts", p)
	}
	return nil
}

// checkNAT64 keeps the prefix out of the network's own: any part of that may
// become a node's.
func (d Document) checkNAT64() error {
	for _, p := range d.Prefixes {
		if p.Overlaps(d.Parameters.NAT64) {
			return fmt.Errorf("parameter nat64: %v overlaps the network's %v", d.Parameters.NAT64, p)
		}
	}
	return nil
}

// translation is a parameter that is a NAT64 prefix, or none.
type translation struct {
	of func(*Parameters) *netip.Prefix
}

func (t translation) set(p *Parameters, text string) error {
	v, err := ParseNAT64(text)
	if err != nil {
		return err
	}
	*t.of(p) = v
	return nil
}

func (t translation) format(p Parameters) string {
	if v := *t.of(&p); v != (netip.Prefix{}) {
		return v.String()
	}
	return ""
}

// check: prefixes have no order, so the limits do not count.
func (t translation) check(p Parameters, _, _ string) error {
	v := *t.of(&p)
	if v == (netip.Prefix{}) {
		return nil
	}
	if !v.IsValid() {
		return errors.New("no prefix")
	}
	return CheckNAT64(v)
}
