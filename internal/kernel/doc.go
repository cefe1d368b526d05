// Package kernel is everything of a node's kernel side that goes by netlink or
// /proc/sys, WireGuard devices excepted: the forwarding table, policy rules,
// addresses, sysctls, and the watching and mending of all of them.
//
// A Host is a handle on one network namespace, the one of the process. Install
// puts the node's own fixtures there (address, guards in the table, rules,
// sysctls), Apply adds the routes that a routing protocol chose, Watch keeps
// both as wanted while others edit the same tables, Remove and Cleanup take
// everything away.
//
// What is ours is recognised by marks that survive our death and by nothing
// else: routes by protocol number and table, rules by protocol number and
// priority, links by ifalias, sysctls by the undo file. Hence Cleanup works after
// a SIGKILL, and never takes what another program made.
//
// It is not a routing protocol and decides nothing about paths. It runs no
// program, touches no nftables (internal/gateway does), and knows no WireGuard
// (tunnel/wg does).
//
// IPv6 routes are composed and parsed here, because the netlink library in use
// neither writes nor reads RTA_SRC: to it all source-specific default routes are
// one and the same.
package kernel
