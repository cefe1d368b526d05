package status

import "time"

// Gateway tells how a node is that is a way out of the mesh.
type Gateway struct {
	Inbound  string          `json:"inbound"` // established, all
	Families []GatewayFamily `json:"families"`
	// Dropped counts packets that were refused, by why.
	Dropped     map[string]uint64 `json:"dropped"`
	OnLink      string            `json:"on_link,omitempty"`     // the mesh's prefix on the uplink's own link
	Translation string            `json:"translation,omitempty"` // what is wrong with it
}

// GatewayFamily is the way out for one address family.
type GatewayFamily struct {
	Family     string     `json:"family"`
	Way        string     `json:"way"`
	Uplink     string     `json:"uplink"`
	NextHop    string     `json:"next_hop"`
	Well       bool       `json:"well"`       // the upstream works
	Originated bool       `json:"originated"` // the mesh is told of it
	Why        string     `json:"why"`        // why not
	Since      *time.Time `json:"since"`
	Failures   int        `json:"failures"` // those that are not forgotten
	Until      *time.Time `json:"until"`    // when it will be originated, if it stays well
}
