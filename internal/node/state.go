package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"re6st/internal/durable"
)

// Names in the state directory.
const (
	keyFile      = "key.pem"
	certFile     = "cert.pem"
	caFile       = "ca.pem"
	networkFile  = "network.jws"
	registryFile = "registry.json"
	peersFile    = "peers.json"
	seqnoFile    = "seqno"
	undoFile     = "undo.json"
	versionFile  = "version"
	lockFile     = "lock"

	// stateVersion rises when an older daemon could no longer read the directory.
	stateVersion = 1
	// maxStateFileBytes bounds what is read of any file here.
	maxStateFileBytes = 4 << 20
)

// copySuffix names the second copy of a file that cannot be had again.
const copySuffix = ".copy"

// A state is an open state directory: locked, or to be looked at only.
type state struct {
	dir  string
	lock *durable.Lock                  // nil: nothing is written or set aside
	say  func(text string, args ...any) // warnings for the operator's log
}

// ErrBusy says that another process works on the state directory.
var ErrBusy = errors.New("another process uses this state directory")

// openState locks an existing state directory and checks that it is one that
// this version understands.
func openState(dir string, say func(string, ...any)) (*state, error) {
	if err := checkDirectory(dir); err != nil {
		return nil, err
	}
	return lockState(dir, say)
}

// readState opens a state directory to look at it, whoever else works on it.
func readState(dir string, say func(string, ...any)) (*state, error) {
	if err := checkDirectory(dir); err != nil {
		return nil, err
	}
	s := &state{dir: dir, say: say}
	return s, s.checkVersion()
}

func checkDirectory(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return stateError("enrol this machine first: re6stnode join TOKEN --state "+dir, "state directory %q does not exist", dir)
	case err != nil:
		return stateError("run as root, or as the owner of the directory", "opening state directory: %w", err)
	case !info.IsDir():
		return stateError("name a directory with --state", "state directory %q is not a directory", dir)
	case info.Mode().Perm()&0o022 != 0:
		return stateError("chmod 700 "+dir, "state directory %q can be written by others (mode %04o)", dir, info.Mode().Perm())
	}
	return nil
}

// createState makes the directory where it is absent, and opens it.
func createState(dir string, say func(string, ...any)) (*state, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, stateError("run as root, or name another directory with --state", "making state directory: %w", err)
	}
	return openState(dir, say)
}

func lockState(dir string, say func(string, ...any)) (*state, error) {
	lock, err := durable.NewLock(filepath.Join(dir, lockFile))
	switch {
	case errors.Is(err, durable.ErrLocked):
		return nil, fail(Failed, "stop the other re6stnode, or name another directory with --state", "state directory %q: %w", dir, ErrBusy)
	case err != nil:
		return nil, stateError("run as root, or as the owner of the directory", "locking state directory: %w", err)
	}
	s := &state{dir: dir, lock: lock, say: say}
	if err := s.checkVersion(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *state) close() {
	if s.lock != nil {
		_ = s.lock.Close()
	}
}

func (s *state) path(name string) string { return filepath.Join(s.dir, name) }

// checkVersion refuses a directory of a newer version: to guess at it could
// lose what only the newer one understands.
func (s *state) checkVersion() error {
	data, err := s.read(versionFile)
	if errors.Is(err, fs.ErrNotExist) {
		return s.write(versionFile, []byte(strconv.Itoa(stateVersion)+"\n"), 0o644)
	}
	if err != nil {
		return stateError("run as root, or as the owner of the directory", "reading the state's version: %w", err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		s.setAside(versionFile, fmt.Errorf("%.20q is not a number", data))
		return s.write(versionFile, []byte(strconv.Itoa(stateVersion)+"\n"), 0o644)
	}
	if version > stateVersion {
		return stateError("install the re6stnode that wrote it, or a newer one", "state directory %q has format %d, this re6stnode reads up to %d", s.dir, version, stateVersion)
	}
	return nil
}

func (s *state) read(name string) ([]byte, error) {
	return durable.ReadFile(s.path(name), maxStateFileBytes)
}

func (s *state) write(name string, data []byte, perm os.FileMode) error {
	if s.lock == nil {
		return nil
	}
	if err := durable.WriteFile(s.path(name), data, perm); err != nil {
		return fmt.Errorf("writing %q: %w", s.path(name), err)
	}
	return nil
}

// writeTwice also keeps a copy, for what cannot be had again without a token.
func (s *state) writeTwice(name string, data []byte, perm os.FileMode) error {
	if err := s.write(name+copySuffix, data, perm); err != nil {
		return err
	}
	return s.write(name, data, perm)
}

// setAside keeps a damaged file for whoever wants to look at it, and says so.
func (s *state) setAside(name string, why error) {
	if s.lock == nil {
		s.say("state file is damaged", "file", s.path(name), "err", why)
		return
	}
	bad := s.path(name) + ".damaged"
	s.say("state file is damaged; it is set aside", "file", s.path(name), "as", bad, "err", why)
	if err := os.Rename(s.path(name), bad); err != nil {
		s.say("setting the damaged file aside", "err", err)
	}
}

// load reads a file that the node can do without. It is false where the file is
// absent or damaged.
func (s *state) load(name string, parse func([]byte) error) bool {
	data, err := s.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err == nil {
		err = parse(data)
	}
	if err != nil {
		s.setAside(name, err)
		return false
	}
	return true
}

// loadWithCopy reads a file that was written twice, from its copy where the file
// itself is damaged or gone, and puts it right again.
func (s *state) loadWithCopy(name string, perm os.FileMode, parse func([]byte) error) error {
	if s.load(name, parse) {
		return nil
	}
	data, err := s.read(name + copySuffix)
	if err != nil {
		return fmt.Errorf("reading %q: %w", s.path(name), err)
	}
	if err := parse(data); err != nil {
		return fmt.Errorf("reading %q and its copy: %w", s.path(name), err)
	}
	if s.lock != nil {
		s.say("state file is restored from its copy", "file", s.path(name))
	}
	return s.write(name, data, perm)
}
