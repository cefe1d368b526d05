package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
)

// undo is what the next process must know to take away what this one put into
// the kernel. It is on disk before the kernel is touched; so if we die at any
// moment, it says too much, never too little.
type undo struct {
	Version      int          `json:"version"`
	Instance     string       `json:"instance"`
	Table        uint32       `json:"table"`
	RulePriority uint32       `json:"rule_priority"`
	Interface    string       `json:"interface"`
	Address      netip.Addr   `json:"address"` // zero where it was there before us
	Address4     netip.Addr   `json:"address4,omitzero"`
	Sysctls      []sysctlUndo `json:"sysctls"`
	Assigned     []assigned   `json:"assigned,omitempty"` // of local networks
	// RoutePriority is a lone router's (Plan).
	RoutePriority uint32 `json:"route_priority,omitempty"`
}

const undoVersion = 1

// readUndo gives false where there is none.
func readUndo(path string) (undo, bool, error) {
	if path == "" {
		return undo{}, false, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return undo{}, false, nil
	}
	if err != nil {
		return undo{}, false, fmt.Errorf("reading what to undo: %w", err)
	}
	var u undo
	if err := json.Unmarshal(b, &u); err != nil {
		return undo{}, false, fmt.Errorf("reading what to undo: %q: %w", path, err)
	}
	if u.Version != undoVersion {
		return undo{}, false, fmt.Errorf("reading what to undo: %q is of version %d, want %d", path, u.Version, undoVersion)
	}
	return u, true, nil
}

// write is durable before it returns: temporary file, sync, rename, sync of the
// directory. (This package may not import internal/durable, which is the same.)
func (u undo) write(path string) error {
	if path == "" {
		return nil
	}
	b, err := json.MarshalIndent(u, "", "  ")
	if err == nil {
		err = replaceFile(path, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing down what to undo: %w", err)
	}
	return nil
}

func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it has been renamed
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func removeFile(path string) error {
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
