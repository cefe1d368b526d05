package api

import (
	"errors"
	"fmt"
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
	Journal     string `json:"journal,omitempty" doc:"head of the issuance journal, to be reported as it is"`
}

// CheckName says whether a node may have the name: a DNS label of lower case
// letters, digits and hyphens (RFC 1123, section 2.1), since names become
// host names in the mesh's domain.
func CheckName(name string) error {
	if name == "" {
		return errors.New("the name is empty")
	}
	if len(name) > NameBytesMax {
		return fmt.Errorf("the name has %d bytes, a DNS label at most %d", len(name), NameBytesMax)
	}
	for i := range len(name) {
		c := name[i]
		isAlphanumeric := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !isAlphanumeric && c != '-' {
			return fmt.Errorf("the name has a character other than a-z, 0-9 and hyphen at byte %d", i)
		}
		if c == '-' && (i == 0 || i == len(name)-1) {
			return errors.New("the name begins or ends with a hyphen")
		}
	}
	return nil
}
