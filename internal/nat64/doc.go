// Package nat64 translates packets between IPv6 and IPv4 (RFC 7915), for
// machines that have IPv6 alone and servers that have IPv4 alone.
//
// It is the stateless half of a NAT64: each IPv6 source that is active gets an
// IPv4 address of a private pool for itself, and each IPv4 address of the
// Internet is an IPv6 address under the NAT64 prefix (RFC 6052). The other half,
// ports and the state of connections, is the kernel's masquerading of the pool,
// as with the two translations of RFC 6877.
//
//	[src 2001:db8:42:7::1, dst 64:ff9b::198.51.100.7]   from the mesh
//	[src 240.64.0.2, dst 198.51.100.7]                  to the kernel, which masquerades
//
// It is pure: a packet in, packets out, no clock, no allocation on the way. TUN
// device and routes are in internal/nat64/tun. It does not reassemble, and
// lowers no hop limit: the kernel forwards each packet to the device and from it,
// and does that each time.
//
// Not translated, but counted: multicast, ICMP in fragments (its checksum covers
// the length of the whole, which no fragment tells), UDP without a checksum in
// fragments towards IPv6, source routes, and what RFC 7915 says to drop.
package nat64
