package sim

import "net/netip"

func gatewayOrigins() []Origin {
	anywhere := netip.MustParsePrefix("::/0")
	mesh := netip.MustParsePrefix("2001:db8:42::/48")
	return []Origin{
		{Prefix: anywhere, From: mesh},
		{Prefix: anywhere, From: netip.MustParsePrefix("2001:db8:43::/48"), Metric: 100},
		{Prefix: anywhere},
		{Prefix: netip.MustParsePrefix("2001:db8:99::/48"), From: mesh},
	}
}
