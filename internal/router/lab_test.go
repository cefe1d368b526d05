package router

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"re6st/internal/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

const protocolBabel = 42

// machine is a host with an address of each family that no link knows of.
type machine struct {
	*lab.Host
	six, four netip.Prefix
}

func newMachines(l *lab.Lab, n int) (all []*machine) {
	for i := range n {
		m := &machine{
			l.Host(fmt.Sprintf("h%d", i+1)),
			netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::/64", i+1)), netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/24", i+1)),
		}
		m.IP(fmt.Sprintf("addr add %v/128 dev lo", m.six.Addr().Next()), fmt.Sprintf("addr add %v/32 dev lo", m.four.Addr().Next()))
		all = append(all, m)
	}
	return all
}

// route starts the router.
func (m *machine) route(interfaces ...string) *lab.Proc {
	args := []string{m.Lab.Binary("re6stnode"), "babel", "--state", m.Path("babel"), "--announce", m.six.String(), "--announce", m.four.String()}
	for _, name := range interfaces {
		args = append(args, "--interface", name)
	}
	return m.Start("babel", args...)
}

// reaches pings from the address that is routed.
func (m *machine) reaches(o *machine) error {
	for _, to := range [][2]netip.Prefix{{m.six, o.six}, {m.four, o.four}} {
		if _, err := m.Try("ping", "-c1", "-W1", "-I", to[0].Addr().Next().String(), to[1].Addr().Next().String()); err != nil {
			return err
		}
	}
	return nil
}

// routesOf counts the routes of protocol 42.
func (m *machine) routesOf(t *testing.T) []lab.KernelRoute {
	t.Helper()
	all, err := m.KernelRoutes()
	if err != nil {
		t.Fatal(err)
	}
	var babel []lab.KernelRoute
	for _, r := range all {
		if r.Protocol == protocolBabel {
			babel = append(babel, r)
		}
	}
	return babel
}

// via finds the route to a prefix.
func (m *machine) via(t *testing.T, to netip.Prefix) (lab.KernelRoute, error) {
	t.Helper()
	for _, r := range m.routesOf(t) {
		if r.Prefix == to && !r.Unreachable {
			return r, nil
		}
	}
	return lab.KernelRoute{}, fmt.Errorf("%s has no route to %v: %v", m.Name, to, m.routesOf(t))
}

func forwarding(m *machine) string {
	return m.Run("cat", "/proc/sys/net/ipv6/conf/all/forwarding", "/proc/sys/net/ipv4/ip_forward")
}

// Three routers in a line: packets of both families pass through the one in the
// middle, which has no IPv4 address on its links (RFC 9229); it is killed and
// comes back, and in the end nothing is left but what another daemon made.
func TestRouter_Line(t *testing.T) {
	l := lab.New(t)
	m := newMachines(l, 3)
	a, b, c := m[0], m[1], m[2]
	l.Connect(a.Host, b.Host, "eth0", "eth0")
	before := forwarding(b)
	b.IP("route add 2001:db8:f::/48 via fe80::77 dev eth0 proto 42")
	pa, pb, pc := a.route("eth0"), b.route("eth0", "eth1"), c.route("eth0")
	l.Await("a and b to know each other", 15*time.Second, func() error { return a.reaches(b) })
	l.Connect(b.Host, c.Host, "eth1", "eth0") // an interface that comes late
	took := l.Await("a to reach c", 15*time.Second, func() error { return a.reaches(c) })
	t.Logf("a reaches c %v after the link was laid", took)
	if out := b.Run(b.Lab.Binary("re6stnode"), "babel", "neighbours", "--state", b.Path("babel")); strings.Count(out, "yes") != 2 {
		t.Errorf("neighbours:\n%s", out)
	}
	if out := b.Run(b.Lab.Binary("re6stnode"), "babel", "routes", "--json", "--state", b.Path("babel")); !strings.Contains(out, `"schema_version": 1`) || !strings.Contains(out, a.six.String()) {
		t.Errorf("routes:\n%s", out)
	}

	// RFC 9229, section 3: an ICMPv4 error comes from a router that has no IPv4
	// address where the packet came in.
	l.Await("an ICMPv4 error of b", 10*time.Second, func() error {
		out, _ := a.Try("ping", "-c1", "-W1", "-t1", "-I", a.four.Addr().Next().String(), c.four.Addr().Next().String())
		if !strings.Contains(out, "Time to live exceeded") {
			return errors.New(out)
		}
		return nil
	})

	pb.Kill()
	if len(b.routesOf(t)) < 5 {
		t.Fatalf("routes of the killed router: %v", b.routesOf(t))
	}
	pb = b.route("eth0") // no longer on eth1
	l.Await("leftovers to be gone", 10*time.Second, func() error {
		if _, err := b.via(t, c.six); err == nil {
			return errors.New("the route to c is stale")
		}
		_, err := b.via(t, a.six)
		return err
	})
	for _, p := range []*lab.Proc{pa, pb, pc} {
		if took, err := p.Stop(syscall.SIGTERM); err != nil {
			t.Errorf("stopping: %v after %v", err, took)
		}
	}
	for _, x := range m {
		left := x.routesOf(t)
		if x == b && len(left) == 1 && left[0].Prefix == netip.MustParsePrefix("2001:db8:f::/48") {
			continue // another daemon's
		}
		if x == b || len(left) > 0 {
			t.Errorf("%s: left behind: %v", x.Name, left)
		}
	}
	if after := forwarding(b); after != before {
		t.Errorf("forwarding %q, was %q", after, before)
	}
}

// A diamond of which one side loses its carrier: the other takes over at once.
// The interface is deleted and made again, under another index.
func TestRouter_CarrierAndDeviceComeAndGo(t *testing.T) {
	l := lab.New(t)
	m := newMachines(l, 4)
	a, b, c, d := m[0], m[1], m[2], m[3]
	cut := l.Connect(b.Host, d.Host, "eth1", "eth0")
	l.Connect(a.Host, b.Host, "eth0", "eth0")
	l.Connect(a.Host, c.Host, "eth1", "eth0")
	l.Connect(c.Host, d.Host, "eth1", "eth1")
	for _, x := range m {
		x.route("eth0", "eth1")
	}
	full := func() error {
		for _, x := range m {
			for _, y := range m {
				if x == y {
					continue
				}
				if _, err := x.via(t, y.six); err != nil {
					return err
				}
			}
		}
		return nil
	}
	l.Await("all to know all", 20*time.Second, full)
	best := time.Hour
	plugged := time.Now()
	for range 3 {
		l.Await("d to reach b directly", 20*time.Second, func() error {
			// The kernel tells of a carrier at most once a second.
			if time.Since(plugged) < 2500*time.Millisecond {
				return errors.New("the carrier has just changed")
			}
			return wantVia(d, t, b.six, "eth0")
		})
		cut.Unplug() // b's end: d loses the carrier
		took := l.Await("d to turn to c", 15*time.Second, func() error { return wantVia(d, t, b.six, "eth1") })
		best = min(best, took)
		cut.Plug()
		plugged = time.Now()
	}
	// By Hellos it would take seconds each time; a busy machine may be late once.
	t.Logf("turned within %v of the loss of carrier, at best", best)
	if best > lab.Slow(300*time.Millisecond) {
		t.Errorf("took %v, want 300 ms", best)
	}
	l.Await("the direct way again", 20*time.Second, func() error { return wantVia(d, t, b.six, "eth0") })
	d.IP("link delete eth0")
	l.Await("d to turn to c", 15*time.Second, func() error { return wantVia(d, t, b.six, "eth1") })
	l.Connect(b.Host, d.Host, "eth1", "eth0")
	l.Await("the new device to be used", 20*time.Second, func() error { return wantVia(d, t, b.six, "eth0") })
}

func wantVia(m *machine, t *testing.T, to netip.Prefix, iface string) error {
	t.Helper()
	r, err := m.via(t, to)
	if err == nil && r.Interface != iface {
		err = fmt.Errorf("%v by %s, want %s", to, r.Interface, iface)
	}
	return err
}

// Three hundred interfaces, each with a neighbour.
func TestRouter_ManyInterfaces(t *testing.T) {
	const n = 300
	l := lab.New(t)
	m := newMachines(l, 2)
	a, b := m[0], m[1]
	var lay, here, there, left, right []string
	for i := range n {
		x, y := fmt.Sprintf("x%d", i), fmt.Sprintf("y%d", i)
		lay = append(lay, fmt.Sprintf("link add name %s netns %d type veth peer name %s netns %d", x, a.PID, y, b.PID))
		here, there = append(here, "link set "+x+" up"), append(there, "link set "+y+" up")
		left, right = append(left, x), append(right, y)
	}
	outside := exec.Command("ip", "-batch", "-")
	outside.Stdin = strings.NewReader(strings.Join(lay, "\n"))
	if out, err := outside.CombinedOutput(); err != nil {
		t.Fatalf("laying cables: %v: %s", err, out)
	}
	a.IP(here...)
	b.IP(there...)
	a.route(left...)
	b.route(right...)
	took := l.Await("all neighbours", 30*time.Second, func() error {
		out, err := a.Try(a.Lab.Binary("re6stnode"), "babel", "neighbours", "--state", a.Path("babel"))
		if got := strings.Count(out, "yes"); err == nil && got != n {
			err = fmt.Errorf("%d neighbours of %d", got, n)
		}
		return err
	})
	t.Logf("%d neighbours after %v", n, took)
	l.Await("b to be reached", 10*time.Second, func() error { return a.reaches(b) })
}
