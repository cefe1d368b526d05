package control

import (
	"errors"
	"fmt"
	"net/netip"
)

// Where a packet goes from a node.
const (
	HopTunnel  = "tunnel"  // through a tunnel to another node
	HopLocal   = "local"   // it has arrived: the address is the answerer's, or on its LAN
	HopGateway = "gateway" // it leaves the mesh here
	HopNone    = "none"    // there is no route
)

// NextHop is the answer to GET /v1/next-hop: what the answerer would do with a packet, and what it knows of the tunnel
// that it would take.
type NextHop struct {
	Kind        string     `json:"kind"`
	Interface   string     `json:"interface,omitempty"`
	Peer        string     `json:"peer,omitempty"` // name
	PeerAddress netip.Addr `json:"peer_address"`   // in the mesh; zero where there is no tunnel
	RTTms       *float64   `json:"rtt_ms"`         // of the tunnel, smoothed; null: not measured yet
	Loss        float64    `json:"loss"`           // of its Hellos, 0 to 1
}

// maxRTTms is an hour: whatever is above was not measured.
const maxRTTms = 3600_000

// Validate says what is wrong with the message.
func (n *NextHop) Validate() error {
	n.PeerAddress = n.PeerAddress.Unmap()
	switch {
	case n.Kind != HopTunnel && n.Kind != HopLocal && n.Kind != HopGateway && n.Kind != HopNone:
		return fmt.Errorf("kind %.20q", n.Kind)
	case !validName(n.Interface) || !validName(n.Peer):
		return errors.New("interface or peer: too long or not text")
	case n.PeerAddress.Zone() != "":
		return errors.New("peer address with a zone")
	case n.RTTms != nil && !(*n.RTTms >= 0 && *n.RTTms <= maxRTTms):
		return fmt.Errorf("round trip of %g ms", *n.RTTms)
	case !(n.Loss >= 0 && n.Loss <= 1):
		return fmt.Errorf("loss %g", n.Loss)
	}
	return nil
}

// ParseNextHop reads the answer to GET /v1/next-hop.
func ParseNextHop(data []byte) (NextHop, error) {
	var m NextHop
	err := parse(data, MaxMessageBytes, &m, func() error { return m.Validate() })
	return m, err
}

// ParseNextHopQuery reads the two addresses of GET /v1/next-hop. They are of one family, and name hosts.
func ParseNextHopQuery(to, from string) (netip.Addr, netip.Addr, error) {
	t, err := netip.ParseAddr(to)
	if err != nil {
		return netip.Addr{}, netip.Addr{}, fmt.Errorf("to: %w", err)
	}
	f, err := netip.ParseAddr(from)
	if err != nil {
		return netip.Addr{}, netip.Addr{}, fmt.Errorf("from: %w", err)
	}
	t, f = t.Unmap(), f.Unmap()
	for _, a := range []netip.Addr{t, f} {
		if a.Zone() != "" || a.IsMulticast() || a.IsUnspecified() {
			return netip.Addr{}, netip.Addr{}, fmt.Errorf("%v is no host's address", a)
		}
	}
	if t.Is4() != f.Is4() {
		return netip.Addr{}, netip.Addr{}, errors.New("the addresses are of two families")
	}
	return t, f, nil
}
