package api

import "fmt"

// ProblemType is the media type of a problem document (RFC 9457, section 3).
const ProblemType = "application/problem+json"

// A Code tells problems apart, for programs.
type Code string

// The codes.
const (
	CodeInvalid        Code = "invalid-request"    // malformed, too large, or out of its limits
	CodeTokenRefused   Code = "token-refused"      // unknown, expired, used up or revoked: not told apart
	CodeRequestRefused Code = "request-refused"    // the certificate request cannot be granted
	CodeNameTaken      Code = "name-taken"         // another node has the name
	CodeKeyTaken       Code = "key-taken"          // the key has a certificate, by another token
	CodeExhausted      Code = "network-exhausted"  // no free prefix of the length
	CodeStopped        Code = "issuing-stopped"    // the journal is ahead of the database
	CodeStorageFull    Code = "storage-full"       // no space left
	CodeTooMany        Code = "too-many-requests"  // slow down
	CodeDenied         Code = "denied"             // this door does not lead there
	CodeCertificate    Code = "certificate-needed" // no client certificate, or not a valid one
	CodeUnknownNode    Code = "unknown-node"       // a valid certificate that the database does not have
	CodeNotFound       Code = "not-found"
	CodeMethod         Code = "method-not-allowed"
	CodeUnavailable    Code = "unavailable" // a busy database and the like: try again
	CodeInternal       Code = "internal"
)

// A Problem is an error as the API answers it (RFC 9457). It never has a value
// of the request in it: that could be a secret.
type Problem struct {
	Type   string         `json:"type" doc:"urn:re6st:problem: and the code"`
	Title  string         `json:"title,omitempty"`
	Status int            `json:"status"`
	Detail string         `json:"detail,omitempty"`
	Code   Code           `json:"code"`
	Hint   string         `json:"hint,omitempty" doc:"what to do about it"`
	Errors []InvalidField `json:"errors,omitempty"`
}

// InvalidField says where a request is not valid.
type InvalidField struct {
	Location string `json:"location"`
	Message  string `json:"message"`
}

// NewProblem is a problem of the code.
func NewProblem(status int, code Code, detail, hint string) *Problem {
	return &Problem{Type: "urn:re6st:problem:" + string(code), Status: status, Code: code, Detail: detail, Hint: hint}
}

// Error says what is wrong.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if text == "" {
		text = fmt.Sprintf("status %d", p.Status)
	}
	for _, f := range p.Errors {
		text += "; " + f.Location + ": " + f.Message
	}
	return text
}

// GetStatus is the HTTP status (for huma).
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is RFC 9457's (for huma).
func (p *Problem) ContentType(string) string { return ProblemType }
