package control

import (
	"fmt"
	"time"
	"unicode/utf8"
)

// Code says why a request was refused. The other side acts on it; the text is for people.
type Code string

const (
	Full     Code = "full"     // no more incoming tunnels: try another node
	Busy     Code = "busy"     // too many requests: later
	Crossed  Code = "crossed"  // both sent an offer at once, and the refuser's stands
	Unknown  Code = "unknown"  // no such tunnel
	Outdated Code = "outdated" // the protocol is older than the network allows
	Invalid  Code = "invalid"  // the request makes no sense
	Denied   Code = "denied"   // the certificate does not allow it
	Closing  Code = "closing"  // the node is about to stop
	Internal Code = "internal" // the refuser's own fault
)

// statuses are the HTTP statuses of the codes.
var statuses = [...]struct {
	code   Code
	status int
}{
	{Full, 503},
	{Busy, 429},
	{Crossed, 409},
	{Unknown, 404},
	{Outdated, 426},
	{Invalid, 422},
	{Denied, 403},
	{Closing, 503},
	{Internal, 500},
}

// Refusal is the body of every answer that is not a success, and the error that both sides see.
type Refusal struct {
	Code       Code    `json:"code"`
	Text       string  `json:"text"`
	RetryAfter Seconds `json:"retry_after"`
}

// Refuse makes a Refusal.
func Refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Text: fmt.Sprintf(format, args...)}
}

// After returns a copy that asks the other side to wait.
func (r *Refusal) After(d time.Duration) *Refusal {
	c := *r
	c.RetryAfter = Seconds(d)
	return &c
}

func (r *Refusal) Error() string { return fmt.Sprintf("refused (%s): %s", r.Code, r.Text) }

// Status is the HTTP status that goes with the refusal.
func (r *Refusal) Status() int {
	for _, s := range statuses {
		if s.code == r.Code {
			return s.status
		}
	}
	return 500
}

// ParseRefusal reads the body of an answer that is not a success. Whatever it is, the result is a Refusal: a code that
// this version does not know, or a body that is none, becomes one by its status.
func ParseRefusal(status int, data []byte) *Refusal {
	var r Refusal
	err := parse(data, MaxMessageBytes, &r, func() error { return atMost("bytes of text", len(r.Text), MaxTextBytes) })
	if err == nil && utf8.ValidString(r.Text) && printable(r.Text) && r.known() {
		return &r
	}
	for _, s := range statuses {
		if s.status == status {
			return Refuse(s.code, "status %d", status)
		}
	}
	return Refuse(Internal, "status %d", status)
}

func (r *Refusal) known() bool {
	for _, s := range statuses {
		if s.code == r.Code {
			return true
		}
	}
	return false
}
