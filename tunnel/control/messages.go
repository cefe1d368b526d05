package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"unicode/utf8"
)

// Versions are those of the signed documents that the sender has. Every exchange carries them; who sees a newer one
// asks for it, who sees an older one sends its own.
type Versions struct {
	Network uint64 `json:"network"`
}

// NodeInfo is the answer to GET /v1/node.
type NodeInfo struct {
	Protocol  int              `json:"protocol"`
	Name      string           `json:"name"`
	Prefix    netip.Prefix     `json:"prefix"`
	Endpoints []netip.AddrPort `json:"endpoints"` // of the control API, as the sender sees itself
	Observed  netip.AddrPort   `json:"observed"`  // where the question came from; zero when it came through the mesh
	Versions  Versions         `json:"versions"`
	Incoming  int              `json:"incoming"` // tunnels that others opened to the sender
	Room      int              `json:"room"`     // how many more it takes; 0: an offer would be refused
	Uptime    Seconds          `json:"uptime"`
	// NoTransit: the sender carries nothing for others, of IPv6, which is the mesh's own. It announces no ways either:
	// who needs a neighbour to get elsewhere had better take another.
	NoTransit bool `json:"no_transit"`
}

// Offer asks for a tunnel. The key pair was made for this tunnel alone.
type Offer struct {
	Protocol  int              `json:"protocol"`
	PublicKey Key              `json:"public_key"`
	Port      uint16           `json:"port"`      // the device's UDP port
	Endpoints []netip.AddrPort `json:"endpoints"` // where the device may be reached, best first
	MTU       int              `json:"mtu"`
	Reason    Reason           `json:"reason"`
	Versions  Versions         `json:"versions"`
	NoTransit bool             `json:"no_transit"` // as in NodeInfo
}

// Answer accepts an Offer: the same from the other side.
type Answer struct {
	Protocol  int              `json:"protocol"`
	PublicKey Key              `json:"public_key"`
	Port      uint16           `json:"port"`
	Endpoints []netip.AddrPort `json:"endpoints"`
	MTU       int              `json:"mtu"`
	Observed  netip.AddrPort   `json:"observed"`
	Versions  Versions         `json:"versions"`
	NoTransit bool             `json:"no_transit"`
}

// Patch changes a tunnel. Draining is all there is: no route shall use it, and it closes soon.
type Patch struct {
	Draining bool     `json:"draining"`
	Versions Versions `json:"versions"`
}

// PeerRecord is a node that the sender knows. It is a hint: the node's certificate says who it is.
type PeerRecord struct {
	Name      string           `json:"name"`
	Prefix    netip.Prefix     `json:"prefix"`
	Endpoints []netip.AddrPort `json:"endpoints"` // of its control API
}

// Peers is the answer to GET /v1/peers.
type Peers struct {
	Peers    []PeerRecord `json:"peers"`
	Versions Versions     `json:"versions"`
}

// DocumentList carries signed documents in their compact form (JWS). They prove themselves; nothing is verified here.
type DocumentList struct {
	Documents []string `json:"documents"`
}

var (
	errEmptyKey = errors.New("public key: all zeros")
	errNoPrefix = errors.New("prefix: not an IPv6 prefix with a clear host part")
)

// Validate says what is wrong with the message. It also drops the endpoints that must never be dialled: those within
// networks (the mesh's own prefixes) and those that name no host.
func (n *NodeInfo) Validate(networks []netip.Prefix) error {
	n.Endpoints = Usable(n.Endpoints, networks)
	n.Observed = unmapped(n.Observed)
	switch {
	case n.Protocol < 1:
		return fmt.Errorf("protocol %d", n.Protocol)
	case !validName(n.Name):
		return errors.New("name: too long or not text")
	case !validPrefix(n.Prefix):
		return errNoPrefix
	case n.Incoming < 0 || n.Room < 0:
		return fmt.Errorf("incoming %d, room %d", n.Incoming, n.Room)
	}
	return nil
}

// Validate is as for NodeInfo.
func (o *Offer) Validate(networks []netip.Prefix) error {
	o.Endpoints = Usable(o.Endpoints, networks)
	if !o.Reason.valid() {
		return fmt.Errorf("reason %.20q", o.Reason)
	}
	return validateSide(o.Protocol, o.PublicKey, o.MTU)
}

// Validate is as for NodeInfo.
func (a *Answer) Validate(networks []netip.Prefix) error {
	a.Endpoints = Usable(a.Endpoints, networks)
	a.Observed = unmapped(a.Observed)
	return validateSide(a.Protocol, a.PublicKey, a.MTU)
}

func validateSide(protocol int, key Key, mtu int) error {
	switch {
	case protocol < 1:
		return fmt.Errorf("protocol %d", protocol)
	case key.isZero():
		return errEmptyKey
	case mtu < MinMTU || mtu > MaxMTU:
		return fmt.Errorf("MTU %d: want %d to %d", mtu, MinMTU, MaxMTU)
	}
	return nil
}

// Validate is as for NodeInfo. A record that makes no sense is dropped: one bad entry in a peer's cache must not hide
// the others.
func (p *Peers) Validate(networks []netip.Prefix) error {
	good := p.Peers[:0]
	for _, r := range p.Peers {
		r.Endpoints = Usable(r.Endpoints, networks)
		if validName(r.Name) && validPrefix(r.Prefix) {
			good = append(good, r)
		}
	}
	p.Peers = good
	return nil
}

func validName(s string) bool { return len(s) <= MaxNameBytes && utf8.ValidString(s) && printable(s) }

// printable keeps control characters off the operator's terminal.
func printable(s string) bool {
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return false
		}
	}
	return true
}

func validPrefix(p netip.Prefix) bool {
	return p.IsValid() && p.Addr().Is6() && !p.Addr().Is4In6() && p == p.Masked() && p.Bits() > 0
}

// Marshal writes any message of this package.
func Marshal(message any) ([]byte, error) {
	data, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("marshalling %T: %w", message, err)
	}
	return data, nil
}
