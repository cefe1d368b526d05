package gateway

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"re6st/internal/border"
)

// What other programs' firewalls do, and what the trial finds.
func TestForwardsFindsAnothersFirewall(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, path := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		must(t, os.WriteFile("/proc/sys/"+path, []byte("1"), 0))
	}
	links := run(t, "ip", "-o link")
	run(t, "ip", "-6 route add unreachable 2001:db8:42::/48 table 326")
	run(t, "ip", "-6 rule add to 2001:db8:42::/48 lookup 326 pref 26001")
	run(t, "ip", "-6 rule add from 2001:db8:42::/48 lookup 326 pref 26002")
	for _, c := range []struct {
		name, rules string
		want        Blocked
		culprit     string
	}{
		{"no firewall", "", Blocked{}, ""},
		{"one that has nothing to do with us", "table inet f { chain in { type filter hook input priority 0; tcp dport 25 drop; }; }", Blocked{}, ""},
		{"Docker's: policy drop for IPv4", "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; iifname docker0 accept; }; }", Blocked{IPv4: true}, "table ip filter, chain FORWARD (policy drop)"},
		{"firewalld's: reject at the end", "table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10; ct state established accept; reject with icmpx admin-prohibited; }; }", Blocked{IPv6: true, IPv4: true}, "table inet firewalld, chain filter_FORWARD"},
		{"ufw's: policy drop for what comes in", "table ip6 filter { chain INPUT { type filter hook input priority 0; policy drop; meta l4proto ipv6-icmp accept; tcp dport 22 accept; }; }", Blocked{Babel: true}, ""},
		{"an operator who has let us in", "table inet f { chain f { type filter hook forward priority 0; policy drop; iifname \"re6st-*\" oifname \"re6st-*\" accept; }; }", Blocked{}, "table inet f, chain f (policy drop)"},
		{"our own barrier", "table inet f { chain f { type filter hook forward priority 0; iifname \"re6st-*\" oifname \"re6st-*\" reject; }; }", Blocked{IPv6: true, IPv4: true}, "table inet f, chain f"},
	} {
		nft(t, "flush ruleset\n"+c.rules)
		before := ruleset(t)
		begin := time.Now()
		got, err := Forwards(Trial{Prefix: netip.MustParsePrefix("2001:db8:42:7::/64"), Table: 326, IPv4: true})
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
		t.Logf("%s: %+v in %v", c.name, got, time.Since(begin))
		if names := Culprits("1f2e3d4c"); (len(names) > 0) != (c.culprit != "") || !strings.Contains(strings.Join(names, ", "), c.culprit) {
			t.Errorf("%s: suspects %q, want %q", c.name, names, c.culprit)
		}
		if after := ruleset(t); after != before {
			t.Errorf("%s: the rules were\n%s\nand are\n%s", c.name, before, after)
		}
	}
	if after := run(t, "ip", "-o link"); after != links {
		t.Errorf("interfaces left:\n%s", after)
	}
	if routes := run(t, "ip", "-4 route show table all type unicast"); routes != "" {
		t.Errorf("routes left:\n%s", routes)
	}
}

// An echo reply comes from anywhere: only one with our token counts.
func FuzzT13_EchoReply(f *testing.F) {
	token := []byte("0123456789abcdef")
	for kind, m := range map[border.Family]icmp.Message{
		border.IPv4: {Type: ipv4.ICMPTypeEchoReply, Body: &icmp.Echo{ID: 1, Seq: 2, Data: token}},
		border.IPv6: {Type: ipv6.ICMPTypeEchoReply, Body: &icmp.Echo{ID: 1, Seq: 2, Data: token}},
	} {
		b, err := m.Marshal(nil)
		if err != nil {
			f.Fatal(err)
		}
		if !isAnswerTo(kind, token, b) {
			f.Fatalf("%v: an answer is not known", kind)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(append(b, 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, family := range []border.Family{border.IPv4, border.IPv6} {
			if !isAnswerTo(family, token, b) {
				continue
			}
			m, err := icmp.ParseMessage(map[border.Family]int{border.IPv4: 1, border.IPv6: 58}[family], b)
			if err != nil {
				t.Fatalf("taken, and not ICMP: %v", err)
			}
			if e, ok := m.Body.(*icmp.Echo); !ok || string(e.Data) != string(token) {
				t.Fatalf("taken without the token: %+v", m)
			}
		}
	})
}
