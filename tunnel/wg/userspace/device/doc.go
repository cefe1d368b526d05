// Package device is wireguard-go's package of that name, with patches: handshakes,
// sessions, timers, cookies and the configuration of a WireGuard interface.
//
// The files that say so are generated: upstream's of the version in go.mod, and
// what patches/ changes in them. Edit the patches, with scripts/wireguard-device.
// The others are ours: what the patches call. It is no copy to develop further:
// what can be done outside of it is done in package userspace.
//
// It is for a Bind that gives and takes single datagrams: buffers hold 2048 octets.
package device
