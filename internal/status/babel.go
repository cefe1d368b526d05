package status

import "time"

// BabelRoutes is the document of `re6stnode babel routes`.
type BabelRoutes struct {
	SchemaVersion int          `json:"schema_version"`
	RouterID      string       `json:"router_id"`
	Seqno         uint16       `json:"seqno"`
	Table         int          `json:"table"`
	Routes        []BabelRoute `json:"routes"`
}

// BabelRoute is a route that a Babel router originates or has heard of.
type BabelRoute struct {
	Prefix    string `json:"prefix"`
	From      string `json:"from"` // source prefix of a source-specific route, else empty
	RouterID  string `json:"router_id"`
	Metric    int    `json:"metric"`
	Received  int    `json:"received_metric"` // the neighbour's
	Seqno     uint16 `json:"seqno"`
	Via       string `json:"via"`
	Neighbour string `json:"neighbour"`
	Interface string `json:"interface"`
	Own       bool   `json:"own"`
	Selected  bool   `json:"selected"`
	Installed bool   `json:"installed"`
	Feasible  bool   `json:"feasible"`
}

// BabelNeighbours is the document of `re6stnode babel neighbours`.
type BabelNeighbours struct {
	SchemaVersion int              `json:"schema_version"`
	Neighbours    []BabelNeighbour `json:"neighbours"`
}

// BabelNeighbour is a neighbour with the cost of its link.
type BabelNeighbour struct {
	Address   string    `json:"address"`
	Interface string    `json:"interface"`
	Reachable bool      `json:"reachable"`
	RxCost    int       `json:"rx_cost"`
	TxCost    int       `json:"tx_cost"`
	Cost      int       `json:"cost"`
	RTTms     *float64  `json:"rtt_ms"` // null: not measured
	Loss      float64   `json:"loss"`
	Routes    int       `json:"routes"`   // heard from it
	Selected  int       `json:"selected"` // of them in use
	Since     time.Time `json:"since"`
	Heard     time.Time `json:"heard"`
}
