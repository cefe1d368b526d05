package control

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"re6st/addressing"
)

func sampleNextHop() NextHop {
	rtt := 12.5
	return NextHop{Kind: HopTunnel, Interface: "re6st-0a1b2c3d", Peer: "bob", PeerAddress: netip.MustParseAddr("2001:db8:42:9::1"), RTTms: &rtt, Loss: 0.25}
}

func TestCertificatesRoundTrip(t *testing.T) {
	roundTrip(t, CertificatesWanted{RouterIDs: []addressing.RouterID{{1}, {2, 7: 3}}}, ParseCertificatesWanted)
	roundTrip(t, Certificates{Certificates: [][]byte{{0x30, 0}, {1, 2, 3}}}, ParseCertificates)
	roundTrip(t, sampleNextHop(), ParseNextHop)
	roundTrip(t, NextHop{Kind: HopNone}, ParseNextHop)
}

// As many certificates as there may be, of any size, fit into the message; one
// more of anything does not.
func TestT13_CertificateLimits(t *testing.T) {
	largest := bytes.Repeat([]byte{0xff}, MaxCertificate)
	for _, x := range []struct {
		name string
		in   any
		ok   bool
	}{
		{"the most and largest", Certificates{slices.Repeat([][]byte{largest}, MaxCertificates)}, true},
		{"one more", Certificates{slices.Repeat([][]byte{{1}}, MaxCertificates+1)}, false},
		{"a larger one", Certificates{[][]byte{append(largest, 0)}}, false},
		{"an empty one", Certificates{[][]byte{{}}}, false},
	} {
		data, err := Marshal(x.in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseCertificates(data); (err == nil) != x.ok {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	for n, ok := range map[int]bool{MaxCertificates: true, MaxCertificates + 1: false} {
		data, err := Marshal(CertificatesWanted{slices.Repeat([]addressing.RouterID{{1}}, n)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseCertificatesWanted(data); (err == nil) != ok {
			t.Errorf("%d wanted: %v", n, err)
		}
	}
}

func TestT13_MalformedNextHops(t *testing.T) {
	change := func(f func(*NextHop)) NextHop {
		n := sampleNextHop()
		f(&n)
		return n
	}
	negative, endless := -1.0, 1e12
	for name, n := range map[string]NextHop{
		"no kind":        {},
		"unknown kind":   {Kind: "teleport"},
		"terminal codes": change(func(n *NextHop) { n.Peer = "\x1b[31m" }),
		"negative RTT":   change(func(n *NextHop) { n.RTTms = &negative }),
		"endless RTT":    change(func(n *NextHop) { n.RTTms = &endless }),
		"loss":           change(func(n *NextHop) { n.Loss = 1.5 }),
		"zone":           change(func(n *NextHop) { n.PeerAddress = netip.MustParseAddr("fe80::1%lo") }),
	} {
		data, err := Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseNextHop(data); err == nil {
			t.Errorf("%s: taken as %+v", name, got)
		}
	}
	for _, q := range [][2]string{
		{"", ""},
		{"2001:db8::1", ""},
		{"2001:db8::1", "192.0.2.1"},
		{"fe80::1%lo", "fe80::2"},
		{"ff02::1", "2001:db8::1"},
		{"::", "2001:db8::1"},
		{"224.0.0.1", "192.0.2.1"},
		{"host", "192.0.2.1"},
	} {
		if to, from, err := ParseNextHopQuery(q[0], q[1]); err == nil {
			t.Errorf("%q taken as %v, %v", q, to, from)
		}
	}
}
