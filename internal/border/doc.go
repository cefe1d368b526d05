// Package border decides what a gateway tells the mesh: which default routes to
// originate, given what is known of its upstreams.
//
// An upstream is judged for each family from what was seen of it (Judge), and a
// next hop or a host beyond it by its echoes (Probe). A Machine turns the
// judgements into default routes:
//
//	down ──well──> waiting ──long enough──> originating
//	  ^               │                          │
//	  └──── fails ────┴───────── fails ──────────┘
//
// It withdraws at once, because packets that come to a gateway without an
// upstream are lost; and it comes back only after the upstream has been well
// for a while, the longer the more often it failed: each change is a change of
// the way for every node of the mesh.
//
// IPv6 defaults are source-specific (RFC 9079): one from each prefix of the
// network and one from each announced prefix that the gateway admits. So several
// networks can meet on a host, and none captures the host's own traffic. IPv4
// has one plain default.
//
// It is not the gateway: it filters no packet, changes no kernel state and sends
// no echo (internal/gateway does).
package border
