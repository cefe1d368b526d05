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
	ours, theirs := newNodeOf(t, "a", Userspace), newNodeOf(t, "b", kind())
	join(t, ours, theirs)
	a, b := ours.create("re6st-0000000a", "fe80::a:1"), theirs.create("re6st-0000000b", "fe80::b:1")
	psk := newKey(t)
	b.peer(a, psk, "")
	a.peer(b, psk, "192.0.2.2:%d")
	a.awaitHandshake(time.Time{})
	ours.run("ip addr add 10.42.0.1/24 dev re6st-0000000a")
	theirs.run("ip addr add 10.42.0.2/24 dev re6st-0000000b")
	for _, way := range []struct {
		from, to *node
		address  string
	}{{ours, theirs, "10.42.0.2"}, {theirs, ours, "10.42.0.1"}} {
		testMarks(t, way.from, way.to, way.address)
	}
}

// testMarks sends echo requests. Their outer packets get a mark before they leave, and
// both are counted where they arrive.
func testMarks(t *testing.T, from, to *node, address string) {
	t.Helper()
	names := []string{"not-ect", "ect1", "ect0", "ce"}
	encapsulated := [4]int{0, 1, 2, 2}                                                // RFC 3168 §9.1.1
	decapsulated := [4][4]int{{0, 0, 0, 0}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}} // RFC 6040, figure 4, without its drop
	for outer := -1; outer < len(names); outer++ {
		set := "" // as the tunnel writes it
		if outer >= 0 {
			set = " ; add rule ip marks out oifname eth0 udp length 136 ip ecn set " + names[outer]
		}
		from.run("nft add table ip marks ; delete table ip marks ; add table ip marks ; " +
			"add chain ip marks out { type filter hook output priority 0 ; }" + set)
		for inner, name := range names {
			around, inside := encapsulated[inner], inner
			if outer >= 0 {
				around, inside = outer, decapsulated[inner][outer]
			}
			to.run("nft add table ip marks ; delete table ip marks ; add table ip marks ; " +
				"add chain ip marks in { type filter hook input priority 0 ; } ; " +
				"add rule ip marks in iifname eth0 udp length 136 ip ecn " + names[around] + " counter ; " +
				"add rule ip marks in icmp type echo-request ip ecn " + names[inside] + " counter")
			from.run(fmt.Sprintf("ping -c 1 -W 10 -Q %d %s", inner, address))
			if out := to.run("nft list table ip marks"); strings.Count(out, "counter packets 1 ") != 2 {
				t.Errorf("%s to %s: %s, marked %d: not %s in %s:\n%s", from.name, to.name, name, outer, names[inside], names[around], out)
			}
		}
		from.run("nft delete table ip marks")
	}
	to.run("nft delete table ip marks")
}
