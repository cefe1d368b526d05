// Package trace sees what packets really do on their way to an address: it sends
// ICMP echo requests with growing hop limits and takes what comes back (RFC 4443
// and RFC 792). Survey finds the hops, Ping asks the target alone.
//
// It knows addresses only: whose they are, and over which tunnels they are
// connected, its caller asks elsewhere. It needs a raw socket, so the daemon does
// it, and not the command that an operator runs.
//
// A hop that answers may limit its answers (Linux: six to one address, then one a
// second), so loss at a hop that later hops do not have says nothing about the
// way. Whoever can see our packets can answer them; nothing but what a person
// reads may rest on it.
package trace
