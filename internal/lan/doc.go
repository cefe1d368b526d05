// Package lan serves the machines of a node's local networks that run nothing of
// ours: it sends them router advertisements, so that they make addresses in the
// node's prefix and reach the mesh through it.
//
// A LAN has one loop for each interface that is there and works; it feeds a
// machine of the package advert with what the link says and carries out what it
// decides. An interface that vanishes ends its loop, one that comes back gets a
// new one; neither is an error, and Health says which are missing.
//
// It does not forward (the kernel does), makes no tunnels, and takes no decision
// about routes. Addresses are given through internal/kernel, which takes them
// back also after our death.
package lan
