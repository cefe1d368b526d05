// Package tunnel decides which tunnels a node has and when each of them ends. It knows no socket, device or clock: a
// loop (tunnel/agent) tells it what happened, asks it what to do, and does it.
//
//   - Selector is the rule: given what a node knows, whom to probe, which tunnels to open and which to close.
//   - Manager is the life of each tunnel: offers and answers, endpoints that are tried, limits, silence, draining.
//
// # The life of a tunnel
//
//	            open                reached               agreed                 handshake
//	(nothing) ────────▶ candidate ──────────▶ negotiating ────────▶ handshaking ──────────▶ up ──▶ draining
//	(nothing) ───────────── offered ─────────────▶┘  └── failed, refused, timed out, lost, replaced, stop ──▶ closed
//
// A candidate is being probed: which of its endpoints answers, and has it room. Then the two sides exchange keys
// (negotiating), then WireGuard's (handshaking; each endpoint of the other side is tried in turn, by both sides). A
// tunnel that is up carries routes until it is drained: both ends raise its cost until nothing uses it.
//
// Every state but up and closed ends by itself after the time that stands in bounds. The table of transitions below is
// the only place where a state changes.
//
// # Rules between two nodes
//
//   - There is one tunnel for a pair of nodes, whoever opened it.
//   - Of two offers that cross, the one of the smaller router-id stands.
//   - An offer of the same id again is the same tunnel: it gets the same answer, and the keys of the last one count.
//   - A new offer from a peer with whom there is a tunnel replaces it: the peer would not ask if it still had it.
//
// # Limits
//
// A node with a valid certificate may still be hostile (threats T-14 and T-15). Incoming tunnels are limited in all, in
// those not yet up, and in how often one identity may ask; devices are created after the check. Endpoints are hints: an
// address that did not answer is left alone for longer and longer, whoever names it and under whatever port.
package tunnel

import "time"

// State is where a tunnel stands in its life.
type State uint8

// The states, see the package comment.
const (
	None State = iota
	Candidate
	Negotiating
	Handshaking
	Up
	Draining
	Closed
)

var stateNames = [...]string{"none", "candidate", "negotiating", "handshaking", "up", "draining", "closed"}

func (s State) String() string { return stateNames[s] }

// Cause is what moves a tunnel from one state to the next.
type Cause uint8

// The causes.
const (
	Opened    Cause = iota // the selector wants it
	Offered                // the peer wants it
	Reached                // an endpoint of the peer's control API answered
	Agreed                 // keys are exchanged
	Confirmed              // a WireGuard handshake was completed
	Drained                // the selector, or the peer, is done with it
	TimedOut               // the state's time is over
	Failed                 // unreachable, refused, no device
	Lost                   // up, but silent
	Hungup                 // the peer closed it
	Replaced               // another tunnel with the same peer stands instead
	Stopped                // the node stops, or the peer may no longer be one
)

var causeNames = [...]string{
	"opened", "offered", "reached", "agreed", "confirmed", "drained",
	"timed out", "failed", "lost", "closed by the peer", "replaced", "stopped",
}

func (c Cause) String() string { return causeNames[c] }

// transitions is the whole of the machine: what is not listed does not happen.
var transitions = []struct {
	from State
	on   Cause
	to   State
}{
	{None, Opened, Candidate},
	{None, Offered, Negotiating},

	{Candidate, Reached, Negotiating},
	{Candidate, TimedOut, Closed},
	{Candidate, Failed, Closed},
	{Candidate, Replaced, Closed},
	{Candidate, Stopped, Closed},

	{Negotiating, Agreed, Handshaking},
	{Negotiating, TimedOut, Closed},
	{Negotiating, Failed, Closed},
	{Negotiating, Hungup, Closed},
	{Negotiating, Replaced, Closed},
	{Negotiating, Stopped, Closed},

	{Handshaking, Confirmed, Up},
	{Handshaking, Offered, Handshaking}, // the same offer again: its answer was lost
	{Handshaking, TimedOut, Closed},
	{Handshaking, Failed, Closed},
	{Handshaking, Hungup, Closed},
	{Handshaking, Replaced, Closed},
	{Handshaking, Stopped, Closed},

	{Up, Drained, Draining},
	{Up, Failed, Closed}, // the device went away
	{Up, Lost, Closed},
	{Up, Hungup, Closed},
	{Up, Replaced, Closed},
	{Up, Stopped, Closed},

	{Draining, TimedOut, Closed}, // the usual end: nothing uses it any more, or it took too long
	{Draining, Failed, Closed},
	{Draining, Lost, Closed},
	{Draining, Hungup, Closed},
	{Draining, Replaced, Closed},
	{Draining, Stopped, Closed},
}

// bounds is how long a tunnel stays in a state at most.
var bounds = map[State]time.Duration{
	Candidate:   8 * time.Second,
	Negotiating: 12 * time.Second,
	Handshaking: 20 * time.Second,
	Draining:    10 * time.Second,
}

// next looks a transition up.
func next(from State, on Cause) (State, bool) {
	for _, t := range transitions {
		if t.from == from && t.on == on {
			return t.to, true
		}
	}
	return from, false
}
