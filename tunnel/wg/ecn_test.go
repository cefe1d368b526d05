package wg

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Ours and another end, the kernel's in the kernel lane, do the same with congestion
// marks: every codepoint in every other, both ways.
func TestP13_BothEndsDoTheSame(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	t.Run("over IPv4", func(t *testing.T) { testMarks(t, "192.0.2.2:%d", "ip", -1, 0, 1, 2, 3) })
	t.Run("over IPv6", func(t *testing.T) { testMarks(t, "[fe80::b%%eth0]:%d", "ip6", -1, 3) })
}

// testMarks has a tunnel by that endpoint; family is nft's name of the underlay's, and
// marks are those that outer packets get, -1 for none.
func testMarks(t *testing.T, endpoint, family string, marks ...int) {
	ours, theirs := newNodeOf(t, "a", Userspace), newNodeOf(t, "b", kind())
	join(t, ours, theirs)
	a, b := ours.create("re6st-0000000a", "fe80::a:1"), theirs.create("re6st-0000000b", "fe80::b:1")
	psk := newKey(t)
	b.peer(a, psk, "")
	a.peer(b, psk, endpoint)
	a.awaitHandshake(time.Time{})
	ours.run("ip addr add 10.42.0.1/24 dev re6st-0000000a")
	theirs.run("ip addr add 10.42.0.2/24 dev re6st-0000000b")
	sendMarked(t, ours, theirs, "10.42.0.2", family, marks)
	sendMarked(t, theirs, ours, "10.42.0.1", family, marks)
}

// sendMarked sends echo requests. Their outer packets get a mark before they leave, and
// both are counted where they arrive.
func sendMarked(t *testing.T, from, to *node, address, family string, marks []int) {
	t.Helper()
	names := []string{"not-ect", "ect1", "ect0", "ce"}
	encapsulated := [4]int{0, 1, 2, 2}                                                // RFC 3168 §9.1.1
	decapsulated := [4][4]int{{0, 0, 0, 0}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}} // RFC 6040, figure 4, without its drop
	const table = "nft add table inet marks ; delete table inet marks ; add table inet marks ; "
	const request = "udp length 136" // a datagram with such a request in it
	for _, outer := range marks {
		set := "" // as the tunnel writes it
		if outer >= 0 {
			set = fmt.Sprintf("add rule inet marks out oifname eth0 %s %s ecn set %s", request, family, names[outer])
		}
		from.run(table + "add chain inet marks out { type filter hook output priority 0 ; } ; " + set)
		for inner, name := range names {
			around, inside := encapsulated[inner], inner
			if outer >= 0 {
				around, inside = outer, decapsulated[inner][outer]
			}
			to.run(table + "add chain inet marks in { type filter hook input priority 0 ; } ; " +
				fmt.Sprintf("add rule inet marks in iifname eth0 %s %s ecn %s counter ; ", request, family, names[around]) +
				"add rule inet marks in icmp type echo-request ip ecn " + names[inside] + " counter")
			from.run(fmt.Sprintf("ping -c 1 -W 10 -Q %d %s", inner, address))
			if out := to.run("nft list table inet marks"); strings.Count(out, "counter packets 1 ") != 2 {
				t.Errorf("%s to %s: %s, marked %d: not %s in %s:\n%s", from.name, to.name, name, outer, names[inside], names[around], out)
			}
		}
		from.run("nft delete table inet marks")
	}
	to.run("nft delete table inet marks")
}
