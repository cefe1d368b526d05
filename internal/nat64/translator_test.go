package nat64

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Written down byte by byte: what a capture would show.
func TestVectors(t *testing.T) {
	for _, test := range []struct{ name, in, out string }{
		{
			"DNS question",
			`6000 0000 000c 1140 20010db8004200070000000000000001 0064ff9b000000000000000008080404
			 3039 0035 000c f7bb deadbeef`,
			`4500 0020 0001 0000 4011 7e7e f0400002 08080404
			 3039 0035 000c 357c deadbeef`,
		},
		{
			"echo request",
			`6000 0000 0008 3a40 20010db8004200070000000000000001 0064ff9b000000000000000008080404
			 8000 45ab 0001 0002`,
			`4500 001c 0001 0000 4001 7e92 f0400002 08080404
			 0800 f7fc 0001 0002`,
		},
	} {
		x := newTranslator(t)
		if got := one(t, x, unhex(t, test.in)); !bytes.Equal(got, unhex(t, test.out)) {
			t.Errorf("%s:\n%x, want\n%x", test.name, got, unhex(t, test.out))
		}
	}
}

func TestToIPv4(t *testing.T) {
	x := newTranslator(t)
	for name, payload := range map[string][]byte{"TCP": tcp([]byte("GET /")), "UDP": udp([]byte("odd")), "echo": icmp(echoRequest6, 0, 7, []byte("abc"))} {
		protocol := map[string]byte{"TCP": protoTCP, "UDP": protoUDP, "echo": protoICMP6}[name]
		out := one(t, x, ip6(client, under(remote), protocol, payload))
		if out[1] != 0xb8 || out[8] != 63 {
			t.Errorf("%s: traffic class %#x, TTL %d", name, out[1], out[8])
		}
		if s, d := netip.AddrFrom4([4]byte(out[12:16])), netip.AddrFrom4([4]byte(out[16:20])); s != inPool || d != remote {
			t.Errorf("%s: from %v to %v", name, s, d)
		}
	}
	if x.Mappings() != 1 {
		t.Errorf("%d mappings for one source", x.Mappings())
	}
}

// RFC 7915, section 5.1: what may have been made to fit IPv6's minimum may be
// fragmented, what is longer may not.
func TestDontFragment(t *testing.T) {
	x := newTranslator(t)
	for size, want := range map[int]uint16{100: 0, 1260: 0, 1261: 0x4000, 1480: 0x4000} {
		out := one(t, x, ip6(client, under(remote), protoUDP, udp(make([]byte, size-header4-udpHeader))))
		if got := binary.BigEndian.Uint16(out[6:]); got != want {
			t.Errorf("%d bytes: flags %#x, want %#x", size, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	other := netip.MustParseAddr("2001:db8:43::1")
	ok := udp([]byte("data"))
	withNext := func(next byte, more ...byte) []byte {
		b := ip6(client, under(remote), protoUDP, append(more, ok...))
		b[6] = next
		return b
	}
	short := ip6(client, under(remote), protoTCP, make([]byte, 19))
	long := ip6(client, under(remote), protoUDP, ok)
	binary.BigEndian.PutUint16(long[4:], 100)
	noChecksum := ip6(client, under(remote), protoUDP, ok)
	noChecksum[header6+6], noChecksum[header6+7] = 0, 0
	v4 := func(change func([]byte)) []byte {
		b := ip4(remote, inPool, protoUDP, 0, ok)
		change(b)
		return b
	}
	for _, test := range []struct {
		name string
		in   []byte
		want Result
	}{
		{"nothing", nil, Malformed},
		{"version 5", []byte{0x50}, Malformed},
		{"half a header", ip6(client, under(remote), protoUDP, ok)[:39], Malformed},
		{"shorter than it says", long, Malformed},
		{"half a TCP header", short, Malformed},
		{"UDP without a checksum in IPv6", noChecksum, Malformed},
		{"from outside the mesh", ip6(other, under(remote), protoUDP, ok), Source},
		{"from multicast", ip6(netip.MustParseAddr("ff02::1"), under(remote), protoUDP, ok), Source},
		{"to another prefix", ip6(client, other, protoUDP, ok), Destination},
		{"to a private address", ip6(client, under(netip.MustParseAddr("10.0.0.1")), protoUDP, ok), Destination},
		{"to the host itself", ip6(client, under(netip.MustParseAddr("127.0.0.1")), protoUDP, ok), Destination},
		{"to multicast", ip6(client, under(netip.MustParseAddr("224.0.0.1")), protoUDP, ok), Destination},
		{"to the pool", ip6(client, under(inPool), protoUDP, ok), Destination},
		{"to what is refused", ip6(client, under(netip.MustParseAddr("203.0.113.9")), protoUDP, ok), Destination},
		{"hop-by-hop not first", withNext(protoDestination, protoHopByHop, 0, 1, 4, 0, 0, 0, 0, protoUDP, 0, 1, 4, 0, 0, 0, 0), Malformed},
		{"an extension that does not end", withNext(protoDestination, protoUDP, 9, 1, 4, 0, 0, 0, 0), Malformed},
		{"a routing header with segments left", withNext(protoRouting, protoUDP, 0, 0, 1, 0, 0, 0, 0), Unsupported},
		{"two fragment headers", withNext(protoFragment, protoFragment, 0, 0, 0, 0, 0, 0, 0, protoUDP, 0, 0, 0, 0, 0, 0, 0), Malformed},
		{"a fragment of ICMP", withNext(protoFragment, protoICMP6, 0, 0, 1, 0, 0, 0, 0), Fragment},
		{"a neighbour solicitation", ip6(client, under(remote), protoICMP6, icmp(135, 0, 0, make([]byte, 16))), Unsupported},
		{"an error about nothing", ip6(client, under(remote), protoICMP6, icmp(unreachable6, 0, 0, nil)), Malformed},
		{"ICMP for IPv4 in IPv6", ip6(client, under(remote), protoICMP4, make([]byte, 8)), Unsupported},

		{"IPv4: half a header", v4(func([]byte) {})[:19], Malformed},
		{"IPv4: a header of 16 bytes", v4(func(b []byte) { b[0] = 0x44 }), Malformed},
		{"IPv4: options behind the end", v4(func(b []byte) { b[0] = 0x4f }), Malformed},
		{"IPv4: shorter than it says", v4(func(b []byte) { b[3] = 200 }), Malformed},
		{"IPv4: a source route", ip4WithOptions(ok, 131, 3, 4, 0), Unsupported},
		{"IPv4: nobody's address", ip4(remote, netip.MustParseAddr("240.64.9.9"), protoUDP, 0, ok), Unmapped},
		{"IPv4: our own address", ip4(remote, netip.MustParseAddr("240.64.0.1"), protoUDP, 0, ok), Unmapped},
		{"IPv4: from a private address", ip4(netip.MustParseAddr("10.0.0.1"), inPool, protoUDP, 0, ok), Source},
		{"IPv4: a fragment of ICMP", ip4(remote, inPool, protoICMP4, 0x2000, icmp(echoReply4, 0, 0, nil)), Fragment},
		{"IPv4: a timestamp request", ip4(remote, inPool, protoICMP4, 0, icmp(13, 0, 0, make([]byte, 12))), Unsupported},
		{"IPv4: ICMPv6 in IPv4", ip4(remote, inPool, protoICMP6, 0, icmp(echoReply6, 0, 0, nil)), Unsupported},
		{"IPv4: half a UDP header", ip4(remote, inPool, protoUDP, 0, ok[:7]), Malformed},
		{"IPv4: a fragment without a checksum", v4(func(b []byte) { b[header4+6], b[header4+7], b[6] = 0, 0, 0x20 }), Fragment},
	} {
		x := newTranslator(t)
		one(t, x, ip6(client, under(remote), protoUDP, udp(nil))) // makes the mapping
		answers := 0
		if test.want == Destination || strings.HasPrefix(test.name, "a routing header") {
			answers = 1
		}
		if out, r := run(x, test.in); r != test.want || len(out) != answers {
			t.Errorf("%s: %v and %d packets, want %v and %d", test.name, r, len(out), test.want, answers)
		}
	}
}

func ip4WithOptions(payload []byte, options ...byte) []byte {
	b := ip4(remote, inPool, protoUDP, 0, payload)
	b = slices.Insert(b, header4, options...)
	b[0] += byte(len(options) / 4)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

// Options that are no source route are left out (RFC 7915, section 4.1).
func TestOptionsAreIgnored(t *testing.T) {
	x := newTranslator(t)
	one(t, x, ip6(client, under(remote), protoUDP, udp(nil)))
	out := one(t, x, ip4WithOptions(ip4(remote, inPool, protoUDP, 0, udp([]byte("data")))[header4:], 148, 4, 0, 0))
	if len(out) != header6+udpHeader+4 {
		t.Errorf("%d bytes", len(out))
	}
}

func TestExtensionHeadersAreLeftOut(t *testing.T) {
	x := newTranslator(t)
	b := ip6(client, under(remote), protoUDP, udp([]byte("data")))
	want := one(t, x, b)
	b = slices.Insert(b, header6, protoDestination, 0, 1, 4, 0, 0, 0, 0, protoRouting, 0, 1, 4, 0, 0, 0, 0, protoUDP, 0, 0, 0, 0, 0, 0, 0)
	b[6] = protoHopByHop
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-header6))
	got := one(t, x, b)
	copy(got[4:6], want[4:6]) // identification
	copy(got[10:12], want[10:12])
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-without +with):\n%s", diff)
	}
}

// A datagram without checksum gets one (RFC 7915, section 4.5).
func TestUDPWithoutChecksum(t *testing.T) {
	x := newTranslator(t)
	one(t, x, ip6(client, under(remote), protoUDP, udp(nil)))
	b := ip4(remote, inPool, protoUDP, 0x4000, udp([]byte("data")))
	b[header4+6], b[header4+7] = 0, 0
	one(t, x, b) // verifies
}

// A long datagram that may be fragmented comes as fragments that pass everywhere
// and make the same datagram again; a fragment stays one (RFC 7915, section 4.1).
func TestFragmentsToIPv6(t *testing.T) {
	data := make([]byte, 4000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	x := newTranslator(t)
	one(t, x, ip6(client, under(remote), protoUDP, udp(nil)))
	whole := ip4(remote, inPool, protoUDP, 0, udp(data))
	parts := [][]byte{whole}
	// And the same in fragments, as a router makes them.
	var pieces [][]byte
	for at := 0; at < len(whole)-header4; at += 1480 {
		end := min(at+1480, len(whole)-header4)
		flags := uint16(at / 8)
		if end < len(whole)-header4 {
			flags |= 0x2000
		}
		piece := slices.Clone(whole[:header4])
		piece = append(piece, whole[header4+at:header4+end]...)
		binary.BigEndian.PutUint16(piece[2:], uint16(len(piece)))
		binary.BigEndian.PutUint16(piece[6:], flags)
		pieces = append(pieces, piece)
	}
	for name, packets := range map[string][][]byte{"whole": parts, "in fragments": pieces} {
		var out [][]byte
		for _, p := range packets {
			got, r := run(x, p)
			if r != Translated {
				t.Fatalf("%s: %v", name, r)
			}
			out = append(out, got...)
		}
		datagram := reassemble(t, out)
		verify(t, datagram)
		if !bytes.Equal(datagram[header6+udpHeader:], data) {
			t.Errorf("%s: the data differ", name)
		}
	}
}

// reassemble puts fragments together (RFC 8200, section 4.5).
func reassemble(t *testing.T, fragments [][]byte) []byte {
	t.Helper()
	var payload []byte
	header := slices.Clone(fragments[0][:header6])
	for i, f := range fragments {
		if len(f) > minMTU6 || f[6] != protoFragment {
			t.Fatalf("fragment %d has %d bytes, next header %d", i, len(f), f[6])
		}
		field := binary.BigEndian.Uint16(f[header6+2:])
		if int(field>>3)*8 != len(payload) || field&1 == 0 != (i == len(fragments)-1) || binary.BigEndian.Uint32(f[header6+4:]) != 0x1234 {
			t.Fatalf("fragment %d: %x at %d", i, f[header6:header6+8], len(payload))
		}
		header[6] = f[header6]
		payload = append(payload, f[header6+fragmentSize:]...)
	}
	binary.BigEndian.PutUint16(header[4:], uint16(len(payload)))
	return append(header, payload...)
}

// RFC 7915, section 5.1.1.
func TestFragmentsToIPv4(t *testing.T) {
	data := make([]byte, 2000)
	whole := ip6(client, under(remote), protoUDP, udp(data))
	x := newTranslator(t)
	var datagram []byte
	for at := 0; at < len(whole)-header6; at += 1200 {
		end := min(at+1200, len(whole)-header6)
		f := slices.Clone(whole[:header6])
		f[6] = protoFragment
		field := uint16(at)
		if end < len(whole)-header6 {
			field |= 1
		}
		f = append(f, protoUDP, 0, byte(field>>8), byte(field), 0xab, 0xcd, 0x56, 0x78)
		f = append(f, whole[header6+at:header6+end]...)
		binary.BigEndian.PutUint16(f[4:], uint16(len(f)-header6))
		out := one(t, x, f)
		if id := binary.BigEndian.Uint16(out[4:]); id != 0x5678 {
			t.Errorf("identification %x, want the low half", id)
		}
		flags := binary.BigEndian.Uint16(out[6:])
		if int(flags&0x1fff)*8 != at || flags&0x2000 != 0 != (field&1 != 0) || flags&0x4000 != 0 {
			t.Errorf("fragment at %d: flags %#x", at, flags)
		}
		if datagram == nil {
			datagram = slices.Clone(out[:header4])
		}
		datagram = append(datagram, out[header4:]...)
	}
	binary.BigEndian.PutUint16(datagram[2:], uint16(len(datagram)))
	datagram[6], datagram[7], datagram[10], datagram[11] = 0, 0, 0, 0
	binary.BigEndian.PutUint16(datagram[10:], ^fold(sum(datagram[:header4])))
	verify(t, datagram)
}

// Whatever is sent arrives there and back as it was, its checksums right on the
// way.
func TestRoundTrip(t *testing.T) {
	x := newTranslator(t)
	rapid.Check(t, func(r *rapid.T) {
		source := client.As16()
		copy(source[12:], rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(r, "source"))
		to := netip.AddrFrom4([4]byte{byte(rapid.IntRange(11, 99).Draw(r, "to")), rapid.Byte().Draw(r, "to"), 0, rapid.Byte().Draw(r, "to")})
		data := rapid.SliceOfN(rapid.Byte(), 0, 1300).Draw(r, "data")
		protocol := rapid.SampledFrom([]byte{protoTCP, protoUDP, protoICMP6, 132, 50}).Draw(r, "protocol")
		payload, answer := data, data
		back := protocol
		switch protocol {
		case protoTCP:
			payload, answer = tcp(data), tcp(data)
		case protoUDP:
			payload, answer = udp(data), udp(data)
		case protoICMP6:
			payload, answer, back = icmp(echoRequest6, 0, 99, data), icmp(echoReply4, 0, 99, data), protoICMP4
		}
		sent := ip6(netip.AddrFrom16(source), under(to), protocol, payload)
		out := one(t, x, sent)
		if !bytes.Equal(tail(out[header4:], protocol), tail(sent[header6:], protocol)) {
			r.Fatal("the data changed on the way there")
		}
		flags := rapid.SampledFrom([]uint16{0x4000, 0}).Draw(r, "flags")
		got, result := run(x, ip4(to, netip.AddrFrom4([4]byte(out[12:16])), back, flags, answer))
		if result != Translated {
			r.Fatalf("the answer: %v", result)
		}
		if len(got) > 1 {
			return // fragments have tests of their own
		}
		verify(t, got[0])
		if [16]byte(got[0][24:40]) != source || netip.AddrFrom16([16]byte(got[0][8:24])) != under(to) {
			r.Fatalf("the answer goes from %x to %x", got[0][8:24], got[0][24:40])
		}
		if got[0][6] == protocol && !bytes.Equal(tail(got[0][header6:], protocol), tail(payload, protocol)) {
			r.Fatal("the data changed on the way back")
		}
	})
}

// tail is what no translation changes.
func tail(payload []byte, protocol byte) []byte {
	switch protocol {
	case protoTCP:
		return payload[18:]
	case protoUDP, protoICMP6:
		return payload[8:]
	}
	return payload
}

func TestTruncatedAtEveryByte(t *testing.T) {
	x := newTranslator(t)
	one(t, x, ip6(client, under(remote), protoUDP, udp(nil)))
	for _, b := range [][]byte{
		ip6(client, under(remote), protoTCP, tcp([]byte("data"))),
		ip6(client, under(remote), protoICMP6, icmp(unreachable6, 4, 0, ip6(under(remote), client, protoUDP, udp([]byte("data"))))),
		ip4(remote, inPool, protoUDP, 0, udp([]byte("data"))),
		ip4(remote, inPool, protoICMP4, 0, icmp(unreachable4, 3, 0, ip4(inPool, remote, protoUDP, 0, udp([]byte("data"))))),
	} {
		if _, r := run(x, b); r != Translated {
			t.Errorf("whole: %v", r)
		}
		for n := range b {
			if out, r := run(x, b[:n]); r == Translated || len(out) > 0 {
				t.Errorf("%d of %d bytes: %v", n, len(b), r)
			}
		}
	}
}

func TestConfigRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"prefix of 64":    func(c *Config) { c.Prefix = netip.MustParsePrefix("64:ff9b::/64") },
		"IPv4 as prefix":  func(c *Config) { c.Prefix = netip.MustParsePrefix("10.0.0.0/24") },
		"pool of IPv6":    func(c *Config) { c.Pool = prefix },
		"pool too small":  func(c *Config) { c.Pool = netip.MustParsePrefix("240.0.0.0/30") },
		"pool with a bit": func(c *Config) { c.Pool = netip.MustParsePrefix("240.0.0.1/24") },
		"no address":      func(c *Config) { c.Self = netip.Addr{} },
	} {
		c := testConfig()
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	x := newTranslator(t)
	there := ip6(client, under(remote), protoTCP, tcp(make([]byte, 1300)))
	back := ip4(remote, inPool, protoTCP, 0x4000, tcp(make([]byte, 1300)))
	buffer := make([]byte, 2000)
	next := func(size int) []byte { return buffer[:size] }
	if n := testing.AllocsPerRun(1000, func() {
		x.Translate(start, there, next)
		x.Translate(start, back, next)
	}); n > 0 {
		t.Errorf("%v allocations for two packets", n)
	}
}

func BenchmarkTranslate(b *testing.B) {
	x := newTranslator(b)
	buffer := make([]byte, 2000)
	next := func(size int) []byte { return buffer[:size] }
	for name, packet := range map[string][]byte{
		"to IPv4": ip6(client, under(remote), protoTCP, tcp(make([]byte, 1340))),
		"to IPv6": ip4(remote, inPool, protoTCP, 0x4000, tcp(make([]byte, 1340))),
	} {
		b.Run(name, func(b *testing.B) {
			x.Translate(start, ip6(client, under(remote), protoUDP, udp(nil)), next)
			b.SetBytes(int64(len(packet)))
			b.ReportAllocs()
			for b.Loop() {
				if x.Translate(start, packet, next) != Translated {
					b.Fatal("not translated")
				}
			}
		})
	}
}

func FuzzTranslate(f *testing.F) {
	for _, b := range [][]byte{
		ip6(client, under(remote), protoTCP, tcp([]byte("data"))),
		ip6(client, under(remote), protoUDP, udp(make([]byte, 1300))),
		ip6(client, under(remote), protoICMP6, icmp(echoRequest6, 0, 1, []byte("data"))),
		ip6(client, under(remote), protoICMP6, icmp(tooBig6, 0, 1300, ip6(under(remote), client, protoTCP, tcp(nil)))),
		ip4(remote, inPool, protoUDP, 0, udp(make([]byte, 3000))),
		ip4(remote, inPool, protoICMP4, 0, icmp(unreachable4, 4, 1400, ip4(inPool, remote, protoTCP, 0x4000, tcp(nil)))),
		ip4WithOptions(udp([]byte("data")), 148, 4, 0, 0),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		x := newTranslator(t)
		run(x, ip6(client, under(remote), protoUDP, udp(nil)))
		out, r := run(x, packet)
		if r != Translated && len(out) > 1 || r == Translated && len(out) == 0 {
			t.Fatalf("%v and %d packets", r, len(out))
		}
		for _, b := range out {
			if r != Translated { // it may be answered
				verify(t, b)
				if isError := b[6] == protoICMP6 && isError6(b[header6:]); !isError || len(b) > minMTU6 {
					t.Fatalf("%v: answered by %x", r, b)
				}
				continue
			}
			if len(b) > len(packet)+header6+fragmentSize+difference {
				t.Fatalf("%d bytes of %d", len(b), len(packet))
			}
			switch b[0] >> 4 {
			case 4:
				if int(binary.BigEndian.Uint16(b[2:])) != len(b) || fold(sum(b[:header4])) != 0xffff {
					t.Fatalf("bad header %x", b[:header4])
				}
			case 6:
				if int(binary.BigEndian.Uint16(b[4:])) != len(b)-header6 {
					t.Fatalf("bad header %x", b[:header6])
				}
			default:
				t.Fatalf("version %d", b[0]>>4)
			}
		}
	})
}
