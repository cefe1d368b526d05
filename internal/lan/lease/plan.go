package lease

import (
	"errors"
	"fmt"
	"net/netip"

	"re6st/internal/lan/advert"
)

// longest leaves an address for us and one for a machine, beside the subnet's
// own and the broadcast address.
const longest = 30

// A Network is a local network with IPv4 addresses.
type Network struct {
	Interface string
	Subnet    netip.Prefix
}

// Gateway is the node's address there: the first of the subnet, which on the
// network with the node's first address is that.
func (n Network) Gateway() netip.Prefix {
	return netip.PrefixFrom(n.Subnet.Masked().Addr().Next(), n.Subnet.Bits())
}

// Plan gives each network its subnet of the node's own: all of it, if there is
// one network and nothing else was asked for.
func Plan(own netip.Prefix, wishes []advert.Wish) ([]Network, error) {
	if len(wishes) == 0 {
		return nil, nil
	}
	if !own.IsValid() {
		return nil, errors.New("this node has no IPv4 subnet")
	}
	var all []Network
	for _, w := range wishes {
		n := Network{Interface: w.Interface, Subnet: w.Prefix}
		if !w.Prefix.IsValid() {
			if len(wishes) > 1 {
				return nil, fmt.Errorf("%s: with several networks, say which part of %v each has: %s=SUBNET", w.Interface, own, w.Interface)
			}
			n.Subnet = own
		}
		if err := check(own, n); err != nil {
			return nil, err
		}
		for _, o := range all {
			switch {
			case o.Interface == n.Interface:
				return nil, fmt.Errorf("interface %s is named twice", n.Interface)
			case o.Subnet.Overlaps(n.Subnet):
				return nil, fmt.Errorf("subnets %v of %s and %v of %s overlap", o.Subnet, o.Interface, n.Subnet, n.Interface)
			}
		}
		all = append(all, n)
	}
	return all, nil
}

func check(own netip.Prefix, n Network) error {
	switch {
	case n.Subnet != n.Subnet.Masked():
		return fmt.Errorf("subnet %v for %s has bits set behind its length: want %v", n.Subnet, n.Interface, n.Subnet.Masked())
	case !n.Subnet.Addr().Is4() || !own.Contains(n.Subnet.Addr()) || n.Subnet.Bits() < own.Bits():
		return fmt.Errorf("subnet %v for %s is not of this node's, which are those in %v", n.Subnet, n.Interface, own)
	case n.Subnet.Bits() > longest:
		return fmt.Errorf("subnet %v for %s is too small: want a /%d or larger", n.Subnet, n.Interface, longest)
	}
	return nil
}
