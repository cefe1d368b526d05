package fib

import (
	"encoding/binary"
	"testing"
)

func packet6(next byte, payload ...byte) []byte {
	b := append(make([]byte, header6), payload...)
	b[0], b[6], b[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	src, dst := addr("2001:db8:42:1::1").As16(), addr("2001:db8:42:7::1").As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
	return b
}

func packet4(protocol byte, payload ...byte) []byte {
	b := append(make([]byte, header4), payload...)
	b[0], b[8], b[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], []byte{10, 42, 1, 1, 10, 42, 7, 1})
	return sealed(b)
}

// sealed has a right checksum.
func sealed(b []byte) []byte {
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^sum4(b))
	return b
}

func with(b []byte, at int, v ...byte) []byte {
	copy(b[at:], v)
	if b[0]>>4 == 4 && at != 10 {
		sealed(b)
	}
	return b
}

func tcp(flags byte) []byte {
	b := make([]byte, 20)
	b[12], b[tcpFlags] = 0x50, flags
	return b
}

func TestInspect(t *testing.T) {
	udp := make([]byte, 16)
	address := func(b []byte, at int, s string) []byte { return with(b, at, addr(s).AsSlice()...) }
	for _, c := range []struct {
		name string
		b    []byte
		want Verdict
	}{
		{"UDP", packet6(17, udp...), Ordinary},
		{"UDP over IPv4", packet4(17, udp...), Ordinary},
		{"no payload", packet6(59), Ordinary},
		{"no payload over IPv4", packet4(17), Ordinary},
		{"established", packet6(6, tcp(0x18)...), Ordinary},
		{"SYN", packet6(6, tcp(0x02)...), Connecting},
		{"SYN ACK over IPv4", packet4(6, tcp(0x12)...), Connecting},
		{"too short for TCP", packet6(6, 1, 2, 3), Malformed},
		{"nothing", nil, Malformed},
		{"one byte", []byte{0x60}, Malformed},
		{"39 bytes", packet6(17)[:39], Malformed},
		{"19 bytes", packet4(17)[:19], Malformed},
		{"too long", append(packet6(17, udp...), 0), Malformed},
		{"cut", packet6(17, udp...)[:50], Malformed},
		{"cut over IPv4", packet4(17, udp...)[:30], Malformed},
		{"version 5", with(packet6(17), 0, 0x50), Version},
		{"IPv4 options", with(packet4(17, udp...), 0, 0x46), Options},
		{"short IPv4 header", with(packet4(17, udp...), 0, 0x44), Options},
		{"hop-by-hop", packet6(0, udp...), Options},
		{"routing", packet6(43, udp...), Options},
		{"destination options", packet6(60, udp...), Options},
		{"ESP", packet6(50, udp...), Ordinary},
		{"fragment", packet6(44, udp...), Fragment},
		{"more fragments", with(packet4(17, udp...), 6, 0x20), Fragment},
		{"last fragment", with(packet4(17, udp...), 6, 0, 1), Fragment},
		{"do not fragment", with(packet4(17, udp...), 6, 0x40), Ordinary},
		{"hop limit 1", with(packet6(17), 7, 1), HopLimit},
		{"hop limit 0", with(packet6(17), 7, 0), HopLimit},
		{"hop limit 2", with(packet6(17), 7, 2), Ordinary},
		{"TTL 1", with(packet4(17), 8, 1), HopLimit},
		{"unspecified source", address(packet6(17), 8, "::"), Address},
		{"loopback", address(packet6(17), 24, "::1"), Address},
		{"mapped", address(packet6(17), 8, "::ffff:192.0.2.1"), Address},
		{"link-local source", address(packet6(17), 8, "fe80::1"), Address},
		{"link-local, the last", address(packet6(17), 24, "febf::1"), Address},
		{"unique local", address(packet6(17), 24, "fd00::1"), Ordinary},
		{"multicast", address(packet6(17), 24, "ff0e::1"), Address},
		{"IPv4 multicast", address(packet4(17), 16, "224.0.0.1"), Address},
		{"broadcast", address(packet4(17), 16, "255.255.255.255"), Address},
		{"IPv4 loopback source", address(packet4(17), 12, "127.0.0.1"), Address},
		{"no IPv4 source", address(packet4(17), 12, "0.0.0.0"), Address},
		{"IPv4 link-local", address(packet4(17), 16, "169.254.1.1"), Address},
		{"wrong checksum", with(packet4(17), 10, 0xbe, 0xef), Checksum},
		{"neighbour advertisement", packet6(58, 136, 0, 0, 0), Neighbour},
		{"echo request", packet6(58, 128, 0, 0, 0), Ordinary},
		{"ICMP without a type", packet6(58), Malformed},
	} {
		if got := Inspect(c.b, len(c.b)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	long := packet6(17, make([]byte, 60000)...)
	if got := Inspect(long[:64], len(long)); got != Ordinary {
		t.Errorf("the head of a long one: %v", got)
	}
}

func TestLowerHopLimit(t *testing.T) {
	for ttl := 2; ttl < 256; ttl++ {
		for _, id := range []byte{0, 1, 0x7f, 0xff} {
			b := with(packet4(17), 8, byte(ttl))
			b = with(b, 4, id, id)
			LowerHopLimit(b)
			if b[8] != byte(ttl-1) || sum4(b) != 0xffff {
				t.Fatalf("TTL %d, id %d: %x", ttl, id, b)
			}
		}
	}
	b := packet6(17)
	if LowerHopLimit(b); b[7] != 63 {
		t.Errorf("hop limit %d", b[7])
	}
}

// What is found ordinary can be read and sent on, whatever it is.
func FuzzInspect(f *testing.F) {
	f.Add(packet6(17, 1, 2, 3, 4), 44)
	f.Add(packet6(6, tcp(0x10)...), 60)
	f.Add(packet4(17, 1, 2, 3, 4), 24)
	f.Add(packet6(58, 136), 41)
	f.Add([]byte{0x45}, 1)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if Inspect(b, size) != Ordinary {
			return
		}
		src, dst := Addresses(b)
		for _, a := range []struct{ IsBad bool }{
			{src.Is4() != dst.Is4()},
			{src.IsUnspecified() || src.IsMulticast() || src.IsLoopback() || src.IsLinkLocalUnicast() || src.Is4In6()},
			{dst.IsUnspecified() || dst.IsMulticast() || dst.IsLoopback() || dst.IsLinkLocalUnicast() || dst.Is4In6()},
		} {
			if a.IsBad {
				t.Fatalf("from %v to %v is ordinary", src, dst)
			}
		}
		LowerHopLimit(b)
		if src.Is4() && sum4(b) != 0xffff {
			t.Fatalf("the checksum is wrong: %x", b[:header4])
		}
		New().table.Lookup(src, dst)
	})
}
