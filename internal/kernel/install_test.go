package kernel

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testPlan() Plan {
	return Plan{
		Networks:   []netip.Prefix{prefix("2001:db8:42::/48")},
		Address:    addr("2001:db8:42:7::1"),
		InstanceID: "0badcafe",
	}
}

func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// watch runs a watcher until the test ends.
func watch(t *testing.T, h *Host) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Watch(ctx, logged(t)) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
}

func install(t *testing.T, h *Host, p Plan) (*Installed, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "undo.json")
	i, err := h.Install(p, file)
	must(t, err)
	return i, file
}

func TestInstallAndRemoveLeaveNoTrace(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	veth(t, h, "eth0")
	ip(t, "addr add 2001:db8:42:9::5/64 dev eth0 nodad")
	p := testPlan()
	p.Networks = append(p.Networks, prefix("10.42.0.0/16"))
	before := census(t)
	i, file := install(t, h, p)
	if got, want := ip(t, "-6 rule"), strings.Join([]string{
		"0:\tfrom all lookup local",
		"26000:\tfrom all fwmark 0x6e36 goto 32766 proto babel",
		"26001:\tfrom all to 2001:db8:42::/48 lookup 326 proto babel",
		"26002:\tfrom 2001:db8:42::/48 lookup 326 proto babel",
		"32766:\tfrom all lookup main",
		"32800:\tnot from all fwmark 0x6e36 lookup 326 proto babel",
	}, "\n"); got != want {
		t.Errorf("rules (-want +got):\n%s", cmp.Diff(want, got))
	}
	if got, want := sorted(ip(t, "-6 route show table 326")), strings.Join([]string{
		"throw 2001:db8:42:9::/64 dev lo proto babel metric 1 pref medium",
		"unreachable 2001:db8:42::/48 dev lo proto babel metric 4294967295 pref medium",
		"unreachable default from 2001:db8:42::/48 dev lo proto babel metric 4294967295 pref medium",
	}, "\n"); got != want {
		t.Errorf("routes (-want +got):\n%s", cmp.Diff(want, got))
	}
	must(t, i.SetAnnounced([]netip.Prefix{prefix("2001:db8:cafe::/48")}))
	if got := ip(t, "-6 rule"); !strings.Contains(got, "26003:\tfrom all lookup main suppress_prefixlength 0 proto babel\n26004:\tfrom all lookup 326 suppress_prefixlength 0 proto babel") {
		t.Errorf("rules with announced prefixes:\n%s", got)
	}
	if got := ip(t, "-4 rule"); strings.Contains(got, "26003") {
		t.Errorf("IPv4 rules, where nothing is announced:\n%s", got)
	}
	if got := ip(t, "-6 addr show dev lo"); !strings.Contains(got, "inet6 2001:db8:42:7::1/128 scope global nodad noprefixroute") {
		t.Errorf("addresses of lo:\n%s", got)
	}
	dev, _ := h.LinkByName("eth0")
	apply(t, h, RouteChange{Route: Route{Dst: prefix("2001:db8:42:8::/64"), Gateway: addr("fe80::1"), Ifindex: dev.Index, Table: testTable}})
	must(t, i.Remove())
	must(t, i.Remove()) // again: nothing
	if diff := cmp.Diff(before, census(t)); diff != "" {
		t.Errorf("after Remove (-before +after):\n%s", diff)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("undo file: %v, want it gone", err)
	}
}

// The host's own address is not taken away.
func TestAddressThatWasThereStays(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	ip(t, "addr add 2001:db8:42:7::1/64 dev lo nodad")
	i, _ := install(t, h, testPlan())
	must(t, i.Remove())
	if got := ip(t, "-6 addr show dev lo"); !strings.Contains(got, "2001:db8:42:7::1/64") {
		t.Errorf("addresses of lo:\n%s", got)
	}
}

func TestSysctlsRestored(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	for _, name := range []string{"eth0", "eth1", "eth2"} {
		veth(t, h, name)
	}
	set := func(name, value string) {
		t.Helper()
		must(t, SetSysctl(name, value))
	}
	want := func(name, value, why string) {
		t.Helper()
		if got, err := Sysctl(name); err != nil || got != value {
			t.Errorf("%s is %s (%v), want %s: %s", name, got, err, value, why)
		}
	}
	set("net/ipv6/conf/eth1/accept_ra", "0")
	set("net/ipv6/conf/eth2/forwarding", "1")
	before := census(t)
	i, _ := install(t, h, testPlan())
	want(forwarding6, "1", "a node forwards")
	want("net/ipv6/conf/eth0/accept_ra", "2", "it heeded router advertisements")
	want("net/ipv6/conf/eth1/accept_ra", "0", "it did not")
	want("net/ipv6/conf/eth2/accept_ra", "1", "it forwarded, so it did not")
	watch(t, h)
	veth(t, h, "eth3")
	await(t, "a new interface heeds advertisements", time.Second, func() bool {
		v, err := Sysctl("net/ipv6/conf/eth3/accept_ra")
		return err == nil && v == "2"
	})
	ip(t, "link del eth3")
	must(t, i.Remove())
	if diff := cmp.Diff(before, census(t)); diff != "" {
		t.Errorf("after Remove (-before +after):\n%s", diff)
	}
}

// What someone else changed in the meantime stays as he wanted it.
func TestSysctlsOfOthersAreNotOverwritten(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	h := open(t)
	veth(t, h, "eth0")
	i, _ := install(t, h, testPlan())
	must(t, SetSysctl("net/ipv6/conf/eth0/accept_ra", "0"))
	must(t, i.Remove())
	if got, _ := Sysctl("net/ipv6/conf/eth0/accept_ra"); got != "0" {
		t.Errorf("accept_ra is %s, want the 0 of another", got)
	}
	if got, _ := Sysctl(forwarding6); got != "0" {
		t.Errorf("forwarding is %s, want 0", got)
	}
}

func TestTwoInstances(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	first, second := open(t), open(t)
	before := census(t)
	i, _ := install(t, first, testPlan())
	other := testPlan()
	other.Networks, other.Address, other.InstanceID = []netip.Prefix{prefix("2001:db8:43::/48")}, addr("2001:db8:43:1::1"), "deadbeef"
	file := filepath.Join(t.TempDir(), "undo.json")
	if _, err := second.Install(other, file); !errors.Is(err, ErrClaimed) {
		t.Fatalf("same table: error %v, want ErrClaimed", err)
	}
	other.Table = 327
	if _, err := second.Install(other, file); !errors.Is(err, ErrClaimed) {
		t.Fatalf("same priorities: error %v, want ErrClaimed", err)
	}
	other.RulePriority = 26010
	j, err := second.Install(other, file)
	must(t, err)
	watch(t, second)
	// The first takes its sysctls back; the second still needs them.
	must(t, i.Remove())
	await(t, "the second instance still forwards", time.Second, func() bool {
		v, err := Sysctl(forwarding6)
		return err == nil && v == "1"
	})
	if got := ip(t, "-6 rule"); !strings.Contains(got, "26012:\tfrom 2001:db8:43::/48 lookup 327") || strings.Contains(got, "lookup 326") {
		t.Errorf("rules after the first is gone:\n%s", got)
	}
	must(t, j.Remove())
	if diff := cmp.Diff(before, census(t)); diff != "" {
		t.Errorf("after both (-before +after):\n%s", diff)
	}
}
