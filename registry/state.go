package registry

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"re6st/internal/durable"
	"re6st/registry/ca"
	"re6st/registry/store"
)

// Names in the state directory, beside the store's.
const (
	keyFile     = "ca.key"
	caFile      = "ca.pem"
	versionFile = "version"
	// partialFile stands while init is at work. What it made until then has
	// given nothing to anybody, and may be thrown away.
	partialFile = "init.partial"

	// stateVersion rises when an older program could no longer read the directory.
	stateVersion = 1
	fileBytesMax = 1 << 20
)

// checkState says whether the directory is one that serve can work with.
func checkState(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(BadState, "make it: re6stregistry init --state "+dir, "state directory %q does not exist", dir)
	case err != nil:
		return fail(BadState, "run as the owner of the directory", "opening state directory: %w", err)
	case !info.IsDir():
		return fail(BadState, "name a directory with --state", "state directory %q is not a directory", dir)
	case info.Mode().Perm()&0o022 != 0:
		return fail(BadState, "chmod 700 "+dir, "state directory %q can be written by others (mode %04o)", dir, info.Mode().Perm())
	}
	if exists(filepath.Join(dir, partialFile)) {
		return fail(BadState, "run re6stregistry init again with the same arguments; nothing was given out yet", "state directory %q is half-written: init did not end", dir)
	}
	return checkVersion(dir)
}

// checkVersion refuses a directory of a newer version: to guess at it could
// lose what only the newer one understands.
func checkVersion(dir string) error {
	data, err := durable.ReadFile(filepath.Join(dir, versionFile), 1<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return fail(BadState, "name the right directory with --state, or make one: re6stregistry init --state "+dir, "%q is not the state directory of a registry: it has no file %q", dir, versionFile)
	}
	if err != nil {
		return fail(BadState, "run as the owner of the directory", "reading the state's version: %w", err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return fail(BadState, "restore the file from a backup", "state directory %q: its version is not a number", dir)
	}
	if version > stateVersion {
		return fail(BadState, "install the re6stregistry that wrote it, or a newer one", "state directory %q has format %d, this re6stregistry reads up to %d", dir, version, stateVersion)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// loadCA reads the CA's key and certificate, which belong together.
func loadCA(dir string) (*authority, error) {
	keyPath := filepath.Join(dir, keyFile)
	info, err := os.Stat(keyPath)
	if err != nil {
		return nil, explain(dir, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, explain(dir, &store.ModeError{Path: keyPath, Mode: mode})
	}
	const lost = "restore ca.key and ca.pem from a backup: no node can be enrolled without the key"
	text, err := durable.ReadFile(keyPath, fileBytesMax)
	if err != nil {
		return nil, explain(dir, err)
	}
	key, err := ca.DecodeKey(text)
	if err != nil {
		return nil, fail(BadState, lost, "reading %q: it holds no P-256 key in PEM", keyPath)
	}
	if text, err = durable.ReadFile(filepath.Join(dir, caFile), fileBytesMax); err != nil {
		return nil, explain(dir, err)
	}
	der, err := ca.DecodeCertificate(text)
	if err != nil {
		return nil, fail(BadState, lost, "reading %q: %w", filepath.Join(dir, caFile), err)
	}
	a, err := newAuthority(der, key)
	if err != nil {
		return nil, fail(BadState, lost, "%w", err)
	}
	return a, nil
}
