package addressing

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestRouterIDOf(t *testing.T) {
	for _, test := range []struct{ name, prefix, want string }{
		{"a /64 is its own", "2001:db8:42:1::/64", "2001:0db8:0042:0001"},
		{"bits after the length do not count", "2001:db8:42:1::5/64", "2001:0db8:0042:0001"},
		{"a shorter prefix begins with zeros", "2001:db8:42:100::/56", "2001:0db8:0042:0100"},
		{"all bits count", "fd42::/16", "fd42:0000:0000:0000"},
		// The hashes are fixed for ever: nodes of all versions must agree. They
		// were computed by another program.
		{"a /65 is hashed", "2001:db8:42:1::/65", "e0f2:bee4:dcba:1112"},
		{"the length is part of the hash", "2001:db8:42:1::/66", "3252:2de9:a0ea:0513"},
		{"all zeros are hashed", "::/64", "da26:14aa:4203:6843"},
		{"all ones are hashed", "ffff:ffff:ffff:ffff::/64", "26c1:a3d0:7510:28aa"},
		{"IPv4 is hashed", "10.42.0.0/24", "d70d:e866:57ab:b225"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := RouterIDOf(netip.MustParsePrefix(test.prefix)).String(); got != test.want {
				t.Errorf("RouterIDOf(%s) = %s, want %s", test.prefix, got, test.want)
			}
		})
	}
	if id := RouterIDOf(netip.Prefix{}); id != (RouterID{}) || id.IsValid() {
		t.Errorf("the zero prefix has router-id %v, want the invalid one", id)
	}
}

// Leases inside one /64 share the first 64 bits, and still get router-ids of
// their own.
func TestZ8_DistinctRouterIDsInOneSlash64(t *testing.T) {
	for _, length := range []int{67, 75, 96, 127, 128} {
		space := NewSpace(netip.MustParsePrefix("2001:db8:42:7::/64"))
		seen := map[RouterID]netip.Prefix{}
		r := rand.New(rand.NewPCG(1, uint64(length)))
		leases := 10
		if length == 67 {
			leases = 7 // all but the one that holds the network's first address
		}
		for range leases {
			p, err := space.Pick(r, length)
			if err != nil {
				t.Fatal(err)
			}
			if err := space.Insert(p); err != nil {
				t.Fatal(err)
			}
			id := RouterIDOf(p)
			if other, ok := seen[id]; ok || !id.IsValid() {
				t.Errorf("%v has router-id %v, as has %v", p, id, other)
			}
			seen[id] = p
		}
	}
}

// A17: the nodes of a network of 300 differ in prefix, address and router-id.
func TestA17_300DistinctPrefixes(t *testing.T) {
	space := NewSpace(netip.MustParsePrefix("2001:db8:42::/48"))
	r := rand.New(rand.NewPCG(17, 17))
	ids, addresses, linkLocals := map[RouterID]bool{}, map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for range 300 {
		p, err := space.Pick(r, 64)
		if err != nil {
			t.Fatal(err)
		}
		if err := space.Insert(p); err != nil {
			t.Fatal(err)
		}
		id := RouterIDOf(p)
		ids[id], addresses[NodeAddress(p)], linkLocals[LinkLocal(id)] = true, true, true
	}
	if len(ids) != 300 || len(addresses) != 300 || len(linkLocals) != 300 {
		t.Errorf("%d router-ids, %d addresses, %d link-local addresses, want 300 of each", len(ids), len(addresses), len(linkLocals))
	}
}

func TestRouterIDText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var id RouterID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "id"))
		text, err := json.Marshal(id)
		if err != nil {
			t.Fatal(err)
		}
		var back RouterID
		if err := json.Unmarshal(text, &back); (err == nil) != id.IsValid() || err == nil && back != id {
			t.Errorf("%v came back from %s as %v, error %v", id, text, back, err)
		}
	})
	for _, s := range []string{
		"", "2001:db8:42:1", "2001:0db8:0042:0001:", "2001:0DB8:0042:0001", "2001-0db8-0042-0001",
		"200g:0db8:0042:0001", "2001:0db8:0042:00011", "0000:0000:0000:0000", "ffff:ffff:ffff:ffff",
	} {
		if id, err := ParseRouterID(s); err == nil {
			t.Errorf("ParseRouterID(%q) = %v, want an error", s, id)
		}
	}
}

func FuzzParseRouterID(f *testing.F) {
	f.Add("2001:0db8:0042:0001")
	f.Add("0000:0000:0000:0000")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseRouterID(s)
		if err == nil && (id.String() != s || !id.IsValid()) {
			t.Errorf("ParseRouterID(%q) = %v", s, id)
		}
	})
}
