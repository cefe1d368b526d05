package gateway

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const instance = "1f2e3d4c"

func someContent() content {
	return content{
		mesh: prefixes("2001:db8:42::/48", "10.42.0.0/16", "2001:db8:99::/48"), local: prefixes("2001:db8:42:7::/64"),
		uplinks: []string{"eth0"}, others: []string{"re6st-00000001"}, masq4: true, masq6: true, mss: true,
		outside: prefixes("2001:db8:77::/48"), reject: true, holes: []Hole{{
			Inside: netip.MustParsePrefix("2001:db8:42::/48"), Mask: netip.MustParseAddr("ffff:ffff:ffff:ffff::"), Value: netip.MustParseAddr("2001:db8:42:ffff::"),
		}},
	}
}

func TestTableInTheKernel(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	can := Probe(instance)
	if can.Tables != nil || can.Conntrack != nil || can.NAT4 != nil || can.NAT6 != nil || can.MSS != nil || can.Reject != nil {
		t.Fatalf("the kernel lacks something: %+v", can)
	}
	if got := ruleset(t); got != "" {
		t.Fatalf("trying leaves something:\n%s", got)
	}
	nft(t, "table inet filter { chain forward { type filter hook forward priority 0; policy accept; tcp dport 25 drop; }; }")
	others := ruleset(t)

	mustPut(t, someContent())
	got := ruleset(t)
	t.Logf("%s", got)
	for _, want := range []string{
		"table inet re6st-1f2e3d4c", "type filter hook forward priority filter; policy accept;", "type nat hook postrouting priority srcnat;",
		"elements = { 2001:db8:42::/48,", "2001:db8:99::/48 }", "10.42.0.0/16", "tcp option maxseg size set rt mtu", "masquerade",
		"ct state established,related accept", `comment "source is not of the mesh"`, `iifname "re6st-*" jump out`, `oifname @uplinks ip saddr @mesh4 masquerade`,
		"ip6 saddr 2001:db8:42:ffff::/64 counter reject with icmpv6 policy-fail", "oifname @uplinks ip6 daddr != @mesh6 jump holes",
		"ip6 daddr @outside6 counter reject with icmpv6 addr-unreachable",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the table has no %q", want)
		}
	}
	one, err := inventory(instance)
	must(t, err)
	mustPut(t, someContent())
	two, err := inventory(instance)
	must(t, err)
	if strings.Count(one, "\n") != strings.Count(two, "\n") || len(one) == 0 {
		t.Errorf("put again, the table is another one:\n%s\n%s", one, two)
	}
	n, err := counts(instance)
	must(t, err)
	if len(n) != 5 || n[countForeign] != 0 {
		t.Errorf("counts %v, want five of nothing", n)
	}
	for what, change := range map[string]string{
		"rule":    "flush chain inet re6st-1f2e3d4c forward",
		"element": "delete element inet re6st-1f2e3d4c uplinks { eth0 }",
		"policy":  "chain inet re6st-1f2e3d4c forward { policy drop; }",
		"table":   "delete table inet re6st-1f2e3d4c",
	} {
		mustPut(t, someContent())
		before, err := inventory(instance)
		must(t, err)
		nft(t, change)
		after, err := inventory(instance)
		must(t, err)
		if before == after {
			t.Errorf("that the %s is gone is not seen", what)
		}
	}
	mustPut(t, someContent())
	removed, err := RemoveLeftovers(instance)
	if !removed || err != nil {
		t.Errorf("removing: %v %v", removed, err)
	}
	if removed, err = RemoveLeftovers(instance); removed || err != nil {
		t.Errorf("removing what is not there: %v %v", removed, err)
	}
	if got := ruleset(t); got != others {
		t.Errorf("the tables of others:\n%s\nwere\n%s", got, others)
	}
}

// Sets must hold exactly the prefixes' addresses, whatever these are.
func TestPropertyRanges(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		is4 := rapid.Bool().Draw(r, "is4")
		size, bits := 16, 128
		if is4 {
			size, bits = 4, 32
		}
		address := func(label string) netip.Addr {
			// Few values: prefixes touch, and reach the end of the space.
			b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x7f, 0x80, 0xff}), size, size).Draw(r, label)
			a, _ := netip.AddrFromSlice(b)
			return a
		}
		var all []netip.Prefix
		for range rapid.IntRange(0, 6).Draw(r, "n") {
			all = append(all, netip.PrefixFrom(address("prefix"), rapid.IntRange(0, bits).Draw(r, "bits")))
		}
		ranges := rangesOf(all, is4)
		for i, x := range ranges {
			if i > 0 && !ranges[i-1].end.Less(x.first) {
				r.Fatalf("%v overlaps or touches %v", x, ranges[i-1])
			}
		}
		probe := address("probe")
		for _, p := range all {
			for _, a := range []netip.Addr{p.Masked().Addr(), p.Masked().Addr().Prev(), after(p), probe} {
				if !a.IsValid() {
					continue
				}
				want, got := false, false
				for _, p := range all {
					want = want || p.Contains(a)
				}
				for _, x := range ranges {
					got = got || (!a.Less(x.first) && (!x.end.IsValid() || a.Less(x.end)))
				}
				if got != want {
					r.Fatalf("%v: in %v %v, in the ranges %v %v", a, all, want, ranges, got)
				}
			}
		}
	})
}

// Without what it needs of nftables a gateway is closed, and says why.
func TestMissing(t *testing.T) {
	none := errors.New("no such thing")
	for _, c := range []struct {
		name   string
		config Config
		can    Capabilities
		v4, v6 string
	}{
		{"all is there", Config{IPv6: Masquerade, IPv4: Masquerade}, Capabilities{}, "", ""},
		{"no nftables", Config{IPv6: Routed, IPv4: Masquerade, LetIn: true}, Capabilities{Tables: none}, "no nftables", "no nftables"},
		{"no conntrack", Config{IPv6: Routed, IPv4: Masquerade}, Capabilities{Conntrack: none}, "tell answers", "tell answers"},
		{"no conntrack, all is let in", Config{IPv6: Routed, IPv4: Off, LetIn: true}, Capabilities{Conntrack: none, NAT4: none, NAT6: none}, "", ""},
		{"no NAT, routed", Config{IPv6: Routed, IPv4: Masquerade}, Capabilities{NAT4: none, NAT6: none}, "masquerade IPv4", ""},
		{"no NAT, masquerade", Config{IPv6: Masquerade, IPv4: Off}, Capabilities{NAT4: none, NAT6: none}, "", "masquerade IPv6"},
		{"no MSS option: large segments find their way by ICMP", Config{IPv6: Routed, IPv4: Masquerade}, Capabilities{MSS: none}, "", ""},
	} {
		v4, v6 := c.config.missing(c.can)
		if !strings.Contains(v4, c.v4) || (v4 == "") != (c.v4 == "") || !strings.Contains(v6, c.v6) || (v6 == "") != (c.v6 == "") {
			t.Errorf("%s: IPv4 %q, IPv6 %q", c.name, v4, v6)
		}
	}
}

func mustPut(t *testing.T, c content) {
	t.Helper()
	want, err := put(instance, c)
	must(t, err)
	text, err := inventory(instance)
	must(t, err)
	if got := sizeOf(text); got != want {
		t.Fatalf("the table has %+v, want %+v:\n%s", got, want, text)
	}
}
