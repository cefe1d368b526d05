package network

import (
	"crypto/elliptic"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawDocument draws any valid document.
func drawDocument(t *rapid.T) Document {
	d := Document{
		Version:    rapid.Uint64Min(1).Draw(t, "version"),
		Parameters: drawParameters(t),
		Issued:     time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "issued"), 0).UTC(),
		Domain:     rapid.SampledFrom([]string{"", "mesh", "mesh.example.org"}).Draw(t, "domain"),
	}
	for i := range rapid.IntRange(1, maxPrefixes).Draw(t, "prefixes") {
		length := rapid.IntRange(32, 128).Draw(t, "length")
		d.Prefixes = append(d.Prefixes, netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, byte(i)}), length))
	}
	for i := range rapid.IntRange(0, maxPrefixes).Draw(t, "ipv4") {
		d.IPv4 = append(d.IPv4, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), rapid.IntRange(16, 32).Draw(t, "length")))
	}
	for i := range rapid.IntRange(0, maxRegistries).Draw(t, "registries") {
		d.Registries = append(d.Registries, fmt.Sprintf("https://r%d.example:8443", i))
	}
	return d
}

func drawParameters(t *rapid.T) Parameters {
	span := func(name string, low, high time.Duration) Duration {
		return Duration(rapid.Int64Range(int64(low), int64(high)).Draw(t, name))
	}
	p := Parameters{
		Tunnels:        rapid.IntRange(1, 40).Draw(t, "tunnels"),
		Refresh:        span("refresh", 5*time.Second, 24*time.Hour),
		HelloIdle:      span("hello_idle", 100*time.Millisecond, time.Minute),
		UpdateInterval: span("update_interval", time.Second, 10*time.Minute),
		MinProtocol:    rapid.IntRange(1, 65535).Draw(t, "min_protocol"),
		DemandTunnels:  rapid.IntRange(0, 10).Draw(t, "demand_tunnels"),
	}
	if rapid.Bool().Draw(t, "nat64") {
		p.NAT64 = netip.PrefixFrom(netip.AddrFrom16([16]byte{0, 0x64, 0xff, 0x9b, 9: rapid.Byte().Draw(t, "nat64 byte")}), 96)
	}
	p.HelloActive = span("hello_active", 50*time.Millisecond, time.Duration(p.HelloIdle))
	return p
}

// Every valid document survives the way through signature and JSON as it is, to
// the nanosecond.
func TestDocumentRoundTrip(t *testing.T) {
	key := newKey(t, elliptic.P256())
	rapid.Check(t, func(t *rapid.T) {
		d := drawDocument(t)
		text, err := Sign(d, key)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Verify(text, &key.PublicKey)
		if diff := cmp.Diff(d, back, compare); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}

// What Get writes, Set reads: `network show` can be typed into `network set`.
func TestParametersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawParameters(t)
		got := Defaults() // and the widest pair of the two that limit each other
		got.HelloIdle, got.HelloActive = Duration(time.Minute), Duration(50*time.Millisecond)
		for _, row := range Table() {
			text, err := p.Get(row.Name)
			if err != nil {
				t.Fatal(err)
			}
			if err := got.Set(row.Name, text); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(p, got, compare); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A document of the largest size that Validate allows fits into the limit.
func TestLargestDocument(t *testing.T) {
	key := newKey(t, elliptic.P256())
	d := example()
	d.Prefixes, d.IPv4, d.Registries = nil, nil, nil
	for i := range maxPrefixes {
		d.Prefixes = append(d.Prefixes, netip.MustParsePrefix(fmt.Sprintf("2001:db8:1111:2222:3333:4444:5555:%x/128", 0x1000+i)))
		d.IPv4 = append(d.IPv4, netip.MustParsePrefix(fmt.Sprintf("192.168.100.%d/32", 100+i)))
	}
	for i := range maxRegistries {
		url := fmt.Sprintf("https://%x.example/", i)
		for len(url) < maxURLBytes {
			url += "x"
		}
		d.Registries = append(d.Registries, url)
	}
	text, err := Sign(d, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(text, &key.PublicKey); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes of %d", len(text), maxJWSBytes)
}
