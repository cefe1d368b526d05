package wire

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var compare = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

var (
	compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	source      = netip.MustParseAddr("fe80::1")
	id1         = RouterID{0x20, 1, 0xd, 0xb8, 0, 0x42, 0, 1}
	id2         = RouterID{0x20, 1, 0xd, 0xb8, 0, 0x42, 0, 2}
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// packet frames a body given in hex; spaces are for people.
func packet(t testing.TB, body string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(body))
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{42, 2, byte(len(b) >> 8), byte(len(b))}, b...)
}

// vectors are TLVs one by one. What is read from hex is want; and it is what the
// encoder writes, unless lax says that only the reader knows the form.
var vectors = []struct {
	name string
	hex  string
	want []TLV
	lax  bool
}{
	{"acknowledgment request", "02 06 0000 1234 0064", []TLV{&AckRequest{0x1234, 100}}, false},
	{"its reserved field is ignored", "02 06 ffff 1234 0064", []TLV{&AckRequest{0x1234, 100}}, true},
	{"acknowledgment", "03 02 1234", []TLV{&Ack{0x1234}}, false},
	{"hello", "04 06 0000 0007 0190", []TLV{&Hello{Seqno: 7, Interval: 400}}, false},
	{"unicast hello", "04 06 8000 0007 0190", []TLV{&Hello{Unicast: true, Seqno: 7, Interval: 400}}, false},
	{"unknown flags of a hello are ignored", "04 06 7fff 0007 0190", []TLV{&Hello{Seqno: 7, Interval: 400}}, true},
	{"unscheduled hello", "04 06 0000 0007 0000", []TLV{&Hello{Seqno: 7}}, false},
	{
		"hello with timestamp", "04 0c 0000 0007 0190 03 04 deadbeef",
		[]TLV{&Hello{Seqno: 7, Interval: 400, Timestamp: Timestamp{true, 0xdeadbeef}}},
		false,
	},
	{
		"a longer timestamp has something to come", "04 0e 0000 0007 0190 03 06 deadbeef ffff",
		[]TLV{&Hello{Seqno: 7, Interval: 400, Timestamp: Timestamp{true, 0xdeadbeef}}},
		true,
	},
	{"a shorter timestamp alone is ignored", "04 0b 0000 0007 0190 03 03 deadbe", []TLV{&Hello{Seqno: 7, Interval: 400}}, true},
	{
		"IHU", "05 0e 0300 0060 04b0 0000000000000002",
		[]TLV{&IHU{RxCost: 96, Interval: 1200, Address: addr("fe80::2")}},
		false,
	},
	{"IHU for whoever hears it", "05 06 0000 0060 04b0", []TLV{&IHU{RxCost: 96, Interval: 1200}}, false},
	{
		"IHU with echo", "05 18 0300 0060 04b0 0000000000000002 03 08 00000001 00000002",
		[]TLV{&IHU{RxCost: 96, Interval: 1200, Address: addr("fe80::2"), Echo: Echo{true, 1, 2}}},
		false,
	},
	{"IHU over IPv4", "05 0a 0100 0060 04b0 c0000201", []TLV{&IHU{RxCost: 96, Interval: 1200, Address: addr("192.0.2.1")}}, false},
	{
		"update", "06 0a 0000 20010db800420001 08 12 02 80 40 00 0640 0005 0060 20010db800420001",
		[]TLV{&Update{AEIPv6, prefix("2001:db8:42:1::/64"), netip.Prefix{}, 1600, 5, 96, id1, source}},
		false,
	},
	{
		"compressed updates",
		`06 0a 0000 20010db800420001 08 12 02 80 40 00 0640 0005 0060 20010db800420001
		 06 0a 0000 20010db800420002 08 0b 02 80 40 07 0640 0006 0061 02`,
		[]TLV{
			&Update{AEIPv6, prefix("2001:db8:42:1::/64"), netip.Prefix{}, 1600, 5, 96, id1, source},
			&Update{AEIPv6, prefix("2001:db8:42:2::/64"), netip.Prefix{}, 1600, 6, 97, id2, source},
		},
		false,
	},
	{
		"the router-id in the prefix (flag R)", "08 1a 02 40 80 00 0640 0005 0060 20010db8004200010000000000000007",
		[]TLV{&Update{AEIPv6, prefix("2001:db8:42:1::7/128"), netip.Prefix{}, 1600, 5, 96, RouterID{7: 7}, source}},
		true,
	},
	{
		"flag R with IPv4: four zeros and the address", "07 06 0100 c0000209 08 0e 01 40 20 00 0640 0005 0060 c0000201",
		[]TLV{&Update{AEIPv4, prefix("192.0.2.1/32"), netip.Prefix{}, 1600, 5, 96, RouterID{4: 192, 6: 2, 7: 1}, addr("192.0.2.9")}},
		true,
	},
	{
		"IPv4 by an IPv6 next hop (RFC 9229)", "06 0a 0000 20010db800420001 08 0d 04 80 18 00 0640 0005 0060 c00002",
		[]TLV{&Update{AEv4viav6, prefix("192.0.2.0/24"), netip.Prefix{}, 1600, 5, 96, id1, source}},
		false,
	},
	{
		"IPv4 by an IPv4 next hop", "06 0a 0000 20010db800420001 07 06 0100 c0000209 08 0d 01 80 18 00 0640 0005 0060 c00002",
		[]TLV{&Update{AEIPv4, prefix("192.0.2.0/24"), netip.Prefix{}, 1600, 5, 96, id1, addr("192.0.2.9")}},
		false,
	},
	{
		"bits beyond the length are cleared", "06 0a 0000 20010db800420001 08 0d 02 80 14 00 0640 0005 0060 2001ff",
		[]TLV{&Update{AEIPv6, prefix("2001:f000::/20"), netip.Prefix{}, 1600, 5, 96, id1, source}},
		true,
	},
	{
		"octets that the default prefix does not have are zero",
		`06 0a 0000 20010db800420001 08 0d 02 80 18 00 0640 0005 0060 20010d
		 08 0b 02 00 40 07 0640 0005 0060 09`,
		[]TLV{
			&Update{AEIPv6, prefix("2001:d00::/24"), netip.Prefix{}, 1600, 5, 96, id1, source},
			&Update{AEIPv6, prefix("2001:d00:0:9::/64"), netip.Prefix{}, 1600, 5, 96, id1, source},
		},
		true,
	},
	{"retraction without router-id", "08 12 02 80 40 00 0640 0005 ffff 20010db800420001", []TLV{
		&Update{AEIPv6, prefix("2001:db8:42:1::/64"), netip.Prefix{}, 1600, 5, Infinity, RouterID{}, source},
	}, true},
	{"retraction of everything", "08 0a 00 00 00 00 0640 0000 ffff", []TLV{&Update{Interval: 1600, Metric: Infinity}}, false},
	{
		"source-specific update (RFC 9079)",
		"06 0a 0000 20010db800420001 08 13 02 00 00 00 0640 0005 0060 80 07 30 20010db80042",
		[]TLV{&Update{AEIPv6, prefix("::/0"), prefix("2001:db8:42::/48"), 1600, 5, 96, id1, source}},
		false,
	},
	{
		"link-local prefix", "06 0a 0000 20010db800420001 08 12 03 00 80 00 0640 0005 0060 0000000000000009",
		[]TLV{&Update{AELinkLocal, prefix("fe80::9/128"), netip.Prefix{}, 1600, 5, 96, id1, source}},
		true,
	},
	{"request for everything", "09 02 00 00", []TLV{&RouteRequest{}}, false},
	{"route request", "09 08 02 30 20010db80042", []TLV{&RouteRequest{Prefix: prefix("2001:db8:42::/48")}}, false},
	{
		"source-specific route request", "09 07 02 00 80 03 10 2001",
		[]TLV{&RouteRequest{prefix("::/0"), prefix("2001::/16")}},
		false,
	},
	{
		"seqno request", "0a 14 02 30 0009 40 00 20010db800420001 20010db80042",
		[]TLV{&SeqnoRequest{prefix("2001:db8:42::/48"), netip.Prefix{}, 9, 64, id1}},
		false,
	},
	{"padding", "00 00 01 03 ffffff 03 02 0001 00", []TLV{&Ack{1}}, true},
	{"unknown TLVs are skipped", "0b 00 c8 02 ffff ff 01 00 03 02 0001", []TLV{&Ack{1}}, true},
	{"unknown sub-TLV", "03 06 1234 7f 02 ffff", []TLV{&Ack{0x1234}}, true},
	{"several sub-TLVs, padded", "03 0a 1234 7f 00 00 01 01 ff 7e 00", []TLV{&Ack{0x1234}}, true},
}

func TestSection4_TLVs(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			b := packet(t, v.hex)
			var d Decoder
			p := d.Parse(b, source)
			if p.Err != nil {
				t.Fatal(p.Err)
			}
			if diff := cmp.Diff(v.want, p.TLVs, compare, compareAddr); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
			if v.lax {
				return
			}
			e := NewEncoder(1024)
			for _, tlv := range v.want {
				// The reader has filled in the packet's source.
				if u, ok := tlv.(*Update); ok && u.NextHop == source {
					c := *u
					c.NextHop = netip.Addr{}
					tlv = &c
				}
				if !e.Add(tlv) {
					t.Fatalf("%v does not fit", tlv)
				}
			}
			if got, want := hex.EncodeToString(e.Bytes()), hex.EncodeToString(b); got != want {
				t.Errorf("written\n%s, want\n%s", got, want)
			}
		})
	}
}

// Conformance 1.1 to 1.3: what must be ignored, and no more than that. Every
// packet ends with an Ack, which must be read.
func TestSection4_Ignored(t *testing.T) {
	const (
		id     = "06 0a 0000 20010db800420001 "
		id0    = "06 0a 0000 0000000000000000 "
		id1s   = "06 0a 0000 ffffffffffffffff "
		known  = "08 12 02 80 40 00 0640 0005 0060 20010db800420001 " // default prefix, P
		ackEnd = "03 02 7777"
	)
	for _, v := range []struct {
		name, hex string
		want      int // TLVs before the Ack
	}{
		{"acknowledgment request without time", "02 06 0000 1234 0000", 0},
		{"too short TLVs", "02 05 0000123400 03 01 00 04 05 0000000000 05 00 06 08 0000000000000000 07 00 08 00 09 00 0a 00", 0},
		{"IHU without interval", "05 06 0000 0060 0000", 0},
		{"IHU in AE 4", "05 0a 0400 0060 04b0 c0000201", 0},
		{"IHU with a cut address", "05 0c 0300 0060 04b0 000000000000", 0},
		{"unknown mandatory sub-TLV: Ack Request", "02 08 0000 1234 0064 ff 00", 0},
		{"unknown mandatory sub-TLV: Ack", "03 04 1234 ff 00", 0},
		{"unknown mandatory sub-TLV: Hello", "04 08 0000 0007 0190 ff 00", 0},
		{"unknown mandatory sub-TLV: IHU", "05 08 0000 0060 04b0 ff 00", 0},
		{"unknown mandatory sub-TLV: Route Request", "09 04 00 00 ff 00", 0},
		{"unknown mandatory sub-TLV: Seqno Request", "0a 16 02 30 0009 40 00 20010db800420001 20010db80042 ff 00", 0},
		{"sub-TLV beyond its TLV", "03 05 1234 7f 02 ff", 0},
		{"update without router-id", known, 0},
		{"update after an illegal router-id", id + id0 + known, 0},
		{"update after the other illegal router-id", id + id1s + known, 0},
		{"illegal router-id by flag R", id + "08 1a 02 40 80 00 0640 0005 0060 20010db8004200010000000000000000", 0},
		{"update without a default prefix", id + "08 0b 02 00 40 07 0640 0005 0060 09", 0},
		{"the default prefix of another AE", id + known + "08 0b 04 00 20 03 0640 0005 0060 09", 1},
		{"update without IPv4 next hop", id + "08 0d 01 80 18 00 0640 0005 0060 c00002", 0},
		{"update without interval", id + "08 12 02 80 40 00 0000 0005 0060 20010db800420001", 0},
		{"prefix length 129", id + "08 1b 02 00 81 00 0640 0005 0060 20010db8004200010000000000000000ff", 0},
		{"IPv4 prefix length 33", id + "07 06 0100 c0000209 08 0f 01 00 21 00 0640 0005 0060 c0000201ff", 0},
		{"more omitted than there is", id + known + "08 0a 02 00 30 07 0640 0005 0060", 1},
		{"mapped IPv4 prefix", id + "08 1a 02 00 80 00 0640 0005 0060 00000000000000000000ffffc0000201", 0},
		{"cut prefix", id + "08 0c 02 00 40 00 0640 0005 0060 2001", 0},
		{"finite wildcard", id + "08 0a 00 00 00 00 0640 0005 0060", 0},
		{"wildcard with a length", "08 0a 00 00 01 00 0640 0005 ffff", 0},
		{"wildcard with omitted octets", "08 0a 00 00 00 01 0640 0005 ffff", 0},
		{"wildcard with a source", "08 10 00 00 00 00 0640 0005 ffff 80 04 10 20010d", 0},
		{"link-local prefix with omitted octets", id + "08 11 03 00 80 01 0640 0005 0060 00000000000009", 0},
		{"unknown AE", id + "08 12 05 80 40 00 0640 0005 0060 20010db800420001", 0},
		{"next hop in AE 0", id + "07 02 0000", 0},
		{"next hop in AE 4", id + "07 06 0400 c0000201 08 0d 01 80 18 00 0640 0005 0060 c00002", 0},
		{"source prefix of length 0", id + "08 0d 02 00 00 00 0640 0005 0060 80 01 00", 0},
		{"source prefix too short", id + "08 0e 02 00 00 00 0640 0005 0060 80 02 10 20", 0},
		{"two source prefixes", id + "08 14 02 00 00 00 0640 0005 0060 80 03 10 2001 80 03 10 2001", 0},
		{"source prefix of a Hello", "04 0b 0000 0007 0190 80 03 10 2001", 0},
		{"wildcard request with a length", "09 02 00 01", 0},
		{"wildcard request with a source", "09 07 00 00 80 03 10 2001", 0},
		{"wildcard seqno request", "0a 0e 00 00 0009 40 00 20010db800420001", 0},
		{"seqno request with hop count 0", "0a 14 02 30 0009 00 00 20010db800420001 20010db80042", 0},
		{"seqno request for no router-id", "0a 14 02 30 0009 40 00 0000000000000000 20010db80042", 0},
	} {
		t.Run(v.name, func(t *testing.T) {
			var d Decoder
			p := d.Parse(packet(t, v.hex+ackEnd), source)
			if p.Err != nil {
				t.Fatal(p.Err)
			}
			if len(p.TLVs) != v.want+1 {
				t.Errorf("%d TLVs, want %d and the Ack: %v", len(p.TLVs), v.want, p.TLVs)
			}
			if p.Ignored == 0 && !strings.HasPrefix(v.name, "too short") && !strings.Contains(v.name, "next hop in AE 0") {
				t.Error("nothing counted as ignored")
			}
		})
	}
}

// Section 4.5: the state changes even by a TLV that is ignored.
func TestSection4_5_StateOfIgnoredTLVs(t *testing.T) {
	for _, v := range []struct {
		name, hex string
		want      Update
	}{
		{
			"default prefix of an Update with an unknown mandatory sub-TLV",
			`06 0a 0000 20010db800420001
			 08 14 02 80 40 00 0640 0005 0060 20010db800420001 ff 00
			 08 0b 02 00 40 07 0640 0005 0060 09`,
			Update{AEIPv6, prefix("2001:db8:42:9::/64"), netip.Prefix{}, 1600, 5, 96, id1, source},
		},
		{
			"router-id by flag R of an Update without interval",
			`08 1a 02 c0 80 00 0000 0005 0060 20010db8004200010000000000000007
			 08 0b 02 00 40 07 0640 0005 0060 09`,
			Update{AEIPv6, prefix("2001:db8:42:9::/64"), netip.Prefix{}, 1600, 5, 96, RouterID{7: 7}, source},
		},
		{
			"Router-Id TLV with an unknown mandatory sub-TLV",
			`06 0c 0000 20010db800420001 ff 00  08 12 02 80 40 00 0640 0005 0060 20010db800420001`,
			Update{AEIPv6, prefix("2001:db8:42:1::/64"), netip.Prefix{}, 1600, 5, 96, id1, source},
		},
		{
			"Next Hop TLV with an unknown mandatory sub-TLV",
			`06 0a 0000 20010db800420001 07 14 0200 20010db8000000000000000000000009 ff 00
			 08 12 02 80 40 00 0640 0005 0060 20010db800420001`,
			Update{AEIPv6, prefix("2001:db8:42:1::/64"), netip.Prefix{}, 1600, 5, 96, id1, addr("2001:db8::9")},
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			var d Decoder
			p := d.Parse(packet(t, v.hex), source)
			if len(p.TLVs) != 1 {
				t.Fatalf("%d TLVs, want 1: %v", len(p.TLVs), p.TLVs)
			}
			if diff := cmp.Diff(&v.want, p.TLVs[0], compare, compareAddr); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Section 4.5: nothing survives the end of a packet.
func TestSection4_5_StateIsOfOnePacket(t *testing.T) {
	var d Decoder
	d.Parse(packet(t, "06 0a 0000 20010db800420001 08 12 02 80 40 00 0640 0005 0060 20010db800420001"), source)
	p := d.Parse(packet(t, "08 12 02 80 40 00 0640 0005 0060 20010db800420001 08 0b 02 00 40 07 0640 0005 ffff 09"), source)
	if len(p.TLVs) != 1 {
		t.Fatalf("%d TLVs, want the retraction alone: %v", len(p.TLVs), p.TLVs)
	}
	p = d.Parse(packet(t, "08 0b 02 00 40 07 0640 0005 ffff 09"), source)
	if len(p.TLVs) != 0 {
		t.Fatalf("the default prefix survived: %v", p.TLVs)
	}
}

func TestSection4_2_Header(t *testing.T) {
	good := packet(t, "03 02 0001")
	for _, v := range []struct {
		name   string
		change func(b []byte) []byte
		want   string
	}{
		{"wrong magic", func(b []byte) []byte { b[0] = 43; return b }, "packet header: wrong magic"},
		{"version 1", func(b []byte) []byte { b[1] = 1; return b }, "packet header: unknown version"},
		{"body longer than the datagram", func(b []byte) []byte { b[3]++; return b }, "packet header: body longer than the datagram"},
		{"empty", func([]byte) []byte { return nil }, "packet header: too short"},
		{"three octets", func(b []byte) []byte { return b[:3] }, "packet header: too short"},
	} {
		t.Run(v.name, func(t *testing.T) {
			var d Decoder
			p := d.Parse(v.change(append([]byte(nil), good...)), source)
			if p.Err == nil || p.Err.Error() != v.want || len(p.TLVs) != 0 {
				t.Errorf("%v, %v; want %q", p.Err, p.TLVs, v.want)
			}
		})
	}
}

// What is after the body is not of the body.
func TestSection4_2_Trailer(t *testing.T) {
	b := append(packet(t, "03 02 0001"), 3, 2, 0, 2)
	var d Decoder
	p := d.Parse(b, source)
	if len(p.TLVs) != 1 || len(p.Trailer) != 4 {
		t.Errorf("%d TLVs, trailer %x", len(p.TLVs), p.Trailer)
	}
}

// Every vector, cut after every octet: what was complete is read, nothing panics.
func TestT13_Truncation(t *testing.T) {
	for _, v := range vectors {
		whole := packet(t, v.hex)
		for n := HeaderLen; n < len(whole); n++ {
			b := append([]byte(nil), whole[:n]...)
			b[2], b[3] = 0, byte(n-HeaderLen)
			var d Decoder
			p := d.Parse(b, source)
			if len(p.TLVs) > len(v.want) {
				t.Errorf("%s, %d octets: %v", v.name, n, p.TLVs)
			}
		}
	}
	var d Decoder
	p := d.Parse(packet(t, "03 02 0001 03 02 00"), source)
	if len(p.TLVs) != 1 || p.Err == nil || p.Err.Error() != "TLV 3 at octet 8: runs past the end of the body" {
		t.Errorf("%v, %v", p.TLVs, p.Err)
	}
}

func TestEncoder_Limit(t *testing.T) {
	e := NewEncoder(100)
	n := 0
	for e.Add(&Update{Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 15: byte(n)}), 128), Interval: 1, Metric: 1, RouterID: id1}) {
		n++
	}
	b := e.Bytes()
	if len(b) > 100 {
		t.Errorf("%d octets", len(b))
	}
	var d Decoder
	if p := d.Parse(b, source); p.Err != nil || len(p.TLVs) != n {
		t.Errorf("%d TLVs, want %d: %v", len(p.TLVs), n, p.Err)
	}
	if e.Reset(); !e.IsEmpty() {
		t.Error("not empty after Reset")
	}
}

func TestEncoder_StampAt(t *testing.T) {
	e := NewEncoder(100)
	e.Add(&Ack{})
	e.Add(&Hello{Seqno: 1, Interval: 1, Timestamp: Timestamp{true, 0x01020304}})
	if got := be32(e.Bytes()[e.StampAt():]); got != 0x01020304 {
		t.Errorf("%x there", got)
	}
}

// 13.7 octets a route is the goal for sequential /64s of one origin.
func TestEncoder_OctetsPerRoute(t *testing.T) {
	e := NewEncoder(1420 - 48)
	n := 0
	for {
		a := [16]byte{0x20, 1, 0xd, 0xb8, 0, 0x42, byte(n >> 8), byte(n)}
		if !e.Add(&Update{Prefix: netip.PrefixFrom(netip.AddrFrom16(a), 64), Interval: 1, Metric: 1, RouterID: id1}) {
			break
		}
		n++
	}
	if per := float64(e.Len()) / float64(n); per > 13.7 {
		t.Errorf("%.2f octets a route", per)
	}
}

func TestRouterID_String(t *testing.T) {
	if got := id1.String(); got != "2001:0db8:0042:0001" {
		t.Error(got)
	}
}

func TestIntervalOf(t *testing.T) {
	if IntervalOf(0) != 1 || IntervalOf(1e18) != 0xFFFE || IntervalOf(4e9) != 400 {
		t.Error(IntervalOf(0), IntervalOf(1e18), IntervalOf(4e9))
	}
}
