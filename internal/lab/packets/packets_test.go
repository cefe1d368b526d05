package packets

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

func plan() Plan {
	return Plan{
		V6:      Ends{addresses("member", "2001:db8:42:1::1"), addresses("member", "2001:db8:42:2::1", "nobody", "2001:db8:42:ff::1")},
		V4:      Ends{addresses("member", "10.42.1.1"), addresses("member", "10.42.2.1")},
		MTUs:    []int{1420, 1280},
		Offload: true,
	}
}

// The same seed gives the same packets, another one others.
func TestDeterministic(t *testing.T) {
	a, b, other := New(plan(), 7), New(plan(), 7), New(plan(), 8)
	same := 0
	for i := range 5000 {
		x, y, z := a.Next(), b.Next(), other.Next()
		if x.What != y.What || !bytes.Equal(x.Bytes, y.Bytes) || x.Offload != y.Offload {
			t.Fatalf("packet %d: %s, and then %s", i, x.What, y.What)
		}
		if bytes.Equal(x.Bytes, z.Bytes) {
			same++
		}
	}
	if same > 100 {
		t.Errorf("of 5000 packets of another seed %d are the same", same)
	}
}

// What carries no lie is as the RFCs want it, but for what was asked for.
func TestOrdinaryPackets(t *testing.T) {
	g := New(plan(), 1)
	for range 20000 {
		p := g.Next()
		if strings.Contains(p.What, "lie ") || strings.Contains(p.What, "spoilt") {
			continue
		}
		b := p.Bytes
		switch b[0] >> 4 {
		case 4:
			head := int(b[0]&15) * 4
			if int(binary.BigEndian.Uint16(b[2:])) != len(b) || fold(add(0, b[:head])) != 0xffff {
				t.Fatalf("%s: %x", p.What, b[:min(len(b), 60)])
			}
		case 6:
			if int(binary.BigEndian.Uint16(b[4:]))+header6 != len(b) {
				t.Fatalf("%s: %x", p.What, b[:min(len(b), 60)])
			}
		default:
			t.Fatalf("%s: %x", p.What, b[:min(len(b), 60)])
		}
		if o := p.Offload; o.Partial && (o.Start < header4 || o.Header > len(b) || o.Start+o.Checksum+2 > len(b)) {
			t.Fatalf("%s: %+v for %d bytes", p.What, o, len(b))
		}
	}
}

// Every kind of which this package speaks comes up often enough to be tested.
func TestAllKindsComeUp(t *testing.T) {
	const n = 10000
	g := New(plan(), 1)
	seen := map[string]int{}
	for range n {
		p := g.Next()
		for what := range strings.SplitSeq(p.What, ", ") {
			seen[what]++
		}
		if len(p.Bytes) > 0 {
			seen[fmt.Sprintf("version %d", p.Bytes[0]>>4)]++
		}
		if strings.Count(p.What, ", ") == 0 {
			seen["ordinary"]++
		}
		if p.Offload.Segment > 0 {
			seen["segmented"]++
		}
	}
	for _, want := range []string{
		"version 4", "version 6", "ordinary", "segmented", "hop limit 0", "hop limit 1", "hop limit 2", "hop limit 255",
		"length 1420", "length 1421", "length 1280", "length 1281", "length 576", "source link-local fe80::1234",
		"destination all nodes ff02::1", "source loopback ::1", "source multicast 224.0.0.1", "destination broadcast 255.255.255.255",
		"first fragment", "tiny first fragment", "middle fragment", "last fragment", "header 0", "header 60", "header 43", "header 44",
		"header 51", "header 50", "transport checksum 1", "transport checksum 2", "DF true", "DF false", "protocol 58 error true",
		"protocol 1 error true", "protocol 59 error false", "lie 0 of the header", "lie 6 of the header", "lie 11 of the header",
	} {
		// Notes that are the number's prefix count too.
		count := 0
		for what, c := range seen {
			if what == want || strings.HasSuffix(what, ": "+want) {
				count += c
			}
		}
		if count < 5 {
			t.Errorf("%q: %d of %d", want, count, n)
		}
	}
}

// No combination of twists and lies is too much.
func TestManySeeds(t *testing.T) {
	for seed := range uint64(10) {
		g := New(plan(), seed)
		for range 3000 {
			if p := g.Next(); len(p.Bytes) > 66000 {
				t.Fatalf("%s: %d bytes", p.What, len(p.Bytes))
			}
		}
	}
}
