// Package ebpf is what the kernel does with packets for us by programs of our
// own: C in bpf/, the objects made of it, their loading, attaching, and counters.
//
// A Translator is IPv6-to-IPv6 Network Prefix Translation (RFC 6296) on a
// gateway's uplink: stateless, one address for one address, in both directions,
// so that the mesh is reached from outside under a prefix that the upstream
// routes to the gateway. nftables' prefix NAT is no substitute: it keeps
// state of each connection, and its translation changes transport checksums.
//
//	          inside                 outside
//	mesh ── forwarding ── filter ── [egress: source]       ── uplink
//	mesh ── forwarding ── filter ── [ingress: destination] ── uplink
//
// Rules of nftables and conntrack therefore see inside addresses only, with
// two exceptions: an ingress program runs before them and an egress one after
// (netfilter's own egress hook included), and a packet from inside to the
// outside prefix is turned back at the uplink (hairpinning), where it comes in
// with a source of the outside, and under the same rules as a packet from there.
//
// What it does not do: choose prefixes, route them, filter, or answer neighbour
// solicitations. The upstream must route the outside prefix to the gateway.
// Addresses without a counterpart are dropped and counted; RFC 6296 would have an
// ICMPv6 error for them (a SHOULD).
//
// A Shortcut sends packets in transit on past the IP stack: from a tunnel or a LAN
// into a tunnel, by maps that hold what fib compiled. It only does what it can do
// exactly as the stack would; all else goes on to the stack. And it counts what
// goes into tunnels, whoever sends it.
//
//	tunnel, LAN ── [tunnel, lan: check, look up, lower the hop limit] ── tunnel
//	                 └─ stack ── forwarding, filters ─────── [count] ── tunnel
//
// It decides nothing: routes are fib's, whether it may be on (an operator's
// firewall is bypassed) is the caller's.
//
// Programs are attached by tcx (Linux 6.6 and later), where they end with our
// process, or handed to a Clsact, which must find them again by their names after
// we were killed. Nothing is pinned.
package ebpf
