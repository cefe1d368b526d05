package mac

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"re6st/babel/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RFC 4231 for HMAC-SHA256. For keyed BLAKE2s with 128 bits what the reference
// implementation gives for the key 00..1f and the message 00, 01, 02, ...
func TestC100_PublishedVectors(t *testing.T) {
	count := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i)
		}
		return b
	}
	for _, v := range []struct {
		name      string
		algorithm Algorithm
		key, data []byte
		want      string
	}{
		{
			"RFC 4231 case 1", HMACSHA256, bytes.Repeat([]byte{0x0b}, 20), []byte("Hi There"),
			"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
		},
		{
			"RFC 4231 case 2", HMACSHA256, []byte("Jefe"), []byte("what do ya want for nothing?"),
			"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
		},
		{
			"RFC 4231 case 3", HMACSHA256, bytes.Repeat([]byte{0xaa}, 20), bytes.Repeat([]byte{0xdd}, 50),
			"773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
		},
		{
			"RFC 4231 case 4", HMACSHA256, count(26)[1:], bytes.Repeat([]byte{0xcd}, 50),
			"82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
		},
		{
			"RFC 4231 case 6", HMACSHA256, bytes.Repeat([]byte{0xaa}, 131),
			[]byte("Test Using Larger Than Block-Size Key - Hash Key First"),
			"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
		},
		{"BLAKE2s 0", BLAKE2s128, count(32), nil, "9536f9b267655743dee97b8a670f9f53"},
		{"BLAKE2s 1", BLAKE2s128, count(32), count(1), "13bacfb85b48a1223c595f8c1e7e82cb"},
		{"BLAKE2s 63", BLAKE2s128, count(32), count(63), "ece382a8bd5018f1de5da44b72cea75b"},
		{"BLAKE2s 64", BLAKE2s128, count(32), count(64), "f1efa90d2547036841ecd3627fafbc36"},
		{"BLAKE2s 65", BLAKE2s128, count(32), count(65), "811ff8686d23a435ecbd0bdafcd27b1b"},
		{"BLAKE2s 255", BLAKE2s128, count(32), count(255), "cd075928ab7e6883e697fe7fd3ac43ee"},
	} {
		h := newHasher(Key{v.algorithm, v.key})
		for cut := range min(len(v.data), 40) + 1 {
			// The pseudo-header is nothing but what comes first.
			if got := hex.EncodeToString(h.compute(v.data[:cut], v.data[cut:])); got != v.want {
				t.Errorf("%s, cut at %d: %s, want %s", v.name, cut, got, v.want)
			}
		}
		if v.algorithm.Size() != len(v.want)/2 {
			t.Errorf("%s: size %d", v.name, v.algorithm.Size())
		}
	}
}

// A BLAKE2s key that cannot be makes nothing acceptable.
func TestC100_ImpossibleKey(t *testing.T) {
	i := NewInterface(newRand(1), 8, []Key{{BLAKE2s128, make([]byte, 33)}, {BLAKE2s128, nil}})
	if len(i.hashers) > 0 {
		t.Fatal("a key of 33 octets is used")
	}
	packet := i.Sealer().Seal(hello(), alice, group)
	if v := i.Verify(epoch, alice, group, packet); v.Outcome != Unsigned {
		t.Error(v)
	}
	packet = wire.AppendMAC(packet, nil)
	if v := i.Verify(epoch, alice, group, packet); v.Outcome != Forged {
		t.Error(v)
	}
}

// "One MAC TLV per key", in the trailer.
func TestC100_OneMACPerKey(t *testing.T) {
	keys := []Key{keyA, keyB, keyC, keyA} // one twice
	i := NewInterface(newRand(1), 8, keys)
	packet := i.Sealer().Seal(hello(), alice, group)
	signed, trailer, err := wire.Split(packet)
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for typ, b := range wire.Each(trailer) {
		if typ != wire.TypeMAC {
			t.Errorf("TLV %d in the trailer", typ)
		}
		sizes = append(sizes, len(b))
	}
	if !slices.Equal(sizes, []int{32, 16, 32}) {
		t.Errorf("MACs of %v octets", sizes)
	}
	if got, want := len(packet)-len(hello()), i.Overhead(); got != want || len(signed)+len(trailer) != len(packet) {
		t.Errorf("%d octets more, Overhead is %d", got, want)
	}
}

// Whole packets, computed with Python's hmac and hashlib.
func TestC101_PseudoHeader(t *testing.T) {
	secret := unhex(t, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff")
	packet := unhex(t, "2a020016 0406000000070190 110c000000010102030405060708")
	for _, v := range []struct{ src, dst, hmac, blake string }{
		{
			"[fe80::1]:6696", "[ff02::1:6]:6696",
			"e4f40a861c7c0437d4a18eddb1b999a7321133dff4867ff1d47519d446d94e66", "7d7ba5a27afed2b957c8c06d6f00f49d",
		},
		{
			"192.0.2.1:6696", "224.0.0.111:6696",
			"397f47b212cb25e0674077166183ab8f780ce20394f6c1f54d945868498d4352", "74736c6f29563722850f07fe03968780",
		},
	} {
		pseudo := appendPseudo(nil, netip.MustParseAddrPort(v.src), netip.MustParseAddrPort(v.dst))
		if got := hex.EncodeToString(newHasher(Key{HMACSHA256, secret}).compute(pseudo, packet)); got != v.hmac {
			t.Errorf("%s: HMAC %s", v.src, got)
		}
		if got := hex.EncodeToString(newHasher(Key{BLAKE2s128, secret}).compute(pseudo, packet)); got != v.blake {
			t.Errorf("%s: BLAKE2s %s", v.src, got)
		}
	}
}

// Every octet of pseudo-header, header and body counts; the trailer does not.
func TestC101_MACCoversAllButTheTrailer(t *testing.T) {
	for _, key := range []Key{keyA, keyB} {
		a := NewInterface(newRand(1), 8, []Key{key})
		b := NewInterface(newRand(2), 8, []Key{key})
		packet := a.Sealer().Seal(hello(), alice, group)
		isRight := func(src, dst netip.AddrPort, p []byte) bool {
			o := b.Verify(epoch, src, dst, p).Outcome
			return o != Forged && o != Unsigned
		}
		if !isRight(alice, group, packet) {
			t.Fatal("a good packet is refused")
		}
		if !isRight(netip.MustParseAddrPort("[fe80::a%eth0]:6696"), group, packet) {
			t.Error("the zone counts")
		}
		for _, src := range []string{"[fe80::b]:6696", "[fe80::a]:6697", "10.0.0.1:6696"} {
			if isRight(netip.MustParseAddrPort(src), group, packet) {
				t.Errorf("from %s it is right too", src)
			}
		}
		for _, dst := range []string{"[fe80::b]:6696", "[ff02::1:6]:6697", "[ff02::1]:6696"} {
			if isRight(alice, netip.MustParseAddrPort(dst), packet) {
				t.Errorf("to %s it is right too", dst)
			}
		}
		signed, _, err := wire.Split(packet)
		if err != nil {
			t.Fatal(err)
		}
		for i := range signed {
			bad := slices.Clone(packet)
			bad[i] ^= 1
			if isRight(alice, group, bad) {
				t.Errorf("octet %d does not count", i)
			}
		}
		if !isRight(alice, group, append(slices.Clone(packet), 1, 3, 9, 9, 9, 0, 0)) {
			t.Error("padding in the trailer counts")
		}
	}
}

// What comes first is walked without a MAC; what is cut off matches nothing.
func TestC102_EveryTruncationIsRefused(t *testing.T) {
	a, b := NewInterface(newRand(1), 8, []Key{keyA, keyB}), NewInterface(newRand(2), 8, []Key{keyB})
	packet := a.Sealer().Seal(hello(), alice, group)
	for n := range packet {
		if o := b.Verify(epoch, alice, group, packet[:n]).Outcome; o != Unsigned && o != Forged {
			t.Errorf("%d of %d octets: %v", n, len(packet), o)
		}
	}
	if b.peers.peers != nil {
		t.Error("something was remembered")
	}
}
