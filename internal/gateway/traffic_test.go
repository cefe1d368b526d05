package gateway

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// inside makes a host of the mesh, 2001:db8:42::2 and 10.42.0.2, at the end of a
// tunnel that carries less than the links.
func inside(t *testing.T) {
	t.Helper()
	run(t, "ip", "netns add in")
	t.Cleanup(func() { run(t, "ip", "netns del in") })
	run(t, "ip", "link add re6st-00000001 type veth peer name tun netns in")
	for _, args := range []string{
		"link set re6st-00000001 mtu 1280 up", "addr add fe80::1/64 dev re6st-00000001 nodad",
		"-6 route add 2001:db8:42::2/128 via fe80::2 dev re6st-00000001", "addr add 10.42.0.1/24 dev re6st-00000001",
		"-n in link set lo up", "-n in link set tun up", "-n in addr add fe80::2/64 dev tun nodad",
		"-n in addr add 2001:db8:42::2/128 dev lo nodad", "-n in addr add 2001:db8:bad::2/128 dev lo nodad", "-n in addr add 10.42.0.2/24 dev tun",
		"-n in -6 route add default via fe80::1 dev tun src 2001:db8:42::2", "-n in -4 route add default via 10.42.0.1",
		"-n isp -6 route add 2001:db8:42::/48 via 2001:db8:f::2", "-n isp -6 route add 2001:db8:bad::/48 via 2001:db8:f::2", "-n isp -4 route add 10.42.0.0/16 via 192.0.2.2",
	} {
		run(t, "ip", args)
	}
	for _, path := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		must(t, os.WriteFile("/proc/sys/"+path, []byte("1"), 0))
	}
}

// tries runs a command in a namespace and says whether it succeeded.
func tries(namespace string, args ...string) bool {
	return exec.Command("ip", append([]string{"netns", "exec", namespace}, args...)...).Run() == nil
}

func pings(namespace, to string, more ...string) bool {
	return tries(namespace, append([]string{"ping", "-q", "-c", "1", "-W", "1", to}, more...)...)
}

// knock sends a SYN; nobody listens.
func knock(namespace, to string) {
	tries(namespace, "timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/"+to+"/80")
}

// watchIn counts, in a namespace, what matches each of the expressions.
func watchIn(t *testing.T, namespace string, matches ...string) (counted func(n int) int) {
	t.Helper()
	script := "table inet watch { chain in { type filter hook prerouting priority -300;\n"
	for _, m := range matches {
		script += m + " counter\n"
	}
	path := t.TempDir() + "/watch"
	must(t, os.WriteFile(path, []byte(script+"}\n}\n"), 0o600))
	run(t, "ip", "netns exec "+namespace+" nft -f "+path)
	t.Cleanup(func() { tries(namespace, "nft", "delete", "table", "inet", "watch") })
	return func(n int) int {
		all := regexp.MustCompile(`counter packets (\d+)`).FindAllStringSubmatch(run(t, "ip", "netns exec "+namespace+" nft list table inet watch"), -1)
		packets, _ := strconv.Atoi(all[n][1])
		return packets
	}
}

// What the table lets through and what not, with real packets.
func TestTrafficThroughTheTable(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	provider(t)
	inside(t)
	const server6, server4, own6, own4 = "2001:db8:1::1", "198.51.100.1", "2001:db8:42::2", "10.42.0.2"
	atServer := watchIn(t, "isp", "ip6 saddr "+own6, "ip6 saddr 2001:db8:f::2 meta l4proto ipv6-icmp icmpv6 type echo-request", "ip saddr 192.0.2.2 icmp type echo-request",
		"ip6 saddr 2001:db8:bad::/48", "tcp flags syn tcp option maxseg size 1220", "tcp flags syn tcp option maxseg size > 1220", "ip saddr 10.42.0.0/16")
	atHost := watchIn(t, "in", "tcp flags syn")
	config := content{mesh: prefixes("2001:db8:42::/48", "10.42.0.0/16"), uplinks: []string{"eth0"}, masq4: true, mss: true}
	mustPut(t, config)

	for _, to := range []string{server6, server4} {
		await(t, to+" answers the mesh", 15*time.Second, func() bool { return pings("in", to) })
	}
	if atServer(0) == 0 || atServer(2) == 0 || atServer(6) != 0 {
		t.Errorf("routed IPv6 %d, masqueraded IPv4 %d, IPv4 as it was %d", atServer(0), atServer(2), atServer(6))
	}
	if pings("in", server6, "-I", "2001:db8:bad::2") || atServer(3) != 0 {
		t.Errorf("a foreign source got out: %d packets", atServer(3))
	}
	knock("in", server6)
	if atServer(4) == 0 || atServer(5) != 0 {
		t.Errorf("SYNs with the tunnel's segment size %d, with a larger one %d", atServer(4), atServer(5))
	}
	knock("isp", own6)
	knock("isp", own4)
	if pings("isp", own6) || pings("isp", own4) || atHost(0) != 0 {
		t.Errorf("what nobody asked for came in: %d SYNs", atHost(0))
	}
	n, err := counts(instance)
	must(t, err)
	if n[countForeign] == 0 || n[countInbound] < 4 {
		t.Errorf("counted %v", n)
	}

	config.letIn = true
	mustPut(t, config)
	await(t, "an answer to the outside, where all is let in", 15*time.Second, func() bool { return pings("isp", own6) })
	run(t, "ip", "-n isp addr add 2001:db8:42:bad::1/128 dev lo nodad")
	if pings("isp", own6, "-I", "2001:db8:42:bad::1") {
		t.Error("who claims to be of the mesh is let in from outside")
	}
	if n, err = counts(instance); err != nil || n[countSpoofed] == 0 {
		t.Errorf("counted %v, %v", n, err)
	}
	config.local = prefixes("2001:db8:42:bad::/64")
	mustPut(t, config)
	tries("isp", "ping", "-q", "-c", "1", "-W", "1", "-I", "2001:db8:42:bad::1", own6)
	if n, err = counts(instance); err != nil || n[countSpoofed] != 0 {
		t.Errorf("a neighbour with an address of the mesh is refused: %v, %v", n, err)
	}

	config.masq6, config.letIn, config.local = true, false, nil
	mustPut(t, config)
	await(t, "an answer to masqueraded IPv6", 15*time.Second, func() bool { return pings("in", server6) })
	if atServer(1) == 0 {
		t.Error("IPv6 is not masqueraded")
	}
	// Another instance's tunnel is not ours to judge.
	config.others = []string{"re6st-00000001"}
	mustPut(t, config)
	before := atServer(3)
	pings("in", server6, "-I", "2001:db8:bad::2")
	if atServer(3) == before {
		t.Error("another instance's packets are dropped")
	}
	must(t, remove(instance))
}
