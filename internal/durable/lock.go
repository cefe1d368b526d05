package durable

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrLocked is a lock that somebody else holds.
var ErrLocked = errors.New("in use by another process")

// Lock is a held lock on a file. The kernel frees it when the process ends, in
// whatever way; the file stays, as removing it would let two hold locks on two
// files of one name. It has one owner: Close is not for two goroutines at once.
type Lock struct {
	file *os.File
}

// NewLock takes the lock, making the file where it is absent, or returns
// ErrLocked at once. The file says for people whose it is; only the kernel's
// lock counts.
func NewLock(path string) (*Lock, error) {
	// Not O_TRUNC: that would erase the holder's number before we know.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	if err := flock(f); err != nil {
		holder := holderOf(f)
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking %q: %w%s", path, ErrLocked, holder)
		}
		return nil, fmt.Errorf("locking %q: %w", path, err)
	}
	writeHolder(f)
	return &Lock{file: f}, nil
}

// Close frees the lock. A second call does nothing.
func (l *Lock) Close() error {
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	// The number goes first: an empty file names nobody.
	if err := errors.Join(f.Truncate(0), f.Close()); err != nil {
		return fmt.Errorf("unlocking %q: %w", f.Name(), err)
	}
	return nil
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// writeHolder leaves our number for people. A full disk does not unlock: errors
// are of no interest.
func writeHolder(f *os.File) {
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
}

// holderOf returns " (pid N)", or nothing where no number can be read. The
// number can be that of a process in another namespace.
func holderOf(f *os.File) string {
	b := make([]byte, 16)
	n, _ := f.ReadAt(b, 0) // io.EOF with the number
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b[:n])))
	if err != nil || pid <= 0 {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", pid)
}
