package lab

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"
)

// The way from the outside to the mesh. What a world's gateways do here is
// what their operator must do in life: tell the provider, by BGP, of the mesh's
// prefix as long as the node has it in its routing table.

// speaker is one who speaks BGP.
type speaker struct {
	host  *Host
	as    int
	peers []bgpPeer
	// learns: the prefixes come from the node's table, and nothing is accepted.
	learns bool
}

type bgpPeer struct {
	address netip.Addr
	as      int
}

// route starts BGP on core, providers and gateways, and waits for its sessions.
func (w *World) route(announced []netip.Prefix) {
	w.Lab.TB.Helper()
	core := &speaker{host: w.Net.Router, as: asCore}
	all := []*speaker{core}
	for i, isp := range w.ISPs {
		provider := &speaker{host: isp.Router, as: asISP + i}
		gateway := &speaker{host: w.Gateways[i].Host, as: asGateway + i, learns: true}
		meet(core, provider, isp.up.Router6, isp.up.V6)
		place := w.Gateways[i].Port
		meet(provider, gateway, place.Router6, place.V6)
		all = append(all, provider, gateway)
	}
	prefixes := append([]netip.Prefix{netip.MustParsePrefix(Network)}, announced...)
	for i, s := range all {
		s.start(i+1, prefixes)
	}
	for _, s := range all {
		w.Lab.Await("BGP on "+s.host.Name, 20*time.Second, s.established)
	}
}

func meet(a, b *speaker, addressA, addressB netip.Addr) {
	a.peers = append(a.peers, bgpPeer{addressB, b.as})
	b.peers = append(b.peers, bgpPeer{addressA, a.as})
}

func (s *speaker) start(id int, prefixes []netip.Prefix) {
	s.host.Lab.TB.Helper()
	path := s.host.Path("bgp.conf")
	if err := os.WriteFile(path, []byte(s.configuration(id, prefixes)), 0o600); err != nil {
		s.host.Lab.TB.Fatalf("%v", err)
	}
	s.host.Start("bgp", "bird", "-f", "-c", path, "-s", bird{}.socket(s.host))
}

func (s *speaker) configuration(id int, prefixes []netip.Prefix) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	var set []string
	for _, p := range prefixes {
		set = append(set, p.String())
	}
	wanted := "where net ~ [ " + strings.Join(set, ", ") + " ]"
	line("log stderr all;")
	line("router id 192.0.2.%d;", id)
	line("protocol device { scan time 1; }")
	in, out := "import all", "export all"
	if s.learns {
		line("protocol kernel { kernel table %d; learn; scan time 1; ipv6 { import %s; export none; }; }", worldTable, wanted)
		in, out = "import none", "export "+wanted
	} else {
		line("protocol kernel { metric 512; ipv6 { import none; export all; }; }")
	}
	for i, p := range s.peers {
		line("protocol bgp peer%d { local as %d; neighbor %v as %d; hold time %d; keepalive time 1;", i, s.as, p.address, p.as, int(worldHold.Seconds()))
		line("  connect retry time 1; connect delay time 1; error wait time 1, 2; ipv6 { %s; %s; }; }", in, out)
	}
	return b.String()
}

// established says whether all sessions are up.
func (s *speaker) established() error {
	lines, err := bird{}.ask(s.host, "show protocols")
	if err != nil {
		return err
	}
	for _, l := range lines {
		if strings.Contains(l, " BGP ") && !strings.Contains(l, "Established") {
			return fmt.Errorf("%s", strings.Join(strings.Fields(l), " "))
		}
	}
	return nil
}
