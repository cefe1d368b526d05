package nat64

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
)

var router6 = netip.MustParseAddr("2001:db8:42:99::1")

// RFC 7915, section 5.2: type, code and value, and -1 for what is dropped.
func TestErrorsToIPv4(t *testing.T) {
	for _, test := range []struct {
		kind, code byte
		word       uint32
		want       string
	}{
		{1, 0, 0, "3/1 0"},
		{1, 1, 0, "3/10 0"},
		{1, 2, 0, "3/1 0"},
		{1, 3, 0, "3/1 0"},
		{1, 4, 0, "3/3 0"},
		{1, 5, 0, "unsupported"},
		{2, 0, 1420, "3/4 1400"},
		{2, 0, 1280, "3/4 1260"},
		{2, 0, 500, "3/4 1260"},
		{2, 0, 1 << 30, "3/4 65515"},
		{3, 0, 0, "11/0 0"},
		{3, 1, 0, "11/1 0"},
		{3, 2, 0, "unsupported"},
		{4, 0, 0, "12/0 0"},
		{4, 0, 4, "12/0 2000000"},
		{4, 0, 6, "12/0 9000000"},
		{4, 0, 7, "12/0 8000000"},
		{4, 0, 23, "12/0 c000000"},
		{4, 0, 39, "12/0 10000000"},
		{4, 0, 2, "unsupported"},
		{4, 0, 40, "unsupported"},
		{4, 1, 6, "3/2 0"},
		{4, 2, 0, "unsupported"},
		{5, 0, 0, "unsupported"},
		{127, 0, 0, "unsupported"},
	} {
		x := newTranslator(t)
		there := one(t, x, ip6(client, under(remote), protoUDP, udp(nil)))
		quoted := ip6(under(remote), client, protoUDP, udp([]byte("data")))
		out, r := run(x, ip6(router6, under(remote), protoICMP6, icmp(test.kind, test.code, test.word, quoted)))
		got := r.String()
		if r == Translated {
			verify(t, out[0])
			got = describe(out[0][header4:])
			checkQuoted4(t, out[0], there)
		}
		if got != test.want {
			t.Errorf("%d/%d %d: %s, want %s", test.kind, test.code, test.word, got, test.want)
		}
	}
}

func describe(icmp []byte) string {
	word := binary.BigEndian.Uint32(icmp[4:])
	if icmp[0] == unreachable4 || icmp[0] == tooBig6 {
		return fmt.Sprintf("%d/%d %d", icmp[0], icmp[1], word)
	}
	return fmt.Sprintf("%d/%d %x", icmp[0], icmp[1], word)
}

// checkQuoted4: the server has to know the packet as its own.
func checkQuoted4(t *testing.T, b, there []byte) {
	t.Helper()
	if got := netip.AddrFrom4([4]byte(b[12:16])); got != netip.MustParseAddr("240.64.0.1") {
		t.Errorf("from %v, want our own: the router has no address in the pool", got)
	}
	quote := b[header4+icmpHeader:]
	if [4]byte(quote[12:16]) != [4]byte(there[16:20]) || [4]byte(quote[16:20]) != [4]byte(there[12:16]) {
		t.Errorf("the quoted packet goes from %v to %v", quote[12:16], quote[16:20])
	}
	verify(t, quote) // all of it is there
}

// RFC 7915, section 4.2.
func TestErrorsToIPv6(t *testing.T) {
	for _, test := range []struct {
		kind, code byte
		word       uint32
		want       string
	}{
		{3, 0, 0, "1/0 0"},
		{3, 1, 0, "1/0 0"},
		{3, 2, 0, "4/1 6"},
		{3, 3, 0, "1/4 0"},
		{3, 4, 1400, "2/0 1420"},
		{3, 4, 576, "2/0 1280"},
		{3, 4, 0, "2/0 1280"},
		{3, 5, 0, "1/0 0"},
		{3, 6, 0, "1/0 0"},
		{3, 7, 0, "1/0 0"},
		{3, 8, 0, "1/0 0"},
		{3, 9, 0, "1/1 0"},
		{3, 10, 0, "1/1 0"},
		{3, 11, 0, "1/0 0"},
		{3, 12, 0, "1/0 0"},
		{3, 13, 0, "1/1 0"},
		{3, 14, 0, "unsupported"},
		{3, 15, 0, "1/1 0"},
		{11, 0, 0, "3/0 0"},
		{11, 1, 0, "3/1 0"},
		{11, 2, 0, "unsupported"},
		{12, 0, 0x01000000, "4/0 1"},
		{12, 0, 0x02000000, "4/0 4"},
		{12, 0, 0x08000000, "4/0 7"},
		{12, 2, 0x09000000, "4/0 6"},
		{12, 0, 0x0c000000, "4/0 8"},
		{12, 0, 0x10000000, "4/0 18"},
		{12, 0, 0x04000000, "unsupported"},
		{12, 1, 0, "unsupported"},
		{4, 0, 0, "unsupported"},
		{5, 0, 0, "unsupported"}, // source quench, redirect
	} {
		x := newTranslator(t)
		sent := ip6(client, under(remote), protoUDP, udp([]byte("data")))
		there := one(t, x, sent)
		out, r := run(x, ip4(netip.MustParseAddr("9.9.9.9"), inPool, protoICMP4, 0, icmp(test.kind, test.code, test.word, there)))
		got := r.String()
		if r == Translated {
			verify(t, out[0])
			got = describe(out[0][header6:])
			quote := out[0][header6+icmpHeader:]
			verify(t, quote)
			if string(quote[8:40]) != string(sent[8:40]) {
				t.Errorf("%d/%d: the quoted packet goes from %x to %x", test.kind, test.code, quote[8:24], quote[24:40])
			}
		}
		if got != test.want {
			t.Errorf("%d/%d %d: %s, want %s", test.kind, test.code, test.word, got, test.want)
		}
	}
}

// Routers with private addresses are many (RFC 6791): the error is worth more
// than its source.
func TestErrorFromAPrivateRouter(t *testing.T) {
	x := newTranslator(t)
	there := one(t, x, ip6(client, under(remote), protoUDP, udp([]byte("data"))))
	out := one(t, x, ip4(netip.MustParseAddr("192.168.0.1"), inPool, protoICMP4, 0, icmp(timeExceeded4, 0, 0, there)))
	if got := netip.AddrFrom16([16]byte(out[8:24])); got != testConfig().Self {
		t.Errorf("from %v, want the gateway's own", got)
	}
}

// An error of a node that has a mapping keeps its source apart.
func TestErrorFromAKnownSource(t *testing.T) {
	x := newTranslator(t)
	one(t, x, ip6(client, under(remote), protoUDP, udp(nil)))
	out := one(t, x, ip6(client, under(remote), protoICMP6, icmp(unreachable6, 4, 0, ip6(under(remote), client, protoUDP, udp(nil)))))
	if got := netip.AddrFrom4([4]byte(out[12:16])); got != inPool {
		t.Errorf("from %v, want %v", got, inPool)
	}
}

// Only errors about what we translate are translated.
func TestErrorsAboutOthersPackets(t *testing.T) {
	other := netip.MustParseAddr("2001:db8:42:55::1")
	for name, quoted := range map[string][]byte{
		"a source that has no address here": ip6(under(remote), other, protoUDP, udp(nil)),
		"a packet between two of IPv6":      ip6(other, client, protoUDP, udp(nil)),
	} {
		x := newTranslator(t)
		one(t, x, ip6(client, under(remote), protoUDP, udp(nil)))
		if out, r := run(x, ip6(client, under(remote), protoICMP6, icmp(unreachable6, 0, 0, quoted))); r == Translated || len(out) > 0 {
			t.Errorf("%s: %v", name, r)
		}
		if x.Mappings() != 1 {
			t.Errorf("%s: made a mapping", name)
		}
	}
}

// RFC 1812, section 4.3.2.3; RFC 4443, section 2.4 (c). RFC 4884: what a router
// appends to the packet is not part of it.
func TestErrorsAreShort(t *testing.T) {
	x := newTranslator(t)
	large := ip6(client, under(remote), protoUDP, udp(make([]byte, 1200)))
	there := one(t, x, large)
	back := ip6(under(remote), client, protoUDP, udp(make([]byte, 1200)))
	if out := one(t, x, ip6(router6, under(remote), protoICMP6, icmp(tooBig6, 0, 1280, back[:1200]))); len(out) != maxError4 {
		t.Errorf("%d bytes for IPv4", len(out))
	}
	if out := one(t, x, ip4(remote, inPool, protoICMP4, 0, icmp(unreachable4, 3, 0, there))); len(out) > minMTU6 {
		t.Errorf("%d bytes for IPv6", len(out))
	}
	const quoted, appended = 128, 16
	extended := icmp(timeExceeded4, 0, quoted/4<<16, append(append([]byte{}, there[:quoted]...), make([]byte, appended)...))
	if out := one(t, x, ip4(remote, inPool, protoICMP4, 0, extended)); len(out) != header6+icmpHeader+quoted+difference {
		t.Errorf("with an extension: %d bytes", len(out))
	}
}

// A fragment in an error keeps its header.
func TestErrorAboutAFragment(t *testing.T) {
	x := newTranslator(t)
	one(t, x, ip6(client, under(remote), protoUDP, udp(nil)))
	piece := ip4(inPool, remote, protoUDP, 0x2000|100, make([]byte, 64))
	out := one(t, x, ip4(remote, inPool, protoICMP4, 0, icmp(timeExceeded4, 1, 0, piece)))
	quote := out[header6+icmpHeader:]
	if quote[6] != protoFragment || quote[header6] != protoUDP || binary.BigEndian.Uint16(quote[header6+2:]) != 100<<3|1 {
		t.Errorf("the quoted packet: %x", quote)
	}
}
