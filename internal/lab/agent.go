package lab

import (
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Agent is what a host's process answers to. Its methods are called by net/rpc.
type Agent struct {
	name string

	mu       sync.Mutex // guards what follows
	receiver *receiver
	senders  map[uint32]*sender
	capture  *capture
	closers  []io.Closer // echo servers
}

// agentMain is the life of a host: serve until the lab goes away.
func agentMain(name string) error {
	go reapOrphans()
	file := os.NewFile(3, "lab")
	conn, err := net.FileConn(file)
	if err != nil {
		return fmt.Errorf("opening the way to the lab: %w", err)
	}
	file.Close()
	server := rpc.NewServer()
	if err := server.RegisterName("Agent", &Agent{name: name, senders: map[uint32]*sender{}}); err != nil {
		return err
	}
	server.ServeConn(conn) // returns at the end of the lab
	return nil
}

// reapOrphans keeps processes whose parents died from staying as zombies: the
// agent is the init of its host. Its own children are waited for where they
// are started; so only those that os/exec does not know are taken.
func reapOrphans() {
	c := make(chan os.Signal, 16)
	signal.Notify(c, syscall.SIGCHLD)
	for range c {
		orphans.Lock()
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
		orphans.Unlock()
	}
}

// orphans is held by whoever runs a child of the agent's own, so that the
// reaper does not take its status.
var orphans sync.Mutex

// Setup makes the namespaces a usable machine.
func (a *Agent) Setup(struct{}, *struct{}) error {
	if err := unix.Sethostname([]byte(a.name)); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	run := []string{"/run"}
	if target, err := filepath.EvalSymlinks("/var/run"); err == nil && target != "/run" {
		run = append(run, "/var/run")
	}
	for _, dir := range run {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=16m"); err != nil {
			return fmt.Errorf("mounting %s: %w", dir, err)
		}
	}
	// Over the old ones: of these namespaces, not of the lab's.
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mounting /sys: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	// Duplicate address detection would delay everything by a second or two.
	for _, s := range []string{"all", "default"} {
		args := SysctlArgs{Path: "net/ipv6/conf/" + s + "/accept_dad", Value: "0"}
		if err := a.Sysctl(args, nil); err != nil {
			return err
		}
	}
	return nil
}

// loopbackUp needs no program: that would be a third of what a host costs.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_LOOPBACK)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// SysctlArgs are those of Sysctl.
type SysctlArgs struct{ Path, Value string }

// Sysctl writes one value.
func (a *Agent) Sysctl(args SysctlArgs, _ *struct{}) error {
	path := filepath.Join("/proc/sys", filepath.Clean("/"+args.Path))
	return os.WriteFile(path, []byte(args.Value), 0o644)
}

// run1 runs a program in the agent and returns what it printed.
func run1(args ...string) (string, error) {
	orphans.Lock()
	defer orphans.Unlock()
	b, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, b)
	}
	return string(b), nil
}
