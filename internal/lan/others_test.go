package lan

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"re6st/internal/lab"
)

// radvd runs another router's advertiser on the host.
func radvd(h *lab.Host, prefix string) *lab.Proc {
	h.Lab.TB.Helper()
	h.Sysctl("net/ipv6/conf/all/forwarding", "1")
	config := h.Path("radvd.conf")
	text := fmt.Sprintf(`interface eth0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix %s { }; };`, prefix)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		h.Lab.TB.Fatalf("%v", err)
	}
	return h.Start("radvd", "radvd", "-n", "-m", "stderr", "-p", h.Path("radvd.pid"), "-C", config)
}

func linkLocal(h *lab.Host) string {
	out := h.Run("ip", "-o", "-6", "addr", "show", "dev", "eth0", "scope", "link")
	for _, f := range strings.Fields(out) {
		if p, err := netip.ParsePrefix(f); err == nil {
			return p.Addr().String()
		}
	}
	h.Lab.TB.Fatalf("no link-local address: %s", out)
	return ""
}

// With another IPv6 router on the LAN the way to the Internet stays with it, and
// is ours again when it goes. One that advertises our prefix is named.
func TestAnotherRouterOnTheLAN(t *testing.T) {
	t.Parallel()
	l, sw, n, m := testLAN(t, "phone")
	phone := m[0].Host
	phone.Sysctl("net/ipv6/conf/eth0/accept_ra_rt_info_max_plen", "64")
	other := l.Host("box")
	sw.Attach(other)
	n.start()
	ours := linkLocal(n.Host)
	awaitRoute(l, phone, "our default route", func(r string) bool { return strings.Contains(r, ours) })
	p := radvd(other, "2001:db8:77::/64")
	theirs := linkLocal(other)
	awaitRoute(l, phone, "the other's default route alone", func(r string) bool {
		return strings.Contains(r, theirs) && !strings.Contains(r, ours)
	})
	if r := phone.Run("ip", "-6", "route", "show", "2001:db8:42::/48"); !strings.Contains(r, ours) {
		t.Errorf("the way to the mesh is %q, want through %s", r, ours)
	}
	n.wantHealth("word of the other router", func(h string) bool { return strings.Contains(h, "lan-other-router") })
	if _, err := p.Stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	awaitRoute(l, phone, "our default route again", func(r string) bool {
		return strings.Contains(r, ours) && !strings.Contains(r, theirs)
	})
	radvd(other, "2001:db8:42:10::/64")
	n.wantHealth("word of the conflict", func(h string) bool { return strings.Contains(h, "lan-prefix-conflict") })
}

// Two members on one LAN: each gives its own prefix, none stands back.
func TestTwoMembersOnOneLAN(t *testing.T) {
	t.Parallel()
	l, sw, a, m := testLAN(t, "phone")
	b := &lanNode{Host: l.Host("second"), config: a.config}
	b.config.Own, b.config.Dir = netip.MustParsePrefix("2001:db8:42:20::/64"), b.Host.Dir
	sw.Attach(b.Host)
	a.start()
	b.start()
	phone := m[0]
	for _, n := range []*lanNode{a, b} {
		phone.AwaitAddress(netip.PrefixFrom(n.config.Own.Addr(), 64), 20*time.Second)
		awaitRoute(l, phone.Host, "default routes of both", func(r string) bool { return strings.Contains(r, linkLocal(n.Host)) })
	}
	for _, to := range []string{"2001:db8:42:10::1", "2001:db8:42:20::1"} {
		if err := phone.Host.Ping(netip.MustParseAddr(to)); err != nil {
			t.Error(err)
		}
	}
	// They reach each other on the link: what is on a LAN is not behind the mesh.
	if err := b.Ping(netip.MustParseAddr("2001:db8:42:10::1")); err != nil {
		t.Error(err)
	}
	for _, n := range []*lanNode{a, b} {
		n.wantHealth("good health", func(h string) bool { return h == "HEALTH []" })
	}
}

// An interface that is not there, comes, loses its carrier, is renamed, and
// vanishes: each is said, and each return is a return to work.
func TestInterfaceThatComesAndGoes(t *testing.T) {
	t.Parallel()
	l, _, n, m := testLAN(t, "phone")
	before := l.Census(n.Host)
	n.config.LANs = []string{"eth0", "late0"}
	n.start()
	n.wantHealth("word of the missing interface", func(h string) bool { return strings.Contains(h, "late0") && strings.Contains(h, "not there") })
	m[0].AwaitAddress(netip.MustParsePrefix("2001:db8:42:10::/64"), 20*time.Second)

	late := l.Host("late")
	link := l.Connect(n.Host, late, "late0", "eth0")
	link.B.AwaitAddress(netip.MustParsePrefix("2001:db8:42:11::/64"), 20*time.Second)
	n.wantHealth("good health", func(h string) bool { return h == "HEALTH []" })

	n.IP("link set eth0 down")
	n.wantHealth("word of the lost carrier", func(h string) bool { return strings.Contains(h, "eth0") && strings.Contains(h, "is down") })
	n.IP("link set eth0 up")
	n.wantHealth("good health again", func(h string) bool { return h == "HEALTH []" })

	n.IP("link set late0 down", "link set late0 name other0", "link set other0 up")
	n.wantHealth("word of the renamed interface", func(h string) bool { return strings.Contains(h, "late0") && strings.Contains(h, "not there") })
	l.Await("the address to leave the renamed interface", 20*time.Second, func() error {
		if out := n.Run("ip", "-6", "addr", "show", "dev", "other0"); strings.Contains(out, "2001:db8:42:11::1") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	n.IP("link set other0 down", "link set other0 name late0", "link set late0 up")
	n.wantHealth("good health after the name is back", func(h string) bool { return h == "HEALTH []" })
	n.IP("addr del 2001:db8:42:11::1/64 dev late0") // by somebody
	l.Await("the address to be put back", 20*time.Second, func() error {
		if out := n.Run("ip", "-6", "addr", "show", "dev", "late0"); !strings.Contains(out, "2001:db8:42:11::1/64") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	n.IP("link del late0")
	n.wantHealth("word of the vanished interface", func(h string) bool { return strings.Contains(h, "late0") && strings.Contains(h, "not there") })
	if _, err := n.proc.Stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	l.WantClean(before, n.Host)
}

// Another Babel router on the LAN, and its host's neighbour discovery, work as
// before; so does what it learns.
func TestBabeldOnTheSameLAN(t *testing.T) {
	t.Parallel()
	l, sw, n, m := testLAN(t, "phone")
	other := l.Host("other")
	sw.Attach(other)
	other.IP("addr add 2001:db8:77::1/64 dev lo")
	other.Sysctl("net/ipv6/conf/all/forwarding", "1")
	n.start()
	m[0].AwaitAddress(netip.MustParsePrefix("2001:db8:42:10::/64"), 20*time.Second)
	for _, h := range []*lab.Host{n.Host, other} {
		h.Start("babeld", "babeld", "-I", h.Path("babeld.pid"), "-S", h.Path("babeld.state"),
			"-C", "default hello-interval 1 update-interval 4", "-C", "redistribute ip 2001:db8:77::/64 allow", "-C", "redistribute local deny", "eth0")
	}
	l.Await("babeld's route", 20*time.Second, func() error {
		if out := n.Run("ip", "-6", "route", "show", "2001:db8:77::/64"); !strings.Contains(out, "via "+linkLocal(other)) {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	other.IP("route add 2001:db8:42::/48 via " + linkLocal(n.Host) + " dev eth0") // the way back
	if err := n.Ping(netip.MustParseAddr("2001:db8:77::1")); err != nil {
		t.Error(err)
	}
	if err := m[0].Host.Ping(netip.MustParseAddr("2001:db8:42:10::1")); err != nil {
		t.Error(err)
	}
	n.wantHealth("good health", func(h string) bool { return h == "HEALTH []" })
}
