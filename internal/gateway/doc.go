// Package gateway makes a host the mesh's way out to the Internet: what may pass
// between both (nftables), under which addresses (NAT), and whether the upstream
// works at all (routes, next hop, echoes). It also finds out whether another's
// firewall lets this host forward (Forwards).
//
// A Gateway is one loop. It watches links, routes and the firewall by netlink,
// asks next hops and the operator's targets for echoes, and drives one
// border.Machine, which decides. What comes out goes in this order: the table,
// the guards of the mesh's routing table, the routes that Babel originates; and
// the same on the way back, so that nothing leaves unfiltered at any moment.
//
// Everything of ours in nftables is in one table, named by the instance, that is
// replaced whole in one transaction. Tables of others are read and never
// touched. The table is not bound to our socket (NFT_TABLE_F_OWNER), although it
// would then vanish with us: after a SIGKILL kernel tunnels go on forwarding, and
// must not go on without the filter. The next start removes it.
//
//	table inet re6st-1f2e3d4c {
//	  chain forward     filter, forward: from a tunnel to outside only what has a source of the mesh;
//	                    from an uplink into the mesh nothing that claims to be of the mesh,
//	                    and, unless all is let in, only answers and ICMP errors
//	  chain mss         mangle, forward: TCP's MSS fits the path
//	  chain nat         srcnat, postrouting: masquerade
//	}
//
// It is not a router: it sets no route, and does not decide when to be a gateway
// (internal/border does). It does not translate prefixes (ebpf does).
package gateway
