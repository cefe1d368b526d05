package agent

import (
	"net/netip"
	"slices"
	"testing"

	"re6st/tunnel"
	"re6st/tunnel/control"
)

func TestControlPorts(t *testing.T) {
	at := func(ports ...uint16) (all []netip.AddrPort) {
		for i, p := range ports {
			all = append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), p))
		}
		return all
	}
	for _, c := range []struct {
		name      string
		endpoints []netip.AddrPort
		want      []uint16
	}{
		{"nothing known", nil, []uint16{control.Port}},
		{"the usual one", at(control.Port, control.Port), []uint16{control.Port}},
		{"another", at(7326, 7326), []uint16{7326, control.Port}},
		{"behind a translator, too", at(40001, control.Port), []uint16{control.Port, 40001}},
		{"many", at(1, 2, 3, 4, 5), []uint16{1, 2, control.Port}},
	} {
		known := []tunnel.Peer{{Prefix: prefixOf(1), Endpoints: at(9)}, {Prefix: prefixOf(2), Endpoints: c.endpoints}}
		if got := controlPorts(known, prefixOf(2)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := controlPorts(nil, prefixOf(2)); !slices.Equal(got, []uint16{control.Port}) {
		t.Errorf("nobody known: %v", got)
	}
}
