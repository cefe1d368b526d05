package lan

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Machines without IPv6 get addresses by DHCP, keep them over a restart and a
// kill of ours, and another server is named.
func TestDHCPForPlainMachines(t *testing.T) {
	t.Parallel()
	l, sw, n, m := testLAN(t, "old", "older")
	before := l.Census(n.Host)
	own := netip.MustParsePrefix("10.42.5.0/24")
	n.config.Own4, n.config.IPv4, n.config.LANs = own, []string{"eth0"}, nil
	n.config.Mesh.DNS4 = []netip.Addr{netip.MustParseAddr("10.42.5.1")}
	n.start()
	n.wantHealth("good health", func(h string) bool { return h == "HEALTH []" })
	first, err := m[0].DHCP(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	second, err := m[1].DHCP(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	gateway := netip.MustParseAddr("10.42.5.1")
	if first.Address.Bits() != 24 || !own.Contains(first.Address.Addr()) || first.Address == second.Address {
		t.Errorf("addresses %v and %v", first.Address, second.Address)
	}
	if len(first.Routers) != 1 || first.Routers[0] != gateway || len(first.DNS) != 1 || first.DNS[0] != gateway {
		t.Errorf("routers %v, DNS %v, want %v", first.Routers, first.DNS, gateway)
	}
	for _, to := range []netip.Addr{gateway, second.Address.Addr()} {
		if err := m[0].Host.Ping(to); err != nil {
			t.Error(err)
		}
	}
	n.proc.Kill()
	n.start()
	n.wantHealth("good health after a kill", func(h string) bool { return h == "HEALTH []" })
	if again, err := m[0].DHCP(20 * time.Second); err != nil || again.Address != first.Address {
		t.Errorf("after a restart the machine got %v (%v), before %v", again.Address, err, first.Address)
	}
	// A second server, on another host: one of the two is asked by name, and the
	// other hears it.
	other := &lanNode{Host: l.Host("other"), config: n.config}
	other.config.Dir, other.config.Own4 = other.Host.Dir, netip.MustParsePrefix("10.42.9.0/24")
	sw.Attach(other.Host)
	other.start()
	other.wantHealth("good health", func(h string) bool { return h == "HEALTH []" })
	third := sw.Attach(l.Host("third")).A
	if _, err := third.DHCP(20 * time.Second); err != nil {
		t.Error(err)
	}
	l.Await("word of the other server", 20*time.Second, func() error {
		for _, n := range []*lanNode{n, other} {
			if strings.Contains(n.proc.Output(), "lan-other-dhcp") {
				return nil
			}
		}
		return errNotValid
	})
	if _, err := n.proc.Stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	l.WantClean(before, n.Host)
}
