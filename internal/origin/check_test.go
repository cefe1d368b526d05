package origin

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"re6st/addressing"
	"re6st/internal/identity"
)

const network = "2001:db8:42::/48"

// The network has: 7, with an IPv4 subnet and two prefixes of its own; 8, a
// gateway; 9, which is nothing special. Nobody has seen 10's certificate.
func sample() *Claims {
	c := claimsOf(node(7, ipv4("10.42.7.0/24"), announcing("2001:db8:1000::/48", "192.0.2.0/24")), node(8, gateway), node(9))
	c.SetNAT64(netip.MustParsePrefix("64:ff9b::/96"))
	return c
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name, prefix, from string
		id                 int
		want               error
	}{
		{"own prefix", "2001:db8:42:7::/64", "", 7, nil},
		{"own prefix from anywhere", "2001:db8:42:7::/64", "::/0", 7, nil},
		{"own prefix, certificate unseen", "2001:db8:42:10::/64", "", 0x10, nil},
		{"another's prefix", "2001:db8:42:7::/64", "", 8, ErrRouterID},
		{"more specific than own", "2001:db8:42:7::/80", "", 7, ErrRouterID},
		{"less specific than own", "2001:db8:42::/60", "", 7, ErrRouterID},
		{"the network", network, "", 7, ErrWhole},
		{"around the network", "2001:db8::/32", "", 7, ErrWhole},
		{"own prefix from one source", "2001:db8:42:7::/64", network, 7, ErrSourceSpecific},

		{"announced", "2001:db8:1000::/48", "", 7, nil},
		{"announced IPv4", "192.0.2.0/24", "", 7, nil},
		{"announced by another", "2001:db8:1000::/48", "", 9, ErrNotListed},
		{"a part of it", "2001:db8:1000::/64", "", 7, ErrNotListed},
		{"more than it", "2001:db8:1000::/47", "", 7, ErrNotListed},
		{"half of the IPv4 one", "192.0.2.0/25", "", 7, ErrNotListed},
		{"by who is not known", "2001:db8:1000::/48", "", 10, ErrUnknown},
		{"from one source", "2001:db8:1000::/48", network, 7, ErrSourceSpecific},

		{"IPv4 subnet", "10.42.7.0/24", "", 7, nil},
		{"a part of the subnet", "10.42.7.0/25", "", 7, ErrNotListed},
		{"another's subnet", "10.42.7.0/24", "", 9, ErrNotListed},
		{"a subnet of who is not known", "10.42.10.0/24", "", 10, ErrUnknown},
		{"the IPv4 network", "10.42.0.0/16", "", 7, ErrWhole},
		{"around the IPv4 network", "10.0.0.0/8", "", 7, ErrWhole},

		{"default from the network", "::/0", network, 8, nil},
		{"default from an announced prefix", "::/0", "2001:db8:1000::/48", 8, nil},
		{"IPv4 default", "0.0.0.0/0", "", 8, nil},
		{"NAT64 from the network", "64:ff9b::/96", network, 8, nil},
		{"default by no gateway", "::/0", network, 9, ErrNoGateway},
		{"IPv4 default by no gateway", "0.0.0.0/0", "", 9, ErrNoGateway},
		{"NAT64 by no gateway", "64:ff9b::/96", network, 9, ErrNoGateway},
		{"default by who is not known", "::/0", network, 10, ErrUnknown},
		{"IPv4 default by who is not known", "0.0.0.0/0", "", 10, ErrUnknown},
		{"default from everywhere", "::/0", "", 8, ErrAnySource},
		{"default from ::/0", "::/0", "::/0", 8, ErrAnySource},
		{"NAT64 from everywhere", "64:ff9b::/96", "", 8, ErrAnySource},
		{"another NAT64 prefix", "2001:db8:64::/96", "", 8, ErrNotListed},
		{"default from a part of the network", "::/0", "2001:db8:42:7::/64", 8, ErrSourceSpecific},
		{"default from around the network", "::/0", "2001:db8::/32", 8, ErrSourceSpecific},
		{"default from what nobody announces", "::/0", "2001:db8:2000::/48", 8, ErrUnknownSource},
		{"that by no gateway", "::/0", "2001:db8:2000::/48", 9, ErrNoGateway},
		{"default from an announced IPv4 prefix", "::/0", "192.0.2.0/24", 8, ErrSourceSpecific},
		{"IPv4 default from one source", "0.0.0.0/0", "10.42.0.0/16", 8, ErrSourceSpecific},

		{"link-local", "fe80::/64", "", 7, ErrMalformed},
		{"multicast", "224.0.0.0/4", "", 7, ErrMalformed},
		{"loopback", "127.0.0.0/8", "", 10, ErrMalformed},
		{"bits after the length", "2001:db8:42:7::1/64", "", 7, ErrMalformed},
		{"mapped", "::ffff:192.0.2.0/120", "", 7, ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var from netip.Prefix
			if tt.from != "" {
				from = netip.MustParsePrefix(tt.from)
			}
			prefix, id := netip.MustParsePrefix(tt.prefix), node(tt.id).RouterID
			err := sample().Why(prefix, from, id)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			want := Refuse
			switch tt.want {
			case nil:
				want = Admit
			case ErrUnknown, ErrUnknownSource:
				want = Unknown
			}
			if got := sample().Check(prefix, from, id); got != want {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
	if err := sample().Why(netip.Prefix{}, netip.Prefix{}, node(7).RouterID); !errors.Is(err, ErrMalformed) {
		t.Errorf("the zero prefix: %v", err)
	}
}

// A right to ::/0 in the list of prefixes is none to default routes, and one to a
// prefix of the mesh none to that.
func TestRightsThatMeanNothing(t *testing.T) {
	c := claimsOf(node(7, announcing("::/0", "0.0.0.0/0", "2001:db8:42:8::/64", "2001:db8::/32", "fe80::/10")))
	for _, p := range []string{"::/0", "0.0.0.0/0", "2001:db8:42:8::/64", "2001:db8::/32", "fe80::/10"} {
		if got := c.Check(netip.MustParsePrefix(p), netip.Prefix{}, node(7).RouterID); got != Refuse {
			t.Errorf("%s: %v", p, got)
		}
	}
}

func TestNAT64PrefixChanges(t *testing.T) {
	c := sample()
	inside, of := netip.MustParsePrefix("2001:db8:42:6464::/96"), netip.MustParsePrefix(network)
	if got := c.Check(inside, of, node(8).RouterID); got != Refuse {
		t.Errorf("before: %v", got)
	}
	if !c.SetNAT64(inside) || c.SetNAT64(inside) {
		t.Error("SetNAT64 does not tell a change")
	}
	if got := c.Check(inside, of, node(8).RouterID); got != Admit {
		t.Errorf("after: %v", got)
	}
	if got := c.Check(netip.MustParsePrefix("64:ff9b::/96"), of, node(8).RouterID); got != Refuse {
		t.Errorf("the former one: %v", got)
	}
}

// P18: whatever is announced by whomever, nothing passes but the address plan's
// own, and what the certificate of that very router-id lists.
func TestP18_OnlyWhatCertificatesListPasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := []netip.Prefix{
			netip.MustParsePrefix("::/0"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("64:ff9b::/96"),
			netip.MustParsePrefix("2001:db8:1000::/48"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.0/25"),
			netip.MustParsePrefix("10.42.1.0/24"), netip.MustParsePrefix("10.42.2.0/24"), networks[0], networks[1],
			node(1).Prefix, node(2).Prefix, netip.MustParsePrefix("2001:db8:42:1::/80"), netip.MustParsePrefix("fe80::/10"),
		}
		prefix := rapid.OneOf(rapid.SampledFrom(pool), rapid.Custom(drawPrefix))
		c := NewClaims(Config{Networks: networks, NAT64: rapid.SampledFrom([]netip.Prefix{{}, pool[2]}).Draw(t, "NAT64")})
		have := map[addressing.RouterID]identity.Node{}
		for _, i := range rapid.SliceOfDistinct(rapid.IntRange(1, 4), rapid.ID[int]).Draw(t, "nodes") {
			n := node(i)
			n.IPv4 = rapid.SampledFrom([]netip.Prefix{{}, pool[6], pool[7]}).Draw(t, "IPv4")
			n.Rights = addressing.Rights{Announce: rapid.SliceOfN(prefix, 0, 4).Draw(t, "announce"), Gateway: rapid.Bool().Draw(t, "gateway")}
			if c.Add(n) {
				have[n.RouterID] = n
			}
		}
		p, id := prefix.Draw(t, "prefix"), node(rapid.IntRange(1, 5).Draw(t, "id")).RouterID
		source := rapid.SampledFrom(append(pool, netip.Prefix{})).Draw(t, "from")
		n, isKnown := have[id]
		listed := slices.Contains(n.Rights.Announce, p) || p == n.IPv4
		switch c.Check(p, source, id) {
		case Admit:
			isOwn := networks[1].Contains(p.Addr()) && p.Bits() > 48 && addressing.RouterIDOf(p) == id
			isWayOut := n.Rights.Gateway && (p.Bits() == 0 || p == c.nat64)
			if !isOwn && !isWayOut && !listed {
				t.Fatalf("%v from %v passes for %v, which has %+v", p, source, id, n.Rights)
			}
			if source.Bits() > 0 && !isWayOut {
				t.Fatalf("%v passes from %v", p, source)
			}
		case Unknown:
			if isKnown && !(p.Bits() == 0 || p == c.nat64) {
				t.Fatalf("%v of a known node is unknown", p)
			}
		case Refuse:
			if listed && isKnown && p.Bits() > 0 && source.Bits() <= 0 && !c.overlapsNetwork(p) && !isSpecial(p) && p != c.nat64 {
				t.Fatalf("%v is listed and refused", p)
			}
		}
	})
}

func drawPrefix(t *rapid.T) netip.Prefix {
	size := rapid.SampledFrom([]int{4, 16}).Draw(t, "size")
	b := rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address")
	if size == 16 && rapid.Bool().Draw(t, "inside") {
		n := networks[1].Addr().As16()
		copy(b, n[:6])
	}
	address, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(address, rapid.IntRange(0, size*8).Draw(t, "length")).Masked()
}
