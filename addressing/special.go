package addressing

import (
	"net/netip"
	"slices"
)

// special are the addresses that belong to no host beyond a link, a machine or a
// translation (RFC 6890): a mesh can neither be made of them nor route to them.
var special = []string{
	"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
	"::/8", "fe80::/10", "ff00::/8",
}

// IsSpecial reports whether a prefix has any of them. The translation prefixes of
// RFC 6052 and 8215 are among them: only a gateway has those.
func IsSpecial(p netip.Prefix) bool {
	return slices.ContainsFunc(special, func(text string) bool { return p.Overlaps(netip.MustParsePrefix(text)) })
}

// IPv4Length is the length of a node's subnet in an IPv4 network where nobody
// chose one: 24, or what leaves place for sixteen nodes, or for two.
func IPv4Length(network netip.Prefix) int {
	if network.Bits() <= 20 {
		return 24
	}
	return max(min(network.Bits()+4, 30), network.Bits()+1)
}
