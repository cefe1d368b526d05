package wg

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"re6st/internal/kernel"
	"re6st/tunnel/wg/userspace"
)

// RemoveLeftovers deletes what an instance that was killed left: its interfaces,
// known by ifalias, and control sockets that no one serves any more (of any
// instance: they are of no use to anyone). It gives what it removed.
func RemoveLeftovers(instance string) ([]string, error) {
	h, err := kernel.Open()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	removed, linksErr := h.RemoveLinks(instance)
	sockets, isYoung, socketsErr := removeDeadSockets(userspace.SocketDir, time.Now())
	if isYoung && socketsErr == nil {
		// Ours, if we were killed just after we made them; nobody looks again.
		<-time.After(settling)
		var more []string
		more, _, socketsErr = removeDeadSockets(userspace.SocketDir, time.Now())
		sockets = append(sockets, more...)
	}
	return append(removed, sockets...), errors.Join(linksErr, socketsErr)
}

// settling: between bind and listen a socket looks dead.
const settling = 2 * time.Second

// removeDeadSockets leaves the young ones that look dead, and says if there are
// some.
func removeDeadSockets(dir string, now time.Time) (removed []string, isYoung bool, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "re6st-*.sock"))
	if err != nil {
		return nil, false, fmt.Errorf("looking for control sockets: %w", err)
	}
	var failures []error
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil || info.Mode().Type() != fs.ModeSocket || !isDead(path) {
			continue
		}
		if now.Sub(info.ModTime()) < settling {
			isYoung = true
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failures = append(failures, fmt.Errorf("removing a dead control socket: %w", err))
			continue
		}
		removed = append(removed, path)
	}
	return removed, isYoung, errors.Join(failures...)
}

// isDead needs the plain refusal: any other error may be a passing one.
func isDead(path string) bool {
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}
