package tunnel

import (
	"net/netip"

	"re6st/tunnel/control"
)

// Output is what there is to do. Actions are carried out in their order; they may end later and in another order, and
// their results come back as inputs. Events are for people and change nothing.
type Output struct {
	Actions []Action
	Events  []Event
}

// Action is one of the types below.
type Action interface{ action() }

// Target is an address of a node's control API: of the underlay, or the node's own in the mesh.
type Target struct {
	Addr    netip.AddrPort
	Overlay bool
}

// Probe asks who is at the targets, all of which should be Peer: the first that answers counts. Ends with Probed.
type Probe struct {
	Peer    Peer
	Targets []Target
}

// Create makes a key pair and a device. Ends with Created.
type Create struct {
	Tunnel control.TunnelID
	Peer   Peer
	MTU    int
}

// SendOffer sends an offer. Ends with Answered.
type SendOffer struct {
	Tunnel control.TunnelID
	Peer   Peer
	Target Target
	Offer  control.Offer
}

// Reply answers a call of Offered: with an answer, or with a refusal.
type Reply struct {
	Call    uint64
	Tunnel  control.TunnelID
	Answer  control.Answer
	Refusal *control.Refusal
}

// Connect gives a device its peer, with the pre-shared key of the exchange that agreed on it.
type Connect struct {
	Tunnel    control.TunnelID
	PublicKey control.Key
	Endpoint  netip.AddrPort // zero: wait for the peer
	Quiet     bool           // no keepalive until Attach: the peer begins
}

// Attach lets the routing use a tunnel.
type Attach struct{ Tunnel control.TunnelID }

// SetCost adds to the routing's cost of a tunnel.
type SetCost struct {
	Tunnel control.TunnelID
	Extra  int
}

// Detach takes a tunnel from the routing.
type Detach struct{ Tunnel control.TunnelID }

// Notify tells the peer that a tunnel is draining (PATCH) or closed (DELETE). Nobody waits for the result.
type Notify struct {
	Tunnel  control.TunnelID
	Peer    Peer
	Targets []Target // the first that works
	Closed  bool
}

// Destroy removes the device, if there is one.
type Destroy struct{ Tunnel control.TunnelID }

func (Probe) action()     {}
func (Create) action()    {}
func (SendOffer) action() {}
func (Reply) action()     {}
func (Connect) action()   {}
func (Attach) action()    {}
func (SetCost) action()   {}
func (Detach) action()    {}
func (Notify) action()    {}
func (Destroy) action()   {}

// Event tells that a tunnel changed its state.
type Event struct {
	Tunnel    control.TunnelID
	Peer      Peer
	Direction Direction
	Reason    control.Reason
	From, To  State
	Cause     Cause
	Detail    string // what went wrong, if anything
}

// Direction says who opened a tunnel.
type Direction uint8

// The directions.
const (
	Out Direction = iota
	In
)

func (d Direction) String() string {
	if d == In {
		return "in"
	}
	return "out"
}
