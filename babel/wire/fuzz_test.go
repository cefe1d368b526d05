package wire

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Arbitrary octets: never a panic, never an illegal value; and what is read can
// be written, and reads the same.
func FuzzT13_A18_Parse(f *testing.F) {
	for _, v := range vectors {
		f.Add(packet(f, v.hex))
	}
	f.Add([]byte{})
	f.Add([]byte{42, 2, 0xff, 0xff, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		var d, d2 Decoder
		p := d.Parse(b, source)
		if len(b) > 60000 {
			return
		}
		e := NewEncoder(1 << 18)
		var want []TLV
		for _, tlv := range p.TLVs {
			check(t, tlv)
			if !isWritable(tlv) {
				continue
			}
			if !e.Add(tlv) {
				t.Fatalf("%#v does not fit", tlv)
			}
			want = append(want, tlv)
		}
		if e.Len() > 0xFFFF {
			return
		}
		again := d2.Parse(e.Bytes(), source)
		if again.Err != nil {
			t.Fatal(again.Err)
		}
		if diff := cmp.Diff(want, again.TLVs, compare, compareAddr); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
	})
}

// isWritable leaves out what only others send.
func isWritable(tlv TLV) bool {
	switch t := tlv.(type) {
	case *Update:
		// A retraction's router-id and next hop mean nothing, and are not kept.
		return t.Metric != Infinity && t.AE != AELinkLocal && t.From.Bits() != 0 && t.NextHop.IsValid()
	case *RouteRequest:
		return !t.Prefix.IsValid() || prefixAE(t.Prefix) != AEWildcard
	}
	return true
}

func check(t *testing.T, tlv TLV) {
	t.Helper()
	isFine := func(p netip.Prefix) bool { return !p.IsValid() || p == p.Masked() }
	switch x := tlv.(type) {
	case *Update:
		isFinite := x.Metric != Infinity
		if isFinite && (!x.RouterID.IsLegal() || !x.NextHop.IsValid() || x.Interval == 0 || !x.Prefix.IsValid()) {
			t.Fatalf("unusable: %+v", x)
		}
		if !isFine(x.Prefix) || !isFine(x.From) || x.From.IsValid() && x.From.Bits() == 0 {
			t.Fatalf("malformed: %+v", x)
		}
	case *SeqnoRequest:
		if !x.Prefix.IsValid() || !x.RouterID.IsLegal() || x.HopCount == 0 || !isFine(x.Prefix) {
			t.Fatalf("malformed: %+v", x)
		}
	case *IHU:
		if x.Interval == 0 {
			t.Fatalf("malformed: %+v", x)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	data := dump()
	var d Decoder
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if p := d.Parse(data, source); p.Err != nil || len(p.TLVs) < 90 {
			b.Fatal(p.Err, len(p.TLVs))
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		dump()
	}
}

// dump is a full packet of updates.
func dump() []byte {
	e := NewEncoder(1420 - 48)
	u := Update{Interval: 1600, Metric: 96, RouterID: id1}
	for i := 0; ; i++ {
		u.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0x42, byte(i >> 8), byte(i)}), 64)
		if !e.Add(&u) {
			return e.Bytes()
		}
	}
}
