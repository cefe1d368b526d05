package node

import (
	"errors"
	"fmt"
	"strings"

	"re6st/registry/client"
)

// Kind sorts errors by what an operator or a service manager does about them.
type Kind int

// The kinds.
const (
	Failed      Kind = iota // try again, or look at the cause
	Usage                   // a wrong argument
	Unreachable             // nobody answers
	Refused                 // somebody answers, and says no
	Degraded                // it works, and something is wrong
	BadState                // the state directory or configuration must be put right first
)

// An Error is one clear cause, and what to do about it.
type Error struct {
	Kind Kind
	Err  error
	Hint string
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func fail(kind Kind, hint, format string, args ...any) error {
	return &Error{Kind: kind, Hint: hint, Err: fmt.Errorf(format, args...)}
}

func stateError(hint, format string, args ...any) error {
	return fail(BadState, hint, format, args...)
}

// Pairs renders what follows the text of a warning: keys and values in turn.
func Pairs(args []any) string {
	var b strings.Builder
	for i := 0; i+1 < len(args); i += 2 {
		fmt.Fprintf(&b, " %v=%v", args[i], args[i+1])
	}
	return b.String()
}

// fromClient keeps the cause and the hint of the registry's client, in the terms
// of this package.
func fromClient(err error) error {
	known, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	kind := Unreachable
	if errors.Is(err, client.ErrRefused) || errors.Is(err, client.ErrPin) {
		kind = Refused
	}
	return &Error{Kind: kind, Err: err, Hint: known.Hint}
}
