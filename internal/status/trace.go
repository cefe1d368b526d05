package status

// Trace is the document of `re6stnode trace`.
type Trace struct {
	SchemaVersion int    `json:"schema_version"`
	Host          string `json:"host"` // as it was asked for
	Address       string `json:"address"`
	Source        string `json:"source"` // of the packets; empty: there is no way
	Reached       bool   `json:"reached"`
	Error         string `json:"error,omitempty"` // of this host
	Hops          []Hop  `json:"hops"`            // this node first
}

// Hop is one place on the way.
type Hop struct {
	Limit       int      `json:"hop"` // 0: this node
	Name        string   `json:"name"`
	Behind      string   `json:"behind,omitempty"` // the node in whose prefix it is
	Address     string   `json:"address"`          // empty: it does not answer
	RTTms       *float64 `json:"rtt_ms"`           // from here and back, the least
	Sent        int      `json:"sent"`
	Received    int      `json:"received"`
	Loss        float64  `json:"loss"`
	Unreachable bool     `json:"unreachable,omitempty"` // it says that there is no way on
	Next        *NextHop `json:"next,omitempty"`        // where it sends such packets
	Error       string   `json:"error,omitempty"`       // why that is not known
}

// NextHop is what a node does with a packet, and the tunnel that it would take.
type NextHop struct {
	Kind        string   `json:"kind"` // tunnel, local, gateway, none
	Interface   string   `json:"interface,omitempty"`
	Peer        string   `json:"peer,omitempty"`
	PeerAddress string   `json:"peer_address,omitempty"`
	RTTms       *float64 `json:"rtt_ms"` // of the tunnel
	Loss        float64  `json:"loss"`
}

// Ping is the document of `re6stnode ping`.
type Ping struct {
	SchemaVersion int      `json:"schema_version"`
	Host          string   `json:"host"`
	Name          string   `json:"name"`
	Address       string   `json:"address"`
	Source        string   `json:"source"`
	Error         string   `json:"error,omitempty"`
	Sent          int      `json:"sent"`
	Received      int      `json:"received"`
	Loss          float64  `json:"loss"`
	RTTms         *float64 `json:"rtt_ms"` // mean
	Replies       []Echo   `json:"replies"`
}

// Echo is one of its requests.
type Echo struct {
	From  string   `json:"from"`   // who answered, be it with an error; empty: nobody
	RTTms *float64 `json:"rtt_ms"` // null: the target did not answer
}
