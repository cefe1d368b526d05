package lan

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/ndp"

	"re6st/internal/lan/advert"
	"re6st/internal/lan/lease"
)

var (
	testMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	nobody   = netip.IPv6Unspecified()
	neighbor = netip.MustParseAddr("fe80::2")
)

func fullAdvertisement() advert.Advertisement {
	offer := func(k advert.Kind, o advert.Offer) advert.Offered {
		o.Kind = k
		return advert.Offered{Offer: o, Lifetime: 30 * time.Minute}
	}
	return advert.Advertisement{
		RouterLifetime: 30 * time.Minute, Prefix: netip.MustParsePrefix("2001:db8:42:10::/64"),
		Preferred: 45 * time.Minute, Valid: 90 * time.Minute, MTU: 1420,
		Offers: []advert.Offered{
			offer(advert.Route, advert.Offer{Prefix: netip.MustParsePrefix("2001:db8:42::/48")}),
			offer(advert.Route, advert.Offer{Prefix: netip.MustParsePrefix("2001:db8:7::7/128")}),
			offer(advert.DNS, advert.Offer{Addr: netip.MustParseAddr("2001:db8:42:10::1")}),
			offer(advert.Search, advert.Offer{Domain: "mesh.example"}),
			offer(advert.NAT64, advert.Offer{Prefix: netip.MustParsePrefix("64:ff9b::/96")}),
		},
	}
}

// What is said is what others read, with all options of RFC 4861, 4191, 8106 and
// 8781.
func TestEncode(t *testing.T) {
	b, err := encode(fullAdvertisement(), testMAC)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ndp.ParseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	ra := m.(*ndp.RouterAdvertisement)
	if ra.RouterLifetime != 30*time.Minute || ra.CurrentHopLimit != 64 || ra.ManagedConfiguration || ra.OtherConfiguration {
		t.Errorf("header %+v", ra)
	}
	var codes []byte
	for _, o := range ra.Options {
		codes = append(codes, o.Code())
		switch o := o.(type) {
		case *ndp.PrefixInformation:
			if !o.OnLink || !o.AutonomousAddressConfiguration || o.PrefixLength != 64 || o.PreferredLifetime != 45*time.Minute || o.ValidLifetime != 90*time.Minute {
				t.Errorf("prefix %+v", o)
			}
		case *ndp.PREF64:
			if o.Prefix != netip.MustParsePrefix("64:ff9b::/96") || o.Lifetime != 30*time.Minute {
				t.Errorf("NAT64 %+v", o)
			}
		case *ndp.DNSSearchList:
			if !slices.Equal(o.DomainNames, []string{"mesh.example"}) {
				t.Errorf("search list %+v", o)
			}
		}
	}
	if want := []byte{3, 24, 24, 25, 31, 38, 5, 1}; !slices.Equal(codes, want) {
		t.Errorf("options %v, want %v", codes, want)
	}
	if b, err = encode(fullAdvertisement(), nil); err != nil || len(b) > 1280-40 {
		t.Errorf("without a link-layer address: %d bytes, %v", len(b), err)
	}
}

// The largest advertisement that there can be fits any link.
func TestEncodeFitsIn1280(t *testing.T) {
	a := fullAdvertisement()
	long := strings.Repeat("abcdefg.", 28) + "mesh.x" // as long as advert lets it be
	for range 20 {
		a.Offers = append(a.Offers, a.Offers[1])
	}
	a.Offers = append(a.Offers, a.Offers[2], a.Offers[2], a.Offers[4])
	a.Offers[3].Domain = long
	b, err := encode(a, testMAC)
	if err != nil || len(b) > 1280-40 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// RFC 4861, sections 6.1.1 and 6.1.2: what must be discarded.
func TestSection6_1_Validation(t *testing.T) {
	encoded := func(m ndp.Message) []byte {
		b, err := ndp.MarshalMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	source := &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: testMAC}
	rs := encoded(&ndp.RouterSolicitation{})
	named := encoded(&ndp.RouterSolicitation{Options: []ndp.Option{source}})
	ra := encoded(&ndp.RouterAdvertisement{})
	odd := slices.Clone(rs)
	odd[1] = 1
	for _, c := range []struct {
		name     string
		b        []byte
		from     netip.Addr
		hopLimit int
		ok       bool
	}{
		{"solicitation from nobody", rs, nobody, 255, true},
		{"solicitation with an address", named, neighbor, 255, true},
		{"solicitation from nobody with an address", named, nobody, 255, false},
		{"solicitation from afar", rs, neighbor, 254, false},
		{"solicitation with a code", odd, neighbor, 255, false},
		{"solicitation cut off", rs[:4], neighbor, 255, false},
		{"advertisement", ra, neighbor, 255, true},
		{"advertisement from a global address", ra, netip.MustParseAddr("2001:db8::1"), 255, false},
		{"advertisement cut off", ra[:10], neighbor, 255, false},
		{"option of length zero", append(slices.Clone(rs), 1, 0, 0, 0, 0, 0, 0, 0), neighbor, 255, false},
		{"neighbour solicitation", encoded(&ndp.NeighborSolicitation{TargetAddress: neighbor}), neighbor, 255, false},
		{"nothing", nil, neighbor, 255, false},
	} {
		_, _, err := decode(c.b, c.from, c.hopLimit)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && !errors.Is(err, errNotValid) {
			t.Errorf("%s: %v is not errNotValid", c.name, err)
		}
	}
}

// Any bytes of the link: no panic, and what is taken is bounded and of one form.
func FuzzDecode(f *testing.F) {
	b, err := encode(fullAdvertisement(), testMAC)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	for i := range b {
		f.Add(b[:i])
	}
	rs, _ := ndp.MarshalMessage(&ndp.RouterSolicitation{})
	f.Add(rs)
	f.Fuzz(func(t *testing.T, b []byte) {
		isSolicitation, h, err := decode(b, neighbor, hopLimitNDP)
		if err != nil {
			return
		}
		if isSolicitation != (b[0] == 133) || len(h.Prefixes) > maxPrefixes || h.RouterLifetime > 65535*time.Second {
			t.Fatalf("solicitation %v, heard %+v", isSolicitation, h)
		}
		for _, p := range h.Prefixes {
			if !p.IsValid() || p != p.Masked() || p.Bits() == 0 || !p.Addr().Is6() {
				t.Fatalf("prefix %v", p)
			}
		}
	})
}

func discover(t testing.TB, modifiers ...dhcpv4.Modifier) []byte {
	t.Helper()
	p, err := dhcpv4.NewDiscovery(testMAC, modifiers...)
	if err != nil {
		t.Fatal(err)
	}
	return p.ToBytes()
}

// Any bytes on port 67: no panic, no address that is not the subnet's, and an
// answer that others can read.
func FuzzDecodeDHCP(f *testing.F) {
	f.Add(discover(f))
	f.Add(discover(f, dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte{1, 2, 3}))))
	f.Add(discover(f, dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(10, 42, 5, 9))),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 42, 5, 1))), dhcpv4.WithRequestedOptions(dhcpv4.OptionInterfaceMTU)))
	f.Add(discover(f, dhcpv4.WithMessageType(dhcpv4.MessageTypeInform), dhcpv4.WithClientIP(net.IPv4(10, 42, 5, 9))))
	network := lease.Network{Interface: "eth0", Subnet: netip.MustParsePrefix("10.42.5.0/24")}
	offer := dhcpOffer{gateway: network.Gateway(), dns: []netip.Addr{network.Gateway().Addr()}, domain: "mesh", mtu: 1420}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, b []byte) {
		request, m, err := decodeDHCP(b)
		if err != nil {
			return
		}
		table := lease.New(network)
		answer := table.Handle(now, m)
		if answer.Address.IsValid() && !network.Subnet.Contains(answer.Address) {
			t.Fatalf("gave %v", answer.Address)
		}
		if _, isAnswered := answers[answer.Kind]; !isAnswered {
			return
		}
		out, err := encodeDHCP(request, answer, offer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dhcpv4.FromBytes(out); err != nil {
			t.Fatalf("our answer cannot be read: %v", err)
		}
	})
}

// The file of leases, as any program may have left it.
func FuzzDecodeLeases(f *testing.F) {
	b, err := encodeLeases([]lease.Lease{{Key: "\x01abc", Address: netip.MustParseAddr("10.42.5.9"), Until: time.Unix(1, 0)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		leases, err := decodeLeases(b)
		if err != nil {
			return
		}
		table := lease.New(lease.Network{Subnet: netip.MustParsePrefix("10.42.5.0/24")})
		table.Load(time.Unix(0, 0), leases)
		if n := len(table.Leases()); n > 253 {
			t.Fatalf("%d leases", n)
		}
	})
}
