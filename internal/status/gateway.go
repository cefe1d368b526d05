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
	Translated  *Translation      `json:"prefix_translation,omitempty"`
	NAT64       *NAT64            `json:"nat64,omitempty"`
}

// NAT64 is the translation to IPv4 (RFC 6146) of a gateway.
type NAT64 struct {
	Prefix   string            `json:"prefix"`
	Pool     string            `json:"pool"`     // IPv4 addresses for sources, of this host alone
	Mappings int               `json:"mappings"` // sources that have one
	Packets  map[string]uint64 `json:"packets"`  // by what became of them
}

// Translation is of prefixes that stand for others outside (RFC 6296).
type Translation struct {
	Pairs  []TranslationPair   `json:"pairs"`
	Uplink string              `json:"uplink"`
	Method string              `json:"method"` // tcx, clsact
	Out    TranslationCounters `json:"out"`
	In     TranslationCounters `json:"in"`
}

// TranslationPair is a prefix of the mesh and the one that it has outside.
type TranslationPair struct {
	Inside  string `json:"inside"`
	Outside string `json:"outside"`
}

// TranslationCounters count what went one way.
type TranslationCounters struct {
	Packets    uint64 `json:"packets"` // as they are on the wire
	Bytes      uint64 `json:"bytes"`
	Embedded   uint64 `json:"embedded"`   // addresses in packets that ICMPv6 errors quote
	Unmapped   uint64 `json:"unmapped"`   // dropped: the address has no counterpart
	Failed     uint64 `json:"failed"`     // dropped: the packet could not be written
	Hairpinned uint64 `json:"hairpinned"` // from the mesh to its own outside addresses
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
