// Package userspace is WireGuard where the kernel has none: wireguard-go devices
// inside this process, each with a TUN interface and a control socket, so that
// wg(8) shows them like the kernel's.
//
// The devices of a process share one UDP port (Underlay): a socket for each family,
// whose reader gives each datagram to the device whose it is, by the receiver's
// index that the device itself sent in a handshake, and an initiation by its MAC1.
// The interfaces are of our own make (tunDevice). With both, the memory of packets
// on their way is the process's and not each device's, and less is copied.
//
// It makes and removes devices and passes configuration on in wireguard-go's own
// text form. Addresses and all other settings of the interface are tunnel/wg's.
// Keys, sessions, timers and cookies are wireguard-go's (package device below).
//
// A device's listen_port counts where no other is up, and all have one mark. ECN is
// carried from the inner to the outer packet and back (package ecn), which wireguard-go
// itself does not.
package userspace
