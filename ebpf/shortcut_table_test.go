package ebpf

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"re6st/internal/fib"
)

var (
	src6, dst6 = addr("2001:db8:42:1::1"), addr("2001:db8:42:2::1")
	src4, dst4 = addr("10.42.1.1"), addr("10.42.2.1")
)

// packet4 is an IPv4 packet with a right checksum.
func packet4(src, dst netip.Addr, protocol byte, payload []byte, change ...func([]byte)) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	for _, c := range change {
		c(b)
	}
	b[10], b[11] = 0, 0
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum>>16+sum))
	return append(b, payload...)
}

func changed(b []byte, change func([]byte)) []byte {
	change(b)
	return b
}

// Each check has a sentence of its own.
func TestShortcutChecks(t *testing.T) {
	r := newRelay(t, sizes{}, theWorld...)
	six := func(next byte, payload []byte, change func([]byte)) []byte {
		return changed(packet(src6, dst6, next, payload), change)
	}
	to := func(dst string) []byte { return packet(src6, addr(dst), protoUDP, udp(1)) }
	from := func(src string) []byte { return packet(addr(src), dst6, protoUDP, udp(1)) }
	set := func(at int, to byte) func([]byte) { return func(b []byte) { b[at] = to } }
	same := func([]byte) {}
	for _, c := range []struct {
		name    string
		packet  []byte
		context skb
		want    string
	}{
		{"ordinary", six(protoUDP, udp(1), same), skb{}, "forwarded"},
		{"ordinary, IPv4", packet4(src4, dst4, protoUDP, udp(1)), skb{}, "forwarded"},
		{"a mark", six(protoUDP, udp(1), same), skb{Mark: 1}, "not_ours"},
		{"hop limit 2", six(protoUDP, udp(1), set(7, 2)), skb{}, "forwarded"},
		{"hop limit 1", six(protoUDP, udp(1), set(7, 1)), skb{}, "hop_limit"},
		{"hop limit 0", six(protoUDP, udp(1), set(7, 0)), skb{}, "hop_limit"},
		{"TTL 2", packet4(src4, dst4, protoUDP, udp(1), set(8, 2)), skb{}, "forwarded"},
		{"TTL 1", packet4(src4, dst4, protoUDP, udp(1), set(8, 1)), skb{}, "hop_limit"},
		{"TTL 0", packet4(src4, dst4, protoUDP, udp(1), set(8, 0)), skb{}, "hop_limit"},
		{"shorter than it says", six(protoUDP, udp(1), set(5, 10)), skb{}, "malformed"},
		{"longer than it says", six(protoUDP, udp(1), set(5, 8)), skb{}, "malformed"},
		{"IPv4, longer than it says", packet4(src4, dst4, protoUDP, udp(9), set(3, 30)), skb{}, "malformed"},
		{"version 5", six(protoUDP, udp(1), set(0, 0x50)), skb{}, "version"},
		{"hop-by-hop options", six(0, make([]byte, 8), same), skb{}, "options"},
		{"routing header", six(43, make([]byte, 8), same), skb{}, "options"},
		{"destination options", six(60, make([]byte, 8), same), skb{}, "options"},
		{"mobility", six(135, make([]byte, 8), same), skb{}, "options"},
		{"fragment", six(44, make([]byte, 8), same), skb{}, "fragment"},
		{"ESP", six(50, make([]byte, 8), same), skb{}, "forwarded"},
		{"AH", six(51, make([]byte, 24), same), skb{}, "forwarded"},
		{"a protocol of which we know nothing", six(200, make([]byte, 8), same), skb{}, "forwarded"},
		{"nothing behind the header", six(59, nil, same), skb{}, "forwarded"},
		{"IPv4 options", packet4(src4, dst4, protoUDP, make([]byte, 12), set(0, 0x46)), skb{}, "options"},
		{"IPv4, more fragments", packet4(src4, dst4, protoUDP, udp(1), set(6, 0x20)), skb{}, "fragment"},
		{"IPv4, a later fragment", packet4(src4, dst4, protoUDP, udp(1), set(7, 1)), skb{}, "fragment"},
		{"do not fragment", packet4(src4, dst4, protoUDP, udp(1), set(6, 0x40)), skb{}, "forwarded"},
		{"IPv4 checksum", changed(packet4(src4, dst4, protoUDP, udp(1)), set(10, 0)), skb{}, "checksum"},
		{"SYN", six(protoTCP, changed(tcp(0), set(13, 2)), same), skb{}, "connecting"},
		{"SYN, ACK", six(protoTCP, changed(tcp(0), set(13, 0x12)), same), skb{}, "connecting"},
		{"ACK", six(protoTCP, changed(tcp(0), set(13, 0x10)), same), skb{}, "forwarded"},
		{"SYN of IPv4", packet4(src4, dst4, protoTCP, changed(tcp(0), set(13, 2))), skb{}, "connecting"},
		{"TCP cut off at its flags", six(protoTCP, make([]byte, 13), same), skb{}, "malformed"},
		{"TCP cut off behind them", six(protoTCP, make([]byte, 14), same), skb{}, "forwarded"},
		{"neighbour solicitation", six(protoICMP, icmp(135, make([]byte, 16)), same), skb{}, "neighbour_discovery"},
		{"redirect", six(protoICMP, icmp(137, make([]byte, 32)), same), skb{}, "neighbour_discovery"},
		{"echo", six(protoICMP, icmp(128, nil), same), skb{}, "forwarded"},
		{"ICMPv6 of no bytes", six(protoICMP, nil, same), skb{}, "malformed"},
		{"to all nodes", to("ff02::1"), skb{}, "address"},
		{"to a link-local address", to("fe80::2"), skb{}, "address"},
		{"to fec0::1, which nobody has", to("fec0::1"), skb{}, "forwarded"}, // by the way out
		{"from a link-local address", from("fe80::2"), skb{}, "address"},
		{"from loopback", from("::1"), skb{}, "address"},
		{"from nowhere", from("::"), skb{}, "address"},
		{"from a mapped address", from("::ffff:10.42.1.1"), skb{}, "address"},
		{"from ::1:0:0:1, an address as any", from("0:0:0:0:1::1"), skb{}, "forwarded"},
		{"to a broadcast address", packet4(src4, addr("255.255.255.255"), protoUDP, udp(1)), skb{}, "address"},
		{"from 169.254", packet4(addr("169.254.3.4"), dst4, protoUDP, udp(1)), skb{}, "address"},
		{"to ourselves", to("2001:db8:42:9::1"), skb{}, "pass"},
		{"unreachable", to("2001:db8:42:99::1"), skb{}, "pass"},
		{"to a LAN", to("2001:db8:42:4::1"), skb{}, "pass"},
		{"back", to("2001:db8:42:1::2"), skb{}, "back"},
		{"longer prefix", to("2001:db8:42:2:f00::1"), skb{}, "forwarded"},
		{"by the way out", to("2400::1"), skb{}, "forwarded"},
		{"not from the mesh, by the way out", packet(addr("2600::1"), addr("2400::1"), protoUDP, udp(1)), skb{}, "pass"},
		{"IPv4 from our own address", packet4(addr("192.0.2.1"), dst4, protoUDP, udp(1)), skb{}, "pass"},
	} {
		got := r.run(t, r.s.objects.Re6stTunnel, c.packet, c.context)
		if got.verdict != c.want && (c.want != "pass" || got.verdict != "no_route") {
			t.Errorf("%s: %q, want %q", c.name, got.verdict, c.want)
		}
		if c.context == (skb{}) {
			r.compare(t, c.name, c.packet, 0, 0)
		}
	}
}

// The checksum of IPv4 comes out as the stack makes it, also where it wraps.
func TestShortcutChecksumWraps(t *testing.T) {
	r := newRelay(t, sizes{}, theWorld...)
	seen := map[uint16]bool{}
	for id := range 1 << 16 {
		b := packet4(src4, dst4, protoUDP, udp(1), func(b []byte) { binary.BigEndian.PutUint16(b[4:], uint16(id)) })
		sum := binary.BigEndian.Uint16(b[10:])
		if sum > 0x0002 && sum < 0xfefd && id%997 != 0 {
			continue
		}
		seen[sum] = true
		got := r.run(t, r.s.objects.Re6stTunnel, b, skb{})
		want := uint32(sum) + 0x0100 // ip_decrease_ttl of <net/ip.h>
		if want >= 0xffff {
			want++
		}
		if now := binary.BigEndian.Uint16(got.out[10:]); now != uint16(want) {
			t.Fatalf("checksum %#04x became %#04x, want %#04x", sum, now, uint16(want))
		}
		r.compare(t, fmt.Sprintf("checksum %#04x", sum), b, 0, 0)
	}
	if !seen[0xfeff] || !seen[0xfefe] || !seen[0xffff] && !seen[0] {
		t.Error("the sums at the edges did not come up")
	}
}

// Off is off, for each family by itself where need be.
func TestShortcutOff(t *testing.T) {
	r := newRelay(t, sizes{}, theWorld...)
	six, four := packet(src6, dst6, protoUDP, udp(1)), packet4(src4, dst4, protoUDP, udp(1))
	want := func(when, want6, want4 string) {
		t.Helper()
		got6, got4 := r.run(t, r.s.objects.Re6stTunnel, six, skb{}).verdict, r.run(t, r.s.objects.Re6stTunnel, four, skb{}).verdict
		if got6 != want6 || got4 != want4 {
			t.Errorf("%s: %s and %s, want %s and %s", when, got6, got4, want6, want4)
		}
	}
	want("on", "forwarded", "forwarded")
	must(t, r.s.SetOn(false))
	want("off", "off", "off")
	must(t, r.s.SetOn(true))
	want("on again", "forwarded", "forwarded")
	must(t, r.s.objects.Until.Set(uint64(1)))
	want("its time is over", "off", "off")
	r.s.extend()
	want("renewed", "forwarded", "forwarded")
}

// From a LAN only what its machines may use as a source.
func TestShortcutFromLAN(t *testing.T) {
	r := newRelay(t, sizes{}, theWorld...)
	index := testLo // it is what BPF_PROG_TEST_RUN gives
	lan := &port{Port: Port{Index: index, Kind: fib.Ethernet}, attached: tcxLinks{}, permitted: map[netip.Prefix]struct{}{}, sources: r.s.routes.newTable()}
	r.s.ports[index] = lan
	must(t, r.s.objects.Interfaces.Put(uint32(index), r.s.interfaceOf(lan)))
	want := func(when, src, verdict string) {
		t.Helper()
		b := packet4(addr("10.42.7.1"), dst4, protoUDP, udp(1))
		if a := addr(src); a.Is6() {
			b = packet(a, dst6, protoUDP, udp(1))
		} else {
			copy(b, packet4(a, dst4, protoUDP, udp(1)))
		}
		got := r.run(t, r.s.objects.Re6stLan, b, skb{})
		if got.verdict != verdict {
			t.Errorf("%s: from %s: %q, want %q", when, src, got.verdict, verdict)
		}
		if verdict == "forwarded" && (got.own.Packets != 1 || got.carr.Packets != 0) {
			t.Errorf("%s: from %s: counted %+v and %+v", when, src, got.own, got.carr)
		}
	}
	want("none permitted", "2001:db8:42:7::1", "source")
	must(t, r.s.routes.permit(lan, []netip.Prefix{prefix("2001:db8:42:7::/64"), prefix("10.42.7.0/24")}))
	want("one permitted", "2001:db8:42:7::1", "forwarded")
	want("one permitted", "2001:db8:42:8::1", "source")
	want("one permitted", "10.42.7.5", "forwarded")
	want("one permitted", "10.42.8.5", "source")
	must(t, r.s.routes.permit(lan, []netip.Prefix{prefix("2001:db8:42:8::/64")}))
	want("another", "2001:db8:42:7::1", "source")
	want("another", "2001:db8:42:8::1", "forwarded")
	want("another", "10.42.7.5", "source")
	must(t, r.s.routes.permit(lan, nil))
	want("none", "2001:db8:42:8::1", "source")
}

// What leaves by a tunnel is counted once: by the entry that the stack followed
// too, its own apart from what came by tunnels, large packets by their segments.
func TestCounting(t *testing.T) {
	r := newRelay(t, sizes{}, theWorld...)
	to := func(dst string) []byte { return packet(src6, addr(dst), protoUDP, udp(100)) }
	large := packet(src6, addr("2001:db8:42:1::5"), protoTCP, tcp(2500))
	large4 := packet4(src4, addr("10.42.1.5"), protoUDP, udp(2000))
	for _, c := range []struct {
		name    string
		packet  []byte
		context skb
		to      string
		transit bool
		packets uint64
		bytes   uint64
	}{
		{"its own", to("2001:db8:42:1::5"), skb{}, "2001:db8:42:1::/64", false, 1, 148},
		{"by a tunnel", to("2001:db8:42:1::5"), skb{Ingress: testA}, "2001:db8:42:1::/64", true, 1, 148},
		{"by a LAN", to("2001:db8:42:1::5"), skb{Ingress: testLAN}, "2001:db8:42:1::/64", false, 1, 148},
		{"by something else", to("2001:db8:42:1::5"), skb{Ingress: 999}, "2001:db8:42:1::/64", false, 1, 148},
		{"large", large, skb{GsoSize: 1000}, "2001:db8:42:1::/64", false, 3, 2500 + 3*60},
		{"large, by a tunnel", large, skb{GsoSize: 1250, Ingress: testB}, "2001:db8:42:1::/64", true, 2, 2500 + 2*60},
		{"IPv4", large4, skb{GsoSize: 1000}, "10.42.1.0/24", false, 2, 2000 + 2*28},
		{"by another way than the entry's", to("2001:db8:42:2::5"), skb{}, "", false, 1, 148},
		{"without an entry", to("2001:db9::1"), skb{}, "", false, 1, 148},
		{"Babel's", to("ff02::1:6"), skb{}, "", false, 1, 148},
	} {
		got := r.run(t, r.s.objects.Re6stCount, c.packet, c.context)
		want := Flow{Into: testLo, Transit: c.transit, Packets: c.packets, Bytes: c.bytes}
		if c.to != "" {
			want.To = prefix(c.to)
		}
		if own, carried := got.own, got.carr; own != want && carried != want || own != (Flow{}) && carried != (Flow{}) {
			t.Errorf("%s: counted %+v and %+v, want %+v", c.name, own, carried, want)
		}
	}
}

// Whatever happens to routes, addresses, links and rules, and however small the
// maps are: what is sent on, is sent where the table says. With room enough,
// everything is.
func TestShortcutFollows(t *testing.T) {
	for _, c := range []struct {
		routes, counters uint32
	}{{0, 0}, {8, 4}, {20, 6}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			random := rand.New(rand.NewPCG(uint64(c.routes), 26))
			r := newRelay(t, sizes{routes: c.routes, counters: c.counters})
			lost, forwarded := 0, 0
			for range 150 {
				var events []fib.Event
				for range 1 + random.IntN(4) {
					events = append(events, randomEvent(random))
				}
				r.apply(t, events...)
				st, err := r.s.Stats()
				must(t, err)
				if st.Lost > 0 {
					lost++
				}
				if c.routes > 0 && st.Entries > int(c.routes) {
					t.Fatalf("%d entries in %d places", st.Entries, c.routes)
				}
				for range 20 {
					b := packet(somewhere(random), somewhere(random), protoUDP, udp(1))
					if random.IntN(3) == 0 {
						b = packet4(somewhere4(random), somewhere4(random), protoUDP, udp(1))
					}
					verdict, into := r.want(b, 0)
					got := r.verdict(t, r.s.objects.Re6stTunnel, b, skb{})
					switch {
					case got == "forwarded" && verdict != "forwarded":
						t.Fatalf("forwarded, but is %s: %x", verdict, b)
					case got == "forwarded":
						forwarded++
						if c.routes == 0 {
							if now := r.run(t, r.s.objects.Re6stTunnel, b, skb{}); now.into != into {
								t.Fatalf("into %d, want %d: %x", now.into, into, b)
							}
						}
					case c.routes == 0 && verdict == "forwarded":
						t.Fatalf("%s, want forwarded: %x", got, b)
					}
				}
			}
			if forwarded < 10 || (lost > 0) != (c.routes > 0) {
				t.Errorf("forwarded %d, lost some at %d of 150", forwarded, lost)
			}
			// All goes, and nothing is left behind.
			r.apply(t, fib.Snapshot{})
			if n := len(r.s.routes.prefixes.written); n > 0 || r.s.routes.lost.Size() > 0 {
				t.Errorf("%d entries left, %d lost", n, r.s.routes.lost.Size())
			}
		})
	}
}

func somewhere(r *rand.Rand) netip.Addr {
	return addr(fmt.Sprintf("2001:db8:%x:%x::%x", 0x42+r.IntN(2), 1+r.IntN(4), 1+r.IntN(3)))
}

func somewhere4(r *rand.Rand) netip.Addr {
	return addr(fmt.Sprintf("10.%d.%d.%d", 42+r.IntN(2), 1+r.IntN(4), 1+r.IntN(3)))
}

func randomEvent(r *rand.Rand) fib.Event {
	dst, src := netip.PrefixFrom(somewhere(r), []int{0, 32, 48, 64, 128}[r.IntN(5)]), netip.Prefix{}
	if r.IntN(3) == 0 {
		dst = netip.PrefixFrom(somewhere4(r), []int{0, 8, 16, 24, 32}[r.IntN(5)])
	} else if r.IntN(3) == 0 {
		src = netip.PrefixFrom(somewhere(r), []int{48, 64, 128}[r.IntN(3)])
	}
	key := fib.RouteKey{Dst: dst, Src: src}
	switch r.IntN(10) {
	case 0, 1, 2:
		return fib.RouteRemoved{RouteKey: key}
	case 3:
		return fib.RouteAdded{Route: fib.Route{RouteKey: key}}
	case 4:
		return fib.LocalAdded{Local: fib.Local{Prefix: netip.PrefixFrom(dst.Addr(), dst.Addr().BitLen())}}
	case 5:
		return fib.LocalRemoved{Local: fib.Local{Prefix: netip.PrefixFrom(dst.Addr(), dst.Addr().BitLen())}}
	case 6:
		return fib.LinkChanged{Link: fib.Link{Index: testA, Kind: fib.Raw, Up: r.IntN(3) > 0, MTU: 1420}}
	}
	return fib.RouteAdded{Route: fib.Route{RouteKey: key, Ordinary: true, Interface: []int{testA, testB}[r.IntN(2)]}}
}

// T-26: each map filled to the brim. Nothing goes another way, what has no counter
// of its own is counted all the same, and what frees room is noticed.
func TestT26_MapsAreFull(t *testing.T) {
	r := newRelay(t, sizes{routes: 10, counters: 4, interfaces: 4}, via("2001:db8:42::/48", testA))
	for i := range 20 {
		r.apply(t, via(fmt.Sprintf("2001:db8:42:%x::/64", 0x100+i), testB))
	}
	st, err := r.s.Stats()
	must(t, err)
	if st.Entries != 10 || st.Lost != r.table.Len()-10 {
		t.Errorf("%d entries and %d lost of %d", st.Entries, st.Lost, r.table.Len())
	}
	forwarded := 0
	for i := range 20 {
		b := packet(src6, addr(fmt.Sprintf("2001:db8:42:%x::1", 0x100+i)), protoUDP, udp(1))
		if r.verdict(t, r.s.objects.Re6stTunnel, b, skb{}) == "forwarded" {
			forwarded++
		}
	}
	if forwarded < 5 || forwarded > 9 {
		t.Errorf("%d of 20 destinations are forwarded, want those that have an entry beside the ones around them", forwarded)
	}
	around := packet(src6, addr("2001:db8:42:999::1"), protoUDP, udp(1))
	if got := r.verdict(t, r.s.objects.Re6stTunnel, around, skb{}); got != "pass" {
		t.Errorf("around what was lost: %s", got)
	}
	_, flows := r.state(t)
	if flows[flowID{transit: true}].Packets == 0 {
		t.Errorf("nothing is in the counter of those that found none: %v", flows)
	}
	if err := r.s.Attach(Port{Index: 900, Kind: fib.Other}); err == nil {
		t.Error("attached to an interface of no kind")
	}
	if err := r.s.Attach(Port{Index: 901, Kind: fib.Raw}); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("attached to one more interface than the map has room for: %v", err)
	}
	for i := range 15 {
		r.apply(t, fib.RouteRemoved{RouteKey: fib.RouteKey{Dst: prefix(fmt.Sprintf("2001:db8:42:%x::/64", 0x100+i))}})
	}
	if st, err = r.s.Stats(); err != nil || st.Lost != 0 || st.Entries != r.table.Len() {
		t.Errorf("with room again: %+v, %v", st, err)
	}
	if got := r.verdict(t, r.s.objects.Re6stTunnel, around, skb{}); got != "forwarded" {
		t.Errorf("with room again: %s", got)
	}
}

// More lengths of prefix than the programs look for are as a full map.
func TestTooManyLengths(t *testing.T) {
	r := newRelay(t, sizes{})
	for bits := 49; bits <= 128; bits++ {
		r.apply(t, via(netip.PrefixFrom(addr("2001:db8:42:1:1:1:1:1"), bits).Masked().String(), testA))
	}
	st, err := r.s.Stats()
	must(t, err)
	if st.Lost < 80-maxLengths || st.Lost != r.table.Len()-st.Entries {
		t.Errorf("%d lost of %d, %d entries", st.Lost, r.table.Len(), st.Entries)
	}
	for _, dst := range []string{"2001:db8:42:1:1:1:1:1", "2001:db8:42:2::1", "2001:db8:42:7fff::1"} {
		b := packet(src6, addr(dst), protoUDP, udp(1))
		verdict, _ := r.want(b, 0)
		if got := r.verdict(t, r.s.objects.Re6stTunnel, b, skb{}); got == "forwarded" && verdict != "forwarded" {
			t.Errorf("to %s: %s, want %s", dst, got, verdict)
		}
	}
}

// Counters that nobody uses are given to others, the longest unused first; until
// then they keep what they counted.
func TestCountersAreReused(t *testing.T) {
	r := newRelay(t, sizes{counters: 8}) // one for overflow, three for tunnels
	one := packet(src6, addr("2001:db8:42:100::1"), protoUDP, udp(1))
	r.apply(t, via("2001:db8:42:100::/64", testA))
	r.verdict(t, r.s.objects.Re6stTunnel, one, skb{})
	remove := func(dst string) { r.apply(t, fib.RouteRemoved{RouteKey: fib.RouteKey{Dst: prefix(dst)}}) }
	remove("2001:db8:42:100::/64")
	id := flowID{prefix("2001:db8:42:100::/64"), testA, true}
	if _, flows := r.state(t); flows[id].Packets != 1 {
		t.Errorf("after the route went: %v", flows)
	}
	for i := range 20 {
		dst := fmt.Sprintf("2001:db8:42:%x::/64", 0x200+i)
		r.apply(t, via(dst, testB))
		r.verdict(t, r.s.objects.Re6stTunnel, packet(src6, prefix(dst).Addr().Next(), protoUDP, udp(1)), skb{})
		if _, flows := r.state(t); flows[flowID{prefix(dst), testB, true}].Packets != 1 {
			t.Fatalf("counter of %s: %v", dst, flows)
		}
		remove(dst)
	}
	_, flows := r.state(t)
	if flows[id].Packets != 0 || flows[flowID{transit: true}].Packets != 0 {
		t.Errorf("at the end: %v", flows)
	}
	// An interface takes its counters with it.
	must(t, r.s.Detach(testB))
	_, flows = r.state(t)
	for id := range flows {
		if id.into == testB {
			t.Errorf("%v is still counted", id)
		}
	}
}

// What no packet asks for takes no place, and adds no length to look through.
func TestNeverAsked(t *testing.T) {
	for p, want := range map[string]bool{
		"ff00::/8": true, "ff02::1/128": true, "fe80::/10": true, "fe80::1/128": true, "::1/128": true, "::/80": true, "127.0.0.0/8": true,
		"127.0.0.1/32": true, "224.0.0.0/4": true, "255.255.255.255/32": true, "0.0.0.0/8": true, "169.254.0.0/16": true,
		"::/0": false, "::/64": false, "fe00::/8": false, "fe80::/9": false, "fec0::/10": false, "0.0.0.0/0": false, "126.0.0.0/7": false,
		"192.0.0.0/2": false, "169.0.0.0/8": false, "169.253.0.0/16": false, "2001:db8::/32": false, "::1:0:0:0/128": false,
	} {
		if got := isNeverAsked(prefix(p)); got != want {
			t.Errorf("%s: %t", p, got)
		}
	}
	r := newRelay(t, sizes{}, append(slices.Clone(theWorld), local("ff00::/8"), local("::1/128"), local("fe80::1/128"), local("127.0.0.0/8"))...)
	for id, l := range r.s.routes.prefixes.known[r.s.routes.prefixes.current*lists:][:2] {
		for _, o := range l.Of[:l.Count] {
			if o.Len == 8 || o.Len == 96+8 {
				t.Errorf("list %d has length %d", id, o.Len)
			}
		}
	}
	r.apply(t, fib.Snapshot{}) // and what was not put is not missed
}

// Counters are read where they are, however many there are by now.
func TestCountersThatBecomeMore(t *testing.T) {
	s := newRelay(t, sizes{}).s.slots
	key := func(i int) slotKey {
		return slotKey{netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 6: byte(i >> 8), 7: byte(i)}), 64), testA}
	}
	for _, n := range []int{1, 100, 130, 5000} { // a page holds 128
		for i := range n {
			number := s.take(key(i))
			must(t, s.kernel.Put(number, shortcutCounter{Packets: uint64(i) + 1, Bytes: 100}))
		}
		flows, err := s.flows()
		must(t, err)
		counted := map[netip.Prefix]uint64{}
		for _, f := range flows {
			counted[f.To] = f.Packets
		}
		for i := range n {
			if k := key(i); counted[k.to] != uint64(i)+1 {
				t.Fatalf("%d of %d: %d packets", i, n, counted[k.to])
			}
		}
	}
	must(t, s.close())
	must(t, s.close())
}
