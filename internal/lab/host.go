package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Host is a machine of the lab.
type Host struct {
	Lab  *Lab
	Name string
	Dir  string // for its files; seen under the same path inside and outside
	PID  int    // of the agent, as seen from outside

	ns     *namespaces
	agent  *rpc.Client
	exited chan struct{}
	links  int // interfaces named so far; owned by the goroutine of the test
}

// runTimeout bounds one command.
const runTimeout = 60 * time.Second

// Host makes a machine with nothing but a loopback interface.
func (l *Lab) Host(name string) *Host {
	l.TB.Helper()
	if len(name) > 11 {
		l.TB.Fatalf("host name %q: more than 11 bytes make interface names too long", name)
	}
	h := &Host{Lab: l, Name: name, Dir: filepath.Join(l.Dir, name), exited: make(chan struct{})}
	if err := os.MkdirAll(h.Dir, 0o755); err != nil {
		l.TB.Fatalf("making host %s: %v", name, err)
	}
	if err := h.start(); err != nil {
		l.TB.Fatalf("making host %s: %v", name, err)
	}
	l.addHost(h)
	if err := h.call("Setup", struct{}{}, &struct{}{}); err != nil {
		l.TB.Fatalf("setting up host %s: %v", name, err)
	}
	return h
}

// start runs the agent in new namespaces.
func (h *Host) start() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "agent"), os.NewFile(uintptr(pair[1]), "lab")
	defer theirs.Close()
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(h.Lab.logDir(), h.Name+".agent.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), agentEnv+"="+h.Name, "GOMAXPROCS=1")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true,
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the parent-death signal follows this thread
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
			close(h.exited)
		}
	}()
	if err := <-started; err != nil {
		conn.Close()
		return err
	}
	h.PID = cmd.Process.Pid
	h.agent = rpc.NewClient(conn)
	h.ns, err = openNamespaces(h.PID)
	return err
}

// close ends the agent, and with it every process and interface of the host.
func (h *Host) close() {
	h.agent.Close()
	syscall.Kill(h.PID, syscall.SIGKILL)
	<-h.exited
	h.ns.close()
}

// call asks the agent.
func (h *Host) call(method string, args, reply any) error {
	if err := h.agent.Call("Agent."+method, args, reply); err != nil {
		return fmt.Errorf("host %s: %s: %w", h.Name, method, err)
	}
	return nil
}

// Try runs a command on the host and returns its standard output. Its error
// carries the standard error.
func (h *Host) Try(args ...string) (string, error) { return h.TryInput("", args...) }

// TryInput is Try with something on standard input.
func (h *Host) TryInput(input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var err error
	if joining := h.ns.do(func() { err = cmd.Run() }); joining != nil {
		err = joining
	}
	if err != nil {
		return stdout.String(), fmt.Errorf("%s: %s: %w\n%s", h.Name, strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// Run is Try for what must succeed.
func (h *Host) Run(args ...string) string {
	h.Lab.TB.Helper()
	out, err := h.Try(args...)
	if err != nil {
		h.Lab.TB.Fatalf("%v", err)
	}
	return out
}

// IP runs lines of ip(8), all in one process.
func (h *Host) IP(lines ...string) {
	h.Lab.TB.Helper()
	if _, err := h.TryInput(strings.Join(lines, "\n")+"\n", "ip", "-batch", "-"); err != nil {
		h.Lab.TB.Fatalf("%v%s", err, strings.Join(lines, "\n"))
	}
}

// NFT runs lines of nft(8) as one transaction.
func (h *Host) NFT(lines ...string) {
	h.Lab.TB.Helper()
	script := strings.Join(lines, "\n") + "\n"
	if _, err := h.TryInput(script, "nft", "-f", "-"); err != nil {
		h.Lab.TB.Fatalf("%v%s", err, script)
	}
}

// HasNFTables says whether the kernel has nftables.
func (h *Host) HasNFTables() bool {
	_, err := h.Try("nft", "list", "tables")
	return err == nil
}

// Sysctl sets a value given by its path below /proc/sys.
func (h *Host) Sysctl(path, value string) {
	h.Lab.TB.Helper()
	if err := h.call("Sysctl", SysctlArgs{Path: path, Value: value}, &struct{}{}); err != nil {
		h.Lab.TB.Fatalf("%v", err)
	}
}

// Path returns the path of a file of the host.
func (h *Host) Path(elem ...string) string {
	return filepath.Join(append([]string{h.Dir}, elem...)...)
}

// Ping sends one echo request, repeated for at most two seconds.
func (h *Host) Ping(to netip.Addr) error {
	res, err := h.PingAll([]netip.Addr{to}, Slow(5*time.Second))
	if err != nil {
		return err
	}
	if r := res[0]; !r.OK {
		return fmt.Errorf("host %s: no answer from %v: %s", h.Name, to, r.Err)
	}
	return nil
}

// PingAll probes many addresses at once, each until it answers or the time is
// over.
func (h *Host) PingAll(to []netip.Addr, timeout time.Duration) ([]PingResult, error) {
	return h.PingSize(to, timeout, 0)
}

// PingSize is PingAll with so many bytes of payload; an IPv6 packet has 48 more.
func (h *Host) PingSize(to []netip.Addr, timeout time.Duration, size int) ([]PingResult, error) {
	var reply PingReply
	err := h.call("Ping", PingArgs{To: to, Timeout: timeout, Size: size}, &reply)
	return reply.Results, err
}

// bind puts a file of the host's own in the place of the machine's.
func (h *Host) bind(path, content string) {
	h.Lab.TB.Helper()
	own := h.Path(strings.ReplaceAll(path, "/", "_"))
	isBound := false
	if _, err := os.Stat(own); err == nil {
		isBound = true
	}
	if err := os.WriteFile(own, []byte(content), 0o644); err != nil {
		h.Lab.TB.Fatalf("host %s: %v", h.Name, err)
	}
	if !isBound {
		h.Run("mount", "--bind", own, path)
	}
}
