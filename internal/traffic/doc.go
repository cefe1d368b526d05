// Package traffic makes of counters what people and the selector of tunnels want
// to know: how much flows now, where to, through which tunnel, and how much of
// it this node carries for others.
//
// A Meter is fed with samples: counters of flows by destination, from whoever
// forwards packets (the kernel's programs, the relay inside the process), and
// counters of interfaces. It holds no clock, reads nothing, and does not know
// whose a destination is. Names are the business of who shows it.
//
// All that an outsider can make grow is bounded (threat T-26): a fixed number of
// destinations is told apart, those that carry most; the rest is summed up as
// other. A counter may begin anew, be evicted from its map, or vanish with its
// interface at any time; sums never fall, except that a destination which was
// crowded out begins at zero when it comes back.
package traffic
