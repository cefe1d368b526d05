package speaker

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"re6st/babel"
	"re6st/internal/kernel"
	"re6st/internal/lab/solo"
)

// Real sockets, links and tables. Each test runs in a process with namespaces of
// its own, in which it makes one network namespace for each host.

var (
	inNamespace = solo.Alone
	must        = solo.Must
	await       = solo.Until
)

func ip(t *testing.T, args string) string {
	t.Helper()
	return solo.Command(t, "ip "+args)
}

// within runs f on a thread that is in the namespace, and dies with it.
func within(t *testing.T, name string, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := netns.GetFromName(name)
		if err == nil {
			err = netns.Set(ns)
			_ = ns.Close()
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	must(t, <-done)
}

// machine is a host of the test: a namespace, an address, a speaker.
type machine struct {
	*testing.T
	name   string
	number byte
	prefix netip.Prefix
	*Speaker
	kernel *kernel.Host
	stop   context.CancelFunc
	ended  chan error
}

func newMachine(t *testing.T, number byte) *machine {
	m := &machine{
		T: t, name: fmt.Sprintf("h%d", number), number: number,
		prefix: netip.MustParsePrefix(fmt.Sprintf("2001:db8:42:%d::/64", number)),
	}
	ip(t, "netns add "+m.name)
	m.ip("link set lo up")
	m.ip("address add " + m.address() + "/128 dev lo")
	within(t, m.name, func() {
		for _, s := range []string{"all/forwarding=1", "default/accept_dad=0", "default/forwarding=1"} {
			path, value, _ := strings.Cut(s, "=")
			must(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+path, []byte(value), 0o644))
		}
	})
	return m
}

func (m *machine) address() string { return fmt.Sprintf("2001:db8:42:%d::1", m.number) }

func (m *machine) ip(args string) string {
	m.Helper()
	return ip(m.T, "-n "+m.name+" "+args)
}

// veth makes a veth between two machines; each end has the other's name.
func veth(t *testing.T, a, b *machine) {
	ip(t, fmt.Sprintf("-n %s link add to-%s type veth peer name to-%s netns %s", a.name, b.name, a.name, b.name))
	for _, m := range [][2]*machine{{a, b}, {b, a}} {
		m[0].ip("link set to-" + m[1].name + " addrgenmode none")
		m[0].ip(fmt.Sprintf("address add fe80::%d/64 dev to-%s nodad", m[0].number, m[1].name))
		m[0].ip("link set to-" + m[1].name + " up")
	}
}

// start runs a speaker with routes in the main table.
func (m *machine) start() {
	m.Helper()
	within(m.T, m.name, func() {
		host, err := kernel.Open()
		must(m.T, err)
		m.kernel = host
	})
	id := babel.RouterID{0x20, 0x01, 0x0d, 0xb8, 0, 0x42, 0, m.number}
	m.Speaker = New(Config{
		Engine: babel.Config{RouterID: id, Rand: rand.New(rand.NewPCG(uint64(m.number), 0))},
		FIB:    m.kernel, Table: unix.RT_TABLE_MAIN, Protocol: kernel.Protocol,
	})
	ctx, stop := context.WithCancel(context.Background())
	m.stop, m.ended = stop, make(chan error, 1)
	go func() { m.ended <- m.Speaker.Run(ctx) }()
	m.Originate(m.prefix, netip.Prefix{}, 0)
}

func (m *machine) end() {
	m.Helper()
	m.stop()
	if err := <-m.ended; err != nil {
		m.Errorf("%s: %v", m.name, err)
	}
	must(m.T, m.kernel.Close())
}

func (m *machine) speakOn(peer *machine, kind babel.Kind) int {
	m.Helper()
	name := "to-" + peer.name
	var index int
	within(m.T, m.name, func() {
		i, err := net.InterfaceByName(name)
		must(m.T, err)
		index = i.Index
		must(m.T, m.AddInterface(babel.InterfaceConfig{
			Index: index, Name: name, Kind: kind, MTU: i.MTU, HelloInterval: time.Second,
			LinkLocal: netip.MustParseAddr(fmt.Sprintf("fe80::%d", m.number)),
		}))
	})
	return index
}

func (m *machine) reaches(o *machine) bool {
	return exec.Command("ip", "netns", "exec", m.name, "ping", "-6", "-c1", "-W1", "-I", m.address(), o.address()).Run() == nil
}

func (m *machine) routes() string { return m.ip("-6 route show proto babel") }

// Three machines in a line, one link a tunnel and one wired: the ends reach each
// other through the middle, and the kernel has what the engine says (A13).
func TestA13_DumpEqualsKernel(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	t.Cleanup(func() { goleak.VerifyNone(t) }) // last of the cleanups
	a, b, c := newMachine(t, 1), newMachine(t, 2), newMachine(t, 3)
	veth(t, a, b)
	veth(t, b, c)
	for _, m := range []*machine{a, b, c} {
		m.start()
	}
	a.speakOn(b, babel.Tunnel)
	ba := b.speakOn(a, babel.Tunnel)
	b.speakOn(c, babel.Wired)
	c.speakOn(b, babel.Wired)
	t.Log("ends reach each other after", await(t, "ends reach each other", 20*time.Second, func() bool { return a.reaches(c) && c.reaches(a) }))
	for _, m := range []*machine{a, b, c} {
		m.wantKernelEqualsEngine()
	}
	if out := b.ip("-6 maddress show"); !strings.Contains(out, "ff02::1:6") {
		t.Errorf("the group was not joined:\n%s", out)
	}

	// A source-specific default route from c.
	from := netip.MustParsePrefix("2001:db8:42::/48")
	c.Originate(netip.MustParsePrefix("::/0"), from, 0)
	await(t, "default route at a", 20*time.Second, func() bool {
		return strings.Contains(a.routes(), "default from 2001:db8:42::/48 via fe80::2")
	})
	a.wantKernelEqualsEngine()

	// A link that goes down and comes up again.
	c.ip("link set to-" + b.name + " down")
	await(t, "c has lost its link", 20*time.Second, func() bool { return len(c.Destinations()) == 0 })
	c.ip("link set to-" + b.name + " up")
	c.ip(fmt.Sprintf("address replace fe80::%d/64 dev to-%s nodad", c.number, b.name))
	t.Log("routes are back after", await(t, "c has its routes again", 20*time.Second, func() bool {
		return strings.Contains(c.routes(), "2001:db8:42:1::/64 via")
	}))

	// The tunnel goes.
	b.RemoveInterface(ba)
	b.ip("link delete to-" + a.name)
	t.Log("loss known after", await(t, "c knows of the loss", 20*time.Second, func() bool {
		return !strings.Contains(c.routes(), "2001:db8:42:1::/64 via")
	}))
	await(t, "a knows of the loss", 20*time.Second, func() bool { return !strings.Contains(a.routes(), "via") })
	for _, m := range []*machine{a, b, c} {
		m.end()
		if left := m.routes(); left != "" {
			t.Errorf("%s: left behind:\n%s", m.name, left)
		}
	}
}

// wantKernelEqualsEngine compares the table with what is selected.
func (m *machine) wantKernelEqualsEngine() {
	m.Helper()
	var want []string
	for _, r := range m.Snapshot().Routes {
		if !r.Installed {
			continue
		}
		dst := r.Prefix.String()
		if r.Prefix.Bits() == 0 {
			dst = "default"
		}
		if r.From.IsValid() {
			dst += " from " + r.From.String()
		}
		want = append(want, fmt.Sprintf("%s via %v", dst, r.NextHop))
	}
	var got []string
	for line := range strings.Lines(m.routes()) {
		got = append(got, strings.SplitN(line, " dev ", 2)[0])
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) || len(want) == 0 {
		m.Errorf("%s: kernel\n%s\nengine\n%s", m.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Debian's babeld in the middle and at the end: us - babeld - us - babeld.
func TestInterop_Babeld(t *testing.T) {
	if _, err := exec.LookPath("babeld"); err != nil {
		solo.SkipOrFail(t, "this needs babeld")
	}
	if !inNamespace(t) {
		return
	}
	t.Cleanup(func() { goleak.VerifyNone(t) }) // last of the cleanups
	var m []*machine
	for i := range 4 {
		m = append(m, newMachine(t, byte(i+1)))
		if i > 0 {
			veth(t, m[i-1], m[i])
		}
	}
	for _, i := range []int{0, 2} {
		m[i].start()
	}
	m[0].speakOn(m[1], babel.Wired)
	m[2].speakOn(m[1], babel.Wired)
	m[2].speakOn(m[3], babel.Wired)
	m[1].babeld("to-h1", "to-h3")
	m[3].babeld("to-h3")
	t.Log("all pairs after", await(t, "all pairs", 30*time.Second, func() bool {
		for _, x := range m {
			for _, y := range m {
				if x != y && !x.reaches(y) {
					return false
				}
			}
		}
		return true
	}))
	// babeld forwards our retraction, and we its.
	m[0].Withdraw(m[0].prefix, netip.Prefix{})
	await(t, "the retraction crosses two babelds", 20*time.Second, func() bool {
		return !strings.Contains(m[3].routes(), "2001:db8:42:1::/64 via")
	})
	for _, i := range []int{0, 2} {
		m[i].end()
	}
}

func (m *machine) babeld(interfaces ...string) {
	m.Helper()
	args := []string{
		"netns", "exec", m.name, "babeld", "-S", "/run/state-" + m.name, "-I", "/run/pid-" + m.name,
		"-C", "redistribute local ip " + m.address() + "/128 deny",
		"-C", "redistribute ip " + m.prefix.String() + " allow",
		"-C", "default hello-interval 1", "-C", "default type wired",
	}
	args = append(args, interfaces...)
	m.ip("-6 route add unreachable " + m.prefix.String() + " dev lo")
	var log bytes.Buffer
	cmd := exec.Command("ip", args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(m.T, cmd.Start())
	m.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // by our signal
		if m.Failed() {
			m.Logf("babeld of %s:\n%s\n%s", m.name, log.String(), m.ip("-6 route"))
		}
	})
}
