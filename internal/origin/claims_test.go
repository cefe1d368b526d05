package origin

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"re6st/addressing"
	"re6st/internal/identity"
)

var (
	networks = []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("2001:db8:42::/48")}
	start    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// node is a certificate of node i, as identity reads it, valid for 90 days.
func node(i int, change ...func(*identity.Node)) identity.Node {
	p := netip.MustParsePrefix(fmt.Sprintf("2001:db8:42:%x::/64", i))
	n := identity.Node{
		Name: fmt.Sprintf("node-%d", i), Serial: fmt.Sprintf("%032x", i), Prefix: p, Address: addressing.NodeAddress(p),
		RouterID: addressing.RouterIDOf(p), NotBefore: start, NotAfter: start.Add(90 * 24 * time.Hour),
	}
	for _, f := range change {
		f(&n)
	}
	return n
}

func from(t time.Time) func(*identity.Node) {
	return func(n *identity.Node) { n.NotBefore, n.NotAfter = t, t.Add(90*24*time.Hour) }
}

func named(name string) func(*identity.Node) { return func(n *identity.Node) { n.Name = name } }

func ipv4(p string) func(*identity.Node) {
	return func(n *identity.Node) { n.IPv4 = netip.MustParsePrefix(p) }
}

func announcing(prefixes ...string) func(*identity.Node) {
	return func(n *identity.Node) {
		for _, p := range prefixes {
			n.Rights.Announce = append(n.Rights.Announce, netip.MustParsePrefix(p))
		}
	}
}

func gateway(n *identity.Node) { n.Rights.Gateway = true }

func claimsOf(nodes ...identity.Node) *Claims {
	c := NewClaims(Config{Networks: networks})
	for _, n := range nodes {
		c.Add(n)
	}
	return c
}

func wantNode(t *testing.T, what string, n identity.Node, ok bool, want string) {
	t.Helper()
	if got := n.Name; ok != (want != "") || got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestWhoIsWho(t *testing.T) {
	c := claimsOf(node(7, ipv4("10.42.7.0/24")), node(8), node(9, announcing("198.51.100.0/24")))
	for address, want := range map[string]string{
		"2001:db8:42:7::1": "node-7", "2001:db8:42:7:ffff::": "node-7", "2001:db8:42:8::": "node-8", "10.42.7.9": "node-7",
		"2001:db8:42:a::1": "", "10.42.8.1": "", "198.51.100.1": "", "fe80::1%eth0": "", "2001:db8:42:7::1%eth0": "node-7",
	} {
		n, ok := c.OwnerOf(netip.MustParseAddr(address))
		wantNode(t, address, n, ok, want)
	}
	if n, ok := c.OwnerOf(netip.Addr{}); ok {
		t.Errorf("the zero address is that of %s", n.Name)
	}
	n, ok := c.ByName("node-8")
	wantNode(t, "by name", n, ok, "node-8")
	n, ok = c.ByName("node-10")
	wantNode(t, "an unknown name", n, ok, "")
	n, ok = c.Owner(node(9).RouterID)
	wantNode(t, "by router-id", n, ok, "node-9")
	var names []string
	for n := range c.All() {
		names = append(names, n.Name)
	}
	if !slices.Equal(names, []string{"node-7", "node-8", "node-9"}) {
		t.Errorf("all: %v", names)
	}
}

// A machine that enrolled again under its name is the one that is meant; when
// its certificate ends first, the other one is.
func TestTwoOfOneName(t *testing.T) {
	old, young := node(7, named("a")), node(8, named("a"), from(start.Add(time.Hour)))
	for _, order := range [][]identity.Node{{old, young}, {young, old}} {
		c := claimsOf(order...)
		n, _ := c.ByName("a")
		if n.RouterID != young.RouterID {
			t.Errorf("a is %v", n.Prefix)
		}
		c.Remove(young.RouterID)
		if n, _ = c.ByName("a"); n.RouterID != old.RouterID {
			t.Errorf("without the later one, a is %v", n.Prefix)
		}
		c.Remove(old.RouterID)
		if _, ok := c.ByName("a"); ok || c.Len() != 0 {
			t.Error("something is left")
		}
	}
}

// Of two certificates for one router-id the later one counts, in whatever order
// they come: rights that were taken away do not come back.
func TestTheLaterCertificateCounts(t *testing.T) {
	old := node(7, announcing("198.51.100.0/24", "203.0.113.0/24"), ipv4("10.42.7.0/24"), gateway)
	young := node(7, announcing("203.0.113.0/24"), from(start.Add(60*24*time.Hour)))
	for _, order := range [][]identity.Node{{old, young}, {young, old}} {
		c := claimsOf(order...)
		for prefix, want := range map[string]Verdict{"198.51.100.0/24": Refuse, "203.0.113.0/24": Admit, "10.42.7.0/24": Refuse, "0.0.0.0/0": Refuse} {
			if got := c.Check(netip.MustParsePrefix(prefix), netip.Prefix{}, old.RouterID); got != want {
				t.Errorf("%s: %v, want %v", prefix, got, want)
			}
		}
		if n, ok := c.OwnerOf(netip.MustParseAddr("10.42.7.1")); ok {
			t.Errorf("the former subnet is still that of %s", n.Name)
		}
		if c.Add(young) || c.Add(old) || c.Len() != 1 {
			t.Error("what is known counts as news")
		}
	}
}

func TestExpiry(t *testing.T) {
	first, second := node(7, announcing("203.0.113.0/24")), node(8, from(start.Add(time.Hour)))
	c := claimsOf(second, first)
	if at := c.NextExpiry(); !at.Equal(first.NotAfter) {
		t.Errorf("next expiry at %v, want %v", at, first.NotAfter)
	}
	if out := c.Expire(first.NotAfter); len(out) != 0 {
		t.Errorf("%d gone at the last moment", len(out))
	}
	out := c.Expire(first.NotAfter.Add(time.Second))
	if len(out) != 1 || out[0].RouterID != first.RouterID || c.Len() != 1 {
		t.Fatalf("gone: %v", out)
	}
	if got := c.Check(netip.MustParsePrefix("203.0.113.0/24"), netip.Prefix{}, first.RouterID); got != Unknown {
		t.Errorf("its prefix afterwards: %v", got)
	}
	c.Expire(second.NotAfter.Add(time.Second))
	if !c.NextExpiry().IsZero() || c.Len() != 0 {
		t.Error("the empty set has something to expire")
	}
}

// Another's certificate never takes an address away with it.
func TestRemovalLeavesOthers(t *testing.T) {
	c := claimsOf(node(7, ipv4("10.42.7.0/24")), node(8, ipv4("10.42.7.0/24")))
	c.Remove(node(7).RouterID)
	n, ok := c.OwnerOf(netip.MustParseAddr("10.42.7.1"))
	wantNode(t, "a subnet that two certificates list", n, ok, "node-8")
	if c.Remove(node(7).RouterID) {
		t.Error("removed twice")
	}
}

func TestT13_TheSetIsBounded(t *testing.T) {
	c := NewClaims(Config{Networks: networks, NodesMax: 2})
	if !c.Add(node(1)) || !c.Add(node(2)) || c.Add(node(3)) || c.Len() != 2 {
		t.Errorf("%d nodes in a set of 2", c.Len())
	}
	if !c.Add(node(2, from(start.Add(time.Hour)))) {
		t.Error("a full set takes no renewal")
	}
}
