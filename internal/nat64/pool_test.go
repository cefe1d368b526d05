package nat64

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// number is the address of host n in network m.
func number(m, n int) *[16]byte {
	a := [16]byte{0x20, 1, 0xd, 0xb8, 0, 0x42}
	binary.BigEndian.PutUint16(a[6:], uint16(m))
	binary.BigEndian.PutUint32(a[12:], uint32(n))
	return &a
}

func TestPool_GivesTheLeastUsed(t *testing.T) {
	p := newPool(netip.MustParsePrefix("240.64.0.0/29")) // five addresses, four of one /64
	now := start
	for m := range 5 {
		if a, ok := p.use(now, number(m, 1)); !ok || a != p.base+2+uint32(m) {
			t.Fatalf("source %d got %d, %v", m, a-p.base, ok)
		}
		now = now.Add(time.Minute)
	}
	if _, ok := p.use(now, number(9, 1)); ok {
		t.Error("an address was taken from one who may still need it")
	}
	p.use(now, number(0, 1)) // is used again
	now = start.Add(idleMin + time.Minute)
	a, ok := p.use(now, number(9, 1))
	if !ok || a != p.base+3 {
		t.Errorf("got %d, %v, want that of source 1, which was silent for the longest", a-p.base, ok)
	}
	if _, ok := p.find(number(1, 1)); ok {
		t.Error("two have one address")
	}
	if s, ok := p.source(a); !ok || *s != *number(9, 1) {
		t.Error("the address leads to another")
	}
}

// One member who makes up sources takes nothing from others.
func TestPool_OneNetworkTakesFromItself(t *testing.T) {
	p := newPool(netip.MustParsePrefix(DefaultPool))
	victim := number(1, 1)
	mine, _ := p.use(start, victim)
	for n := range 5 * perNetworkMax {
		if _, ok := p.use(start.Add(time.Duration(n)*time.Millisecond), number(2, n)); !ok {
			t.Fatal("refused")
		}
	}
	if n := len(p.network[[8]byte(number(2, 0)[:8])]); n != perNetworkMax || len(p.entries) != firstIndex+perNetworkMax+1 {
		t.Errorf("it has %d, and there are %d", n, len(p.entries))
	}
	if a, ok := p.find(victim); !ok || a != mine {
		t.Error("another lost its address")
	}
}

// However it is used: one address for a source, one source for an address, and
// never more than there are.
func TestPool_Invariants(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p := newPool(netip.MustParsePrefix("240.64.0.0/28"))
		now := start
		for range rapid.IntRange(1, 200).Draw(r, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 7200).Draw(r, "seconds")) * time.Second)
			s := number(rapid.IntRange(0, 3).Draw(r, "network"), rapid.IntRange(0, 12).Draw(r, "host"))
			a, ok := p.use(now, s)
			if !ok {
				continue
			}
			if a < p.base+firstIndex || a >= p.base+p.size-1 {
				r.Fatalf("address %d", a-p.base)
			}
			seen := map[uint32]bool{}
			for source, i := range p.index {
				if back, ok := p.source(p.base + i); !ok || *back != source || seen[i] {
					r.Fatalf("%x has %d, which leads to %x", source, i, back)
				}
				seen[i] = true
			}
			linked := 0
			for i := p.newest; i != 0; i = p.entries[i].older {
				linked++
			}
			if linked != len(p.index) {
				r.Fatalf("%d in the list, %d mapped", linked, len(p.index))
			}
		}
	})
}
