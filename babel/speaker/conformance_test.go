package speaker

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/ipv6"

	"re6st/babel"
	"re6st/babel/wire"
)

// The numbers of docs/babel-conformance.md that only sockets and the kernel can
// show.

// What leaves has hop limit 1 and port 6696 at both ends; its source is
// link-local, and it goes to the group or to the link-local address of whom it is
// for.
func TestC003_WhatLeaves(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	t.Cleanup(func() { goleak.VerifyNone(t) })
	a, b := newMachine(t, 1), newMachine(t, 2)
	veth(t, a, b)
	a.start()
	a.speakOn(b, babel.Wired)
	var conn *ipv6.PacketConn
	within(t, b.name, func() {
		device, err := net.InterfaceByName("to-h1")
		must(t, err)
		pc, err := net.ListenPacket("udp6", fmt.Sprintf("[::]:%d", wire.Port))
		must(t, err)
		conn = ipv6.NewPacketConn(pc)
		must(t, conn.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagDst, true))
		must(t, conn.JoinGroup(device, &net.UDPAddr{IP: wire.Group().AsSlice()}))
	})
	enc := wire.NewEncoder(100)
	enc.Add(&wire.AckRequest{Opaque: 77, Interval: 100})
	_, err := conn.WriteTo(enc.Bytes(), nil, &net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: wire.Port, Zone: "to-h1"})
	must(t, err)
	must(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	toGroup, toUs := 0, 0
	for buf := make([]byte, 2048); toGroup < 2 || toUs == 0; {
		_, cm, from, err := conn.ReadFrom(buf)
		must(t, err)
		src := from.(*net.UDPAddr)
		switch {
		case cm.HopLimit != 1 || src.Port != wire.Port || !src.IP.Equal(net.ParseIP("fe80::1")):
			t.Fatalf("from %v with hop limit %d", src, cm.HopLimit)
		case cm.Dst.Equal(wire.Group().AsSlice()):
			toGroup++
		case cm.Dst.Equal(net.ParseIP("fe80::2")):
			toUs++
		default:
			t.Fatalf("to %v", cm.Dst)
		}
	}
	must(t, conn.Close())
	a.end()
}

// A prefix that was lost is refused with an error, though a default route covers
// it: without the hold these packets would go round until their hop limit ends.
func TestC074_PacketsForALostPrefixAreRefused(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	t.Cleanup(func() { goleak.VerifyNone(t) })
	a, b, c := newMachine(t, 1), newMachine(t, 2), newMachine(t, 3)
	line(t, a, b, c)
	lost := "2001:db8:42:3::99"
	b.ip("-6 route add default via fe80::3 dev to-h3")
	c.ip("-6 route add default via fe80::2 dev to-h2")
	a.ip("-6 route add " + lost + "/128 via fe80::2 dev to-h2")
	await(t, "b knows both prefixes", 10*time.Second, func() bool {
		return strings.Contains(b.routes(), "2001:db8:42:3::/64 via") && strings.Contains(b.routes(), "2001:db8:42:1::/64 via")
	})
	c.Withdraw(c.prefix, netip.Prefix{})
	await(t, "b holds the prefix", 5*time.Second, func() bool { return strings.Contains(b.routes(), "unreachable 2001:db8:42:3::/64") })
	out := a.ping("-6", "-I", a.address(), lost)
	if !strings.Contains(out, "From "+b.address()) || strings.Contains(out, "exceeded") || !strings.Contains(strings.ToLower(out), "unreachable") {
		t.Errorf("b answers\n%s\nwith routes\n%s", out, b.routes())
	}
	for _, m := range []*machine{a, b, c} {
		m.end()
	}
}

// line connects machines one after the other, and starts Babel on all links.
func line(t *testing.T, all ...*machine) {
	t.Helper()
	for i, m := range all {
		if i > 0 {
			veth(t, all[i-1], m)
		}
		m.start()
	}
	for i := 1; i < len(all); i++ {
		all[i-1].speakOn(all[i], babel.Wired)
		all[i].speakOn(all[i-1], babel.Wired)
	}
}

// ping sends one packet and gives what it prints, whatever comes of it.
func (m *machine) ping(args ...string) string {
	cmd := exec.Command("ip", append([]string{"netns", "exec", m.name, "ping", "-n", "-c1", "-W2"}, args...)...)
	out, _ := cmd.CombinedOutput() // it fails where an error comes back
	return string(out)
}

// The destination is looked up first, the source among routes to the same one.
func TestC118_DestinationFirst(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	t.Cleanup(func() { goleak.VerifyNone(t) })
	a, b, c := newMachine(t, 1), newMachine(t, 2), newMachine(t, 3)
	line(t, a, b, c)
	here, every := netip.MustParsePrefix("2001:db8:42:9::/64"), netip.MustParsePrefix("::/0")
	both := netip.MustParsePrefix("2001:db8:77::/48")
	c.Originate(every, here, 0)
	a.Originate(both, netip.Prefix{}, 0)
	c.Originate(both, here, 0)
	await(t, "b has all four", 10*time.Second, func() bool {
		return strings.Contains(b.routes(), "default from 2001:db8:42:9::/64 via fe80::3") &&
			strings.Contains(b.routes(), "2001:db8:42:1::/64 via fe80::1") &&
			strings.Contains(b.routes(), "2001:db8:77::/48 via fe80::1") &&
			strings.Contains(b.routes(), "2001:db8:77::/48 from 2001:db8:42:9::/64 via fe80::3")
	})
	for _, v := range []struct{ name, dst, src, want string }{
		{"the longer destination, though the source fits the other", "2001:db8:42:1::1", "2001:db8:42:9::1", "via fe80::1"},
		{"the default route for that source", "2001:db8:99::1", "2001:db8:42:9::1", "via fe80::3"},
		{"of one destination, the longer source", "2001:db8:77::1", "2001:db8:42:9::1", "via fe80::3"},
		{"of one destination, any other source", "2001:db8:77::1", "2001:db8:42:8::1", "via fe80::1"},
	} {
		if got := b.ip("-6 route get " + v.dst + " from " + v.src + " iif to-h1"); !strings.Contains(got, v.want) {
			t.Errorf("%s: %s, want %s", v.name, got, v.want)
		}
	}
	for _, m := range []*machine{a, b, c} {
		m.end()
	}
}

// IPv4 crosses a router that has no IPv4 address at all, and that router says what
// is wrong with a packet.
func TestC126_C127_IPv4ThroughARouterWithoutIPv4(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	t.Cleanup(func() { goleak.VerifyNone(t) })
	a, b, c := newMachine(t, 1), newMachine(t, 2), newMachine(t, 3)
	line(t, a, b, c)
	for _, m := range []*machine{a, b, c} {
		within(t, m.name, func() {
			for _, s := range []string{"ip_forward=1", "conf/all/rp_filter=0", "conf/default/rp_filter=0", "conf/to-h2/rp_filter=0", "icmp_ratelimit=0"} {
				path, value, _ := strings.Cut(s, "=")
				if err := os.WriteFile("/proc/sys/net/ipv4/"+path, []byte(value), 0o644); err != nil && !os.IsNotExist(err) {
					t.Error(err)
				}
			}
		})
	}
	for _, m := range []*machine{a, c} {
		own := fmt.Sprintf("10.42.%d.1/32", m.number)
		m.ip("address add " + own + " dev lo")
		m.Originate(netip.MustParsePrefix(own), netip.Prefix{}, 0)
	}
	await(t, "a knows c's address", 10*time.Second, func() bool {
		return strings.Contains(a.ip("-4 route show proto babel"), "10.42.3.1 via inet6 fe80::2 dev to-h2")
	})
	await(t, "they reach each other", 10*time.Second, func() bool {
		return strings.Contains(a.ping("-I", "10.42.1.1", "10.42.3.1"), " 0% packet loss")
	})
	if out := a.ping("-I", "10.42.1.1", "-t", "1", "10.42.3.1"); !strings.Contains(out, "From 192.0.0.8") || !strings.Contains(out, "Time to live exceeded") {
		t.Errorf("hop limit 1: %s", out)
	}
	b.ip("link set to-h3 mtu 1300")
	if out := a.ping("-I", "10.42.1.1", "-M", "do", "-s", "1400", "10.42.3.1"); !strings.Contains(out, "From 192.0.0.8") || !strings.Contains(out, "mtu") {
		t.Errorf("too big: %s", out)
	}
	for _, m := range []*machine{a, b, c} {
		m.end()
	}
}
