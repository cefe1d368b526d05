package api

import (
	"fmt"

	"re6st/addressing"
)

// SchemaVersion is the version of all documents with a schema_version here.
const SchemaVersion = 1

// Paths of the API.
const (
	PathHealth  = "/v1/health"
	PathNetwork = "/v1/network"
	PathEnrol   = "/v1/enrol"
	PathNode    = "/v1/node"

	PathTokens     = "/v1/admin/tokens"
	PathNodes      = "/v1/admin/nodes"
	PathParameters = "/v1/admin/network"
)

const (
	// BodyBytesMax bounds every request.
	BodyBytesMax = 64 << 10
	// CSRBytesMax bounds a certificate request before it is parsed. One for a
	// P-256 key and a name has about 200 bytes.
	CSRBytesMax = 4 << 10
	// NameBytesMax is the limit of a DNS label (RFC 1035, section 2.3.4).
	NameBytesMax = 63
	// PeersMax bounds a sample of the directory.
	PeersMax = 50
)

// EnrolRequest asks for a certificate. It can be repeated: the same key with the
// same token gets the same certificate.
type EnrolRequest struct {
	Secret SecretText `json:"secret" maxLength:"64" doc:"the secret of a token"`
	CSR    []byte     `json:"csr" doc:"PKCS #10 request (DER) for a P-256 key; nothing but the key is used"`
	Name   string     `json:"name,omitempty" maxLength:"63" doc:"wanted name, a DNS label; the token's own name wins"`
}

// EnrolResponse is all that a machine needs to be a node.
type EnrolResponse struct {
	Certificate []byte `json:"certificate" doc:"the node's certificate (DER)"`
	CA          []byte `json:"ca" doc:"the network's CA certificate (DER)"`
	Network     string `json:"network" doc:"the signed network document (compact JWS)"`
	Peers       []Peer `json:"peers" doc:"a random sample of the directory"`
	// IPv4Exhausted: the node was to have an IPv4 subnet, and none was left.
	IPv4Exhausted bool   `json:"ipv4_exhausted,omitempty" doc:"the network has no IPv4 subnet left: the node has none"`
	Journal       string `json:"journal,omitempty" doc:"head of the issuance journal, to be reported as it is"`
}

// CheckName says whether a node may have the name.
func CheckName(name string) error {
	if !addressing.ValidName(name) {
		return fmt.Errorf("a name is a DNS label of 1 to %d characters a-z, 0-9 and hyphen, with no hyphen at either end", NameBytesMax)
	}
	return nil
}
