package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"re6st/internal/lab"
)

// membership is one of several networks that a host is in.
type membership struct {
	network  string
	registry *lab.Registry
	gateway  *lab.Node
	member   *lab.Node // the host's instance
}

// found makes a network: a registry and a gateway on one host, whose prefix the
// Internet routes there; and the instance of the shared host.
func found(l *lab.Lab, in *lab.Internet, shared *lab.Port, i int) *membership {
	m := &membership{network: fmt.Sprintf("2001:db8:%x::/48", 0x50+i)}
	place := in.Attach(l.Host(fmt.Sprint("gate", i)), lab.Dual)
	in.Router.IP(fmt.Sprintf("route add %s via %v", m.network, place.V6))
	m.registry = l.Registry(place.Host, m.network, place.V6, place.V4)
	m.registry.Serve()
	flags := []string{"--wireguard", lab.Backend(), "--log-level", "debug", "--tunnels", "1"}
	m.gateway = l.Node(place.Host, place, "otter-gate", append(flags, "--gateway", "--gateway-ipv4", "off")...)
	m.member = l.Node(shared.Host, shared, "otter-shared", append(flags,
		"--table", fmt.Sprint(326+i), "--rule-priority", fmt.Sprint(26000+100*i),
		"--port", fmt.Sprint(6326+1000*i), "--tunnel-ports", fmt.Sprintf("%d-%d", 6327+1000*i, 6350+1000*i))...)
	m.member.State = shared.Host.Path(fmt.Sprint("state", i))
	return m
}

// pings sends so many echo requests from an address, 50 a second, and gives ping's
// summary.
func pings(h *lab.Host, from, to netip.Addr, count int) string {
	out, err := h.Try("ping", "-6", "-q", "-I", from.String(), "-c", fmt.Sprint(count), "-i", "0.02", "-W", "2", to.String())
	for line := range strings.Lines(out) {
		if strings.Contains(line, "packets transmitted") {
			return strings.TrimSpace(line)
		}
	}
	return fmt.Sprint(out, err)
}

// wantAllAnswered has all of them ping at once, while something may happen.
func wantAllAnswered(t *testing.T, when string, networks []*membership, to netip.Addr, count int, meanwhile func()) {
	t.Helper()
	var wg sync.WaitGroup
	for _, m := range networks {
		wg.Go(func() {
			got := pings(m.member.Host, m.member.Address, to, count)
			if want := fmt.Sprintf("%d packets transmitted, %d received", count, count); !strings.Contains(got, want) {
				t.Errorf("%s, from %v: %s, want all", when, m.member.Address, got)
			}
		})
	}
	if meanwhile != nil {
		pause(time.Second)
		meanwhile()
	}
	wg.Wait()
}

// One host is in three networks, each with a gateway: packets from each of its
// addresses leave by the network that the address is of. The end of one network
// loses nothing in the others, and leaves nothing behind.
//
//re6st:reduced 3 x 50 of 3 x 100 packets; full in make soak
func TestZ28_OneHostInThreeNetworks(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	in := l.Internet("core")
	web := in.Attach(l.Host("web"), lab.IPv6)
	shared := in.Attach(l.Host("shared"), lab.Dual)
	before := l.Census(shared.Host)
	var networks []*membership
	for i := range 3 {
		networks = append(networks, found(l, in, shared, i))
	}
	for _, m := range networks {
		if err := m.gateway.Join(m.registry.NewToken(1, "--gateway")); err != nil {
			t.Fatal(err)
		}
		if err := m.member.Join(m.registry.NewToken(1)); err != nil {
			t.Fatal(err)
		}
		m.gateway.Run()
		m.member.Run()
	}
	for _, m := range networks {
		l.Await(fmt.Sprintf("a way out of %s", m.network), 40*time.Second, func() error {
			results, err := shared.Host.PingAll([]netip.Addr{m.gateway.Address}, time.Second)
			if err == nil && !results[0].OK {
				err = fmt.Errorf("%s: %s", m.gateway.Name, results[0].Err)
			}
			if err == nil && !strings.Contains(pings(shared.Host, m.member.Address, web.V6, 1), " 1 received") {
				err = fmt.Errorf("no answer from outside to %v", m.member.Address)
			}
			return err
		})
		// Counted where it must pass.
		m.gateway.Host.NFT("table inet re6stlab {", "chain passed { type filter hook forward priority 100; ",
			fmt.Sprintf("ip6 saddr %v ip6 daddr %v icmpv6 type echo-request counter", m.member.Address, web.V6), "}", "}")
	}
	count := 50
	if soak() {
		count = 100
	}
	wantAllAnswered(t, "with all networks up", networks, web.V6, count, nil)
	for _, m := range networks {
		out := m.gateway.Host.Run("nft", "list", "table", "inet", "re6stlab")
		if want := fmt.Sprintf("counter packets %d ", count); !strings.Contains(out, want) {
			t.Errorf("by the gateway of %s, of %d packets from %v:\n%s", m.network, count, m.member.Address, out)
		}
	}
	wantAllAnswered(t, "while one stops", networks[1:], web.V6, 4*count, func() {
		if _, err := networks[0].member.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	for _, m := range networks[1:] {
		if _, err := m.member.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	}
	l.WantClean(before, shared.Host)
}
