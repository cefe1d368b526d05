// Package names answers the DNS questions that a mesh can answer by itself: the
// address of <name>.<domain>, and the name of an address. What it knows comes
// from certificates, so the registry need not be there. Questions about the rest
// of the world become an Inquiry, which says whom else to ask what, and makes
// the answer of it, with DNS64 (RFC 6147) where the mesh has a NAT64 prefix.
//
// It is pure: a question and an immutable Directory go in, a message comes out.
// It is no resolver: it follows no delegation, keeps no cache and validates no
// signature; the resolver that the operator names does that. Sockets are in
// internal/names/server.
//
// RFC 1034, 1035, 2308 (negative answers), 3596 (AAAA, ip6.arpa), 6147 (DNS64),
// 6891 (EDNS), 7050 and 8880 (ipv4only.arpa), 8020 (nothing below a name that
// does not exist), 8482 (ANY), 8914 (extended errors).
package names
