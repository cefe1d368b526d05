package ebpf

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"re6st/internal/lab"
)

// site is a chain of hosts, a gateway in its middle. Every second interface does
// its own checksums, so that what the translator saw unfinished is finished
// later, and receivers compute what they get:
//
//	         fd00:1:0:9::/64      fd00:1:0:a::/64    2001:db8:f::/64     2001:db8:e::/64
//	in(::2) ───────────── (::1)relay(::2) ─── (::1)gw(::1) ─── (::2)isp(::1) ───────── (::2)out
//	   TSO       <- MTU 1350                 no offload  no offload      MTU 1400 ->   TSO
type site struct {
	*lab.Lab
	in, relay, gw, isp, out *lab.Host
	uplink                  string
}

var sitePairs = [][2]string{{"fd00:1::/48", "2001:db8:1::/48"}}

var (
	insideIn = addr("fd00:1:0:9::2")
	farOut   = addr("2001:db8:e::2")
)

// public is the address by which outsiders know one of the inside.
func public(t testing.TB, inside string) netip.Addr {
	t.Helper()
	a, outcome := reference{{prefix(sitePairs[0][0]), prefix(sitePairs[0][1])}}.address(addr(inside), true)
	if outcome != refTranslated {
		t.Fatalf("%s has no mapping", inside)
	}
	return a
}

func newSite(t testing.TB) *site {
	t.Helper()
	needsKernel(t)
	l := lab.New(t)
	s := &site{Lab: l, in: l.Host("in"), relay: l.Host("relay"), gw: l.Host("gw"), isp: l.Host("isp"), out: l.Host("out")}
	a, b, c, d := l.Connect(s.in, s.relay), l.Connect(s.relay, s.gw), l.Connect(s.gw, s.isp), l.Connect(s.isp, s.out)
	for _, x := range []struct {
		link *lab.Link
		net  string
	}{{a, "fd00:1:0:9::"}, {b, "fd00:1:0:a::"}, {c, "2001:db8:f::"}, {d, "2001:db8:e::"}} {
		first, second := "2", "1"
		if x.link == c || x.link == d {
			first, second = "1", "2"
		}
		x.link.A.Add(prefix(x.net + first + "/64"))
		x.link.B.Add(prefix(x.net + second + "/64"))
	}
	for _, h := range []*lab.Host{s.relay, s.gw, s.isp} {
		h.Sysctl("net/ipv6/conf/all/forwarding", "1")
		h.Sysctl("net/ipv6/icmp/ratelimit", "0")
	}
	s.in.IP("route add ::/0 via fd00:1:0:9::1")
	s.relay.IP("route add ::/0 via fd00:1:0:a::1")
	s.gw.IP("route add ::/0 via 2001:db8:f::2", "route add fd00:1:0:9::/64 via fd00:1:0:a::2")
	s.isp.IP("route add 2001:db8:1::/48 via 2001:db8:f::1")
	s.out.IP("route add ::/0 via 2001:db8:e::1")
	s.relay.IP("route add fd00:1:0:9::2/128 dev " + a.B.Name + " mtu 1350")
	s.isp.IP("route add 2001:db8:e::2/128 dev " + d.A.Name + " mtu 1400")
	s.uplink = c.A.Name
	for _, name := range []string{b.B.Name, c.A.Name} {
		s.gw.Run("ethtool", "-K", name, "tx", "off")
	}
	return s
}

// methods runs a test with each way of attaching that this kernel has.
func methods(t *testing.T, run func(t *testing.T, clsact bool)) {
	needsKernel(t)
	t.Run("clsact", func(t *testing.T) { run(t, true) })
	if haveTCX() {
		t.Run("tcx", func(t *testing.T) { run(t, false) })
	}
}

// haveTCX goes by the version, so that a failing tcx is no skipped one.
func haveTCX() bool {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	major, rest, _ := strings.Cut(string(b), ".")
	minor, _, _ := strings.Cut(rest, ".")
	x, _ := strconv.Atoi(major)
	y, _ := strconv.Atoi(minor)
	return x > 6 || x == 6 && y >= 6
}

// translate starts a translator on the gateway.
func (s *site) translate(clsact bool) *lab.Proc {
	s.TB.Helper()
	c, _ := json.Marshal(childConfig{Uplink: s.uplink, Clsact: clsact, Pairs: sitePairs})
	p := s.gw.Start("translator", "env", asTranslator+"="+string(c), executable(s.TB))
	return s.attached(p)
}

func executable(t lab.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return path
}

func (s *site) attached(p *lab.Proc) *lab.Proc {
	s.TB.Helper()
	s.Await("the translator to be attached", 20*time.Second, func() error {
		if out := p.Output(); !strings.Contains(out, "attached by") {
			return fmt.Errorf("it says %q (%s)", out, p.Status())
		}
		return nil
	})
	return p
}

func (s *site) counters(p *lab.Proc) Counters {
	s.TB.Helper()
	const begin = "counters "
	seen := strings.Count(p.Output(), begin)
	if err := p.Signal(syscall.SIGUSR1); err != nil {
		s.TB.Fatalf("%v", err)
	}
	var c Counters
	s.Await("the counters", 20*time.Second, func() error {
		out := p.Output()
		if strings.Count(out, begin) == seen || !strings.HasSuffix(out, "}\n") {
			return errors.New("not there yet")
		}
		return json.Unmarshal([]byte(out[strings.LastIndex(out, begin)+len(begin):]), &c)
	})
	return c
}

// Real traffic, both ways, of all kinds.
func TestTraffic(t *testing.T) {
	methods(t, func(t *testing.T, clsact bool) {
		s := newSite(t)
		// What a filter on the forward hook is to see: the inside's addresses.
		s.gw.NFT("table ip6 seen {", "chain inside {", "type filter hook forward priority 0;",
			"ip6 saddr fd00:1::/48 oifname "+s.uplink+" counter", "ip6 daddr fd00:1::/48 iifname "+s.uplink+" counter", "}",
			"chain outside {", "type filter hook forward priority 0;",
			"ip6 saddr 2001:db8:1::/48 oifname "+s.uplink+" counter", "ip6 daddr 2001:db8:1::/48 iifname "+s.uplink+" counter", "}", "}")
		before := s.Census(s.gw)
		p := s.translate(clsact)
		publicIn := public(t, insideIn.String())

		t.Run("echo both ways, whole and in fragments", func(t *testing.T) {
			for _, size := range []string{"8", "5000"} {
				s.wantEcho(t, s.in, farOut, size)
				s.wantEcho(t, s.out, publicIn, size)
			}
		})
		t.Run("who is seen", func(t *testing.T) {
			s.out.Serve("[::]:8080")
			s.in.Serve("[::]:8081")
			if seen, err := s.in.Call(netip.AddrPortFrom(farOut, 8080), lab.Slow(3*time.Second)); err != nil || seen.Addr() != publicIn {
				t.Errorf("outside saw %v (%v), want %v", seen, err, publicIn)
			}
			if seen, err := s.out.Call(netip.AddrPortFrom(publicIn, 8081), lab.Slow(3*time.Second)); err != nil || seen.Addr() != farOut {
				t.Errorf("inside saw %v (%v), want %v", seen, err, farOut)
			}
		})
		t.Run("what filters see", func(t *testing.T) {
			out := s.gw.Run("nft", "list", "table", "ip6", "seen")
			in, outside, _ := strings.Cut(out, "chain outside")
			if strings.Contains(in, "packets 0 ") || strings.Count(outside, "packets 0 ") != 2 {
				t.Errorf("on the forward hook:\n%s", out)
			}
			s.gw.NFT("delete table ip6 seen")
		})
		t.Run("hairpin", func(t *testing.T) {
			if err := s.in.Ping(public(t, "fd00:1:0:a::2")); err != nil {
				t.Error(err)
			}
			if err := s.in.Ping(publicIn); err != nil {
				t.Errorf("to itself: %v", err)
			}
		})
		t.Run("errors name the right packets", func(t *testing.T) {
			s.wantTrace(t, s.in, farOut, addr("fd00:1:0:9::1"), addr("fd00:1:0:a::1"), addr("2001:db8:f::2"), farOut)
			// The gateway answers an outsider with an address of that side.
			s.wantTrace(t, s.out, publicIn, addr("2001:db8:e::1"), addr("2001:db8:f::1"), public(t, "fd00:1:0:a::2"), publicIn)
		})
		t.Run("large sends", func(t *testing.T) { s.wantStreams(t, publicIn) })

		c := s.counters(p)
		if c.Egress.Packets == 0 || c.Ingress.Packets == 0 || c.Egress.Embedded == 0 || c.Ingress.Embedded == 0 || c.Egress.Hairpinned == 0 {
			t.Errorf("counted %+v", c)
		}
		if n := c.Egress.Unmapped + c.Ingress.Unmapped + c.Egress.Failed + c.Ingress.Failed; n > 0 || strings.Contains(p.Output(), "unusable") {
			t.Errorf("dropped %d: %+v\n%s", n, c, p.Output())
		}
		if diff := before.Diff(s.Census(s.gw)); !strings.Contains(strings.Join(diff, "\n"), "gw: hook left") {
			t.Errorf("the census does not see the programs: %q", diff)
		}
		if _, err := p.Stop(syscall.SIGTERM); err != nil {
			t.Errorf("%v\n%s", err, p.Output())
		}
		after := s.Census(s.gw)
		delete(before["gw"], "nftables")
		delete(after["gw"], "nftables")
		if diff := before.Diff(after); len(diff) > 0 {
			t.Errorf("left: %q", diff)
		}
	})
}

// wantEcho sends until one is answered: the first of many bytes only teaches the
// path's MTU.
func (s *site) wantEcho(t *testing.T, from *lab.Host, to netip.Addr, size string) {
	t.Helper()
	s.Await(fmt.Sprintf("%s: %s bytes to %v", from.Name, size, to), 20*time.Second, func() error {
		out, err := from.Try("ping", "-n", "-c", "1", "-W", "1", "-s", size, to.String())
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
}

func (s *site) wantTrace(t *testing.T, from *lab.Host, to netip.Addr, want ...netip.Addr) {
	t.Helper()
	hops := from.Trace(to, len(want))
	for i, w := range want {
		if i >= len(hops) || hops[i].From != w {
			t.Errorf("%s to %v: hops %v, want %v", from.Name, to, hops, want)
			return
		}
	}
}

// wantStreams sends TCP in packets that the interface is to cut (TSO), and UDP,
// in both directions and begun from both sides. "Packet too big" must find its
// way, and no receiver may have seen a wrong checksum.
func (s *site) wantStreams(t *testing.T, publicIn netip.Addr) {
	s.out.Start("iperf3", "iperf3", "-s", "-p", "5201")
	s.in.Start("iperf3", "iperf3", "-s", "-p", "5202")
	arrived := s.received(s.gw, "eth0")
	for _, x := range []struct {
		name string
		from *lab.Host
		args []string
	}{
		{"TCP out", s.in, []string{"-c", farOut.String(), "-p", "5201", "-n", "30M"}},
		{"TCP back", s.in, []string{"-c", farOut.String(), "-p", "5201", "-n", "30M", "-R"}},
		{"TCP in", s.out, []string{"-c", publicIn.String(), "-p", "5202", "-n", "5M"}},
		{"UDP out", s.in, []string{"-c", farOut.String(), "-p", "5201", "-u", "-l", "1200", "-b", "50M", "-n", "2M"}},
		{"UDP in", s.out, []string{"-c", publicIn.String(), "-p", "5202", "-u", "-l", "1200", "-b", "50M", "-n", "2M"}},
	} {
		var out string
		s.Await(x.name, 20*time.Second, func() (err error) { // the server may not listen yet
			out, err = x.from.Try(append([]string{"iperf3", "-6", "--connect-timeout", "3000"}, x.args...)...)
			return err
		})
		if strings.HasPrefix(x.name, "UDP") && strings.Contains(out, "100%") {
			t.Errorf("%s: nothing arrived\n%s", x.name, out)
		}
	}
	// 30 MB are over 20,000 packets on the wire, and fewer for the gateway.
	if n := s.received(s.gw, "eth0") - arrived; n > 20000 {
		t.Logf("the gateway got %d packets: there were no large ones", n)
		t.Errorf("no large sends were tested")
	}
	for _, h := range []*lab.Host{s.in, s.out} {
		for _, file := range []string{"snmp6", "snmp"} {
			for line := range strings.Lines(wrongSums(h.Run("cat", "/proc/net/"+file))) {
				t.Errorf("%s: wrong checksums: %s", h.Name, line)
			}
		}
	}
}

func (s *site) received(h *lab.Host, name string) int {
	n, err := strconv.Atoi(strings.TrimSpace(h.Run("cat", "/sys/class/net/"+name+"/statistics/rx_packets")))
	if err != nil {
		s.TB.Fatalf("%v", err)
	}
	return n
}

// wrongSums picks the counters of wrong checksums that are not zero.
func wrongSums(text string) string {
	var wrong strings.Builder
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && strings.HasSuffix(f[0], "CsumErrors") && f[1] != "0":
			fmt.Fprintln(&wrong, line)
		case len(f) > 2 && len(names) == len(f) && names[0] == f[0]:
			for i, name := range names {
				if strings.HasSuffix(name, "CsumErrors") && f[i] != "0" {
					fmt.Fprintln(&wrong, f[0], name, f[i])
				}
			}
		}
		names = f
	}
	return wrong.String()
}

// The control: a wrong checksum on the way is noticed where the streams look.
func TestWrongChecksumsAreSeen(t *testing.T) {
	s := newSite(t)
	s.isp.NFT("table ip6 wrong {", "chain out {", "type filter hook postrouting priority 0;",
		"icmpv6 type echo-request icmpv6 checksum set 1;", "}", "}")
	s.in.Ping(farOut)
	if got := wrongSums(s.out.Run("cat", "/proc/net/snmp6")); !strings.Contains(got, "Icmp6InCsumErrors") {
		t.Errorf("wrong checksums are not noticed: %q", got)
	}
}

// A translator that was killed leaves nothing behind where the kernel has tcx,
// and where it has not, the next start removes it, together with the qdisc that
// was made for it, and nothing of others.
func TestKilled(t *testing.T) {
	methods(t, func(t *testing.T, clsact bool) {
		s := newSite(t)
		before := s.Census(s.gw)
		s.translate(clsact).Kill()
		diff := strings.Join(before.Diff(s.Census(s.gw)), "\n")
		if left := strings.Contains(diff, "re6st "+testInstance); left != clsact {
			t.Fatalf("left after SIGKILL: %q", diff)
		}
		p := s.translate(clsact)
		if want := map[bool]string{true: "removed 2\n", false: "removed 0\n"}[clsact]; !strings.Contains(p.Output(), want) {
			t.Errorf("the next start says %q, want %q", p.Output(), want)
		}
		if err := s.in.Ping(farOut); err != nil {
			t.Error(err)
		}
		if _, err := p.Stop(syscall.SIGTERM); err != nil {
			t.Errorf("%v\n%s", err, p.Output())
		}
		s.WantClean(before, s.gw)

		// An operator's qdisc stays.
		s.gw.Run("tc", "qdisc", "add", "dev", s.uplink, "clsact")
		before = s.Census(s.gw)
		s.translate(clsact).Kill()
		if _, err := s.translate(clsact).Stop(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		s.WantClean(before, s.gw)
	})
}

// What others take away, or the interface's going, is found.
func TestCheck(t *testing.T) {
	methods(t, func(t *testing.T, clsact bool) {
		s := newSite(t)
		p := s.translate(clsact)
		s.counters(p)
		if out := p.Output(); strings.Contains(out, "unusable") {
			t.Fatalf("it says %s", out)
		}
		if clsact {
			s.gw.Run("tc", "filter", "del", "dev", s.uplink, "egress")
		} else {
			s.gw.IP("link del " + s.uplink)
		}
		s.counters(p)
		if out := p.Output(); !strings.Contains(out, "unusable: prefix translation on "+s.uplink) {
			t.Errorf("it says %s", out)
		}
		if _, err := p.Stop(syscall.SIGTERM); err != nil {
			t.Errorf("%v\n%s", err, p.Output())
		}
	})
}

// An interface that does not exist, and pairs that cannot be, are one clear error.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		want   string
		config TranslatorConfig
	}{
		{"uplink \"nowhere0\"", TranslatorConfig{Uplink: "nowhere0", Pairs: somePairs}},
		{"between 1 and 64", TranslatorConfig{Uplink: "lo", Pairs: []Pair{{prefix("fd00::/72"), prefix("2001:db8::/64")}}}},
		{"did you mean fd00::/48", TranslatorConfig{Uplink: "lo", Pairs: []Pair{{netip.PrefixFrom(addr("fd00::1"), 48), prefix("2001:db8::/48")}}}},
		{"not an IPv6 prefix", TranslatorConfig{Uplink: "lo", Pairs: []Pair{{prefix("fd00::/48"), prefix("192.0.2.0/24")}}}},
		{"one counterpart", TranslatorConfig{Uplink: "lo", Pairs: []Pair{{prefix("fd00::/48"), prefix("2001:db8::/48")}, {prefix("fd00::/48"), prefix("2001:db9::/48")}}}},
		{"they overlap", TranslatorConfig{Uplink: "lo", Pairs: []Pair{{prefix("fd00::/48"), prefix("fd00::/40")}}}},
		{"overlaps the outside of the other", TranslatorConfig{Uplink: "lo", Pairs: []Pair{{prefix("fd00::/48"), prefix("2001:db8::/48")}, {prefix("2001:db8::/56"), prefix("2001:db9::/48")}}}},
		{"at most 32", TranslatorConfig{Uplink: "lo", Pairs: make([]Pair, 33)}},
	} {
		tr, err := NewTranslator(c.config)
		if err == nil {
			tr.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.config, err, c.want)
		}
	}
}

// Without the privilege there is one error that says what is missing.
func TestNoPrivilege(t *testing.T) {
	needsKernel(t)
	s := lab.New(t).Host("plain")
	c, _ := json.Marshal(childConfig{Uplink: "lo", Pairs: sitePairs})
	out, err := s.Try("setpriv", "--bounding-set=-all", "--inh-caps=-all", "env", asTranslator+"="+string(c), executable(t))
	if err == nil || !strings.Contains(err.Error(), "CAP_BPF and CAP_NET_ADMIN are needed") {
		t.Errorf("%v\n%s", err, out)
	}
}
