package wire

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// golden is a packet that some implementation sent, and what it says. In
// testdata/*.txt, with empty lines between:
//
//	what it is
//	from SOURCE to DESTINATION
//	hex, in any number of lines
//	| a TLV
type golden struct {
	file, name string
	from, to   netip.Addr
	packet     []byte
	want       []string
}

func goldens(t testing.TB) []golden {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	var all []golden
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
			if strings.HasPrefix(part, "#") {
				continue
			}
			g, err := parseGolden(part)
			if err != nil {
				t.Fatalf("%s: %v in\n%s", file, err, part)
			}
			g.file = strings.TrimSuffix(filepath.Base(file), ".txt")
			all = append(all, g)
		}
	}
	return all
}

func parseGolden(text string) (g golden, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 3 {
		return g, fmt.Errorf("%d lines", len(lines))
	}
	g.name = lines[0]
	var from, to string
	if _, err := fmt.Sscanf(lines[1], "from %s to %s", &from, &to); err != nil {
		return g, err
	}
	if g.from, err = netip.ParseAddr(from); err != nil {
		return g, err
	}
	if g.to, err = netip.ParseAddr(to); err != nil {
		return g, err
	}
	var digits string
	for _, l := range lines[2:] {
		if tlv, ok := strings.CutPrefix(l, "| "); ok {
			g.want = append(g.want, tlv)
		} else {
			digits += l
		}
	}
	g.packet, err = hex.DecodeString(digits)
	return g, err
}

// line writes a TLV for people.
func line(tlv TLV) string {
	switch t := tlv.(type) {
	case *AckRequest:
		return fmt.Sprintf("ack request %04x within %v", t.Opaque, t.Interval.Duration())
	case *Ack:
		return fmt.Sprintf("ack %04x", t.Opaque)
	case *Hello:
		s := fmt.Sprintf("hello %d interval %v", t.Seqno, t.Interval.Duration())
		if t.Unicast {
			s = "unicast " + s
		}
		if t.Timestamp.Present {
			s += fmt.Sprintf(" sent %d", t.Timestamp.Transmit)
		}
		return s
	case *IHU:
		s := fmt.Sprintf("ihu %v rxcost %d interval %v", t.Address, t.RxCost, t.Interval.Duration())
		if t.Echo.Present {
			s += fmt.Sprintf(" origin %d received %d", t.Echo.Origin, t.Echo.Receive)
		}
		return s
	case *Update:
		if t.AE == AEWildcard {
			return "retract everything"
		}
		s := fmt.Sprintf("update AE %d %v", t.AE, t.Prefix)
		if t.From.IsValid() {
			s += fmt.Sprintf(" from %v", t.From)
		}
		s += fmt.Sprintf(" interval %v seqno %d metric %d", t.Interval.Duration(), t.Seqno, t.Metric)
		if t.RouterID != (RouterID{}) {
			s += fmt.Sprintf(" id %v", t.RouterID)
		}
		if t.NextHop.IsValid() {
			s += fmt.Sprintf(" via %v", t.NextHop)
		}
		return s
	case *RouteRequest:
		return "route request" + prefixes(t.Prefix, t.From)
	case *SeqnoRequest:
		return fmt.Sprintf("seqno request%s seqno %d id %v hops %d", prefixes(t.Prefix, t.From), t.Seqno, t.RouterID, t.HopCount)
	}
	return fmt.Sprintf("%T", tlv)
}

func prefixes(p, from netip.Prefix) string {
	switch {
	case !p.IsValid():
		return " for all"
	case from.IsValid():
		return fmt.Sprintf(" %v from %v", p, from)
	}
	return " " + p.String()
}

// say lists what is in a packet.
func say(b []byte, from netip.Addr) []string {
	var d Decoder
	p := d.Parse(b, from)
	var lines []string
	for _, tlv := range p.TLVs {
		lines = append(lines, line(tlv))
	}
	if p.Ignored > 0 {
		lines = append(lines, fmt.Sprintf("%d ignored", p.Ignored))
	}
	if len(p.Trailer) > 0 {
		lines = append(lines, fmt.Sprintf("trailer of %d octets", len(p.Trailer)))
	}
	if p.Err != nil {
		lines = append(lines, "error: "+p.Err.Error())
	}
	return lines
}

// What others and we have sent is read as it was meant.
func TestGoldenPackets(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(g.file+"/"+g.name, func(t *testing.T) {
			if got := say(g.packet, g.from); strings.Join(got, "\n") != strings.Join(g.want, "\n") {
				t.Errorf("read\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(g.want, "\n"))
			}
		})
	}
}

// Cut anywhere, a packet is read without harm; and if its header says so as well,
// what was before the cut is read as it was.
func TestGoldenPacketsTruncated(t *testing.T) {
	for _, g := range goldens(t) {
		whole := say(g.packet, g.from)
		for n := range len(g.packet) {
			say(g.packet[:n], g.from)
			if n < HeaderLen {
				continue
			}
			cut := bytes.Clone(g.packet[:n])
			cut[2], cut[3] = byte((n-HeaderLen)>>8), byte(n-HeaderLen)
			for i, l := range say(cut, g.from) {
				isTLV := !strings.Contains(l, "ignored") && !strings.HasPrefix(l, "error: ") && !strings.HasPrefix(l, "trailer")
				if isTLV && (i >= len(whole) || whole[i] != l) {
					t.Errorf("%s, %s: cut to %d octets, TLV %d is %q", g.file, g.name, n, i, l)
				}
			}
		}
	}
}

// What was read and is written again says the same; our own packets are the same
// octet by octet. (Whoever changes the encoder on purpose captures them again.)
func TestGoldenPacketsAgain(t *testing.T) {
	for _, g := range goldens(t) {
		var d Decoder
		p := d.Parse(g.packet, g.from)
		enc := NewEncoder(4096)
		for _, tlv := range p.TLVs {
			if u, ok := tlv.(*Update); ok && u.NextHop == g.from {
				u.NextHop = netip.Addr{} // the default
			}
			if !enc.Add(tlv) {
				t.Fatalf("%s, %s: does not fit", g.file, g.name)
			}
		}
		b := enc.Bytes()
		if strings.HasPrefix(g.file, "re6st") && !bytes.Equal(b, g.packet) {
			t.Errorf("%s, %s: written again it is\n%x, was\n%x", g.file, g.name, b, g.packet)
		}
		if got, want := meaning(b, g.from), meaning(g.packet, g.from); got != want {
			t.Errorf("%s, %s: written again it says\n%swant\n%s", g.file, g.name, got, want)
		}
	}
}

// meaning leaves out of a retraction what has none: its next hop, and which of
// the encodings of IPv4 it uses.
func meaning(b []byte, from netip.Addr) string {
	var d Decoder
	var all strings.Builder
	for _, tlv := range d.Parse(b, from).TLVs {
		if u, ok := tlv.(*Update); ok && u.Metric == Infinity && u.AE != AEWildcard {
			u.NextHop, u.AE = netip.Addr{}, 0
			fmt.Fprintf(&all, "retract %+v\n", *u)
			continue
		}
		all.WriteString(line(tlv) + "\n")
	}
	return all.String()
}
