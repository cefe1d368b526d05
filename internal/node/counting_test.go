package node

import (
	"errors"
	"net/netip"
	"testing"

	"re6st/babel"
)

// Each destination is told apart, from each source that has a way of its own.
func TestCountedBy(t *testing.T) {
	mesh, plain := netip.MustParsePrefix("2001:db8:42::/48"), netip.MustParsePrefix("2001:db8:42:1::/64")
	got := countedBy([]babel.Destination{
		{Prefix: plain, Interface: 7},
		{Prefix: netip.MustParsePrefix("10.42.1.0/24"), Interface: 7},
		{Prefix: netip.MustParsePrefix("::/0"), From: mesh, Interface: 8},
		{Prefix: netip.MustParsePrefix("::/0"), Interface: 9},
	})
	want := map[[2]string]int{
		{"2001:db8:42:1::/64", "::/0"}: 7, {"10.42.1.0/24", "0.0.0.0/0"}: 7, {"::/0", mesh.String()}: 8, {"::/0", "::/0"}: 9,
	}
	if len(got) != len(want) {
		t.Errorf("%d entries", len(got))
	}
	for k, e := range got {
		if want[[2]string{k.Dst.String(), k.Src.String()}] != e.Interface || e.Prefix != k.Dst {
			t.Errorf("%+v", e)
		}
	}
}

// A host that does not take the programs goes on, and says why nothing is known.
func TestWithoutProgramsThatCount(t *testing.T) {
	c := counting{why: errors.New("this kernel has no BPF")}
	if err := c.follow(func(f func(int)) { f(7) }, nil); err != nil {
		t.Error(err)
	}
	f := flowMeter{kernel: c.flows}
	if _, unknown := f.read(); unknown != "the kernel: this kernel has no BPF" {
		t.Errorf("%q", unknown)
	}
}
