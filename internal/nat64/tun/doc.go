// Package tun is the edge of package nat64: a TUN device whose packets are
// translated and given back by the same device. The kernel routes the NAT64
// prefix and the IPv4 pool to it, and forwards what comes from it; routes and
// addresses are internal/kernel's.
//
// The device lives as long as its file: nothing is left after a SIGKILL.
package tun
