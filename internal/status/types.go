package status

import "time"

// SchemaVersion is the version of all documents here.
const SchemaVersion = 1

// Node is the document of `re6stnode status`.
type Node struct {
	SchemaVersion  int       `json:"schema_version"`
	Name           string    `json:"name"`
	Address        string    `json:"address"`
	Prefix         string    `json:"prefix"`
	IPv4           string    `json:"ipv4"`         // subnet, or empty
	IPv4Address    string    `json:"ipv4_address"` // or empty
	RouterID       string    `json:"router_id"`
	Networks       []string  `json:"networks"`
	Announces      []string  `json:"announces"` // by this node, beside its prefix and subnet
	Announced      []string  `json:"announced"` // by others, in use
	Registry       Registry  `json:"registry"`
	NetworkVersion uint64    `json:"network_version"`
	Backend        string    `json:"backend"`
	Tunnels        int       `json:"tunnels"` // those that are up
	Routes         int       `json:"routes"`  // those that are installed
	Seqno          uint16    `json:"seqno"`
	Certificate    Validity  `json:"certificate"`
	Started        time.Time `json:"started"`
	Gateway        *Gateway  `json:"gateway,omitempty"`
	Certificates   int       `json:"certificates"`      // of nodes, at hand
	RefusedRoutes  uint64    `json:"refused_routes"`    // since the start, as nothing proved them
	Relayed        *Relayed  `json:"relayed,omitempty"` // where tunnels are userspace ones
	Shortcut       *Shortcut `json:"shortcut,omitempty"`
	// EdgeDropped counts packets that this node kept out of the mesh, and of the
	// underlay, by why; null: it cannot.
	EdgeDropped map[string]uint64 `json:"edge_dropped"`
	// UnderlayDropped counts datagrams that reached no userspace tunnel, by why.
	UnderlayDropped map[string]uint64 `json:"underlay_dropped,omitempty"`
	Health          []Health          `json:"health"`
}

// Shortcut is how packets in transit get past the IP stack.
type Shortcut struct {
	Mode    string   `json:"mode"` // auto, on, off
	On      bool     `json:"on"`
	Why     string   `json:"why,omitempty"`     // it is off
	Foreign []string `json:"foreign,omitempty"` // rules of others that it would bypass
	Method  string   `json:"method,omitempty"`  // tcx or clsact in the kernel, process between userspace tunnels
	Entries int      `json:"entries"`
	Lost    int      `json:"lost"` // destinations for which the map has no room; they go by the stack
	// Packets that came from tunnels and LANs, by what became of them; those that
	// went on inside the process are not among them.
	Packets map[string]uint64 `json:"packets,omitempty"`
}

// String says in a line how it is, and why it is off.
func (s *Shortcut) String() string {
	switch {
	case s == nil:
		return "not known"
	case s.On:
		return "on (" + s.Method + "): packets in transit go past the IP stack"
	}
	return "off: " + s.Why
}

// Relayed is what went from tunnel to tunnel inside the process, since the start.
type Relayed struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	Refused uint64 `json:"refused"` // of the packets: the queue of the tunnel was full
}

// Registry tells how it stands with the registry.
type Registry struct {
	URLs        []string   `json:"urls"`
	Reachable   bool       `json:"reachable"`
	LastContact *time.Time `json:"last_contact"`
	Error       string     `json:"error,omitempty"`
}

// Validity is the lifetime of the node's certificate.
type Validity struct {
	Serial    string    `json:"serial"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

// Health is one thing that an operator should know; an empty list is good
// health.
type Health struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// Tunnels is the document of `re6stnode tunnels`.
type Tunnels struct {
	SchemaVersion int      `json:"schema_version"`
	Tunnels       []Tunnel `json:"tunnels"`
}

// Tunnel is one tunnel of this node.
type Tunnel struct {
	ID          string    `json:"id"`
	Peer        string    `json:"peer"`
	PeerAddress string    `json:"peer_address"`
	Interface   string    `json:"interface"`
	Backend     string    `json:"backend"`
	Direction   string    `json:"direction"` // out, in, lan
	State       string    `json:"state"`
	Reason      string    `json:"reason"`
	Transport   string    `json:"transport"` // udp, tls
	Endpoint    string    `json:"endpoint"`
	RTTms       *float64  `json:"rtt_ms"` // null: not measured yet
	Loss        float64   `json:"loss"`
	Cost        int       `json:"cost"`
	MTU         int       `json:"mtu"`
	RoutesVia   int       `json:"routes_via"`
	RxBytes     uint64    `json:"rx_bytes"`
	TxBytes     uint64    `json:"tx_bytes"`
	Since       time.Time `json:"since"`
}

// Routes is the document of `re6stnode routes`.
type Routes struct {
	SchemaVersion int     `json:"schema_version"`
	Table         int     `json:"table"`
	Routes        []Route `json:"routes"`
}

// Route is one entry of the route table (RFC 8966, section 3.2.6).
type Route struct {
	Prefix    string `json:"prefix"`
	From      string `json:"from"` // source prefix of a source-specific route, else empty
	RouterID  string `json:"router_id"`
	Owner     string `json:"owner"` // name of the owner, where it is known
	Metric    int    `json:"metric"`
	Seqno     uint16 `json:"seqno"`
	Via       string `json:"via"`
	Interface string `json:"interface"`
	Installed bool   `json:"installed"`
	Feasible  bool   `json:"feasible"`
}

// Peers is the document of `re6stnode peers`.
type Peers struct {
	SchemaVersion int    `json:"schema_version"`
	Peers         []Peer `json:"peers"`
}

// Peer is a node that this node knows of.
type Peer struct {
	Name      string   `json:"name"`
	Address   string   `json:"address"`
	Prefix    string   `json:"prefix"`
	RouterID  string   `json:"router_id"`
	Endpoints []string `json:"endpoints"`
	Tunnel    string   `json:"tunnel"`    // state of the tunnel to it, else empty
	Reachable bool     `json:"reachable"` // a route to it is installed
	// NoTransit: it carries nothing for others, as it said last.
	NoTransit bool `json:"no_transit"`
}
