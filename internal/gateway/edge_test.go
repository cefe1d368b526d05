package gateway

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func edgeOf(word string) EdgeConfig {
	c := EdgeConfig{
		Instance: "0badcafe", Networks: prefixes("2001:db8:42::/48", "10.42.0.0/16"), Own: prefixes("2001:db8:42:10::/64", "10.42.5.0/24"),
		Guests: []Guest{{"eth0", netip.MustParsePrefix("2001:db8:42:20::/64")}}, Mark: 0x6e36,
	}
	switch word {
	case "exempt":
		c.Exempt = []string{"eth0"}
	case "only":
		c.Only = []string{"other0"}
	}
	return c
}

// What comes from a LAN and goes into a tunnel: the node's own sources, those of
// another member on that LAN, and ICMP errors; nothing else, in either family.
func TestEdgeBindsSources(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ip := func(lines ...string) {
		t.Helper()
		for _, line := range lines {
			run(t, "ip", line)
		}
	}
	ip(
		"netns add phone", "netns add far",
		"link add eth0 type veth peer name eth0 netns phone", "link set eth0 up", "-n phone link set eth0 up", "-n phone link set lo up",
		"link add re6st-00000001 type veth peer name eth0 netns far", "link set re6st-00000001 up", "-n far link set eth0 up",
		"addr add 2001:db8:42:10::1/64 dev eth0 nodad", "addr add 10.42.5.1/24 dev eth0", "addr add 192.0.2.1/24 dev re6st-00000001",
		"addr add 2001:db8:42:3f::1/64 dev re6st-00000001 nodad",
		"-n far addr add 2001:db8:42:30::1/128 dev eth0 nodad", "-n far addr add 2001:db8:42:3f::2/64 dev eth0 nodad", "-n far addr add 10.42.9.1/32 dev eth0",
		"-n far addr add 192.0.2.2/24 dev eth0",
		"route add 2001:db8:42:30::/64 via 2001:db8:42:3f::2", "route add 10.42.9.0/24 via 192.0.2.2",
		"-n far route add ::/0 via 2001:db8:42:3f::1", "-n far route add 0.0.0.0/0 via 192.0.2.1",
		"-n phone addr add 2001:db8:42:10::7/64 dev eth0 nodad", "-n phone addr add 10.42.5.7/24 dev eth0",
		"-n phone route add ::/0 via 2001:db8:42:10::1", "-n phone route add 0.0.0.0/0 via 10.42.5.1",
	)
	for _, name := range []string{"ipv6/conf/all/forwarding", "ipv4/ip_forward"} {
		must(t, os.WriteFile("/proc/sys/net/"+name, []byte("1"), 0))
	}
	for _, name := range []string{"all", "eth0", "re6st-00000001"} {
		must(t, os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/rp_filter", []byte("0"), 0))
	}
	before := ruleset(t)
	var edge Edge
	send := func(source string, want uint64) (refused uint64) {
		t.Helper()
		to, bits := "10.42.9.1", "32"
		if strings.Contains(source, ":") {
			to, bits = "2001:db8:42:30::1", "128"
		}
		was, err := edge.Dropped()
		must(t, err)
		_ = exec.Command("ip", "-n", "phone", "addr", "add", source+"/"+bits, "dev", "eth0", "nodad").Run()
		_ = exec.Command("ip", "netns", "exec", "phone", "ping", "-c", "2", "-i", "0.1", "-W", "0.3", "-I", source, to).Run()
		await(t, "the packets from "+source+" to be judged", 10*time.Second, func() bool {
			now, err := edge.Dropped()
			must(t, err)
			refused = now[countEdge] - was[countEdge]
			return refused >= want
		})
		return refused
	}
	must(t, edge.Put(edgeOf("plain")))
	for _, c := range []struct {
		source  string
		refused uint64
	}{
		{"2001:db8:42:10::7", 0},
		{"2001:db8:42:20::7", 0}, // another member's, on this LAN
		{"10.42.5.7", 0},
		{"2001:db8:42:30::7", 2}, // another member's, elsewhere
		{"2001:db8:dead::7", 2},
		{"10.42.6.7", 2},
		{"192.0.3.7", 2},
	} {
		if got := send(c.source, c.refused); got != c.refused {
			t.Errorf("source %s: %d of 2 packets refused, want %d", c.source, got, c.refused)
		}
	}
	for _, word := range []string{"exempt", "only"} {
		must(t, edge.Put(edgeOf(word)))
		if got := send("2001:db8:dead::7", 0); got != 0 {
			t.Errorf("%s: %d packets of an interface that is not judged were refused", word, got)
		}
	}

	// Our own outer packets never have a source of the mesh, whatever others have.
	must(t, edge.Put(edgeOf("plain")))
	const ping = "-c 1 -W 1 -I 2001:db8:42:10::1 "
	if out, err := exec.Command("ping", strings.Fields(ping+"-m 28214 2001:db8:42:30::1")...).CombinedOutput(); err == nil {
		t.Errorf("a marked packet with a source of the mesh got through: %s", out)
	}
	if n, err := edge.Dropped(); err != nil || n[countOuter] == 0 || n[countEdge] != 8 {
		t.Errorf("refused since the beginning %v, %v; want outer ones, and 8", n, err)
	}
	run(t, "ping", "-c 1 -W 10 -I 2001:db8:42:10::1 2001:db8:42:30::1")

	// What our kernel says of an outer packet stays out, what it says as a router does
	// not.
	run(t, "ip", "netns exec far bash -c echo>/dev/udp/192.0.2.1/6400")
	await(t, "the error about an outer packet to be refused", 10*time.Second, func() bool {
		n, err := edge.Dropped()
		must(t, err)
		return n[countAbout] == 1
	})
	if out, _ := exec.Command("ip", "netns", "exec", "far", "ping", "-c", "1", "-W", "5", "-t", "1", "10.42.5.7").CombinedOutput(); !strings.Contains(string(out), "From 192.0.2.1 ") {
		t.Errorf("the end of a packet's life was not told: %s", out)
	}

	// What another program flushes is put back, and what dies is removed.
	run(t, "nft", "flush ruleset")
	must(t, edge.Put(edgeOf("plain")))
	if got := send("2001:db8:dead::7", 2); got != 2 {
		t.Errorf("after a flush %d packets were refused, want 2", got)
	}
	must(t, RemoveEdge(edgeOf("plain").Instance))
	must(t, RemoveEdge(edgeOf("plain").Instance)) // nothing left
	if after := ruleset(t); after != before {
		t.Errorf("afterwards:\n%s", after)
	}
}
