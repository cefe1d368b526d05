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
		[]TLV{&Update{AEIPv6, prefix("2001:db8:42:1::/64"), netip.Prefix{}, 1600, 5, 96, id1, source, nil}},
		false,
	},
	{
		"compressed updates",
		`06 0a 0000 20010db800420001 08 12 02 80 40 00 0640 0005 0060 20010db800420001
		 06 0a 0000 20010db800420002 08 0b 02 80 40 07 0640 0006 0061 02`,
		[]TLV{
			&Update{AEIPv6, prefix("2001:db8:42:1::/64"), netip.Prefix{}, 1600, 5, 96, id1, source, nil},
			&Update{AEIPv6, prefix("2001:db8:42:2::/64"), netip.Prefix{}, 1600, 6, 97, id2, source, nil},
		},
		false,
	},
	{
		"the router-id in the prefix (flag R)", "08 1a 02 40 80 00 0640 0005 0060 20010db8004200010000000000000007",
		[]TLV{&Update{AEIPv6, prefix("2001:db8:42:1::7/128"), netip.Prefix{}, 1600, 5, 96, RouterID{7: 7}, source, nil}},
		true,
	},
	{
		"flag R with IPv4: four zeros and the address", "07 06 0100 c0000209 08 0e 01 40 20 00 0640 0005 0060 c0000201",
		[]TLV{&Update{AEIPv4, prefix("192.0.2.1/32"), netip.Prefix{}, 1600, 5, 96, RouterID{4: 192, 6: 2, 7: 1}, addr("192.0.2.9"), nil}},
		true,
	},
	{
		"IPv4 by an IPv6 next hop (RFC 9229)", "06 0a 0000 20010db800420001 08 0d 04 80 18 00 0640 0005 0060 c00002",
		[]TLV{&Update{AEv4viav6, prefix("192.0.2.0/24"), netip.Prefix{}, 1600, 5, 96, id1, source, nil}},
		false,
	},
	{
		"IPv4 by an IPv4 next hop", "06 0a 0000 20010db800420001 07 06 0100 c0000209 08 0d 01 80 18 00 0640 0005 0060 c00002",
		[]TLV{&Update{AEIPv4, prefix("192.0.2.0/24"), netip.Prefix{}, 1600, 5, 96, id1, addr("192.0.2.9"), nil}},
		false,
	},
	{
		"bits beyond the length are cleared", "06 0a 0000 20010db800420001 08 0d 02 80 14 00 0640 0005 0060 2001ff",
		[]TLV{&Update{AEIPv6, prefix("2001:f000::/20"), netip.Prefix{}, 1600, 5, 96, id1, source, nil}},
		true,
	},
	{
		"octets that the default prefix does not have are zero",
		`06 0a 0000 20010db800420001 08 0d 02 80 18 00 0640 0005 0060 20010d
		 08 0b 02 00 40 07 0640 0005 0060 09`,
		[]TLV{
			&Update{AEIPv6, prefix("2001:d00::/24"), netip.Prefix{}, 1600, 5, 96, id1, source, nil},
			&Update{AEIPv6, prefix("2001:d00:0:9::/64"), netip.Prefix{}, 1600, 5, 96, id1, source, nil},
		},
		true,
	},
	{"retraction without router-id", "08 12 02 80 40 00 0640 0005 ffff 20010db800420001", []TLV{
		&Update{AEIPv6, prefix("2001:db8:42:1::/64"), netip.Prefix{}, 1600, 5, Infinity, RouterID{}, source, nil},
	}, true},
	{"retraction of everything", "08 0a 00 00 00 00 0640 0000 ffff", []TLV{&Update{Interval: 1600, Metric: Infinity}}, false},
	{
		"source-specific update (RFC 9079)",
		"06 0a 0000 20010db800420001 08 13 02 00 00 00 0640 0005 0060 80 07 30 20010db80042",
		[]TLV{&Update{AEIPv6, prefix("::/0"), prefix("2001:db8:42::/48"), 1600, 5, 96, id1, source, nil}},
		false,
	},
	{
		"link-local prefix", "06 0a 0000 20010db800420001 08 12 03 00 80 00 0640 0005 0060 0000000000000009",
		[]TLV{&Update{AELinkLocal, prefix("fe80::9/128"), netip.Prefix{}, 1600, 5, 96, id1, source, nil}},
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

func TestRouterID_String(t *testing.T) {
	if got := id1.String(); got != "2001:0db8:0042:0001" {
		t.Error(got)
	}
}
