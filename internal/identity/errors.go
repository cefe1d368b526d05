package identity

import (
	"errors"
	"fmt"
)

// Why a certificate is refused. Compare with errors.Is; errors.As with *Error
// tells whose it is.
var (
	ErrExpired       = errors.New("expired")
	ErrNotYetValid   = errors.New("is not yet valid")
	ErrForeign       = errors.New("is not signed by this network's CA")
	ErrBlocks        = errors.New("does not prove a prefix of this network")
	ErrKey           = errors.New("has a key that is not P-256")
	ErrProfile       = errors.New("does not have the form of a certificate of this network")
	ErrRole          = errors.New("has another role")
	ErrHost          = errors.New("is for another host")
	ErrPin           = errors.New("does not come with the pinned CA")
	ErrNoCertificate = errors.New("no certificate was shown")
	ErrResumed       = errors.New("the TLS session was resumed")
)

// Error is a certificate that is refused.
type Error struct {
	// Subject is the name in it, made harmless. The CA vouches for it unless the
	// reason is ErrForeign, ErrKey, ErrPin or ErrProfile.
	Subject string
	Reason  error  // one of the above
	Detail  string // may be empty
}

func (e *Error) Error() string {
	s := "certificate of " + e.Subject + " " + e.Reason.Error()
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Unwrap makes errors.Is find the reason.
func (e *Error) Unwrap() error { return e.Reason }

// refusal collects the reasons of one certificate.
type refusal struct{ subject string }

func (r refusal) because(reason error, format string, args ...any) error {
	return &Error{Subject: r.subject, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
