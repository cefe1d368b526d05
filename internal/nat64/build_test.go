package nat64

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	start  = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	prefix = netip.MustParsePrefix("64:ff9b::/96")
	client = netip.MustParseAddr("2001:db8:42:7::1")
	remote = netip.MustParseAddr("8.8.4.4")
	inPool = netip.MustParseAddr("240.64.0.2") // what the first source gets
)

func testConfig() Config {
	return Config{
		Prefix: prefix, Pool: netip.MustParsePrefix(DefaultPool), Sources: []netip.Prefix{netip.MustParsePrefix("2001:db8:42::/48")},
		Refused: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, Self: netip.MustParseAddr("2001:db8:42:1::1"),
	}
}

func newTranslator(t testing.TB) *Translator {
	t.Helper()
	x, err := New(testConfig())
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// run translates one packet and gives what came of it.
func run(x *Translator, packet []byte) (out [][]byte, r Result) {
	r = x.Translate(start, packet, func(size int) []byte {
		out = append(out, make([]byte, size))
		return out[len(out)-1]
	})
	return out, r
}

// one wants exactly one packet.
func one(t testing.TB, x *Translator, packet []byte) []byte {
	t.Helper()
	out, r := run(x, packet)
	if r != Translated || len(out) != 1 {
		t.Fatalf("%v, %d packets, want one", r, len(out))
	}
	verify(t, out[0])
	return out[0]
}

// under is an IPv4 address under the prefix.
func under(a netip.Addr) netip.Addr {
	b := prefix.Addr().As16()
	four := a.As4()
	copy(b[12:], four[:])
	return netip.AddrFrom16(b)
}

// ip6 makes a packet; the payload's checksum is filled in.
func ip6(source, destination netip.Addr, protocol byte, payload []byte) []byte {
	b := append(make([]byte, header6), payload...)
	b[0], b[1] = 0x6b, 0x80 // traffic class 0xb8
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6], b[7] = protocol, 63
	s, d := source.As16(), destination.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	fill(b[header6:], protocol, pseudo6(s[:], d[:], len(payload), protocol))
	return b
}

func ip4(source, destination netip.Addr, protocol byte, flags uint16, payload []byte) []byte {
	b := append(make([]byte, header4), payload...)
	b[0], b[1] = 0x45, 0xb8
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[4:], 0x1234)
	binary.BigEndian.PutUint16(b[6:], flags)
	b[8], b[9] = 57, protocol
	s, d := source.As4(), destination.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	binary.BigEndian.PutUint16(b[10:], ^fold(sum(b[:header4])))
	fill(b[header4:], protocol, sum(s[:])+sum(d[:])+uint32(len(payload))+uint32(protocol))
	return b
}

// fill computes the checksum of a payload.
func fill(payload []byte, protocol byte, pseudo uint32) {
	at, _ := checksumAt(protocol)
	switch protocol {
	case protoICMP4:
		at, pseudo = 2, 0
	case protoICMP6:
		at = 2
	}
	if at == 0 || len(payload) < at+2 {
		return
	}
	payload[at], payload[at+1] = 0, 0
	v := ^fold(sum(payload) + pseudo)
	if v == 0 && protocol == protoUDP {
		v = 0xffff
	}
	binary.BigEndian.PutUint16(payload[at:], v)
}

func udp(data []byte) []byte {
	b := []byte{0x30, 0x39, 0x00, 0x35, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(b[4:], uint16(udpHeader+len(data)))
	return append(b, data...)
}

func tcp(data []byte) []byte {
	b := make([]byte, tcpHeader)
	copy(b, []byte{0x30, 0x39, 0x00, 0x50, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x18, 0xff, 0xff})
	return append(b, data...)
}

func icmp(kind, code byte, word uint32, data []byte) []byte {
	b := []byte{kind, code, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(b[4:], word)
	return append(b, data...)
}

// verify checks lengths and checksums as the receiver does.
func verify(t testing.TB, b []byte) {
	t.Helper()
	switch b[0] >> 4 {
	case 4:
		if int(binary.BigEndian.Uint16(b[2:])) != len(b) {
			t.Fatalf("length %d in a packet of %d", binary.BigEndian.Uint16(b[2:]), len(b))
		}
		if fold(sum(b[:header4])) != 0xffff {
			t.Fatalf("wrong header checksum: %x", b[:header4])
		}
		if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
			return // a fragment
		}
		payload := b[header4:]
		wantSum(t, payload, b[9], sum(b[12:20])+uint32(len(payload))+uint32(b[9]))
	case 6:
		if int(binary.BigEndian.Uint16(b[4:])) != len(b)-header6 {
			t.Fatalf("length %d in a packet of %d", binary.BigEndian.Uint16(b[4:]), len(b))
		}
		payload := b[header6:]
		wantSum(t, payload, b[6], pseudo6(b[8:24], b[24:40], len(payload), b[6]))
	default:
		t.Fatalf("version %d", b[0]>>4)
	}
}

func wantSum(t testing.TB, payload []byte, protocol byte, pseudo uint32) {
	t.Helper()
	switch protocol {
	case protoICMP4:
		pseudo = 0
	case protoTCP, protoUDP, protoICMP6, protoDCCP:
	default:
		return
	}
	if protocol == protoUDP && payload[6] == 0 && payload[7] == 0 {
		t.Fatal("UDP without a checksum")
	}
	if fold(sum(payload)+pseudo) != 0xffff {
		t.Fatalf("wrong checksum, protocol %d: %x", protocol, payload)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
