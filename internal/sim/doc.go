// Package sim runs networks of Babel engines in virtual time: up to a thousand,
// over links with latency, jitter, loss, reordering and duplication, through
// cuts, restarts, partitions, clock steps and failing forwarding tables. One seed
// decides everything; the same seed gives the same trace, on any machine and any
// number of processors.
//
//	w := sim.New(sim.Config{Seed: 7})
//	sim.Ring(w, 8, sim.Tunnels)
//	w.Run(time.Minute)
//	w.Link(0).Cut(true)
//	w.Await(15*time.Second, w.AllReach)
//
// Here is the world and what watches it. What is demanded of it stands in the
// tests, and in Trial, which scripts/sim runs over many seeds. The package knows
// engines by their public methods only.
//
// # Time
//
// Every node has a queue of its own: packets that will arrive, and the deadline
// of its engine. A packet takes at least the latency of its link, so whatever
// happens within the least latency of all links at one node cannot matter to
// another: such a window is run node by node, on several processors if there
// are, and packets and route changes are put in order afterwards. Faults happen
// between windows. Hence no order of goroutines is visible in a result.
//
// # Oracles
//
// A loop is looked for after every change of any forwarding table, in the order
// of time. Reachability follows the forwarding tables hop by hop. Distances are
// compared with Dijkstra over the costs that the true latencies give.
package sim
