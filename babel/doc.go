// Package babel is the Babel routing protocol (RFC 8966) as a pure state
// machine: packets, links and time come in, route changes, packets and events
// go out. It opens no socket, reads no clock, starts no goroutine and writes no
// log; a loop (babel/speaker, internal/sim) drives it.
//
//	e := babel.New(config)
//	e.InterfaceUp(now, ...)            // inputs take the time and return nothing
//	e.Receive(now, ...)
//	if !now.Before(e.Deadline()) { e.Advance(now) }
//	out := e.Output()                  // effects, to be carried out in order:
//	                                   // Reserve, Routes, Packets, Events
//
// What is here: neighbours and link costs (section 3.4 and appendix A), route
// acquisition, feasibility and selection (3.5, 3.6), updates (3.7), requests
// (3.8), source-specific routes (RFC 9079), IPv4 over IPv6 next hops (RFC 9229),
// round-trip times (RFC 9616), authentication (RFC 8967, in babel/mac). What is not:
// DTLS. docs/babel.md says what was decided where the RFCs leave freedom.
//
// # Invariants
//
//   - A route is selected only if it is feasible, finite, admitted by the import
//     filter and not refused by the kernel. Hence no loops (section 2.4).
//   - A finite Update leaves only after the source table knows it (section 3.7.3).
//   - An own seqno leaves only after its reservation is durable, so that it is
//     never used for two generations of routes, whatever crashes (Output.Reserve).
//   - A prefix that was lost stays unreachable while a neighbour may still point
//     at us (section 2.8).
//
// # State
//
//	Engine
//	  links      by ifindex: Hello and Update schedule, what is to be sent
//	    neighbours  by address: Hello histories, txcost, RTT
//	  entries    by (prefix, source prefix): what we originate, what we installed
//	    routes      one a neighbour; also listed by neighbour
//	    sources     feasibility distances, by router-id
//	    requests    seqno requests that are ours, or forwarded
//
// Links and neighbours with a deadline are in one heap (timers), entries in another
// (alarms), by a time that is never later than their earliest deadline: one that
// moves away costs nothing until the old one comes.
//
// Entries and routes are many: a node of a network of 1,000 has 10,000 routes. So a
// route is a value of 32 octets in the list of its entry, an entry has 112, and
// both name others by number: neighbours (peers), links, next hops (gateways),
// source prefixes (froms), entries themselves (table). Numbers come back when
// nobody uses them. Times are instants of 10 ms. What few entries need at a time is
// in extra, which is made and trimmed as they need it.
//
// What repeats is nearly everything that is heard: repeats looks an Update up and
// sets the time of expiry, no more. Whatever is different goes through reconsider.
//
// # Policy
//
// Import admits, holds or refuses what neighbours say, and may add to its metric;
// Export does the same, for each link, with what they hear. FilterChanged
// evaluates both anew: what is refused now is dropped or retracted, what is
// admitted is asked for or announced, the rest is left alone. A route carries the
// opaque sub-TLVs 112 to 119 of its Updates, unchanged; SetAttachment gives them
// to our own.
//
// # Limits
//
// Each neighbour has a budget (limits.go) for what it may make us store and say.
// It is by address and outlives the neighbour. What was dropped or delayed is in
// NeighbourState.Dropped. Nothing stored is thrown out for something newer, and a
// retraction never waits.
//
// # Links
//
// A link of kind Tunnel has one neighbour. Its cost follows the RTT and the loss,
// periodic dumps are rare, and split horizon applies, but never to a retraction.
// Wired is 2-out-of-3, Wireless ETX; both add the cost of the RTT if it is
// measured, and Wired a share for each Hello that was missed. An outage is no loss.
//
// A Hello promises the next one for when it will be sent; what changes afterwards
// only brings it forward. A neighbour that missed one is probed, where neighbours
// are few: it is dead when nothing comes back, without waiting for 2-out-of-3.
//
// # Updates on the wire
//
// What is to be said waits in jobs of three classes: retractions and other
// router-ids, news, the periodic dump. Each packet takes from the most urgent one,
// at the pace of the link's bucket, and says what is true when it leaves. Where
// neighbours are few they acknowledge news: what is not acknowledged is sent again
// to whoever missed it, the pace goes down, and when too much is on its way the
// rest waits. A retracted prefix is let go when all have acknowledged. Where they
// are many, news is said two or three times. Hello, IHU, Ack and requests wait for
// none of this.
package babel
