package lab

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespaces are those of one host, held open.
type namespaces struct {
	files []*os.File
	flags []int
}

var namespaceKinds = []struct {
	name string
	flag int
}{
	{"net", unix.CLONE_NEWNET},
	{"uts", unix.CLONE_NEWUTS},
	{"ipc", unix.CLONE_NEWIPC},
	{"pid", unix.CLONE_NEWPID},
	// Last: after it /proc is another one.
	{"mnt", unix.CLONE_NEWNS},
}

func openNamespaces(pid int) (*namespaces, error) {
	n := &namespaces{}
	for _, k := range namespaceKinds {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, k.name))
		if err != nil {
			n.close()
			return nil, err
		}
		n.files = append(n.files, f)
		n.flags = append(n.flags, k.flag)
	}
	return n, nil
}

func (n *namespaces) close() {
	for _, f := range n.files {
		f.Close()
	}
}

// do runs f on a thread that has joined the namespaces. The thread dies with
// f: with such namespaces it cannot be given back to the runtime.
func (n *namespaces) do(f func()) error {
	joined := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked
		defer close(done)
		err := n.join()
		joined <- err
		if err == nil {
			f()
		}
	}()
	if err := <-joined; err != nil {
		return err
	}
	<-done
	return nil
}

func (n *namespaces) join() error {
	// setns into a mount namespace wants a thread whose root and working
	// directory are not shared.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unsharing the file system attributes: %w", err)
	}
	for i, f := range n.files {
		if err := unix.Setns(int(f.Fd()), n.flags[i]); err != nil {
			return fmt.Errorf("joining %s: %w", f.Name(), err)
		}
	}
	return nil
}
