package addressing

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func prefixes(s string) []netip.Prefix {
	var out []netip.Prefix
	for _, f := range strings.Fields(s) {
		out = append(out, prefix(f))
	}
	return out
}

// The whole extensions were computed by another program.
var blockVectors = []struct{ name, prefixes, der string }{
	{"10.5.0.4/32", "10.5.0.4/32", "300f 300d 04020001 3007 0305 000a050004"},
	{"10.5.0/23", "10.5.0.0/23", "300e 300c 04020001 3006 0304 010a0500"},
	{"2001:0:200/39", "2001:0:200::/39", "3010 300e 04020002 3008 0306 012001000002"},
	{"a node's /64", "2001:db8:42:1::/64", "3013 3011 04020002 300b 0309 0020010db800420001"},
	{"everything", "::/0", "300b 3009 04020002 3003 0301 00"},
	{"a /61", "2001:db8:42:8::/61", "3013 3011 04020002 300b 0309 0320010db800420008"},
	{"both families, IPv4 first", "10.42.0.0/16 2001:db8:42::/48", "301e 300b 04020001 3005 0303 000a2a 300f 04020002 3009 0307 0020010db80042"},
}

func TestIPBlocksVectors(t *testing.T) {
	for _, v := range blockVectors {
		t.Run(v.name, func(t *testing.T) {
			want := unhex(t, v.der)
			got, err := MarshalIPBlocks(prefixes(v.prefixes))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("MarshalIPBlocks(%s) = %x, %v, want %x", v.prefixes, got, err, want)
			}
			back, err := ParseIPBlocks(want)
			if diff := cmp.Diff(prefixes(v.prefixes), back, comparePrefixes); diff != "" || err != nil {
				t.Errorf("ParseIPBlocks(%x): %v (-want +got):\n%s", want, err, diff)
			}
		})
	}
}

func TestIPBlocksRefused(t *testing.T) {
	many := make([]netip.Prefix, 65)
	for i := range many {
		many[i] = prefix(fmt.Sprintf("2001:db8:%x::/64", 2*i))
	}
	for _, test := range []struct {
		name string
		in   []netip.Prefix
	}{
		{"none", nil},
		{"the zero prefix", []netip.Prefix{{}}},
		{"bits after the length", prefixes("2001:db8::1/64")},
		{"mapped", prefixes("::ffff:10.0.0.0/104")},
		{"twice", prefixes("2001:db8::/64 2001:db8::/64")},
		{"one in the other", prefixes("2001:db8:0:5::/64 2001:db8::/48")},
		{"two that make one prefix", prefixes("2001:db8:0:1::/64 2001:db8::/64")},
		{"two that make a range", prefixes("2001:db8:0:1::/64 2001:db8:0:2::/63")},
		{"too many", many},
	} {
		if der, err := MarshalIPBlocks(test.in); err == nil {
			t.Errorf("%s: MarshalIPBlocks = %x, want an error", test.name, der)
		}
	}
	if _, err := MarshalIPBlocks(many[:64]); err != nil {
		t.Errorf("as many as allowed: %v", err)
	}
}

var badBlocks = []struct{ name, der string }{
	{"empty", ""},
	{"no family", "3000"},
	{"a family without blocks", "3008 3006 04020002 3000"},
	{"inherit", "3008 3006 04020002 0500"},
	{"a range", "301b 3019 04020002 3013 3011 0305 0020010db8 0308 0020010db80042ff"},
	{"a SAFI", "3014 3012 0403000201 300b 0309 0020010db800420001"},
	{"an unknown family", "300c 300a 04020003 3004 0302 000a"},
	{"IPv4 of 33 bits", "3010 300e 04020001 3008 0306 070a00000080"},
	{"IPv6 after IPv6", "301c 300c 04020002 3006 0304 002001aa 300c 04020002 3006 0304 002001bb"},
	{"IPv6 before IPv4", "301e 300f 04020002 3009 0307 0020010db80042 300b 04020001 3005 0303 000a2a"},
	{"wrong order", "3012 3010 04020001 300a 0303 000a2b 0303 000a29"},
	{"overlap", "3011 300f 04020001 3009 0302 000a 0303 000a29"},
	{"padding bits set", "300d 300b 04020001 3005 0303 040a2f"},
	{"eight unused bits", "300d 300b 04020001 3005 0303 080a2a"},
	{"an empty bit string with unused bits", "300b 3009 04020001 3003 0301 01"},
	{"a bit string without its first byte", "300a 3008 04020001 3002 0300"},
	{"long form of a short length", "30810d 300b 04020001 3005 0303 000a2a"},
	{"indefinite length", "3080 300b 04020001 3005 0303 000a2a 0000"},
	{"bytes after the end", "300d 300b 04020001 3005 0303 000a2a 00"},
	{"bytes after the blocks", "300f 300d 04020001 3005 0303 000a2a 0500"},
	{"mapped", "3016 3014 04020002 300e 030c 0000000000000000000000ffff"},
	{"SET for SEQUENCE", "310d 300b 04020001 3005 0303 000a2a"},
	{"too long", "3082" + strings.Repeat("ff", 4096)},
}

func TestParseIPBlocksRefuses(t *testing.T) {
	for _, test := range badBlocks {
		if got, err := ParseIPBlocks(unhex(t, test.der)); err == nil {
			t.Errorf("%s: got %v, want an error", test.name, got)
		}
	}
}

var rightsVectors = []struct {
	name   string
	rights Rights
	der    string
}{
	{"none", Rights{}, "3005 3000 010100"},
	{"gateway", Rights{Gateway: true}, "3005 3000 0101ff"},
	{"everything", Rights{Announce: prefixes("::/0")}, "300e 3009 3007 04020002 030100 010100"},
	{
		"neighbours stay two",
		Rights{Announce: prefixes("10.0.0.0/8 fd00:1::/64 fd00:1:0:1::/64"), Gateway: true},
		"3031 302c 3008 04020001 0302000a 300f 04020002 030900fd00000100000000 300f 04020002 030900fd00000100000001 0101ff",
	},
}

func TestRightsVectors(t *testing.T) {
	for _, v := range rightsVectors {
		want := unhex(t, v.der)
		got, err := MarshalRights(v.rights)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: MarshalRights = %x, %v, want %x", v.name, got, err, want)
		}
		back, err := ParseRights(want)
		if diff := cmp.Diff(v.rights, back, comparePrefixes); diff != "" || err != nil {
			t.Errorf("%s: ParseRights: %v (-want +got):\n%s", v.name, err, diff)
		}
	}
	// Order and repetition are of no meaning, so the writer removes them.
	got, err := MarshalRights(Rights{Announce: prefixes("fd00:1:0:1::/64 10.0.0.0/8 fd00:1::/64 10.0.0.0/8"), Gateway: true})
	if want := unhex(t, rightsVectors[3].der); err != nil || !bytes.Equal(got, want) {
		t.Errorf("MarshalRights = %x, %v, want %x", got, err, want)
	}
}

var badRights = []struct{ name, der string }{
	{"empty", ""},
	{"no gateway", "3002 3000"},
	{"no announce", "3003 0101ff"},
	{"BOOLEAN 1", "3005 3000 010101"},
	{"a further member", "3007 3000 010100 0500"},
	{"bytes after the end", "3005 3000 010100 00"},
	{"the same twice", "3017 3012 3007 04020002 030100 3007 04020002 030100 010100"},
	{"wrong order", "3019 3014 3008 04020001 0302000b 3008 04020001 0302000a 010100"},
	{"a family of one byte", "300d 3008 3006 040102 030100 010100"},
	{"bytes after a prefix", "3010 300b 3009 04020002 030100 0500 010100"},
	{"a range", "3010 300b 3009 04020002 3003 030100 010100"},
	{"padding bits set", "300f 300a 3008 04020001 0302010b 010100"},
	{"too long", "3082" + strings.Repeat("ff", 4096)},
}

func TestParseRightsRefuses(t *testing.T) {
	for _, test := range badRights {
		if got, err := ParseRights(unhex(t, test.der)); err == nil {
			t.Errorf("%s: got %v, want an error", test.name, got)
		}
	}
	for _, in := range [][]netip.Prefix{{{}}, prefixes("2001:db8::1/64"), prefixes("::ffff:10.0.0.0/104"), make([]netip.Prefix, 65)} {
		if der, err := MarshalRights(Rights{Announce: in}); err == nil {
			t.Errorf("MarshalRights(%v) = %x, want an error", in, der)
		}
	}
}

// Every vector cut off at every byte is refused.
func TestT13_TruncatedExtensions(t *testing.T) {
	for _, v := range blockVectors {
		der := unhex(t, v.der)
		for n := range der {
			if got, err := ParseIPBlocks(der[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes give %v", v.name, n, len(der), got)
			}
		}
	}
	for _, v := range rightsVectors {
		der := unhex(t, v.der)
		for n := range der {
			if got, err := ParseRights(der[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes give %v", v.name, n, len(der), got)
			}
		}
	}
}

func drawPrefix(t *rapid.T) netip.Prefix {
	size := rapid.SampledFrom([]int{4, 16}).Draw(t, "size")
	address, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address"))
	return netip.PrefixFrom(address, rapid.IntRange(0, size*8).Draw(t, "bits")).Masked()
}

func TestExtensionsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ps := rapid.SliceOfN(rapid.Custom(drawPrefix), 0, 12).Draw(t, "prefixes")
		sorted := slices.Compact(slices.SortedFunc(slices.Values(ps), ComparePrefixes))
		if der, err := MarshalIPBlocks(ps); err == nil {
			back, err := ParseIPBlocks(der)
			if diff := cmp.Diff(sorted, back, comparePrefixes); err != nil || diff != "" {
				t.Errorf("blocks %x: %v (-want +got):\n%s", der, err, diff)
			}
		}
		if der, err := MarshalRights(Rights{Announce: ps}); err == nil {
			back, err := ParseRights(der)
			if err != nil || !slices.Equal(sorted, back.Announce) {
				t.Errorf("rights %x: %v, %v, want %v", der, back.Announce, err, sorted)
			}
		}
	})
}

// What is accepted has exactly one encoding.
func FuzzParseIPBlocks(f *testing.F) {
	for _, v := range blockVectors {
		f.Add(unhex(f, v.der))
	}
	for _, v := range badBlocks {
		f.Add(unhex(f, v.der))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		ps, err := ParseIPBlocks(der)
		if err != nil {
			return
		}
		if again, err := MarshalIPBlocks(ps); err != nil || !bytes.Equal(again, der) {
			t.Errorf("%v is %x again, %v, want %x", ps, again, err, der)
		}
	})
}

func FuzzParseRights(f *testing.F) {
	for _, v := range rightsVectors {
		f.Add(unhex(f, v.der))
	}
	for _, v := range badRights {
		f.Add(unhex(f, v.der))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := ParseRights(der)
		if err != nil {
			return
		}
		if again, err := MarshalRights(r); err != nil || !bytes.Equal(again, der) {
			t.Errorf("%v is %x again, %v, want %x", r, again, err, der)
		}
	})
}
