package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"

	"re6st/internal/identity"
	"re6st/registry/api"
)

// Outcomes that a caller branches on. An *Error matches one of them.
var (
	// ErrRefused: the registry answers, and says no.
	ErrRefused = errors.New("the registry refuses")
	// ErrUnreachable: nobody answers, or nobody who speaks our protocol, or the
	// registry cannot answer now.
	ErrUnreachable = errors.New("the registry cannot be reached")
	// ErrPin: somebody answers who has not the CA's key. Nothing was told.
	ErrPin = errors.New("the registry's key is not the one that the token names")

	errAnswer = errors.New("the answer is not one of a re6st registry")
)

// An Error has one cause, and what to do about it.
type Error struct {
	What    string // what was being done, with which URL
	Kind    error  // ErrRefused, ErrUnreachable or ErrPin
	Err     error  // the cause
	Hint    string
	Problem *api.Problem // the registry's own words, where it answered
}

func (e *Error) Error() string {
	if e.Kind == ErrPin {
		return fmt.Sprintf("%s: %v", e.What, ErrPin)
	}
	return fmt.Sprintf("%s: %v", e.What, e.Err)
}

// Unwrap gives kind and cause.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Err} }

// isFinal: another URL is the same registry, and would say the same.
func (e *Error) isFinal() bool { return e.Kind == ErrRefused }

// moreTelling keeps the error that says most. A wrong key may be an attack, and
// a registry that answers at all tells more than one that does not.
func moreTelling(a, b *Error) *Error {
	weight := func(e *Error) int {
		switch {
		case e == nil:
			return 0
		case e.Kind == ErrPin:
			return 3
		case e.Problem != nil:
			return 2
		}
		return 1
	}
	if weight(b) > weight(a) {
		return b
	}
	return a
}

func newError(what, target string, err error) *Error {
	e := &Error{What: what, Kind: ErrUnreachable, Err: err, Hint: "is the registry running, and is its port open? curl -k " + target + api.PathHealth}
	var transport *url.Error
	if errors.As(err, &transport) {
		e.Err = transport.Err // the rest repeats the URL
	}
	var p *api.Problem
	switch {
	case errors.As(err, &p):
		e.fromProblem(p)
	case isForeign(err):
		e.Kind = ErrPin
		e.Hint = "nothing was sent. Compare the token's URL with the registry's; ask its operator for a new token if its CA was made anew"
	case errors.Is(err, identity.ErrHost):
		e.Hint = "the registry's certificate is for the hosts of its --url; use one of those"
	case isAlert(err):
		e.Kind = ErrRefused
		e.Err = errors.New("the registry does not accept this node's certificate")
		e.Hint = "see its time of validity, and both clocks; join again where it has expired"
	case errors.Is(err, errAnswer):
		e.Hint = "something else answers at " + target + ": check the URL and what stands between"
	case errors.Is(err, context.DeadlineExceeded):
		e.Err = errors.New("no answer in time")
	}
	return e
}

// isForeign: who answers cannot prove that the pinned CA made it the registry.
func isForeign(err error) bool {
	for _, reason := range []error{identity.ErrPin, identity.ErrForeign, identity.ErrRole, identity.ErrKey, identity.ErrProfile, identity.ErrNoCertificate} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// isAlert: the other side ended the handshake because of our certificate (RFC
// 8446, section 6.2: bad_certificate to certificate_unknown).
func isAlert(err error) bool {
	var alert tls.AlertError
	return errors.As(err, &alert) && alert >= 42 && alert <= 46
}

// fromProblem sorts the registry's own words. What may pass by waiting is no
// refusal.
func (e *Error) fromProblem(p *api.Problem) {
	e.Err, e.Problem, e.Hint = p, p, p.Hint
	if p.Status < 500 && p.Code != api.CodeTooMany {
		e.Kind = ErrRefused
	}
	if e.Hint == "" {
		e.Hint = hints[p.Code]
	}
}

// hints are for codes that come without one.
var hints = map[api.Code]string{
	api.CodeTokenRefused:   "ask the registry's operator for a new token: re6stregistry token create",
	api.CodeRequestRefused: "use a re6stnode of the registry's version",
	api.CodeInvalid:        "use a re6stnode of the registry's version",
	api.CodeNameTaken:      "choose another name with --name",
	api.CodeKeyTaken:       "use the token that this key joined with, or join with an empty state directory",
	api.CodeTooMany:        "wait a minute and try again",
	api.CodeInternal:       "the registry's log says what is wrong",
	api.CodeStorageFull:    "make room on the registry's disk; then try again",
}
