package gateway

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func foreign(t *testing.T) string {
	t.Helper()
	names, err := Foreign([]string{"lan0"})
	must(t, err)
	return strings.Join(names, "; ")
}

func TestForeign(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, c := range []struct{ put, want string }{
		{"", ""},
		{"table inet filter { chain input { type filter hook input priority 0; tcp dport 22 accept; }; chain forward { type filter hook forward priority 0; policy accept; }; chain output { type filter hook output priority 0; }; }", ""},
		{"table inet f { chain c { type filter hook forward priority 0; counter; }; }", "table inet f, chain c"},
		{"table inet f { chain c { type filter hook forward priority 0; policy drop; }; }", "table inet f, chain c"},
		{"table ip f { chain c { type filter hook prerouting priority -300; notrack; }; }", "table ip f, chain c"},
		{"table ip6 f { chain c { type filter hook postrouting priority 0; ip6 hoplimit set 9; }; }", "table ip6 f, chain c"},
		{"table inet f { chain d { counter; }; }", ""},
		{`table ip nat { chain post { type nat hook postrouting priority 100; oifname "eth0" masquerade; }; }`, ""},
		{`table ip nat { chain post { type nat hook postrouting priority 100; oifname != "eth0" masquerade; }; }`, "table ip nat, chain post"},
		{`table ip nat { chain post { type nat hook postrouting priority 100; oifname "re6st-11223344" masquerade; }; }`, "table ip nat, chain post"},
		{`table ip nat { chain post { type nat hook postrouting priority 100; oifname "re*" masquerade; }; }`, "table ip nat, chain post"},
		{`table inet f { chain c { type filter hook forward priority 0; iifname "lan0" drop; }; }`, "table inet f, chain c"},
		{`table inet f { chain c { type filter hook forward priority 0; iifname "lan1" drop; }; }`, ""},
		{"table netdev f { chain c { type filter hook ingress device lo priority 0; counter; }; }", "table netdev f, chain c"},
		{"table bridge f { chain c { type filter hook forward priority 0; counter; }; }", ""},
		{"table inet re6st-aabbccdd { chain c { type filter hook forward priority 0; counter; }; }", ""},
	} {
		nft(t, "flush ruleset")
		nft(t, c.put)
		if got := foreign(t); got != c.want {
			t.Errorf("%s: %q, want %q", c.put, got, c.want)
		}
	}
	nft(t, "flush ruleset")
	run(t, "ip", "xfrm policy add src 192.0.2.0/24 dst 198.51.100.0/24 dir fwd tmpl src 192.0.2.1 dst 198.51.100.1 proto esp mode tunnel")
	if got := foreign(t); got != "IPsec policies (ip xfrm policy)" {
		t.Errorf("with a policy of IPsec: %q", got)
	}
	run(t, "ip", "xfrm policy flush")
}

func TestForeignLegacy(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	if _, err := hasRules(unix.AF_INET, unix.IPPROTO_IP, "filter"); err != nil {
		t.Fatal(err)
	}
	if got := foreign(t); got != "" {
		t.Errorf("an empty table of iptables: %q", got)
	}
	run(t, "iptables-legacy", "-w -A FORWARD -s 192.0.2.1 -j DROP")
	run(t, "ip6tables-legacy", "-w -t mangle -A PREROUTING -j MARK --set-mark 1")
	if got := foreign(t); got != "iptables-legacy, table filter; ip6tables-legacy, table mangle" {
		t.Errorf("with rules: %q", got)
	}
	run(t, "iptables-legacy", "-w -F")
	run(t, "ip6tables-legacy", "-w -t mangle -F")
	if got := foreign(t); got != "" {
		t.Errorf("flushed: %q", got)
	}
}

func TestForeignInformation(t *testing.T) {
	for _, b := range [][]byte{nil, make([]byte, infoLen-1), make([]byte, infoLen)} {
		if _, err := entriesSay(b, "filter"); err == nil {
			t.Errorf("%d octets are understood", len(b))
		}
	}
}

func TestWatchForeign(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	var mu sync.Mutex
	var last []string
	is := func(want ...string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Equal(last, want)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	last = []string{"nothing told"}
	go func() {
		defer close(done)
		WatchForeign(ctx, nil, slog.New(slog.DiscardHandler), func(names []string, err error) {
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			last = names
		})
	}()
	await(t, "nothing of others", 10*time.Second, is())
	nft(t, "table inet f { chain c { type filter hook forward priority 0; counter; }; }")
	t.Logf("told after %v", await(t, "a rule appears", 10*time.Second, is("table inet f, chain c")))
	run(t, "ip", "xfrm policy add src 192.0.2.0/24 dst 198.51.100.0/24 dir out tmpl src 192.0.2.1 dst 198.51.100.1 proto esp mode tunnel")
	t.Logf("told after %v", await(t, "a policy appears", 10*time.Second, is("table inet f, chain c", "IPsec policies (ip xfrm policy)")))
	nft(t, "delete table inet f")
	run(t, "ip", "xfrm policy flush")
	await(t, "both are gone", 10*time.Second, is())
	stop()
	<-done
}
