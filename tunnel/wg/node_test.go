package wg

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"re6st/internal/lab/solo"
)

// A node is a process in a network namespace of its own, which makes devices for
// a test. wireguard-go's goroutines run on any thread, so a thread's namespace is
// not enough. The test itself runs in a process with namespaces of its own too:
// so nothing has to be removed.
//
//	test process (own network, own /run) --- veth --- node "a"
//	                                     \-- veth --- node "b"

const nodeName = "RE6ST_TEST_NODE" // makes this program a node

var (
	must  = solo.Must
	run   = solo.Command
	await = solo.Until
)

func TestMain(m *testing.M) {
	if os.Getenv(nodeName) != "" {
		if err := serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// kind is the backend under test: make test-kernel sets it.
func kind() string {
	if k := os.Getenv("RE6ST_WG"); k != "" {
		return k
	}
	return Userspace
}

func inNamespace(t *testing.T) bool {
	t.Helper()
	if kind() == Kernel && !hasKernel() {
		solo.SkipOrFail(t, "this kernel has no WireGuard")
	}
	return solo.Alone(t)
}

func hasKernel() bool {
	b, err := newKernel(PortRange{})
	if err != nil {
		return false
	}
	_ = b.Close()
	return true
}

// request and answer are what test and node say to each other, a line each. Keys
// travel in the open: Key itself does not let them.
type request struct {
	Op         string
	Name       string
	Kind       string
	Ports      PortRange
	Port       uint16
	LinkLocal  netip.Addr
	PrivateKey string
	PublicKey  string
	Preshared  string
	Endpoint   netip.AddrPort
	Command    string
}

type answer struct {
	Error  string
	Class  string // of the error
	Text   string
	Index  int
	Port   uint16
	Stats  Stats
	Number int
}

type nodeState struct {
	backend Backend
	devices map[string]Device
}

// serve is the life of a node.
func serve(in io.Reader, out io.Writer) error {
	state := nodeState{devices: make(map[string]Device)}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return err
		}
		a, err := state.do(r)
		if err != nil {
			a.Error, a.Class = err.Error(), classOf(err)
		}
		text, err := json.Marshal(a)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s\n", text); err != nil {
			return err
		}
	}
	return lines.Err()
}

func classOf(err error) string {
	for class, e := range map[string]error{"name": ErrNameTaken, "port": ErrNoPort, "unsupported": ErrUnsupported, "used": unix.EADDRINUSE} {
		if errors.Is(err, e) {
			return class
		}
	}
	return ""
}

func (s *nodeState) do(r request) (answer, error) {
	switch r.Op {
	case "select":
		var text string
		var err error
		s.backend, text, err = Select(r.Kind, r.Ports, slog.New(slog.DiscardHandler))
		return answer{Text: text}, err
	case "create":
		key, err := ParseKey(r.PrivateKey)
		if err != nil {
			return answer{}, err
		}
		d, err := s.backend.Create(Config{Name: r.Name, Alias: "re6st 0badcafe to peer", PrivateKey: key, Port: r.Port, Mark: 0x6e36, LinkLocal: r.LinkLocal})
		if err != nil {
			return answer{}, err
		}
		s.devices[r.Name] = d
		return answer{Index: d.Index(), Port: d.Port()}, nil
	case "peer":
		public, err := ParseKey(r.PublicKey)
		if err != nil {
			return answer{}, err
		}
		preshared, err := ParseKey(r.Preshared)
		if err != nil {
			return answer{}, err
		}
		return answer{}, s.devices[r.Name].SetPeer(Peer{PublicKey: public, PresharedKey: preshared, Endpoint: r.Endpoint, Keepalive: time.Second})
	case "stats":
		stats, err := s.devices[r.Name].Stats()
		return answer{Stats: stats}, err
	case "close":
		return answer{}, s.devices[r.Name].Close()
	case "run":
		args := strings.Fields(r.Command)
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		return answer{Text: string(out)}, err
	case "goroutines":
		return answer{Number: runtime.NumGoroutine()}, nil
	case "files":
		files, err := os.ReadDir("/proc/self/fd")
		return answer{Number: len(files)}, err
	case "rss":
		return answer{Number: residentKiB()}, nil
	}
	return answer{}, fmt.Errorf("unknown request %q", r.Op)
}

func residentKiB() int {
	runtime.GC()
	b, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := bytes.Cut(b, []byte("VmRSS:"))
	n := 0
	_, _ = fmt.Sscan(string(rest), &n)
	return n
}

// node is the test's side.
type node struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	stderr bytes.Buffer
}

// newNode starts one, joined to the test's namespace by eth0.
func newNode(t *testing.T, name string) *node {
	t.Helper()
	return newNodeOf(t, name, kind())
}

func newNodeOf(t *testing.T, name, kind string) *node {
	t.Helper()
	n := &node{t: t, name: name, cmd: exec.Command("/proc/self/exe")}
	n.cmd.Env = append(os.Environ(), nodeName+"="+name)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	n.cmd.Stderr = &n.stderr
	var err error
	n.in, err = n.cmd.StdinPipe()
	must(t, err)
	out, err := n.cmd.StdoutPipe()
	must(t, err)
	n.out = bufio.NewScanner(out)
	must(t, n.cmd.Start())
	t.Cleanup(n.kill)
	n.run("ip link set lo up")
	n.want(request{Op: "select", Kind: kind})
	return n
}

func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}

func (n *node) ask(r request) answer {
	n.t.Helper()
	text, err := json.Marshal(r)
	must(n.t, err)
	_, err = fmt.Fprintf(n.in, "%s\n", text)
	must(n.t, err)
	if !n.out.Scan() {
		n.t.Fatalf("node %s has ended: %s", n.name, n.stderr.String())
	}
	var a answer
	must(n.t, json.Unmarshal(n.out.Bytes(), &a))
	return a
}

func (n *node) want(r request) answer {
	n.t.Helper()
	a := n.ask(r)
	if a.Error != "" {
		n.t.Fatalf("node %s: %s %s%s: %s %s", n.name, r.Op, r.Name, r.Command, a.Error, a.Text)
	}
	return a
}

func (n *node) wantClass(class string, r request) answer {
	n.t.Helper()
	a := n.ask(r)
	if a.Class != class || a.Error == "" {
		n.t.Fatalf("node %s: %s %s: error %q of class %q, want class %q", n.name, r.Op, r.Name, a.Error, a.Class, class)
	}
	return a
}

func (n *node) run(command string) string {
	n.t.Helper()
	return n.want(request{Op: "run", Command: command}).Text
}

// join gives two nodes a link between them, eth0 at both ends.
func join(t *testing.T, a, b *node) {
	t.Helper()
	run(t, "ip link add veth-a type veth peer name veth-b")
	for _, end := range []struct {
		n    *node
		name string
	}{{a, "veth-a"}, {b, "veth-b"}} {
		run(t, fmt.Sprintf("ip link set %s netns %d", end.name, end.n.cmd.Process.Pid))
		end.n.run("ip link set " + end.name + " name eth0 addrgenmode none up")
	}
	a.run("ip addr add fe80::a/64 dev eth0 nodad")
	b.run("ip addr add fe80::b/64 dev eth0 nodad")
	a.run("ip addr add 192.0.2.1/24 dev eth0")
	b.run("ip addr add 192.0.2.2/24 dev eth0")
}
