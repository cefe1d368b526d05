package gateway

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// told collects what a gateway says and does.
type told struct {
	t       *testing.T
	mu      sync.Mutex
	routes  map[string]bool
	open    [2]bool
	uplinks [2]string
	changes int
}

func (o *told) originate(prefix, from netip.Prefix, on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := prefix.String()
	if from.IsValid() {
		name += " from " + from.String()
	}
	if is6 := prefix.Addr().Is6(); on && !o.open[map[bool]int{false: 0, true: 1}[is6]] {
		o.t.Errorf("%s is originated while the family is closed", name)
	}
	o.routes[name] = on
	o.changes++
}

func (o *told) guards(v4, v6 bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if v4 || v6 {
		if text, err := inventory(instance); err != nil || text == "" {
			o.t.Errorf("opened without a table: %v", err)
		}
	}
	o.open = [2]bool{v4, v6}
	return nil
}

func (o *told) has(routes ...string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	var on []string
	for name, is := range o.routes {
		if is {
			on = append(on, name)
		}
	}
	slices.Sort(on)
	slices.Sort(routes)
	return slices.Equal(on, routes)
}

const (
	default6 = "::/0 from 2001:db8:42::/48"
	default4 = "0.0.0.0/0"
)

// start runs a gateway until the test, or stop, ends it.
func start(t *testing.T, change func(*Config)) (g *Gateway, o *told, stop func()) {
	t.Helper()
	o = &told{t: t, routes: map[string]bool{}}
	c := Config{
		Instance: instance, Networks: prefixes("2001:db8:42::/48", "10.42.0.0/16"), IPv6: Routed, IPv4: Masquerade, Mark: 0x6e36,
		Originate: o.originate, Open: o.guards,
		Uplinks: func(v4, v6 string) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.uplinks = [2]string{v4, v6}
			return nil
		},
	}
	if change != nil {
		change(&c)
	}
	g, err := New(c)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("ending: %v", err)
			}
		case <-time.After(15 * time.Second):
			t.Error("it does not end")
		}
	})
	t.Cleanup(stop)
	return g, o, stop
}

// provider makes a neighbour with both families at the end of eth0, in a
// namespace of its own, and default routes to it.
func provider(t *testing.T) {
	t.Helper()
	run(t, "ip", "netns add isp")
	t.Cleanup(func() { run(t, "ip", "netns del isp") })
	run(t, "ip", "link add eth0 type veth peer name eth0 netns isp")
	run(t, "ip", "netns exec isp sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0")
	for _, args := range []string{
		"addr add 192.0.2.2/24 dev eth0", "addr add 2001:db8:f::2/64 dev eth0 nodad", "link set eth0 up",
		"-n isp link set lo up", "-n isp addr add 192.0.2.1/24 dev eth0", "-n isp addr add 2001:db8:f::1/64 dev eth0 nodad", "-n isp link set eth0 up",
		"-n isp addr add 198.51.100.1/32 dev lo", "-n isp addr add 2001:db8:1::1/128 dev lo nodad",
	} {
		run(t, "ip", args)
	}
	defaults(t)
}

func defaults(t *testing.T) {
	t.Helper()
	run(t, "ip", "-4 route replace default via 192.0.2.1")
	run(t, "ip", "-6 route replace default via 2001:db8:f::1")
}

func TestUpstreamAppearsFailsAndReturns(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	g, o, stop := start(t, nil)
	await(t, "the table of a gateway without an upstream", 15*time.Second, func() bool { return strings.Contains(ruleset(t), tableName(instance)) })
	await(t, "it says why", 10*time.Second, func() bool { return strings.Contains(g.Status().Families[1].Why, "no default route") })
	provider(t)
	took := await(t, "both defaults, when the upstream appears", 15*time.Second, func() bool { return o.has(default4, default6) })
	t.Logf("originated %v after the default routes came", took)

	run(t, "ip", "-6 route del default")
	took = await(t, "IPv6 withdrawn with its default route", time.Second, func() bool { return o.has(default4) })
	t.Logf("the default route goes: %v", took)

	run(t, "ip", "link set eth0 down")
	took = await(t, "IPv4 withdrawn with the link", time.Second, func() bool { return o.has() })
	t.Logf("the link goes down: %v", took)
	if s := g.Status().Families[0]; s.Why == "" || s.Originated {
		t.Errorf("with the link down: %+v", s)
	}
	o.mu.Lock()
	if o.open != [2]bool{} {
		t.Error("the guards are open")
	}
	o.mu.Unlock()

	run(t, "ip", "link set eth0 up")
	run(t, "ip", "addr replace 2001:db8:f::2/64 dev eth0 nodad")
	defaults(t)
	took = await(t, "both again, after a while", 15*time.Second, func() bool { return o.has(default4, default6) })
	if took < 3*time.Second {
		t.Errorf("an upstream that failed is used again after %v", took)
	}
	stop()
	if !o.has() {
		t.Errorf("at the end: %v", o.routes)
	}
	if text := ruleset(t); text != "" {
		t.Errorf("left in nftables:\n%s", text)
	}
}

// The next hop dies without a word: no event tells. For IPv4 it answers echoes,
// for IPv6 only questions on the link.
func TestF26_SilentDeathOfTheNextHop(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	provider(t)
	nftIn := func(script string) {
		t.Helper()
		path := t.TempDir() + "/script"
		must(t, os.WriteFile(path, []byte(script), 0o600))
		run(t, "ip", "netns exec isp nft -f "+path)
	}
	nftIn("table inet f { chain in { type filter hook input priority 0; icmpv6 type echo-request drop; }; }")
	_, o, _ := start(t, nil)
	await(t, "both defaults", 10*time.Second, func() bool { return o.has(default4, default6) })
	steady := time.NewTimer(5 * time.Second) // longer than death takes
	<-steady.C
	o.mu.Lock()
	changes := o.changes
	o.mu.Unlock()
	if !o.has(default4, default6) || changes != 2 {
		t.Fatalf("a living next hop is taken for dead: %d changes", changes)
	}
	nftIn("table netdev cut { chain in { type filter hook ingress device eth0 priority 0; drop; }; }")
	took := await(t, "the silent death is noticed", 5*time.Second, func() bool { return o.has() })
	t.Logf("withdrawn after %v", took)
}

// The next hop lives and the Internet behind it does not.
func TestF26_ChecksBeyondTheNextHop(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	provider(t)
	g, o, _ := start(t, func(c *Config) {
		c.Checks = []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8:1::1")}
	})
	await(t, "both defaults: one of two targets answers", 15*time.Second, func() bool { return o.has(default4, default6) })
	run(t, "ip", "-n isp addr del 2001:db8:1::1/128 dev lo")
	took := await(t, "IPv6 withdrawn", 5*time.Second, func() bool { return o.has(default4) })
	t.Logf("withdrawn after %v", took)
	if s := g.Status().Families[1]; !strings.Contains(s.Why, "no answer from 2001:db8:1::1") {
		t.Errorf("%+v", s)
	}
}

// Another program flushes everything, again and again.
func TestTableIsPutBack(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	provider(t)
	g, o, _ := start(t, nil)
	await(t, "both defaults", 15*time.Second, func() bool { return o.has(default4, default6) })
	before := ruleset(t)
	for range 3 {
		nft(t, "flush ruleset")
		nft(t, "table ip mine { chain forward { type filter hook forward priority 0; policy accept; }; }")
		took := await(t, "the table is back", 10*time.Second, func() bool { return strings.Contains(ruleset(t), before) })
		t.Logf("back after %v", took)
	}
	nft(t, "delete table ip mine")
	await(t, "three repairs are told", 5*time.Second, func() bool { return g.Status().Repairs >= 3 })
	g.Admit(prefixes("2001:db8:99::/48"))
	await(t, "an admitted prefix", 10*time.Second, func() bool {
		return o.has(default4, default6, "::/0 from 2001:db8:99::/48") && strings.Contains(ruleset(t), "2001:db8:99::/48")
	})
	await(t, "the uplinks to be told", 10*time.Second, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.uplinks == [2]string{"eth0", "eth0"}
	})
}

func TestNamedUplink(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	provider(t)
	g, o, _ := start(t, func(c *Config) { c.Uplink = "wan0" })
	await(t, "an interface that does not exist", 10*time.Second, func() bool {
		return strings.Contains(g.Status().Families[0].Why, "wan0 does not exist")
	})
	run(t, "ip", "link set eth0 down")
	run(t, "ip", "link set eth0 name wan0")
	run(t, "ip", "link set wan0 up")
	run(t, "ip", "addr replace 2001:db8:f::2/64 dev wan0 nodad")
	defaults(t)
	await(t, "it appears", 10*time.Second, func() bool { return o.has(default4, default6) })
	run(t, "ip", "link del wan0")
	await(t, "it vanishes", 2*time.Second, func() bool { return o.has() })
}
