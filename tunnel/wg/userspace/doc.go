// Package userspace is WireGuard where the kernel has none: wireguard-go devices
// inside this process, each with a TUN interface and a control socket, so that
// wg(8) shows them like the kernel's.
//
// It makes and removes devices and passes configuration on in wireguard-go's own
// text form. Addresses and all other settings of the interface are tunnel/wg's.
//
// wireguard-go does not carry ECN from the inner to the outer packet.
package userspace
