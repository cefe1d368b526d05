package addressing

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Space against a plain list, through any sequence of operations. The network
// is so small that overlaps are the rule.
func TestSpaceIsAList(t *testing.T) {
	networks := []string{
		"2001:db8:42:10::/60", "2001:db8:42::ff00/120", "10.42.0.0/26", "255.255.255.0/24",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120",
	}
	rapid.Check(t, func(t *rapid.T) {
		modelOf(t, prefix(rapid.SampledFrom(networks).Draw(t, "network")))
	})
}

func modelOf(t *rapid.T, network netip.Prefix) {
	s := NewSpace(network)
	var list []netip.Prefix
	draw := func(t *rapid.T) netip.Prefix {
		b := network.Addr().AsSlice()
		at := network.Bits() / 8
		b[at] |= rapid.Byte().Draw(t, "byte") & (0xff >> (network.Bits() % 8))
		a, _ := netip.AddrFromSlice(b)
		return netip.PrefixFrom(a, network.Bits()+rapid.IntRange(0, 6).Draw(t, "extra")).Masked()
	}
	overlaps := func(p netip.Prefix) bool { return slices.ContainsFunc(list, p.Overlaps) }
	t.Repeat(map[string]func(*rapid.T){
		"insert": func(t *rapid.T) {
			p := draw(t)
			err := s.Insert(p)
			if taken := overlaps(p); taken != errors.Is(err, ErrOverlap) || taken != (err != nil) {
				t.Fatalf("Insert(%v): %v, taken %v", p, err, list)
			}
			if err == nil {
				list = append(list, p)
			}
		},
		"remove": func(t *rapid.T) {
			p := draw(t)
			at := slices.Index(list, p)
			if s.Remove(p) != (at >= 0) {
				t.Fatalf("Remove(%v), taken %v", p, list)
			}
			if at >= 0 {
				list = slices.Delete(list, at, at+1)
			}
		},
		"pick": func(t *rapid.T) {
			length := network.Bits() + rapid.IntRange(0, 6).Draw(t, "extra")
			p, err := s.Pick(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), length)
			if err == nil && (overlaps(p) || p.Bits() != length || !Covers(network, p)) {
				t.Fatalf("Pick(%d) = %v, taken %v", length, p, list)
			}
		},
		"": func(t *rapid.T) {
			p := draw(t)
			if s.Len() != len(list) || s.Contains(p) != slices.Contains(list, p) || s.Overlaps(p) != overlaps(p) {
				t.Fatalf("of %v: %d, %v, %v; taken %v", p, s.Len(), s.Contains(p), s.Overlaps(p), list)
			}
		},
	})
}

// Ten thousand leases of mixed lengths, then the space is filled to the last
// prefix: both ways of picking at the size of a large network.
func TestZ8_TenThousandLeases(t *testing.T) {
	s := NewSpace(prefix("2001:db8:42::/48"))
	r := rand.New(rand.NewPCG(9, 10))
	start := time.Now()
	for i := range 10_000 {
		length := []int{64, 64, 64, 63, 67, 75, 128, 96}[i%8]
		p, err := s.Pick(r, length)
		if err != nil {
			t.Fatalf("lease %d, a /%d: %v", i, length, err)
		}
		if err := s.Insert(p); err != nil {
			t.Fatal(err)
		}
	}
	mixed := time.Since(start)
	start = time.Now()
	blocks := 0
	for ; ; blocks++ { // all /60 that are left
		p, err := s.Pick(r, 60)
		if errors.Is(err, ErrExhausted) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Insert(p); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("10,000 leases in %v, then %d /60 in %v until none was left", mixed, blocks, time.Since(start))
	for i := 1; i < len(s.taken); i++ {
		if s.taken[i].first.less(s.taken[i-1].end()) {
			t.Fatalf("leases %d and %d overlap", i-1, i)
		}
	}
}
