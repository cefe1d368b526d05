// Package advert decides what a node tells the machines of its local networks,
// and when: which /64 of the node's prefix each network has, what a router
// advertisement contains, and when one is sent.
//
// A Router is the machine for one interface: what was heard and what the mesh
// offers go in, advertisements come out. It has no sockets and encodes nothing;
// internal/lan does.
//
// It follows RFC 4861, section 6.2 (when to send), RFC 4862 and 9096 (prefixes
// and their lifetimes), RFC 4191 (routes), RFC 8106 (names), RFC 8781 (NAT64),
// and RFC 7084, requirement G-4: who has no way to the Internet is no default
// router.
package advert
