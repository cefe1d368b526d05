package wire

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The numbers of docs/babel-conformance.md that are about reading and writing
// packets. Bodies are given in hex, and every one is followed by an Ack, which
// must be read whatever came before.

const (
	hexID    = "06 0a 0000 20010db800420001 "                            // Router-Id
	hexV4Hop = "07 06 0100 c0000209 "                                    // Next Hop 192.0.2.9
	hexKnown = "08 12 02 80 40 00 0640 0005 0060 20010db800420001 "      // Update of 2001:db8:42:1::/64, flag P
	hexNext  = "08 0b 02 00 40 07 0640 0005 0060 09 "                    // ... of 2001:db8:42:9::/64, 7 octets omitted
	hexAck   = "03 02 7777"                                              // the last TLV
	hexNine  = "08 12 02 00 40 00 0640 0005 0060 20010db800420009 "      // the same as hexNext, in full
	hexZero  = "06 0a 0000 0000000000000000 "                            // Router-Id
	hexOnes  = "06 0a 0000 ffffffffffffffff "                            // Router-Id
	hexOne4  = "08 0e 01 80 20 00 0640 0005 0060 c0000201 "              // Update of 192.0.2.1/32 in AE 1, flag P
	hexVia6  = "08 0e 04 80 20 00 0640 0005 0060 c6336401 "              // Update of 198.51.100.1/32 in AE 4, flag P
	hexHop6  = "07 12 0200 20010db8000000000000000000000009 "            // Next Hop 2001:db8::9
	hexHopLL = "07 0a 0300 0000000000000042 "                            // Next Hop fe80::42
	hexR     = "08 1a 02 40 80 00 0640 0005 0060 20010db800420001000000" // ... of a /128, flag R, without its last 5 octets
)

var none netip.Prefix

func updateFor(p string, change func(*Update)) *Update {
	u := &Update{AEIPv6, prefix(p), none, 1600, 5, 96, id1, source, nil}
	if change != nil {
		change(u)
	}
	return u
}

var (
	known = updateFor("2001:db8:42:1::/64", nil)
	nine  = updateFor("2001:db8:42:9::/64", nil)
)

// reading is one packet and what must be read of it, the Ack at its end aside.
type reading struct {
	name, hex string
	want      []TLV
}

func wantRead(t *testing.T, all []reading) {
	t.Helper()
	for _, v := range all {
		var d Decoder
		// A datagram of just that size: reading beyond it would panic.
		b := bytes.Clone(packet(t, v.hex+hexAck))
		p := d.Parse(b[:len(b):len(b)], source)
		if p.Err != nil {
			t.Errorf("%s: %v", v.name, p.Err)
		}
		if diff := cmp.Diff(append(v.want, TLV(&Ack{0x7777})), p.TLVs, compare, compareAddr); diff != "" {
			t.Errorf("%s (-want +got):\n%s", v.name, diff)
		}
	}
}

// write encodes TLVs in one packet and gives its body.
func write(t *testing.T, tlvs ...TLV) []byte {
	t.Helper()
	e := NewEncoder(4096)
	for _, tlv := range tlvs {
		if !e.Add(tlv) {
			t.Fatalf("%v does not fit", tlv)
		}
	}
	return e.Bytes()[HeaderLen:]
}

func TestC002_C005_Header(t *testing.T) {
	good := packet(t, "03 02 0001")
	for _, v := range []struct {
		name   string
		change func(b []byte) []byte
		want   string
	}{
		{"wrong magic", func(b []byte) []byte { b[0] = 43; return b }, "packet header: wrong magic"},
		{"version 1", func(b []byte) []byte { b[1] = 1; return b }, "packet header: unknown version"},
		{"version 3", func(b []byte) []byte { b[1] = 3; return b }, "packet header: unknown version"},
		{"body one octet longer than the datagram", func(b []byte) []byte { b[3]++; return b }, "packet header: body longer than the datagram"},
		{"body of 65535 octets", func(b []byte) []byte { b[2], b[3] = 0xff, 0xff; return b }, "packet header: body longer than the datagram"},
		{"empty", func([]byte) []byte { return nil }, "packet header: too short"},
		{"three octets", func(b []byte) []byte { return b[:3] }, "packet header: too short"},
	} {
		t.Run(v.name, func(t *testing.T) {
			var d Decoder
			b := v.change(bytes.Clone(good))
			p := d.Parse(b[:len(b):len(b)], source)
			if p.Err == nil || p.Err.Error() != v.want || len(p.TLVs) != 0 {
				t.Errorf("%v, %v; want %q", p.Err, p.TLVs, v.want)
			}
		})
	}
}

func TestC006_TrailerIsNotBody(t *testing.T) {
	trailer := packet(t, hexID+hexKnown+"00 01 02 ffff 04 06 0000 0007 0190")[HeaderLen:]
	var d Decoder
	p := d.Parse(append(packet(t, hexAck), trailer...), source)
	if p.Err != nil || len(p.TLVs) != 1 {
		t.Errorf("%v, %v; want the Ack of the body", p.TLVs, p.Err)
	}
}

func TestC008_UnknownTLVs(t *testing.T) {
	for _, kind := range []string{"0b", "0c", "0d", "0e", "0f", "14", "7f", "80", "c8", "ff"} {
		wantRead(t, []reading{
			{"type " + kind, kind + "03 030200", nil},
			{"type " + kind + " without body", kind + "00", nil},
			{"type " + kind + " between others", hexID + kind + "01 00" + hexKnown + kind + "02 ffff" + hexNext, []TLV{known, nine}},
		})
	}
	wantRead(t, []reading{
		{"known types without body", "02 00 03 00 04 00 05 00 06 00 07 00 08 00 09 00 0a 00 01 00", nil},
		{"known types that are too short", "02 05 0000123400 03 01 00 04 05 0000000000 05 05 0000006000 06 09 000000000000000001 07 01 00 08 09 020040000640000500 09 01 00 0a 0d 00000000000000000000000000", nil},
	})
}

// Every vector, cut after every octet: what was complete is read, nothing panics.
func TestT13_C009_Truncation(t *testing.T) {
	for _, v := range vectors {
		whole := packet(t, v.hex)
		for n := HeaderLen; n < len(whole); n++ {
			b := bytes.Clone(whole[:n])
			b[2], b[3] = 0, byte(n-HeaderLen)
			var d Decoder
			p := d.Parse(b[:n:n], source)
			if len(p.TLVs) > len(v.want) {
				t.Errorf("%s, %d octets: %v", v.name, n, p.TLVs)
			}
		}
	}
	for _, last := range []string{"03", "03 02", "03 02 00", "08 ff 02 80 40 00", "04 06 0000 0007 01"} {
		var d Decoder
		p := d.Parse(packet(t, "03 02 0001"+last), source)
		if len(p.TLVs) != 1 || p.Err == nil || p.TLVs[0].(*Ack).Opaque != 1 {
			t.Errorf("%s at the end: %v, %v", last, p.TLVs, p.Err)
		}
	}
}

func TestC010_ReservedFields(t *testing.T) {
	wantRead(t, []reading{
		{"Ack Request", "02 06 ffff 1234 0064", []TLV{&AckRequest{0x1234, 100}}},
		{"IHU", "05 06 00ff 0060 04b0", []TLV{&IHU{RxCost: 96, Interval: 1200}}},
		{"Router-Id", "06 0a ffff 20010db800420001" + hexKnown, []TLV{known}},
		{"Next Hop", hexID + "07 12 02ff 20010db8000000000000000000000009" + hexKnown, []TLV{
			updateFor("2001:db8:42:1::/64", func(u *Update) { u.NextHop = addr("2001:db8::9") }),
		}},
		{"Seqno Request", "0a 14 02 30 0009 40 ff 20010db800420001 20010db80042", []TLV{
			&SeqnoRequest{prefix("2001:db8:42::/48"), none, 9, 64, id1},
		}},
		{"PadN", "01 05 04060000ff 00 00", nil},
		{"flags of Hello", "04 06 7fff 0007 0190", []TLV{&Hello{Seqno: 7, Interval: 400}}},
		{"flags of Update", hexID + "08 12 02 bf 40 00 0640 0005 0060 20010db800420001" + hexNext, []TLV{known, nine}},
	})
	// Every bit that has no meaning is zero in what we write.
	for _, v := range []struct {
		tlv  TLV
		mask string // ones where zeros must be
	}{
		{&AckRequest{0xffff, 0xffff}, "00 00 ffff 0000 0000"},
		{&Hello{true, 0xffff, 0xffff, Timestamp{}}, "00 00 7fff 0000 0000"},
		{&IHU{RxCost: 0xffff, Interval: 0xffff, Address: addr("fe80::1")}, "00 00 00ff 0000 0000"},
		{&SeqnoRequest{prefix("2001::/16"), none, 0xffff, 255, id1}, "00 00 00 00 0000 00 ff"},
		{&Update{Prefix: prefix("2001::/16"), Interval: 1, Metric: 1, RouterID: id1, NextHop: addr("2001:db8::9")}, "00 00 ffff 0000000000000000 00 00 00ff 00000000000000000000000000000000 00 00 00 3f"},
	} {
		b, mask := write(t, v.tlv), packet(t, v.mask)[HeaderLen:]
		for i, m := range mask {
			if b[i]&m != 0 {
				t.Errorf("%T: octet %d is %02x: %x", v.tlv, i, b[i], b)
			}
		}
	}
}

// everyTLV is one of each type, without its sub-TLVs.
var everyTLV = []struct {
	kind, before, fixed string
	want                []TLV
}{
	{"02", "", "0000 1234 0064", []TLV{&AckRequest{0x1234, 100}}},
	{"03", "", "1234", []TLV{&Ack{0x1234}}},
	{"04", "", "0000 0007 0190", []TLV{&Hello{Seqno: 7, Interval: 400}}},
	{"05", "", "0000 0060 04b0", []TLV{&IHU{RxCost: 96, Interval: 1200}}},
	{"06", "", "0000 20010db800420001", nil},
	{"07", "", "0300 0000000000000042", nil},
	{"08", hexID, "02 80 40 00 0640 0005 0060 20010db800420001", []TLV{known}},
	{"09", "", "02 30 20010db80042", []TLV{&RouteRequest{Prefix: prefix("2001:db8:42::/48")}}},
	{"0a", "", "02 30 0009 40 00 20010db800420001 20010db80042", []TLV{&SeqnoRequest{prefix("2001:db8:42::/48"), none, 9, 64, id1}}},
}

// tlv frames a body.
func tlv(t *testing.T, kind, body string) string {
	n := len(packet(t, body)) - HeaderLen
	const digits = "0123456789abcdef"
	return kind + " " + string([]byte{digits[n>>4], digits[n&15]}) + " " + body + " "
}

func TestC014_C017_C018_SubTLVsThatChangeNothing(t *testing.T) {
	for _, v := range everyTLV {
		for _, sub := range []string{
			"7f 00", "7f 02 ffff", "2a 04 01020304", // unknown
			"00", "00 00 00", "01 00", "01 03 ffffff", // padding: Pad1 is one octet
			"7f 01 ff 7e 00", "00 7f 02 0000 00 01 01 80 05 00 00", // several
		} {
			wantRead(t, []reading{{"type " + v.kind + " and " + sub, v.before + tlv(t, v.kind, v.fixed+sub), v.want}})
		}
	}
}

func TestC015_C017_UnknownMandatorySubTLV(t *testing.T) {
	for _, v := range everyTLV {
		for _, sub := range []string{
			"ff 00", "81 02 ffff", "fe 01 00",
			"7f 02 ffff ff 00", "00 ff 00", "01 02 0000 ff 00", "ff 00 7f 01 00", // not the first or not the last
		} {
			wantRead(t, []reading{{"type " + v.kind + " and " + sub, v.before + tlv(t, v.kind, v.fixed+sub), nil}})
		}
	}
	// Among those we know, it is looked for too.
	wantRead(t, []reading{
		{"after a timestamp", "04 0e 0000 0007 0190 03 04 deadbeef ff 00", nil},
		{"before a timestamp", "04 0e 0000 0007 0190 ff 00 03 04 deadbeef", nil},
		{"after a source prefix", hexID + "08 11 02 00 00 00 0640 0005 0060 80 03 10 2001 ff 00", nil},
		{"after an unknown one, a source prefix", hexID + "08 12 02 00 00 00 0640 0005 0060 7f 01 00 80 03 10 2001", []TLV{
			updateFor("::/0", func(u *Update) { u.From = prefix("2001::/16") }),
		}},
		{"after an unknown one, a timestamp", "04 0f 0000 0007 0190 7f 01 ff 03 04 deadbeef", []TLV{&Hello{Seqno: 7, Interval: 400, Timestamp: Timestamp{true, 0xdeadbeef}}}},
	})
}

func TestC016_VoidTLVsChangeTheState(t *testing.T) {
	for _, v := range []struct {
		name, hex string
		change    func(*Update)
	}{
		{"default prefix of an Update with an unknown mandatory sub-TLV", hexID + "08 14 02 80 40 00 0640 0005 0060 20010db800420001 ff 00" + hexNext, nil},
		{"... with a sub-TLV that does not fit", hexID + "08 14 02 80 40 00 0640 0005 0060 20010db800420001 7f 05" + hexNext, nil},
		{"... without interval", hexID + "08 12 02 80 40 00 0000 0005 0060 20010db800420001" + hexNext, nil},
		{"... without router-id", "08 12 02 80 40 00 0640 0005 0060 20010db800420001" + hexID + hexNext, nil},
		{"... with a malformed source prefix", hexID + "08 15 02 80 40 00 0640 0005 0060 20010db800420001 80 01 00" + hexNext, nil},
		{
			"router-id by flag R of an Update without interval",
			"08 1a 02 c0 80 00 0000 0005 0060 20010db8004200010000000000000007" + hexNext,
			func(u *Update) { u.RouterID = RouterID{7: 7} },
		},
		{
			"router-id by flag R of an Update with an unknown mandatory sub-TLV",
			"08 1c 02 c0 80 00 0640 0005 0060 20010db8004200010000000000000007 ff 00" + hexNext,
			func(u *Update) { u.RouterID = RouterID{7: 7} },
		},
		{"Router-Id TLV with an unknown mandatory sub-TLV", "06 0c 0000 20010db800420001 ff 00" + hexNine, nil},
		{
			"Next Hop TLV with an unknown mandatory sub-TLV",
			hexID + "07 14 0200 20010db8000000000000000000000009 ff 00" + hexNine,
			func(u *Update) { u.NextHop = addr("2001:db8::9") },
		},
	} {
		wantRead(t, []reading{{v.name, v.hex, []TLV{updateFor("2001:db8:42:9::/64", v.change)}}})
	}
}

func TestC018_SubTLVsThatDoNotFit(t *testing.T) {
	for _, v := range everyTLV {
		for _, sub := range []string{"7f", "7f 01", "7f 02 ff", "01 01", "00 01 01", "7f 00 7f 05 ffffffff", "03 04 000000"} {
			wantRead(t, []reading{{"type " + v.kind + " and " + sub, v.before + tlv(t, v.kind, v.fixed+sub), nil}})
		}
	}
}

func TestC019_Timestamps(t *testing.T) {
	hello := func(s Timestamp) []TLV { return []TLV{&Hello{Seqno: 7, Interval: 400, Timestamp: s}} }
	ihu := func(e Echo) []TLV { return []TLV{&IHU{RxCost: 96, Interval: 1200, Echo: e}} }
	wantRead(t, []reading{
		{"Hello", "04 0c 0000 0007 0190 03 04 deadbeef", hello(Timestamp{true, 0xdeadbeef})},
		{"Hello, longer", "04 0e 0000 0007 0190 03 06 deadbeef ffff", hello(Timestamp{true, 0xdeadbeef})},
		{"Hello, shorter", "04 0b 0000 0007 0190 03 03 deadbe", hello(Timestamp{})},
		{"Hello, empty", "04 08 0000 0007 0190 03 00", hello(Timestamp{})},
		{"Hello, shorter, and what follows", "04 08 0000 0007 0190 03 00" + hexID + hexKnown, append(hello(Timestamp{}), known)},
		{"IHU", "05 10 0000 0060 04b0 03 08 00000001 00000002", ihu(Echo{true, 1, 2})},
		{"IHU, longer", "05 11 0000 0060 04b0 03 09 00000001 00000002 ff", ihu(Echo{true, 1, 2})},
		{"IHU, shorter", "05 0f 0000 0060 04b0 03 07 00000001 000000", ihu(Echo{})},
		{"IHU, as short as that of a Hello", "05 0c 0000 0060 04b0 03 04 00000001", ihu(Echo{})},
		{"IHU, shorter, and what follows", "05 0c 0000 0060 04b0 03 04 00000001" + hexID + hexKnown, append(ihu(Echo{}), known)},
		{"elsewhere", "03 08 1234 03 04 00000001", []TLV{&Ack{0x1234}}},
	})
}

func TestC021_C022_DefaultPrefix(t *testing.T) {
	wantRead(t, []reading{
		{"none", hexID + hexNext, nil},
		{"none yet", hexID + hexNext + hexKnown + hexNext, []TLV{known, nine}},
		{"an Update without flag P makes none", hexID + "08 12 02 00 40 00 0640 0005 0060 20010db800420001" + hexNext, []TLV{known}},
		{"an Update without flag P leaves the one before", hexID + hexKnown + "08 0a 02 00 00 00 0640 0005 0060" + hexNext, []TLV{known, updateFor("::/0", nil), nine}},
		{"that of AE 2 is not that of AE 1", hexID + hexV4Hop + hexKnown + "08 0b 01 00 20 03 0640 0005 0060 09", []TLV{known}},
		{"that of AE 2 is not that of AE 4", hexID + hexKnown + "08 0b 04 00 20 03 0640 0005 0060 09", []TLV{known}},
		{"that of AE 1 is not that of AE 4", hexID + hexV4Hop + hexOne4 + "08 0b 04 00 20 03 0640 0005 0060 09", []TLV{
			&Update{AEIPv4, prefix("192.0.2.1/32"), none, 1600, 5, 96, id1, addr("192.0.2.9"), nil},
		}},
		{"three at once", hexID + hexV4Hop + hexKnown + hexOne4 + hexVia6 +
			"08 0b 01 00 20 03 0640 0005 0060 07" + "08 0b 04 00 20 03 0640 0005 0060 08" + hexNext, []TLV{
			known,
			&Update{AEIPv4, prefix("192.0.2.1/32"), none, 1600, 5, 96, id1, addr("192.0.2.9"), nil},
			&Update{AEv4viav6, prefix("198.51.100.1/32"), none, 1600, 5, 96, id1, source, nil},
			&Update{AEIPv4, prefix("192.0.2.7/32"), none, 1600, 5, 96, id1, addr("192.0.2.9"), nil},
			&Update{AEv4viav6, prefix("198.51.100.8/32"), none, 1600, 5, 96, id1, source, nil},
			nine,
		}},
	})
}

func TestC022_StateEndsWithThePacket(t *testing.T) {
	var d Decoder
	for _, v := range []struct {
		name, hex string
		want      int
	}{
		{"all is said", hexID + hexV4Hop + hexKnown + hexOne4, 2},
		{"the router-id is gone", hexKnown, 0},
		{"all is said", hexID + hexV4Hop + hexKnown + hexOne4, 2},
		{"the default prefix is gone", hexID + hexNext, 0},
		{"all is said", hexID + hexV4Hop + hexKnown + hexOne4, 2},
		{"the next hop is gone", hexID + hexOne4, 0},
		{"for retractions too", "08 0b 02 00 40 07 0640 0005 ffff 09", 0},
	} {
		if p := d.Parse(packet(t, v.hex), source); len(p.TLVs) != v.want {
			t.Errorf("%s: %v, want %d TLVs", v.name, p.TLVs, v.want)
		}
	}
}

func TestC023_ShortDefaultPrefix(t *testing.T) {
	short := "08 0d 02 80 18 00 0640 0005 0060 20010d"
	wantRead(t, []reading{
		{"zeros are added", hexID + short + hexNext, []TLV{
			updateFor("2001:d00::/24", nil), updateFor("2001:d00:0:9::/64", nil),
		}},
		{"as many as there can be", hexID + short + "08 0a 02 00 80 10 0640 0005 0060", []TLV{
			updateFor("2001:d00::/24", nil), updateFor("2001:d00::/128", nil),
		}},
		{"of none", hexID + "08 0a 02 80 00 00 0640 0005 0060" + hexNext, []TLV{
			updateFor("::/0", nil), updateFor("0:0:0:9::/64", nil),
		}},
	})
}

func TestC024_PrefixLength(t *testing.T) {
	wantRead(t, []reading{
		{"bits beyond it are cleared", hexID + "08 0d 02 80 14 00 0640 0005 0060 2001ff", []TLV{updateFor("2001:f000::/20", nil)}},
		{"... and do not come back from the default prefix", hexID + "08 0d 02 80 14 00 0640 0005 0060 2001ff" + "08 0b 02 00 20 03 0640 0005 0060 01", []TLV{
			updateFor("2001:f000::/20", nil), updateFor("2001:f001::/32", nil),
		}},
		{"... where all is omitted", hexID + hexKnown + "08 0a 02 00 3f 08 0640 0005 0060", []TLV{known, updateFor("2001:db8:42::/63", nil)}},
		{"in a Route Request", "09 05 02 14 2001ff", []TLV{&RouteRequest{Prefix: prefix("2001:f000::/20")}}},
		{"129", hexID + "08 1b 02 00 81 00 0640 0005 0060 20010db8004200010000000000000000ff", nil},
		{"255", hexID + "08 2a 02 00 ff 00 0640 0005 0060 20010db80042000100000000000000000000000000000000000000000000000000", nil},
		{"33 of IPv4", hexID + hexV4Hop + "08 0f 01 00 21 00 0640 0005 0060 c0000201ff", nil},
		{"33 of AE 4", hexID + "08 0f 04 00 21 00 0640 0005 0060 c0000201ff", nil},
		{"129 in a Route Request", "09 13 02 81 20010db8004200010000000000000000ff", nil},
		{"33 in a Seqno Request", "0a 13 01 21 0009 40 00 20010db800420001 c0000201ff", nil},
		{"more omitted than there is", hexID + hexKnown + "08 0a 02 00 30 07 0640 0005 0060", []TLV{known}},
		{"255 omitted", hexID + hexKnown + "08 0a 02 00 30 ff 0640 0005 0060", []TLV{known}},
		{"cut", hexID + "08 0c 02 00 40 00 0640 0005 0060 2001", nil},
		{"cut, in a Route Request", "09 04 02 40 2001", nil},
	})
}

func TestC025_FlagR(t *testing.T) {
	seven := updateFor("2001:db8:42:1::7/128", func(u *Update) { u.RouterID = RouterID{7: 7} })
	wantRead(t, []reading{
		{"the low octets", hexID + hexR + "0000000007", []TLV{seven}},
		{"later ones too, of another encoding", hexR + "0000000007" + hexNine + hexVia6, []TLV{
			seven, updateFor("2001:db8:42:9::/64", func(u *Update) { u.RouterID = RouterID{7: 7} }),
			&Update{AEv4viav6, prefix("198.51.100.1/32"), none, 1600, 5, 96, RouterID{7: 7}, source, nil},
		}},
		{"until a Router-Id TLV", hexR + "0000000007" + hexID + hexNine, []TLV{seven, nine}},
		{"of the whole prefix, omitted octets and all", hexID + "08 1a 02 80 80 00 0640 0005 0060 20010db8004200010102030405060708" + "08 0b 02 40 80 0f 0640 0005 0060 09", []TLV{
			updateFor("2001:db8:42:1:102:304:506:708/128", nil),
			updateFor("2001:db8:42:1:102:304:506:709/128", func(u *Update) { u.RouterID = RouterID{1, 2, 3, 4, 5, 6, 7, 9} }),
		}},
		{"IPv4: four zeros and the address", hexV4Hop + "08 0e 01 40 20 00 0640 0005 0060 c0000201", []TLV{
			&Update{AEIPv4, prefix("192.0.2.1/32"), none, 1600, 5, 96, RouterID{4: 192, 6: 2, 7: 1}, addr("192.0.2.9"), nil},
		}},
		{"AE 4: the same", "08 0e 04 40 20 00 0640 0005 0060 c0000201", []TLV{
			&Update{AEv4viav6, prefix("192.0.2.1/32"), none, 1600, 5, 96, RouterID{4: 192, 6: 2, 7: 1}, source, nil},
		}},
	})
	// BIRD does not know it with IPv4: we never say it.
	e := NewEncoder(4096)
	for _, p := range []string{"192.0.2.1/32", "2001:db8:42:1::7/128"} {
		for _, hop := range []netip.Addr{{}, addr("192.0.2.9")} {
			if prefix(p).Addr().Is4() || !hop.Is4() {
				e.Reset()
				e.Add(&Update{Prefix: prefix(p), Interval: 1, Metric: 1, RouterID: RouterID{7: 7}, NextHop: hop})
				if b := e.Bytes(); b[HeaderLen] != byte(TypeRouterID) {
					t.Errorf("%s: no Router-Id TLV first: %x", p, b)
				}
			}
		}
	}
}

func TestC026_C027_AnnouncementsNeedRouterIDAndNextHop(t *testing.T) {
	wantRead(t, []reading{
		{"no router-id", hexKnown, nil},
		{"no IPv4 next hop", hexID + hexOne4, nil},
		{"no IPv4 next hop, though there is an IPv6 one", hexID + hexHop6 + hexOne4, nil},
		{"a retraction without router-id", "08 12 02 80 40 00 0640 0005 ffff 20010db800420001", []TLV{
			updateFor("2001:db8:42:1::/64", func(u *Update) { u.Metric, u.RouterID = Infinity, RouterID{} }),
		}},
		{"a retraction without router-id and next hop", "08 0e 01 80 20 00 0640 0005 ffff c0000201", []TLV{
			&Update{AEIPv4, prefix("192.0.2.1/32"), none, 1600, 5, Infinity, RouterID{}, netip.Addr{}, nil},
		}},
	})
}

func TestC028_NextHop(t *testing.T) {
	via := func(hop string) *Update {
		return updateFor("2001:db8:42:9::/64", func(u *Update) { u.NextHop = addr(hop) })
	}
	v4 := func(hop string) *Update {
		return &Update{AEIPv4, prefix("192.0.2.1/32"), none, 1600, 5, 96, id1, addr(hop), nil}
	}
	wantRead(t, []reading{
		{"the packet's source", hexID + hexNine, []TLV{nine}},
		{"global", hexID + hexHop6 + hexNine, []TLV{via("2001:db8::9")}},
		{"link-local", hexID + hexHopLL + hexNine, []TLV{via("fe80::42")}},
		{"the last one", hexID + hexHop6 + hexHopLL + hexNine, []TLV{via("fe80::42")}},
		{"of its family", hexID + hexHop6 + hexV4Hop + hexNine + hexOne4, []TLV{via("2001:db8::9"), v4("192.0.2.9")}},
		{"from there on", hexID + hexNine + hexHop6 + hexNine, []TLV{nine, via("2001:db8::9")}},
		{"AE 0 is none", hexID + hexHop6 + "07 02 0000" + hexNine, []TLV{via("2001:db8::9")}},
		{"AE 4 is none", hexID + hexV4Hop + "07 06 0400 c0000277" + hexOne4, []TLV{v4("192.0.2.9")}},
		{"cut ones are none", hexID + hexV4Hop + "07 05 0100 c00002 07 11 0200 20010db80000000000000000000000 07 09 0300 00000000000000" + hexNine + hexOne4, []TLV{nine, v4("192.0.2.9")}},
	})
	// In an IPv4 packet the source is the IPv4 next hop.
	var d Decoder
	p := d.Parse(packet(t, hexID+hexOne4+hexNine), addr("192.0.2.33"))
	if diff := cmp.Diff([]TLV{v4("192.0.2.33")}, p.TLVs, compare, compareAddr); diff != "" {
		t.Errorf("over IPv4 (-want +got):\n%s", diff)
	}
}

func TestC029_Wildcard(t *testing.T) {
	wantRead(t, []reading{
		{"a retraction of everything", "08 0a 00 00 00 00 0640 0000 ffff", []TLV{&Update{Interval: 1600, Metric: Infinity}}},
		{"finite", hexID + "08 0a 00 00 00 00 0640 0005 0060", nil},
		{"with a length", "08 0a 00 00 01 00 0640 0005 ffff", nil},
		{"with omitted octets", "08 0a 00 00 00 01 0640 0005 ffff", nil},
	})
}

func TestC030_AddressEncodings(t *testing.T) {
	all := []reading{
		{"AE 3", hexID + "08 12 03 00 80 00 0640 0005 0060 0000000000000009", []TLV{
			&Update{AELinkLocal, prefix("fe80::9/128"), none, 1600, 5, 96, id1, source, nil},
		}},
		{"AE 3 with omitted octets", hexID + hexKnown + "08 11 03 00 80 01 0640 0005 0060 00000000000009", []TLV{known}},
	}
	for _, ae := range []string{"05", "06", "80", "ff"} {
		all = append(all, []reading{
			{"IHU in AE " + ae, "05 0e " + ae + "00 0060 04b0 0000000000000042", nil},
			{"Next Hop in AE " + ae, hexID + "07 12 " + ae + "00 20010db8000000000000000000000009" + hexNine, []TLV{nine}},
			{"Update in AE " + ae, hexID + "08 12 " + ae + " 80 40 00 0640 0005 0060 20010db800420001", nil},
			{"retraction in AE " + ae, hexID + "08 12 " + ae + " 80 40 00 0640 0005 ffff 20010db800420001", nil},
			{"Route Request in AE " + ae, "09 0a " + ae + " 40 20010db800420001", nil},
			{"Seqno Request in AE " + ae, "0a 16 " + ae + " 40 0009 40 00 20010db800420001 20010db800420001", nil},
		}...)
	}
	wantRead(t, all)
}

func TestC031_ZeroIntervals(t *testing.T) {
	wantRead(t, []reading{
		{"Ack Request", "02 06 0000 1234 0000", nil},
		{"IHU", "05 06 0000 0060 0000", nil},
		{"Update", hexID + "08 12 02 80 40 00 0000 0005 0060 20010db800420001", nil},
		{"retraction: counts", hexID + "08 12 02 80 40 00 0000 0005 ffff 20010db800420001", []TLV{
			updateFor("2001:db8:42:1::/64", func(u *Update) { u.Interval, u.Metric = 0, Infinity }),
		}},
		{"retraction of everything: counts", "08 0a 00 00 00 00 0000 0000 ffff", []TLV{&Update{Metric: Infinity}}},
	})
	if IntervalOf(0) != 1 || IntervalOf(-1) != 1 || IntervalOf(1e18) != 0xFFFE || IntervalOf(4e9) != 400 {
		t.Error("written:", IntervalOf(0), IntervalOf(-1), IntervalOf(1e18), IntervalOf(4e9))
	}
}

func TestC033_RouterIDs(t *testing.T) {
	wantRead(t, []reading{
		{"zeros", hexZero + hexKnown, nil},
		{"ones", hexOnes + hexKnown, nil},
		// Those Updates were not meant for the router-id before.
		{"zeros, after another", hexID + hexZero + hexKnown, nil},
		{"ones, after another", hexID + hexOnes + hexKnown, nil},
		{"zeros by flag R", hexID + hexR + "0000000000" + hexNine, nil},
		{"ones by flag R", hexID + "08 1a 02 40 80 00 0640 0005 0060 20010db800420001ffffffffffffffff" + hexNine, nil},
		{"zeros by flag R with IPv4", hexID + "08 0a 04 40 00 00 0640 0005 0060" + hexNine, nil},
		{"zeros in a Seqno Request", "0a 14 02 30 0009 40 00 0000000000000000 20010db80042", nil},
		{"ones in a Seqno Request", "0a 14 02 30 0009 40 00 ffffffffffffffff 20010db80042", nil},
		{"another one puts it right", hexZero + hexID + hexKnown, []TLV{known}},
	})
}

func TestC034_Requests(t *testing.T) {
	wantRead(t, []reading{
		{"for everything", "09 02 00 00", []TLV{&RouteRequest{}}},
		{"for everything, with a length", "09 02 00 01", nil},
		{"for a seqno of everything", "0a 0e 00 00 0009 40 00 20010db800420001", nil},
		{"for a seqno of everything, with a length", "0a 14 00 30 0009 40 00 20010db800420001 20010db80042", nil},
		{"with hop count 0", "0a 14 02 30 0009 00 00 20010db800420001 20010db80042", nil},
		{"with hop count 1", "0a 14 02 30 0009 01 00 20010db800420001 20010db80042", []TLV{
			&SeqnoRequest{prefix("2001:db8:42::/48"), none, 9, 1, id1},
		}},
	})
}

// 13.7 octets a route is the goal for sequential /64s of one origin.
func TestC036_OctetsPerRoute(t *testing.T) {
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

func TestC036_FlagPAndOmittedOctets(t *testing.T) {
	b := write(
		t, &Update{Prefix: prefix("2001:db8:42:1::/64"), Interval: 1600, Seqno: 5, Metric: 96, RouterID: id1},
		&Update{Prefix: prefix("2001:db8:42:9::/64"), Interval: 1600, Seqno: 5, Metric: 96, RouterID: id1},
	)
	if want := packet(t, hexID+hexKnown+"08 0b 02 80 40 07 0640 0005 0060 09")[HeaderLen:]; !bytes.Equal(b, want) {
		t.Errorf("written\n%x, want\n%x", b, want)
	}
}

func TestC073_MappedPrefixes(t *testing.T) {
	wantRead(t, []reading{
		{"Update", hexID + "08 1a 02 00 80 00 0640 0005 0060 00000000000000000000ffffc0000201", nil},
		{"Update of all of them", hexID + "08 16 02 00 60 00 0640 0005 0060 00000000000000000000ffff", nil},
		{"Route Request", "09 12 02 80 00000000000000000000ffffc0000201", nil},
		{"Seqno Request", "0a 1e 02 80 0009 40 00 20010db800420001 00000000000000000000ffffc0000201", nil},
		{"source prefix", hexID + "08 1d 02 00 00 00 0640 0005 0060 80 11 80 00000000000000000000ffffc0000201", nil},
		{"Next Hop", hexID + "07 12 0200 00000000000000000000ffffc0000201" + hexNine, []TLV{nine}},
	})
}

func TestC020_C116_SourcePrefix(t *testing.T) {
	from := func(u *Update) { u.From = prefix("2001::/16") }
	wantRead(t, []reading{
		{"Update, whose end cuts it off", hexID + "08 0d 02 00 00 00 0640 0005 0060 80 03 10", nil},
		{"Update", hexID + "08 0f 02 00 00 00 0640 0005 0060 80 03 10 2001", []TLV{updateFor("::/0", from)}},
		{"Route Request", "09 07 02 00 80 03 10 2001", []TLV{&RouteRequest{prefix("::/0"), prefix("2001::/16")}}},
		{"Seqno Request", "0a 13 02 00 0009 40 00 20010db800420001 80 03 10 2001", []TLV{&SeqnoRequest{prefix("::/0"), prefix("2001::/16"), 9, 64, id1}}},
		{"IPv4", hexID + "08 0f 04 00 00 00 0640 0005 0060 80 03 10 c000", []TLV{&Update{AEv4viav6, prefix("0.0.0.0/0"), prefix("192.0.0.0/16"), 1600, 5, 96, id1, source, nil}}},
		{"bits beyond its length are cleared", hexID + "08 10 02 00 00 00 0640 0005 0060 80 04 14 2001ff", []TLV{updateFor("::/0", func(u *Update) { u.From = prefix("2001:f000::/20") })}},
		{"a longer body has something to come", hexID + "08 11 02 00 00 00 0640 0005 0060 80 05 10 2001 ffff", []TLV{updateFor("::/0", from)}},
		{"a shorter one is no body", hexID + "08 0e 02 00 00 00 0640 0005 0060 80 02 10 20", nil},
		{"nor is an empty one", hexID + "08 0c 02 00 00 00 0640 0005 0060 80 00", nil},
		{"length 0", hexID + "08 0d 02 00 00 00 0640 0005 0060 80 01 00", nil},
		{"length 129", hexID + "08 1e 02 00 00 00 0640 0005 0060 80 12 81 20010db8000000000000000000000000ff", nil},
		{"length 33 of IPv4", hexID + "08 12 04 00 00 00 0640 0005 0060 80 06 21 c0000201ff", nil},
		{"two", hexID + "08 14 02 00 00 00 0640 0005 0060 80 03 10 2001 80 03 10 2001", nil},
		{"in a Route Request: length 0", "09 05 02 00 80 01 00", nil},
		{"in a Seqno Request: two", "0a 18 02 00 0009 40 00 20010db800420001 80 03 10 2001 80 03 10 2002", nil},
		{"in a Hello", "04 0b 0000 0007 0190 80 03 10 2001", nil},
		{"in an IHU", "05 0b 0000 0060 04b0 80 03 10 2001", nil},
	})
	zero := prefix("::/0")
	for _, tlv := range []TLV{
		&Update{Prefix: zero, From: zero, Interval: 1, Metric: 1, RouterID: id1},
		&RouteRequest{zero, zero},
		&SeqnoRequest{zero, zero, 1, 1, id1},
	} {
		if b := write(t, tlv); bytes.IndexByte(b[HeaderLen:], byte(subSourcePrefix)) >= 0 {
			t.Errorf("%T: a source prefix of length 0 was written: %x", tlv, b)
		}
	}
}

func TestC117_WildcardsHaveNoSource(t *testing.T) {
	wantRead(t, []reading{
		{"retraction", "08 0f 00 00 00 00 0640 0005 ffff 80 03 10 2001", nil},
		{"request", "09 07 00 00 80 03 10 2001", nil},
		{"request, of length 0", "09 05 00 00 80 01 00", nil},
	})
}

func TestC120_SourcePrefixesAreNotCompressed(t *testing.T) {
	from := func(u *Update) { u.From = prefix("2001::/16") }
	wantRead(t, []reading{
		{"the destination is", hexID + hexKnown + "08 10 02 00 40 07 0640 0005 0060 09 80 03 10 2001", []TLV{known, updateFor("2001:db8:42:9::/64", from)}},
		{"it becomes the default", hexID + "08 17 02 80 40 00 0640 0005 0060 20010db800420001 80 03 10 2001" + hexNext, []TLV{updateFor("2001:db8:42:1::/64", from), nine}},
		{"also where the TLV is ignored", hexID + "08 15 02 80 40 00 0640 0005 0060 20010db800420001 80 01 00" + hexNext, []TLV{nine}},
		{"the source does not", hexID + hexKnown + "08 0f 02 00 00 00 0640 0005 0060 80 03 10 2001" + hexNext, []TLV{known, updateFor("::/0", from), nine}},
	})
	// Two Updates from one source: each says it in full.
	u := func(p string) *Update {
		return &Update{Prefix: prefix(p), From: prefix("2001:db8:7::/48"), Interval: 1600, Metric: 1, RouterID: id1}
	}
	b := write(t, u("2001:db8:42:1::/64"), u("2001:db8:42:9::/64"))
	if n := bytes.Count(b, []byte{0x80, 7, 48, 0x20, 1, 0xd, 0xb8, 0, 7}); n != 2 {
		t.Errorf("%d whole source prefixes, want 2: %x", n, b)
	}
}

func TestC122_AE4(t *testing.T) {
	via := func(hop string) *Update {
		return &Update{AEv4viav6, prefix("198.51.100.1/32"), none, 1600, 5, 96, id1, addr(hop), nil}
	}
	wantRead(t, []reading{
		{"the packet's source", hexID + hexVia6, []TLV{via("fe80::1")}},
		{"AE 2 next hop", hexID + hexHop6 + hexVia6, []TLV{via("2001:db8::9")}},
		{"AE 3 next hop", hexID + hexHopLL + hexVia6, []TLV{via("fe80::42")}},
		{"not the IPv4 next hop", hexID + hexV4Hop + hexVia6, []TLV{via("fe80::1")}},
		{"compressed", hexID + hexVia6 + "08 0b 04 00 20 03 0640 0005 0060 08", []TLV{
			via("fe80::1"), &Update{AEv4viav6, prefix("198.51.100.8/32"), none, 1600, 5, 96, id1, source, nil},
		}},
		{"bits beyond the length", hexID + "08 0c 04 00 0c 00 0640 0005 0060 c6ff", []TLV{&Update{AEv4viav6, prefix("198.240.0.0/12"), none, 1600, 5, 96, id1, source, nil}}},
	})
	var d Decoder
	if p := d.Parse(packet(t, hexID+hexVia6), addr("192.0.2.33")); len(p.TLVs) != 0 {
		t.Errorf("without IPv6 next hop: %v", p.TLVs)
	}
}

func TestC123_NoAE4InIHUAndNextHop(t *testing.T) {
	wantRead(t, []reading{
		{"IHU", "05 0a 0400 0060 04b0 c0000201", nil},
		{"IHU without address", "05 06 0400 0060 04b0", nil},
		{"Next Hop", hexID + "07 06 0400 c0000209" + hexOne4 + hexNine, []TLV{nine}},
	})
}

func TestC125_RequestsInAE4(t *testing.T) {
	v4 := prefix("192.0.2.0/24")
	wantRead(t, []reading{
		{"Route Request in AE 1", "09 05 01 18 c00002", []TLV{&RouteRequest{Prefix: v4}}},
		{"Route Request in AE 4", "09 05 04 18 c00002", []TLV{&RouteRequest{Prefix: v4}}},
		{"Seqno Request in AE 1", "0a 11 01 18 0009 40 00 20010db800420001 c00002", []TLV{&SeqnoRequest{v4, none, 9, 64, id1}}},
		{"Seqno Request in AE 4", "0a 11 04 18 0009 40 00 20010db800420001 c00002", []TLV{&SeqnoRequest{v4, none, 9, 64, id1}}},
	})
	for _, tlv := range []TLV{&RouteRequest{Prefix: v4}, &SeqnoRequest{v4, none, 9, 64, id1}} {
		if b := write(t, tlv); AE(b[2]) != AEIPv4 {
			t.Errorf("%T is written in AE %d", tlv, b[2])
		}
	}
}

// A router that knows nothing of source prefixes must not take an Update that has
// one for another: the sub-TLV that says it is mandatory, in each TLV. (One that
// knows RFC 6126 only knows no mandatory sub-TLVs: it has no place on such links.)
func TestC119_SourcePrefixesAreMandatory(t *testing.T) {
	every, from := prefix("::/0"), prefix("2001:db8:7::/48")
	for _, tlv := range []TLV{
		&Update{Prefix: every, From: from, Interval: 1, Metric: 1, RouterID: id1},
		&Update{Prefix: every, From: from, Interval: 1, Metric: Infinity},
		&RouteRequest{every, from},
		&SeqnoRequest{every, from, 1, 1, id1},
	} {
		b := write(t, tlv)
		at := bytes.Index(b, []byte{7, 48, 0x20, 1, 0xd, 0xb8, 0, 7})
		if at < 1 || b[at-1]&byte(subMandatory) == 0 {
			t.Fatalf("%T: no mandatory source prefix: %x", tlv, b)
		}
		// To such a router it looks like this.
		b[at-1] = 0xff
		var d Decoder
		if p := d.Parse(packet(t, hex.EncodeToString(b)), source); len(p.TLVs) != 0 {
			t.Errorf("%T: read as %v", tlv, p.TLVs[0])
		}
	}
}
