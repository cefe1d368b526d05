// Package fib is a copy of the kernel's forwarding decision for packets in
// transit, so that they can be sent on without asking the kernel: by a program in
// the kernel that looks into maps, or inside our process, from one userspace
// tunnel to the other.
//
// Two questions are asked of a packet. Inspect: is it one that is just sent on?
// Table.Lookup: where to? Where either answers with anything but "forward", the
// packet is left to the stack, which is always right. Hence all that is unusual
// may be left out here, and nothing may be answered that the stack would not do.
//
// A FIB is fed with Events, which say what the kernel has: the routes of one table,
// the addresses that are local, links, and the policy rules in their order. It
// compiles them into a Table, which never changes and may be read by many at once,
// and says by which Entries it differs from the Table before: they have policy and
// inheritance worked out, so that a reader needs the longest destination, and under
// it the longest source, and nothing else.
//
// It is not a routing protocol and does not know of one; it reads nothing from the
// kernel (internal/kernel does) and changes nothing there. It knows no firewall:
// whether one would be bypassed is for the caller to find out.
package fib
