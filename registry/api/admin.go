package api

import (
	"net/netip"
	"time"
)

// TokenRequest asks for a new token.
type TokenRequest struct {
	Uses         int            `json:"uses" minimum:"1" maximum:"1000000" doc:"how many machines may enrol with it"`
	TTLSeconds   int64          `json:"ttl" minimum:"1" maximum:"315360000" doc:"lifetime in seconds"`
	Name         string         `json:"name,omitempty" maxLength:"63" doc:"name of the node that enrols with it"`
	PrefixLength int            `json:"prefix_length,omitempty" minimum:"0" maximum:"128" doc:"0: the network's default"`
	IPv4Length   *int           `json:"ipv4_length,omitempty" minimum:"0" maximum:"32" doc:"length of the IPv4 subnet; absent: the network's default, 0: none"`
	Gateway      bool           `json:"gateway,omitempty" doc:"the node may originate default routes"`
	Announce     []netip.Prefix `json:"announce,omitempty" maxItems:"64" doc:"prefixes that the node may originate beside its own"`
}

// NewToken is a token that was made, and the only time that its text is shown.
type NewToken struct {
	SchemaVersion int       `json:"schema_version"`
	ID            int64     `json:"id"`
	Token         string    `json:"token"`
	Expires       time.Time `json:"expires"`
}

// States of a token.
const (
	TokenValid   = "valid"
	TokenUsed    = "used"
	TokenExpired = "expired"
	TokenRevoked = "revoked"
)

// TokenInfo is a token without its secret, which the registry does not know.
type TokenInfo struct {
	ID           int64          `json:"id"`
	State        string         `json:"state"`
	Name         string         `json:"name"`
	Uses         int            `json:"uses"`
	Used         int            `json:"used"`
	PrefixLength int            `json:"prefix_length"`
	IPv4Length   *int           `json:"ipv4_length"` // null: the network's; 0: none
	Gateway      bool           `json:"gateway"`
	Announce     []netip.Prefix `json:"announce"`
	Created      time.Time      `json:"created"`
	Expires      time.Time      `json:"expires"`
	Revoked      *time.Time     `json:"revoked"`
}

// TokenList is the document of `re6stregistry token list`.
type TokenList struct {
	SchemaVersion int         `json:"schema_version"`
	Tokens        []TokenInfo `json:"tokens"`
}

// NodeInfo is what the registry knows about a node.
type NodeInfo struct {
	Name       string         `json:"name"`
	Serial     string         `json:"serial"`
	Key        string         `json:"key"` // hex SHA-256 of the SubjectPublicKeyInfo
	Prefix     netip.Prefix   `json:"prefix"`
	IPv4       string         `json:"ipv4"` // subnet, or empty
	Address    netip.Addr     `json:"address"`
	RouterID   string         `json:"router_id"`
	Gateway    bool           `json:"gateway"`
	Announce   []netip.Prefix `json:"announce"`
	Token      int64          `json:"token"` // id of the one it enrolled with
	NotBefore  time.Time      `json:"not_before"`
	NotAfter   time.Time      `json:"not_after"`
	Enrolled   time.Time      `json:"enrolled"`
	LastReport *time.Time     `json:"last_report"` // null: none since the registry knows
	Endpoints  []string       `json:"endpoints"`
	Version    string         `json:"version"`
	// IPv4Exhausted: an IPv4 subnet was wanted, and none was left.
	IPv4Exhausted bool `json:"ipv4_exhausted"`
}

// NodeList is the document of `re6stregistry node list`.
type NodeList struct {
	SchemaVersion int        `json:"schema_version"`
	Nodes         []NodeInfo `json:"nodes"`
}

// NodeDetail is the document of `re6stregistry node show`.
type NodeDetail struct {
	SchemaVersion int      `json:"schema_version"`
	Node          NodeInfo `json:"node"`
	Certificate   string   `json:"certificate"` // PEM
}

// NetworkInfo is what `re6stregistry network show` prints.
type NetworkInfo struct {
	SchemaVersion int            `json:"schema_version"`
	Version       uint64         `json:"version"`
	Issued        time.Time      `json:"issued"`
	Prefixes      []netip.Prefix `json:"prefixes"`
	IPv4          []netip.Prefix `json:"ipv4"`
	NodePrefix    int            `json:"node_prefix"`
	IPv4Prefix    int            `json:"ipv4_prefix"` // length of a node's IPv4 subnet; 0: no IPv4
	Domain        string         `json:"domain"`
	Registries    []string       `json:"registries"`
	Parameters    []Parameter    `json:"parameters"`
}

// Parameter is one network parameter and its meaning.
type Parameter struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Min     string `json:"min"`
	Max     string `json:"max"`
	Meaning string `json:"meaning"`
}

// NetworkSet changes parameters: all of them, or none.
type NetworkSet struct {
	Parameters map[string]string `json:"parameters" minProperties:"1" maxProperties:"64"`
}

// Health is the answer of GET /v1/health.
type Health struct {
	SchemaVersion int    `json:"schema_version"`
	Status        string `json:"status" doc:"ok, or what is wrong in a word"`
	Issuing       bool   `json:"issuing" doc:"whether enrolment is possible"`
	Reason        string `json:"reason,omitempty"`
	// Time is the registry's clock, by which certificates begin and end.
	Time time.Time `json:"time" doc:"the registry's clock, in UTC"`
}
