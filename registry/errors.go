package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"re6st/internal/durable"
	"re6st/registry/store"
)

// Kind sorts errors by what an operator or a service manager does about them.
type Kind int

// The kinds.
const (
	Failed   Kind = iota // look at the cause, perhaps try again
	Usage                // a wrong argument
	BadState             // the state directory must be put right first
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

// ErrRunning says that another process works on the state directory.
var ErrRunning = errors.New("another re6stregistry uses this state directory")

// explain adds what to do to an error of the store or the file system.
func explain(dir string, err error) error {
	var known *Error
	var mode *store.ModeError
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, durable.ErrLocked):
		return fail(Failed, "stop the other one first; commands other than init and serve talk to it by themselves", "%w: %w", ErrRunning, err)
	case errors.Is(err, store.ErrBusy):
		return fail(Failed, "end what has "+dir+"/registry.db open (a backup, a sqlite3 shell), then try again", "%w", err)
	case errors.Is(err, store.ErrNewer):
		return fail(BadState, "install the re6stregistry that wrote it, or a newer one", "%w", err)
	case errors.Is(err, store.ErrCorrupt):
		return fail(BadState, "keep a copy of "+dir+", then restore the newest backup beside the newest journal; nothing has been changed", "%w", err)
	case errors.Is(err, store.ErrFull), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fail(Failed, "make room on the file system of "+dir+", then try again; nothing is lost", "%w", err)
	case errors.As(err, &mode):
		return fail(BadState, "chmod 600 "+mode.Path, "%w", err)
	case errors.Is(err, os.ErrPermission), errors.Is(err, store.ErrReadOnly), errors.Is(err, syscall.EROFS):
		return fail(BadState, "run as the owner of "+dir+", on a file system that can be written", "%w", err)
	case errors.Is(err, fs.ErrNotExist):
		return fail(BadState, "restore the file from a backup; a new state directory is made by: re6stregistry init", "%w", err)
	}
	return err
}
