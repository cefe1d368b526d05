package addressing

import "net/netip"

// NodeAddress is the address of the node that owns the prefix: ::1 in it, or,
// where the prefix is one address, that. The address of bits zero is left to the
// Subnet-Router anycast address (RFC 4291, section 2.6.1).
func NodeAddress(p netip.Prefix) netip.Addr {
	if !p.IsValid() {
		return netip.Addr{}
	}
	p = p.Masked()
	if p.IsSingleIP() {
		return p.Addr()
	}
	return p.Addr().Next()
}

// LinkLocal is the link-local address of the node on its tunnels: fe80::/64 and
// the router-id (RFC 4291, section 2.5.6). It is the same on all of them, as the
// scope of a link-local address is the link.
func LinkLocal(id RouterID) netip.Addr {
	address := [16]byte{0xfe, 0x80}
	copy(address[8:], id[:])
	return netip.AddrFrom16(address)
}
