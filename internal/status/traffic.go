package status

import "time"

// Traffic is the document of `re6stnode top`.
type Traffic struct {
	SchemaVersion int       `json:"schema_version"`
	Name          string    `json:"name"` // of this node
	Time          time.Time `json:"time"` // of the last look at the counters
	// Unknown says why destinations are not told apart, or not all of them.
	Unknown string `json:"unknown,omitempty"`
	// Own and Carried are sums of what left into tunnels: this node's, and what it
	// carries for others.
	Own          Stream               `json:"own"`
	Carried      Stream               `json:"carried"`
	Tunnels      []TunnelTraffic      `json:"tunnels"`
	Destinations []DestinationTraffic `json:"destinations"` // those that carry most first
	// Other are the destinations that are not told apart: their number is bounded.
	Other DestinationTraffic `json:"other"`
}

// Stream is some traffic: how fast now, and how much so far.
type Stream struct {
	BytesPerSecond   float64 `json:"bytes_per_second"`
	PacketsPerSecond float64 `json:"packets_per_second"`
	Bytes            uint64  `json:"bytes"`
	Packets          uint64  `json:"packets"`
}

// TunnelTraffic is what one tunnel carries. Received and Sent have the packets
// of the mesh itself as well, its routing protocol among them.
type TunnelTraffic struct {
	Peer      string `json:"peer"`
	Interface string `json:"interface"`
	Received  Stream `json:"received"`
	Sent      Stream `json:"sent"`
	Own       Stream `json:"own"`     // of what was sent
	Carried   Stream `json:"carried"` // of what was sent, for others
}

// DestinationTraffic is what goes to one prefix.
type DestinationTraffic struct {
	Prefix string `json:"prefix"`
	Owner  string `json:"owner"` // name, where it is known
	Via    string `json:"via"`   // the peer through whose tunnel it went last
	Own    Stream `json:"own"`
	// Carried is for others: it came out of another tunnel.
	Carried Stream `json:"carried"`
}
