package gateway

import (
	"net/netip"
	"slices"
	"testing"

	"re6st/internal/border"
)

func someSight() sight {
	s := sight{links: map[int]link{
		1: {name: "lo"},
		2: {name: "eth0", carrier: true},
		3: {name: "eth1", carrier: true},
		4: {name: "ppp0", carrier: true, noARP: true},
		5: {name: "re6st-00000001", alias: "re6st 1f2e3d4c to otter", carrier: true},
		6: {name: "re6st-00000002", alias: "re6st aaaaaaaa to heron", carrier: true},
		7: {name: "re6st-00000003", carrier: true},
		8: {name: "tun0", alias: "re6st aaaaaaaa to heron", carrier: true},
	}}
	s.defaults[border.IPv4] = []defaultRoute{{ifindex: 2, nextHop: netip.MustParseAddr("192.0.2.1"), metric: 100}, {ifindex: 4, metric: 200}}
	s.defaults[border.IPv6] = []defaultRoute{{ifindex: 3, nextHop: netip.MustParseAddr("fe80::1"), metric: 1024}}
	s.onLink = []onLink{
		{3, netip.MustParsePrefix("2001:db8:42:7::/64")},
		{3, netip.MustParsePrefix("2001:db8:f::/64")},
		{5, netip.MustParsePrefix("2001:db8:42:8::/64")},
	}
	return s
}

func TestUpstreamIsTheKernelsFirstChoice(t *testing.T) {
	s := someSight()
	for _, c := range []struct {
		what   string
		family border.Family
		only   string
		want   border.Upstream
		isLink bool
	}{
		{"IPv4", border.IPv4, "", border.Upstream{Interface: "eth0", Exists: true, Carrier: true, Default: true, NextHop: netip.MustParseAddr("192.0.2.1")}, false},
		{"IPv6 by another interface", border.IPv6, "", border.Upstream{Interface: "eth1", Exists: true, Carrier: true, Default: true, NextHop: netip.MustParseAddr("fe80::1")}, false},
		{"a named one without neighbours", border.IPv4, "ppp0", border.Upstream{Interface: "ppp0", Exists: true, Carrier: true, Default: true}, true},
		{"a named one without a default", border.IPv6, "eth0", border.Upstream{Interface: "eth0", Exists: true, Carrier: true}, false},
		{"a named one that is absent", border.IPv6, "wan", border.Upstream{Interface: "wan"}, false},
	} {
		u, _, isLink := s.upstream(c.family, c.only)
		if u.Interface != c.want.Interface || u.Exists != c.want.Exists || u.Carrier != c.want.Carrier || u.Default != c.want.Default || u.NextHop != c.want.NextHop || isLink != c.isLink {
			t.Errorf("%s: %+v %t", c.what, u, isLink)
		}
	}
	if got := s.uplinks(""); !slices.Equal(got, []string{"eth0", "eth1", "ppp0"}) {
		t.Errorf("uplinks %q", got)
	}
	if got := s.uplinks("wan"); !slices.Contains(got, "wan") || len(got) != 4 {
		t.Errorf("uplinks with a named one %q", got)
	}
}

// Only what says that it is another's is another's.
func TestOthersTunnels(t *testing.T) {
	s := someSight()
	if got := s.others(instance); !slices.Equal(got, []string{"re6st-00000002"}) {
		t.Errorf("others %q", got)
	}
}

func TestNeighboursWithAddressesOfTheMesh(t *testing.T) {
	s := someSight()
	mesh := prefixes("2001:db8:42::/48")
	local, wide := s.local(mesh, []string{"eth1"})
	if !slices.Equal(local, prefixes("2001:db8:42:7::/64")) || wide != "" {
		t.Errorf("local %v, wide %q", local, wide)
	}
	s.onLink = append(s.onLink, onLink{3, netip.MustParsePrefix("2001:db8:42::/48")})
	if local, wide = s.local(mesh, []string{"eth1"}); len(local) != 1 || wide != "2001:db8:42::/48 on eth1" {
		t.Errorf("local %v, wide %q", local, wide)
	}
	if local, wide = s.local(mesh, []string{"eth0"}); len(local) != 0 || wide != "" {
		t.Errorf("on another uplink: local %v, wide %q", local, wide)
	}
}
