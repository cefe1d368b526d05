package router

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"re6st/babel"
	"re6st/internal/durable"
)

const (
	lockFile     = "lock"
	routerIDFile = "router-id"
	seqnoFile    = "seqno"
	undoFile     = "undo.json"

	maxStateFileBytes = 4 << 10
)

// state is the locked state directory.
type state struct {
	dir  string
	lock *durable.Lock
}

// openState makes the directory where it is absent.
func openState(dir string) (*state, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, &Error{Err: fmt.Errorf("making the state directory: %w", err), Hint: "run as root, or name another directory with --state", IsState: true}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, &Error{Err: fmt.Errorf("opening the state directory: %w", err), IsState: true}
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, &Error{Err: fmt.Errorf("state directory %q can be written by others (mode %04o)", dir, info.Mode().Perm()), Hint: "chmod 755 " + dir, IsState: true}
	}
	lock, err := durable.NewLock(filepath.Join(dir, lockFile))
	switch {
	case errors.Is(err, durable.ErrLocked):
		return nil, &Error{Err: fmt.Errorf("state directory %q: %w", dir, err), Hint: "stop the other re6stnode babel, or name another directory with --state"}
	case err != nil:
		return nil, &Error{Err: fmt.Errorf("locking the state directory: %w", err), Hint: "run as root, or name another directory with --state", IsState: true}
	}
	return &state{dir, lock}, nil
}

func (s *state) close() { _ = s.lock.Close() }

func (s *state) path(name string) string { return filepath.Join(s.dir, name) }

// read gives the text of a file, and whether there is one.
func (s *state) read(name string) (string, bool, error) {
	data, err := durable.ReadFile(s.path(name), maxStateFileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	return strings.TrimSpace(string(data)), err == nil, err
}

func (s *state) write(name, text string) error {
	if err := durable.WriteFile(s.path(name), []byte(text+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing %q: %w", s.path(name), err)
	}
	return nil
}

// routerID is that of the last run, or one drawn at random: 64 bits of which two
// routers in the world hardly ever have the same. The bits that say "universal"
// and "group" in a MAC address are as RFC 4291 wants them in what is drawn.
func (s *state) routerID() (babel.RouterID, error) {
	text, found, err := s.read(routerIDFile)
	if err != nil {
		return babel.RouterID{}, err
	}
	if found {
		id, err := ParseRouterID(text)
		if err != nil {
			return id, &Error{Err: fmt.Errorf("file %q: %w", s.path(routerIDFile), err), Hint: "remove the file, and another router-id is drawn", IsState: true}
		}
		return id, nil
	}
	var id babel.RouterID
	for !isUsable(id) {
		_, _ = rand.Read(id[:]) // never fails (crypto/rand)
		id[0] &^= 3
	}
	return id, s.write(routerIDFile, id.String())
}

// seqno is the first that was never used. Without a record it is drawn: if that
// is below what neighbours remember, the engine hears its own router-id with a
// newer seqno and goes above it.
func (s *state) seqno() (uint16, error) {
	text, found, err := s.read(seqnoFile)
	if err != nil {
		return 0, err
	}
	if found {
		if n, err := strconv.ParseUint(text, 10, 16); err == nil {
			return uint16(n), nil
		}
	}
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return binary.BigEndian.Uint16(b[:]), nil
}

// reserve records that every seqno before next may have been used.
func (s *state) reserve(next uint16) error {
	return s.write(seqnoFile, strconv.Itoa(int(next)))
}
