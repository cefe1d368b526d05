package lan

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"re6st/internal/lab"
	"re6st/internal/lan/advert"
)

var (
	testNetwork = netip.MustParsePrefix("2001:db8:42::/48")
	testOwn     = netip.MustParsePrefix("2001:db8:42:10::/60")
)

func testMesh() advert.Mesh {
	return advert.Mesh{
		Networks: []netip.Prefix{testNetwork}, Announced: []netip.Prefix{netip.MustParsePrefix("2001:db8:99::/48")},
		Default: true, DNS: []netip.Addr{netip.MustParseAddr("2001:db8:42:10::1")}, Domain: "mesh",
		NAT64: netip.MustParsePrefix("64:ff9b::/96"), MTU: 1420,
	}
}

// node on one switch with machines that run nothing.
func testLAN(t *testing.T, machines ...string) (*lab.Lab, *lab.Switch, *lanNode, []lab.Interface) {
	t.Helper()
	l := lab.New(t)
	sw := l.Switch("sw")
	n := &lanNode{Host: l.Host("node"), config: serveConfig{Own: testOwn, LANs: []string{"eth0"}, Mesh: testMesh()}}
	n.config.Dir = n.Host.Dir
	sw.Attach(n.Host)
	var all []lab.Interface
	for _, m := range machines {
		all = append(all, sw.Attach(l.Host(m)).A)
	}
	return l, sw, n, all
}

func route(h *lab.Host) string { return h.Run("ip", "-6", "route", "show", "default") }

func awaitRoute(l *lab.Lab, h *lab.Host, what string, ok func(string) bool) {
	l.TB.Helper()
	l.Await(what, 20*time.Second, func() error {
		if r := route(h); !ok(r) {
			return fmt.Errorf("routes: %q", r)
		}
		return nil
	})
}

// A machine that runs nothing has an address and a default route within
// seconds, hears of names, NAT64 and routes, and gives all of it up when we stop.
func TestMachineThatRunsNothing(t *testing.T) {
	t.Parallel()
	l, _, n, m := testLAN(t, "phone")
	phone := m[0]
	before := l.Census(n.Host)
	seen := phone.Dump()
	n.start()
	addr, took := phone.AwaitAddress(netip.MustParsePrefix("2001:db8:42:10::/64"), 20*time.Second)
	t.Logf("address %v after %v", addr, took)
	awaitRoute(l, phone.Host, "a default route", func(r string) bool { return strings.Contains(r, "via fe80::") })
	for _, a := range []string{"2001:db8:42:10::1"} {
		if err := phone.Host.Ping(netip.MustParseAddr(a)); err != nil {
			t.Error(err)
		}
	}
	// PREF64 (RFC 8781), which rdisc6 does not know: type, length, and the prefix
	// behind 225 times 8 seconds and the code of /96, which is 0.
	seen.Stop()
	pref64 := append([]byte{38, 2, 0x07, 0x08}, 0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0)
	if !seen.Contains(pref64) {
		t.Error("no advertisement says which prefix NAT64 has")
	}
	out := phone.Host.Run("rdisc6", "-1", "-w", "4000", phone.Name)
	for _, want := range []string{
		"2001:db8:42:10::/64", "2001:db8:42::/48", "2001:db8:99::/48", "Recursive DNS server     : 2001:db8:42:10::1", "mesh", "1420",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("rdisc6 does not say %q:\n%s", want, out)
		}
	}
	if got := n.Run("ip", "-6", "route", "show", "table", "326"); !strings.Contains(got, "throw 2001:db8:42:10::/64") {
		t.Errorf("the LAN is hidden behind the network in our table:\n%s", got)
	}
	if took, err := n.proc.Stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	} else {
		t.Logf("stopped in %v", took)
	}
	isDeprecated := func() bool {
		return strings.Contains(phone.Host.Run("ip", "addr", "show", "dev", phone.Name, "scope", "global"), "deprecated")
	}
	lab.Until(t, "the address to be deprecated after the stop", 10*time.Second, isDeprecated)
	awaitRoute(l, phone.Host, "no default route after the stop", func(r string) bool { return r == "" })
	l.WantClean(before, n.Host)

	// It comes back, and the address is good again.
	n.start()
	lab.Until(t, "the address to be preferred again", 20*time.Second, func() bool { return !isDeprecated() })
	n.proc.Kill()
	n.Run(n.command("clean ")...)
	l.WantClean(before, n.Host)
}
