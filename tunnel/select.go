package tunnel

import (
	"math/rand/v2"
	"slices"
	"time"

	"re6st/addressing"
	"re6st/tunnel/control"
)

// PeerID names a node: its router-id, which is a function of its prefix.
type PeerID = addressing.RouterID

// Unreachable is the metric of a destination without a route (RFC 8966, section 2.2: infinity).
const Unreachable = 0xFFFF

// Parameters are what the network, or the operator, decides about tunnels.
type Parameters struct {
	Tunnels     int           // how many to open; at least 1
	Refresh     time.Duration // between two turns in a mesh that is an hour old
	MaxIncoming int           // how many to accept
	MinProtocol int           // the oldest version of the control API that is talked to
	// DemandTunnels is how many more to open, and to accept, for as long as much traffic goes there; 0: none.
	DemandTunnels int
}

// DefaultParameters are those of selection.
func DefaultParameters() Parameters {
	return Parameters{Tunnels: 10, Refresh: 5 * time.Minute, MaxIncoming: 30, MinProtocol: control.MinProtocol, DemandTunnels: 2}
}

// Own is a tunnel that this node opened, whatever its state, and is not about to close.
type Own struct {
	Peer   PeerID
	RTT    time.Duration // smoothed; 0: not known yet
	Reason control.Reason
	Since  time.Time
	Up     bool
	// Replacing: another tunnel is still there for it, and closes once this one carries routes.
	Replacing bool
	// Leaving: another tunnel is being opened in its place.
	Leaving bool
}

// Destination is what the routing knows of the way to a node.
type Destination struct {
	Peer   PeerID
	Metric int    // Unreachable if there is no route
	Via    PeerID // the neighbour that is the next hop
	// Alternate is the best metric that does not go through Via.
	Alternate int
}

// Known is a node that could be a neighbour.
type Known struct {
	Peer      PeerID
	Neighbour bool // there is a tunnel, of whatever direction and state
	Blocked   bool // failed not long ago
	Full      bool // blocked for want of room alone
	NAT       bool // cannot be called from outside, as far as known
}

// Probe answer of a node, while it is fresh.
type ProbeAnswer struct {
	Failed bool
	// RTT of the direct path; 0 if it could only be reached through the mesh.
	RTT      time.Duration
	Incoming int
	Room     int
	// NoTransit: it leads to nobody but itself.
	NoTransit bool
}

// Demand is how much this node sends to another at present: its own traffic, and what it carries for others.
type Demand struct {
	Peer           PeerID
	BytesPerSecond float64
	Carried        float64 // bytes per second
}

// Input is everything that the rule looks at.
type Input struct {
	Age          time.Duration // since the node started
	NAT          bool          // this node cannot be called from outside
	Own          []Own
	Incoming     int // tunnels that others opened to this node, but those on demand
	Connected    int // tunnels that are up, of both directions
	Opening      int // own tunnels that are not up yet
	Destinations map[PeerID]Destination
	Known        []Known
	Answers      map[PeerID]ProbeAnswer
	Demand       []Demand
	Parameters   Parameters
}

// Method says how two nodes get to each other.
type Method uint8

// The methods.
const (
	Direct   Method = iota // call the peer's endpoint
	CallBack               // ask it through the mesh; it calls us
	Punch                  // ask it through the mesh; both call at the same time
)

// Open asks for a tunnel.
type Open struct {
	Peer   PeerID
	Reason control.Reason
	Method Method
	// Replaces, if not zero: that neighbour's tunnel closes once this one carries routes, and stays if it fails.
	Replaces PeerID
}

// Decision is what the rule wants. Probes are answered in a later Input.
type Decision struct {
	Probe []PeerID
	Open  []Open
	Close []PeerID
}

// Bounds and counts of the rule. The figures of selection rest on them.
const (
	randomTunnels  = 2    // the part of the own tunnels that is drawn blindly
	lotSize        = 3    // candidates of which the least loaded is taken
	routeLots      = 3    // candidates that are the best of some destinations
	routeLotSize   = 10   // those some
	rotateEvery    = 10   // turns
	floorTotal     = 8    // own + incoming should be at least own + this
	openingMax     = 5    // tunnels that are being opened at once
	savingFactor   = 1.1  // a replacement must be this much better
	hopCost        = 4    // metric of a hop beside its RTT
	costPerMs      = 4    // metric per millisecond
	costMax        = 2000 // of one tunnel
	answerWait     = 2 * time.Second
	firstInterval  = 20 * time.Second
	secondInterval = 60 * time.Second
	youngAge       = 10 * time.Minute
	middleAge      = time.Hour
)

// Selector applies the rule, turn by turn. Its state is little: when the next turn is, and for whose answers it waits.
type Selector struct {
	rand   *rand.Rand
	nextAt time.Time
	turns  int
	rounds []round
	demand map[PeerID]demandSince
	// shunned are peers that get no tunnel on demand until then.
	shunned map[PeerID]time.Time
}

// round is a choice that waits for answers to probes.
type round struct {
	purpose  purpose
	reason   control.Reason
	victim   PeerID // zero: none
	members  []PeerID
	deadline time.Time
}

type purpose uint8

const (
	fill    purpose = iota // the least loaded member becomes a tunnel
	replace                // the member that saves most, if it saves more than the victim
)

// NewSelector returns a Selector whose first turn is at once.
func NewSelector(r *rand.Rand) *Selector {
	return &Selector{rand: r, demand: make(map[PeerID]demandSince), shunned: make(map[PeerID]time.Time)}
}

// Deadline says when Select should be called again if nothing happens before. Zero: at once.
func (s *Selector) Deadline() time.Time {
	d := s.nextAt
	for _, r := range s.rounds {
		if r.deadline.Before(d) {
			d = r.deadline
		}
	}
	for _, x := range s.demand {
		if x.due.Before(d) {
			d = x.due
		}
	}
	return d
}

// Want is how many tunnels a node opens: the number that is asked for, and more while few open tunnels to it, so that no
// node is connected by its own tunnels alone.
func Want(p Parameters, incoming int) int {
	return max(p.Tunnels, p.Tunnels+floorTotal-incoming)
}

// Select takes the step that is due. It may be called at any time; it acts when answers have come, when tunnels are
// missing, and when a turn is due.
func (s *Selector) Select(now time.Time, in Input) Decision {
	v := view{Input: in, now: now, taken: make(map[PeerID]bool)}
	for _, r := range s.rounds {
		for _, m := range r.members {
			v.taken[m] = true
		}
	}
	s.settle(&v)
	s.fill(&v)
	every := interval(in.Age, in.Parameters.Refresh)
	if !now.Before(s.nextAt) {
		s.turn(&v)
		s.nextAt = now.Add(s.jitter(every))
	}
	if s.nextAt.After(now.Add(every + every/4)) { // the operator wants turns more often than before
		s.nextAt = now.Add(s.jitter(every))
	}
	s.onDemand(&v)
	return v.decision
}

// interval is the time between two turns: a young mesh rotates fast.
func interval(age, refresh time.Duration) time.Duration {
	switch {
	case age < youngAge:
		return min(firstInterval, refresh)
	case age < middleAge:
		return min(secondInterval, refresh)
	}
	return refresh
}

// jitter spreads d by a fifth, so that nodes which started together do not act together for ever.
func (s *Selector) jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*s.rand.Float64()))
}

// turn is one step of the rule for a node that has all its tunnels. Each arm ends it.
func (s *Selector) turn(v *view) {
	s.turns++
	switch own := v.regular(); {
	case len(own)+s.waiting() < Want(v.Parameters, v.Incoming):
		return // filling is not a matter of turns
	case len(own) > Want(v.Parameters, v.Incoming)+1:
		if victim, ok := v.surplus(); ok {
			v.decision.Close = append(v.decision.Close, victim)
		}
	case s.turns%rotateEvery == 0:
		if oldest, ok := v.oldestRandom(); ok {
			s.start(v, round{purpose: fill, reason: control.Random, victim: oldest, members: s.pick(v, lotSize)})
		}
	default:
		if victim, ok := v.victim(); ok {
			s.start(v, round{purpose: replace, reason: control.Elected, victim: victim, members: s.candidates(v)})
		}
	}
}

// waiting is the number of rounds that will each add a tunnel.
func (s *Selector) waiting() int {
	n := 0
	for _, r := range s.rounds {
		if r.victim == (PeerID{}) {
			n++
		}
	}
	return n
}

// fill starts as many rounds as tunnels are missing, but few at a time. A node that is hardly connected does not wait
// to compare loads: any tunnel is better than the best one later.
func (s *Selector) fill(v *view) {
	missing := Want(v.Parameters, v.Incoming) - len(v.regular()) - s.waiting()
	free := openingMax - v.Opening - s.waiting()
	random := v.count(control.Random)
	for _, r := range s.rounds {
		if r.reason == control.Random && r.victim == (PeerID{}) {
			random++
		}
	}
	eligible := v.eligible()
	for n := min(missing, free); n > 0; n-- {
		size := lotSize
		if v.Connected < randomTunnels || len(eligible) <= missing {
			size = 1
		}
		members := s.pick(v, size)
		if len(members) == 0 {
			return
		}
		reason := control.Elected
		if random < randomTunnels {
			reason = control.Random
			random++
		}
		if len(members) == 1 {
			v.open(members[0], reason, PeerID{})
			continue
		}
		s.start(v, round{purpose: fill, reason: reason, members: members})
	}
}

// start begins a round: it probes those members of whom nothing fresh is known, and settles at once if there are none.
func (s *Selector) start(v *view, r round) {
	if len(r.members) == 0 {
		return
	}
	r.deadline = v.now.Add(answerWait)
	waiting := false
	for _, m := range r.members {
		v.taken[m] = true
		if _, ok := v.Answers[m]; !ok {
			v.decision.Probe = append(v.decision.Probe, m)
			waiting = true
		}
	}
	if waiting {
		s.rounds = append(s.rounds, r)
		return
	}
	v.settle(r)
}

// settle ends the rounds whose answers are there, or whose time is over.
func (s *Selector) settle(v *view) {
	s.rounds = slices.DeleteFunc(s.rounds, func(r round) bool {
		if v.now.Before(r.deadline) && !v.complete(r) {
			return false
		}
		v.settle(r)
		return true
	})
}

// pick draws up to n eligible nodes at random and takes them.
func (s *Selector) pick(v *view, n int) []PeerID {
	e := v.eligible()
	s.rand.Shuffle(len(e), func(i, j int) { e[i], e[j] = e[j], e[i] })
	e = e[:min(n, len(e))]
	for _, p := range e {
		v.taken[p] = true
	}
	return e
}

// candidates are one node at random, and thrice the nearest by metric of some random ones: the routing table is the
// best, and a free, source of neighbours worth having.
func (s *Selector) candidates(v *view) []PeerID {
	out := s.pick(v, 1)
	for range routeLots {
		if c, ok := s.nearest(v); ok {
			v.taken[c] = true
			out = append(out, c)
		}
	}
	return out
}

func (s *Selector) nearest(v *view) (PeerID, bool) {
	e := v.eligible()
	best, ok := PeerID{}, false
	least := Unreachable
	for range min(routeLotSize, len(e)) {
		i := s.rand.IntN(len(e))
		d, found := v.Destinations[e[i]]
		if found && d.Metric < least {
			best, least, ok = e[i], d.Metric, true
		}
		e[i] = e[len(e)-1]
		e = e[:len(e)-1]
	}
	return best, ok
}
