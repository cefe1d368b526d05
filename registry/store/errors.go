package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"syscall"

	sqlite "github.com/mattn/go-sqlite3"
)

// Outcomes that a caller branches on.
var (
	// ErrToken: unknown, expired, used up or revoked. They are not told apart.
	ErrToken = errors.New("the token is not valid")
	// ErrNameTaken: another node has the name.
	ErrNameTaken = errors.New("another node has the name")
	// ErrKeyTaken: the key has a certificate, by another token.
	ErrKeyTaken = errors.New("the key has a certificate already")
	// ErrExhausted: no free prefix of the length is left.
	ErrExhausted = errors.New("no free prefix of the length is left")
	// ErrStopped: issuing is stopped until the database is whole again.
	ErrStopped = errors.New("issuing is stopped")
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("not found")

	// ErrBusy: another process holds the database.
	ErrBusy = errors.New("the database is locked by another process")
	// ErrFull: no space is left for the database or the journal.
	ErrFull = errors.New("no space is left on the device")
	// ErrCorrupt: what is on disk is not what was written.
	ErrCorrupt = errors.New("the database is corrupt")
	// ErrNewer: the schema is one of a later version.
	ErrNewer = errors.New("the database is of a newer version")
	// ErrReadOnly: the database cannot be written to.
	ErrReadOnly = errors.New("the database cannot be written")
)

// classify puts one of our outcomes above SQLite's code, where there is one.
func classify(err error) error {
	var e sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case !errors.As(err, &e):
		return err
	}
	switch e.Code {
	case sqlite.ErrBusy, sqlite.ErrLocked:
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case sqlite.ErrFull:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case sqlite.ErrIoErr:
		if e.SystemErrno == syscall.ENOSPC || e.SystemErrno == syscall.EDQUOT {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		return err
	case sqlite.ErrCorrupt, sqlite.ErrNotADB:
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case sqlite.ErrReadonly, sqlite.ErrCantOpen, sqlite.ErrPerm:
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	case sqlite.ErrInterrupt:
		return fmt.Errorf("%w: %w", context.Canceled, err)
	}
	return err
}

// isUnique says whether a UNIQUE constraint on the column stood against it.
func isUnique(err error, column string) bool {
	var e sqlite.Error
	return errors.As(err, &e) && e.ExtendedCode == sqlite.ErrConstraintUnique &&
		e.Error() == "UNIQUE constraint failed: "+column
}

// isTrigger says whether a trigger of the schema refused with the text.
func isTrigger(err error, text string) bool {
	var e sqlite.Error
	return errors.As(err, &e) && e.ExtendedCode == sqlite.ErrConstraintTrigger && e.Error() == text
}
