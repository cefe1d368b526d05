package registry

import (
	"context"
	"errors"
	"net/http"

	"re6st/registry/api"
	"re6st/registry/store"
)

// problem makes an error an answer: the one place where classes of errors become
// statuses. What is not known here is logged, and leaves as "internal".
func (r *Registry) problem(err error) error {
	var p *api.Problem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		return p
	case errors.Is(err, store.ErrToken):
		return errToken()
	case errors.Is(err, store.ErrNameTaken):
		return api.NewProblem(http.StatusConflict, api.CodeNameTaken, "another node has this name", "choose another name; the token can still be used")
	case errors.Is(err, store.ErrKeyTaken):
		return api.NewProblem(http.StatusConflict, api.CodeKeyTaken, "this key has a certificate already, by another token",
			"use the token that this key joined with, or join with an empty state directory; the token can still be used")
	case errors.Is(err, store.ErrExhausted):
		return api.NewProblem(http.StatusConflict, api.CodeExhausted, "no free prefix of this length is left in the network", "make a token with a longer --prefix-length")
	case errors.Is(err, store.ErrStopped):
		return api.NewProblem(http.StatusServiceUnavailable, api.CodeStopped, "the registry does not issue certificates now", "its operator finds the reason in the registry's log")
	}
	r.log.Error("request failed", "err", err)
	switch {
	case errors.Is(err, store.ErrFull):
		return api.NewProblem(http.StatusInsufficientStorage, api.CodeStorageFull, "no space is left on the registry's disk", "make room there, then try again; nothing is lost")
	case errors.Is(err, store.ErrBusy), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return api.NewProblem(http.StatusServiceUnavailable, api.CodeUnavailable, "the registry is busy", "try again in a minute")
	}
	return api.NewProblem(http.StatusInternalServerError, api.CodeInternal, "the registry cannot answer this", "its log says why")
}

// errToken is one answer for unknown, expired, used-up and revoked tokens.
func errToken() error {
	return api.NewProblem(http.StatusForbidden, api.CodeTokenRefused, "the token is not valid: unknown, expired, used up or revoked",
		"ask the registry's operator for a new one: re6stregistry token create")
}

func errTooMany() error {
	return api.NewProblem(http.StatusTooManyRequests, api.CodeTooMany, "too many failed attempts from this source", "wait a minute and try again")
}

func errCSR(err error) error {
	return api.NewProblem(http.StatusUnprocessableEntity, api.CodeRequestRefused, err.Error(), "use a re6stnode of the registry's version")
}

func errName(err error) error {
	return api.NewProblem(http.StatusUnprocessableEntity, api.CodeInvalid, err.Error(), "choose another name with --name")
}
