package control

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	networks = []netip.Prefix{netip.MustParsePrefix("2001:db8:42::/48"), netip.MustParsePrefix("10.42.0.0/16")}
	compare  = cmp.Options{cmpopts.EquateComparable(netip.Prefix{}, netip.AddrPort{}, netip.Addr{})}
)

func endpoints(texts ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, t := range texts {
		out = append(out, netip.MustParseAddrPort(t))
	}
	return out
}

func sampleInfo() NodeInfo {
	return NodeInfo{
		Protocol: 1, Name: "alice", Prefix: netip.MustParsePrefix("2001:db8:42:7::/64"),
		Endpoints: endpoints("198.51.100.1:6326", "[2001:db8:1::1]:6326"), Observed: netip.MustParseAddrPort("203.0.113.5:999"),
		Versions: Versions{Network: 12}, Incoming: 3, Room: 27, Uptime: Seconds(90*time.Second + 500*time.Millisecond),
	}
}

func sampleOffer() Offer {
	return Offer{
		Protocol: 1, PublicKey: Key{1, 2, 3}, Port: 6327, Endpoints: endpoints("198.51.100.1:6327"),
		MTU: 1420, Reason: Elected, Versions: Versions{Network: 12},
	}
}

func sampleAnswer() Answer {
	return Answer{
		Protocol: 1, PublicKey: Key{4}, Port: 6400, Endpoints: endpoints("[2001:db8:1::1]:6400"),
		MTU: 1380, Observed: netip.MustParseAddrPort("198.51.100.1:6326"),
	}
}

func samplePeers() Peers {
	return Peers{Peers: []PeerRecord{{
		Name: "bob", Prefix: netip.MustParsePrefix("2001:db8:42:9::/64"), Endpoints: endpoints("198.51.100.9:6326"),
	}}}
}

// roundTrip checks that what is written is read back the same.
func roundTrip[M any](t *testing.T, in M, parse func([]byte) (M, error)) {
	t.Helper()
	data, err := Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := parse(data)
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	if d := cmp.Diff(in, out, compare); d != "" {
		t.Errorf("(-sent +received):\n%s", d)
	}
	for n := range data {
		if _, err := parse(data[:n]); err == nil {
			t.Errorf("the first %d bytes of %d are taken for the whole", n, len(data))
		}
	}
}

func TestRoundTrip(t *testing.T) {
	roundTrip(t, sampleInfo(), func(b []byte) (NodeInfo, error) { return ParseNodeInfo(b, networks) })
	roundTrip(t, sampleOffer(), func(b []byte) (Offer, error) { return ParseOffer(b, networks) })
	roundTrip(t, sampleAnswer(), func(b []byte) (Answer, error) { return ParseAnswer(b, networks) })
	roundTrip(t, samplePeers(), func(b []byte) (Peers, error) { return ParsePeers(b, networks) })
	roundTrip(t, Patch{Draining: true}, ParsePatch)
	roundTrip(t, DocumentList{Documents: []string{"a.b.c"}}, ParseDocumentList)
}

// Members that a later version adds are ignored; names are snake_case.
func TestUnknownMembersAreIgnored(t *testing.T) {
	data, err := Marshal(sampleOffer())
	if err != nil {
		t.Fatal(err)
	}
	later := strings.Replace(string(data), "{", `{"carrier":{"tls":[443]},`, 1)
	if _, err := ParseOffer([]byte(later), nil); err != nil {
		t.Error(err)
	}
	for _, name := range []string{`"public_key"`, `"port"`, `"endpoints"`, `"mtu"`, `"reason"`, `"versions"`, `"protocol"`} {
		if !strings.Contains(string(data), name) {
			t.Errorf("no member %s in %s", name, data)
		}
	}
}

func TestT13_MalformedOffers(t *testing.T) {
	good, err := Marshal(sampleOffer())
	if err != nil {
		t.Fatal(err)
	}
	change := func(change func(m map[string]any)) string {
		var m map[string]any
		if err := json.Unmarshal(good, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	tests := map[string]string{
		"empty":             "",
		"not JSON":          "hello",
		"null":              "null",
		"an array":          "[]",
		"two values":        string(good) + "{}",
		"trailing rubbish":  string(good) + "x",
		"too long":          change(func(m map[string]any) { m["x"] = strings.Repeat("a", MaxMessageBytes) }),
		"deep":              strings.Repeat("[", 8000),
		"no key":            change(func(m map[string]any) { delete(m, "public_key") }),
		"zero key":          change(func(m map[string]any) { m["public_key"] = strings.Repeat("A", 43) + "=" }),
		"short key":         change(func(m map[string]any) { m["public_key"] = "AAAA" }),
		"key with newline":  change(func(m map[string]any) { m["public_key"] = strings.Repeat("A", 42) + "\n=" }),
		"loose key":         change(func(m map[string]any) { m["public_key"] = strings.Repeat("A", 42) + "B=" }),
		"port 65536":        change(func(m map[string]any) { m["port"] = 65536 }),
		"port -1":           change(func(m map[string]any) { m["port"] = -1 }),
		"MTU too small":     change(func(m map[string]any) { m["mtu"] = 1279 }),
		"MTU too large":     change(func(m map[string]any) { m["mtu"] = 9001 }),
		"MTU huge":          change(func(m map[string]any) { m["mtu"] = 1e30 }),
		"no protocol":       change(func(m map[string]any) { delete(m, "protocol") }),
		"negative protocol": change(func(m map[string]any) { m["protocol"] = -1 }),
		"unknown reason":    change(func(m map[string]any) { m["reason"] = "because" }),
		"bad endpoint":      change(func(m map[string]any) { m["endpoints"] = []string{"host:1"} }),
		"negative version":  change(func(m map[string]any) { m["versions"] = map[string]any{"network": -1} }),
		"too many endpoints": change(func(m map[string]any) {
			m["endpoints"] = slices.Repeat([]string{"198.51.100.1:1"}, MaxEndpoints+1)
		}),
	}
	for name, in := range tests {
		if o, err := ParseOffer([]byte(in), networks); err == nil {
			t.Errorf("%s: taken as %+v", name, o)
		}
	}
}

func TestT14_EndpointsThatAreNeverDialled(t *testing.T) {
	bad := endpoints(
		"127.0.0.1:1", "[::1]:1", "0.0.0.0:1", "[::]:1", "224.0.0.1:1", "[ff02::1]:1", "255.255.255.255:1", "240.0.0.1:1",
		"0.1.2.3:1", "169.254.1.1:1", "[fe80::1]:1", "[fe80::1%eth0]:1", "[2001:db8:1::1%eth0]:1", "198.51.100.1:0",
		"[2001:db8:42::1]:6326", "10.42.9.9:1", "[::ffff:10.42.9.9]:1", "[::ffff:127.0.0.1]:1",
	)
	for _, e := range append(bad, netip.AddrPort{}) {
		if IsUsable(e, networks) || len(Usable([]netip.AddrPort{e}, networks)) != 0 {
			t.Errorf("%v may be dialled", e)
		}
	}
	good := endpoints("198.51.100.1:1", "[2001:db8:43::1]:1", "10.43.0.1:1", "192.168.1.1:1", "[fd00::1]:1")
	if got := Usable(append(slices.Clone(good), good...), networks); !slices.Equal(got, good) {
		t.Errorf("usable %v, want %v", got, good)
	}
	mapped := endpoints("[::ffff:198.51.100.1]:1")
	if got := Usable(mapped, nil); !slices.Equal(got, endpoints("198.51.100.1:1")) {
		t.Errorf("a mapped address became %v", got)
	}
	if got := Usable(many(MaxEndpoints+9), nil); len(got) != MaxEndpoints {
		t.Errorf("%d endpoints are kept", len(got))
	}
}

func many(n int) []netip.AddrPort {
	var out []netip.AddrPort
	for i := range n {
		out = append(out, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}), 1))
	}
	return out
}

// One bad record must not hide the others.
func TestPeersDropsWhatMakesNoSense(t *testing.T) {
	p := samplePeers()
	good := p.Peers[0]
	p.Peers = append(p.Peers,
		PeerRecord{Name: "no prefix"},
		PeerRecord{Name: "host bits", Prefix: netip.MustParsePrefix("2001:db8:42:9::1/64")},
		PeerRecord{Name: "IPv4", Prefix: netip.MustParsePrefix("10.0.0.0/8")},
		PeerRecord{Name: "\x1b[31mred", Prefix: good.Prefix},
		PeerRecord{Name: strings.Repeat("x", MaxNameBytes+1), Prefix: good.Prefix},
	)
	data, err := Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParsePeers(data, networks)
	if err != nil || len(got.Peers) != 1 || got.Peers[0].Name != "bob" {
		t.Errorf("%+v, %v", got, err)
	}
	p.Peers = slices.Repeat(p.Peers[:1], MaxPeers+1)
	if data, err = Marshal(p); err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePeers(data, networks); err == nil {
		t.Error("too many peers are taken")
	}
}

func TestDocumentListLimits(t *testing.T) {
	for name, d := range map[string]DocumentList{
		"too many": {Documents: slices.Repeat([]string{"a"}, MaxDocuments+1)},
		"too long": {Documents: []string{strings.Repeat("a", MaxDocumentBytes+1)}},
	} {
		data, err := Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseDocumentList(data); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	full := DocumentList{Documents: slices.Repeat([]string{strings.Repeat("a", MaxDocumentBytes)}, MaxDocuments)}
	data, err := Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseDocumentList(data); err != nil {
		t.Errorf("the largest allowed list: %v", err)
	}
}

func TestTunnelID(t *testing.T) {
	id := TunnelID{0xde, 0xad, 15: 1}
	got, err := ParseTunnelID(id.String())
	if err != nil || got != id {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "00", strings.Repeat("0", 32), strings.Repeat("g", 32), id.String() + "0", " " + id.String()[1:]} {
		if _, err := ParseTunnelID(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestCompatible(t *testing.T) {
	for _, x := range []struct {
		theirs, floor int
		ok            bool
	}{{1, 0, true}, {1, 1, true}, {1, 2, false}, {2, 2, true}, {9, 1, true}, {0, 0, false}, {-1, 0, false}} {
		if err := Compatible(x.theirs, x.floor); (err == nil) != x.ok {
			t.Errorf("protocol %d, floor %d: %v", x.theirs, x.floor, err)
		}
	}
}

func TestRefusal(t *testing.T) {
	for _, s := range statuses {
		in := Refuse(s.code, "because %d", 7).After(3 * time.Second)
		data, err := Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := ParseRefusal(in.Status(), data); *got != *in {
			t.Errorf("%+v became %+v", in, got)
		}
	}
	for _, x := range []struct {
		status int
		body   string
		want   Code
	}{
		{429, "", Busy},
		{404, "<html>", Unknown},
		{418, "{}", Internal},
		{503, `{"code":"new","text":"?"}`, Full},
		{500, `{"code":"full","text":"` + strings.Repeat("a", MaxTextBytes+1) + `"}`, Internal},
		{403, `{"code":"full","text":"\u001b[2J"}`, Denied},
	} {
		if got := ParseRefusal(x.status, []byte(x.body)); got.Code != x.want {
			t.Errorf("status %d, %q: %v, want %v", x.status, x.body, got.Code, x.want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for _, bad := range []string{"-1", "1e300", `"1"`, "[]", "1e999"} {
		var s Seconds
		if err := json.Unmarshal([]byte(bad), &s); err == nil {
			t.Errorf("%s is taken as %v", bad, time.Duration(s))
		}
	}
}
