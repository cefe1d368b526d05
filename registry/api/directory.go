package api

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"re6st/addressing"
)

// EndpointsMax bounds the endpoints of one node in the directory.
const EndpointsMax = 16

// Report is what a node tells about itself now and then.
type Report struct {
	Endpoints      []string `json:"endpoints" maxItems:"16" doc:"ip:port of the control API, best first"`
	Protocol       int      `json:"protocol" minimum:"0" maximum:"1000000" doc:"version of the protocol between nodes"`
	Version        string   `json:"version,omitempty" maxLength:"64" doc:"version of the software"`
	NetworkVersion uint64   `json:"network_version,omitempty" doc:"version of the network document in use"`
	Tunnels        int      `json:"tunnels,omitempty" minimum:"0" maximum:"1000000"`
	Routes         int      `json:"routes,omitempty" minimum:"0" maximum:"10000000"`
	Journal        string   `json:"journal,omitempty" maxLength:"128" doc:"the last head of the issuance journal that the registry gave"`
}

// ReportResponse is what a node learns in return.
type ReportResponse struct {
	Network    string    `json:"network" doc:"the signed network document (compact JWS)"`
	Peers      []Peer    `json:"peers" doc:"a random sample of the directory, without the asker"`
	ServerTime time.Time `json:"server_time"`
	Journal    string    `json:"journal,omitempty" doc:"head of the issuance journal, to be reported as it is"`
	Ignored    []string  `json:"ignored,omitempty" doc:"endpoints that the directory does not take, and why"`
}

// Peer is a node in the directory. What it says is a hint: who really answers
// at an endpoint is told by the certificate there.
type Peer struct {
	Name      string           `json:"name"`
	Address   netip.Addr       `json:"address"`
	Prefix    netip.Prefix     `json:"prefix"`
	RouterID  string           `json:"router_id"`
	Endpoints []netip.AddrPort `json:"endpoints" doc:"ip:port of the control API"`
}

// Check says whether address and router-id are those of the prefix, and whether
// the rest is within its limits.
func (p Peer) Check() error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	if !p.Prefix.IsValid() || p.Prefix != p.Prefix.Masked() || !p.Prefix.Addr().Is6() || p.Prefix.Addr().Is4In6() {
		return fmt.Errorf("peer %s has no IPv6 prefix", p.Name)
	}
	if p.Address != addressing.NodeAddress(p.Prefix) {
		return fmt.Errorf("peer %s has address %s, which is not that of %s", p.Name, p.Address, p.Prefix)
	}
	if want := addressing.RouterIDOf(p.Prefix).String(); p.RouterID != want {
		return fmt.Errorf("peer %s has router-id %.40q, which is not that of %s", p.Name, p.RouterID, p.Prefix)
	}
	if len(p.Endpoints) > EndpointsMax {
		return fmt.Errorf("peer %s has %d endpoints, more than %d", p.Name, len(p.Endpoints), EndpointsMax)
	}
	return nil
}

// Reasons why an endpoint is not taken into the directory.
var (
	errEndpointPort    = errors.New("port 0")
	errEndpointZone    = errors.New("an address with a zone means nothing to others")
	errEndpointKind    = errors.New("not the unicast address of a host that others reach")
	errEndpointInside  = errors.New("inside the mesh: a tunnel would run through itself")
	errEndpointInvalid = errors.New("not of the form ip:port")
)

// ParseEndpoint reads an endpoint and says whether nodes may be told to dial
// it. networks are the mesh's own prefixes, of both families. Private addresses
// pass: within one site they are the ones that work.
func ParseEndpoint(text string, networks []netip.Prefix) (netip.AddrPort, error) {
	if len(text) > 64 {
		return netip.AddrPort{}, errEndpointInvalid
	}
	ap, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.AddrPort{}, errEndpointInvalid
	}
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	return ap, CheckEndpoint(ap, networks)
}

// CheckEndpoint is ParseEndpoint for one that is parsed already.
func CheckEndpoint(ap netip.AddrPort, networks []netip.Prefix) error {
	addr := ap.Addr()
	switch {
	case !addr.IsValid():
		return errEndpointInvalid
	case ap.Port() == 0:
		return errEndpointPort
	case addr.Zone() != "":
		return errEndpointZone
	case addr.Is4In6(), addr.IsUnspecified(), addr.IsLoopback(), addr.IsMulticast(), addr.IsLinkLocalUnicast(), isReserved(addr):
		return errEndpointKind
	}
	for _, network := range networks {
		if network.Contains(addr) {
			return errEndpointInside
		}
	}
	return nil
}

// isReserved: 0.0.0.0/8 and 240.0.0.0/4, the limited broadcast address among
// them (RFC 6890).
func isReserved(addr netip.Addr) bool {
	return addr.Is4() && (addr.As4()[0] == 0 || addr.As4()[0] >= 240)
}

// NetworkDocument is the answer of GET /v1/network.
type NetworkDocument struct {
	Network string `json:"network" doc:"the signed network document (compact JWS)"`
}
