package oracle

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"testing"
	"time"

	"re6st/internal/lab"
	"re6st/internal/lab/packets"
	"re6st/tunnel/wg"
)

const (
	notECT = 0
	ect1   = 1
	ect0   = 2
	ce     = 3
)

// ecnPacket goes from tunnel 1 to 2.
func ecnPacket(is6 bool, mark byte, number int) packets.Packet {
	from, to := "10.42.16.7", "10.42.32.7"
	if is6 {
		from, to = "2001:db8:42:11::7", "2001:db8:42:12::7"
	}
	src, dst := netip.MustParseAddr(from), netip.MustParseAddr(to)
	return packets.Packet{Bytes: packets.UDP(src, dst, mark, []byte(fmt.Sprintf("%s %d.", ecnMagic, number)))}
}

const ecnMagic = "re6st-ecn"

// names are nft's of the codepoints.
var names = [4]string{notECT: "not-ect", ect1: "ect1", ect0: "ect0", ce: "ce"}

// decapsulated[inner][outer] is RFC 6040, figure 4, but that a packet without ECN in one
// with CE is forwarded as it was: so does WireGuard in the kernel.
var decapsulated = [4][4]byte{
	notECT: {notECT, notECT, notECT, notECT},
	ect1:   {ect1, ect1, ect1, ce},
	ect0:   {ect0, ect1, ect0, ce},
	ce:     {ce, ce, ce, ce},
}

// A congestion mark that the outer packet got on its way arrives on the inner one,
// but for a sender that does not know of ECN; and what the inner packet says the
// outer one says too, but for CE, which Linux writes as ECT(0) (RFC 3168 §9.1.1). With
// the shortcut as without, and userspace tunnels as the kernel's.
func TestP13_ECN(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := ways(t, map[bool]string{true: "tunnels", false: "process"}[lab.Backend() == wg.Kernel])
	for _, on := range []bool{false, true} {
		lab.Must(t, w.shortcut(on))
		for outer := range decapsulated[0] {
			lab.Must(t, nft("add table inet marks", "delete table inet marks", "table inet marks {",
				"chain out { type filter hook output priority 0;",
				"udp sport 40001 ip ecn set "+names[outer]+";", "}", "}")()) // what peer 1 sends
			for _, is6 := range []bool{false, true} {
				for inner := range decapsulated {
					want := decapsulated[inner][outer]
					if got := w.ecnOf(ecnPacket(is6, byte(inner), w.number())); got != want {
						t.Errorf("shortcut %t, IPv6 %t: %s in %s came out as %s, want %s", on, is6, names[inner], names[outer], names[got], names[want])
					}
				}
			}
		}
		w.testOuterMarks()
	}
}

func (w *world) number() int { w.round++; return w.round }

// ecnOf sends the packet and gives the mark with which it comes out.
func (w *world) ecnOf(p packets.Packet) byte {
	w.t.Helper()
	lab.Must(w.t, w.ports[0].inject(p))
	text := p.Bytes[len(p.Bytes)-12:]
	for deadline := time.Now().Add(lab.Slow(10 * time.Second)); time.Now().Before(deadline); w.await() {
		for _, o := range w.drain() {
			if o.port != "t2" || !bytes.HasSuffix(o.packet, text) {
				continue
			}
			if o.packet[0]>>4 == 4 {
				return o.packet[1] & 3
			}
			return o.packet[1] >> 4 & 3
		}
	}
	w.t.Fatalf("%x did not come out", p.Bytes)
	return 0
}

// testOuterMarks looks at what the relay sends to peer 2.
func (w *world) testOuterMarks() {
	w.t.Helper()
	for mark, outer := range [4]byte{notECT: notECT, ect1: ect1, ect0: ect0, ce: ect0} {
		lab.Must(w.t, nft("add table inet marks", "delete table inet marks", "table inet marks {",
			"chain in { type filter hook input priority 0;", "udp dport 40002 ip ecn "+names[outer]+" counter;", "}", "}")())
		for range 10 {
			w.ecnOf(ecnPacket(true, byte(mark), w.number()))
		}
		if out := lab.Command(w.t, "nft list table inet marks"); !regexp.MustCompile(`packets [1-9]\d`).MatchString(out) {
			w.t.Errorf("inner %s: the outer packets were not marked so:\n%s", names[mark], out)
		}
	}
}
