// Package wg makes WireGuard interfaces, one for each tunnel, by the kernel's
// WireGuard or by wireguard-go in this process, behind one interface.
//
// It brings the interface up with our one link-local address (fe80:: and the
// router-id, no other), the mark on its outer packets, and what it must not heed
// switched off: router advertisements and redirects from the other end. Each
// device has one peer, to whom everything may be sent and from whom everything
// is taken: Babel alone decides what goes where.
//
// It negotiates nothing (tunnel/agent does), runs no Babel, and decides nothing
// about which tunnels there are. Who needs no real interfaces in a test takes
// tunnel/wg/wgtest.
//
// A device has a port, which may be another's too: callers ask Device.Port and
// do not count on one for each tunnel.
package wg
