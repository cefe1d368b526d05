package oracle

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"re6st/internal/lab"
)

// tunRelay is a world with TUN interfaces.
func tunRelay(t *testing.T) *world {
	return newWorld(t, func(t *testing.T, k tunnel) port {
		p, err := openTUN(k.name(), k.offloads)
		lab.Must(t, err)
		return p
	})
}

// The control: the relay without a shortcut is like itself, and one that does
// anything else is found out, whatever it is.
func TestPlantedDifferencesAreFound(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := tunRelay(t)
	if d := w.compare(w.generate(1, 2000)); len(d) > 0 {
		t.Fatalf("the stack differs from itself:\n%s", strings.Join(d, "\n"))
	}
	netdev := func(rule string) []string {
		return []string{"table netdev planted { chain in { type filter hook ingress device \"t1\" priority 0; " + rule + "; }; }"}
	}
	for i, x := range []struct {
		what    string
		on, off func() error
	}{
		{"a wrong hop limit", nft(netdev("ip6 daddr 2001:db8:42:12::/64 ip6 hoplimit 64 ip6 hoplimit set 63")...), nft("delete table netdev planted")},
		{"a wrong TTL", nft(netdev("ip daddr 10.42.32.0/20 ip ttl 64 ip ttl set 63")...), nft("delete table netdev planted")},
		{"hop limit 1 forwarded", nft(netdev("ip6 daddr 2001:db8:42::/48 ip6 hoplimit 1 ip6 hoplimit set 2")...), nft("delete table netdev planted")},
		{"too big forwarded", ip("link set t3 mtu 1400"), ip("link set t3 mtu 1280")},
		{"link-local forwarded", nft(netdev("ip6 saddr fe80::/10 ip6 daddr 2001:db8:42::/48 fwd to t2")...), nft("delete table netdev planted")},
		{"one packet in many dropped", nft(netdev("ip6 hoplimit 2 drop")...), nft("delete table netdev planted")},
		{"sent twice", nft(netdev("ip6 hoplimit 3 dup to t2")...), nft("delete table netdev planted")},
		{"congestion marks lost", nft(netdev("ip6 ecn ce ip6 ecn set not-ect")...), nft("delete table netdev planted")},
		{"another route", ip("route change 2001:db8:42:16::/64 from 2001:db8:42:11::/64 via fe80::2:2 dev t2 table 326"), ip("route change 2001:db8:42:16::/64 from 2001:db8:42:11::/64 via fe80::3:2 dev t3 table 326")},
		{"no answer", nft("table inet planted { chain out { type filter hook output priority 0; icmpv6 type packet-too-big drop; }; }"), nft("delete table inet planted")},
	} {
		isOn := false
		w.shortcut = func(on bool) error {
			switch {
			case on && !isOn:
				isOn = true
				return x.on()
			case !on && isOn:
				isOn = false
				return x.off()
			}
			return nil
		}
		found := ""
		for chunk := range slices.Chunk(w.generate(uint64(2+i), 2000), batch) {
			if found = w.differsAlways(chunk); found != "" {
				break
			}
		}
		if found == "" {
			t.Errorf("%s: not found", x.what)
		}
		t.Logf("%s:\n%s", x.what, found)
		lab.Must(t, w.shortcut(false))
	}
}

func nft(lines ...string) func() error {
	return func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s%s", err, out, lines)
		}
		return nil
	}
}

func ip(line string) func() error { return func() error { return lab.Batch(6, line) } }
