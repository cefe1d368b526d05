package babel

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"re6st/babel/wire"
)

// The numbers of docs/babel-conformance.md about what is taken from packets and
// how packets are sent. How they are read is in babel/wire. What holds of every
// packet of every script is in script.audit.

func TestC001_C004_PacketsFromElsewhere(t *testing.T) {
	hello := wire.NewEncoder(100)
	hello.Add(&wire.Hello{Seqno: 1, Interval: 400})
	for _, v := range []struct {
		name, src, dst string
		want           int
	}{
		{"link-local, to the group", "[fe80::1]:6696", "ff02::1:6", 1},
		{"link-local, to us", "[fe80::1]:6696", "fe80::ffff", 1},
		{"link-local with its zone", "[fe80::1%eth0]:6696", "ff02::1:6", 1},
		{"another port", "[fe80::1]:6697", "ff02::1:6", 0},
		{"port 0", "[fe80::1]:0", "ff02::1:6", 0},
		{"global source", "[2001:db8::1]:6696", "ff02::1:6", 0},
		{"unique local source", "[fd00::1]:6696", "ff02::1:6", 0},
		{"loopback source", "[::1]:6696", "ff02::1:6", 0},
		{"IPv4 source of another link", "198.51.100.1:6696", "224.0.0.111", 0},
		{"mapped source", "[::ffff:198.51.100.1]:6696", "ff02::1:6", 0},
		{"global destination", "[fe80::1]:6696", "2001:db8::2", 0},
		{"our own, looped back", "[fe80::ffff]:6696", "ff02::1:6", 0},
	} {
		s := newScript(t, nil)
		s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, LinkLocal: self})
		s.e.Receive(s.now, 1, netip.MustParseAddrPort(v.src), netip.MustParseAddr(v.dst), hello.Bytes())
		if got := len(s.e.Snapshot(s.now).Neighbours); got != v.want {
			t.Errorf("%s: %d neighbours", v.name, got)
		}
	}
	s := newScript(t, nil)
	a := s.link(1, Wired)
	s.e.Receive(s.now, 7, netip.AddrPortFrom(a.addr, wire.Port), wire.Group(), hello.Bytes())
	if got := len(s.e.Snapshot(s.now).Neighbours); got != 1 {
		t.Errorf("an interface that we do not have: %d neighbours", got)
	}
}

// Two of our interfaces are on one wire: we hear ourselves under another address.
// Nothing goes that way, and what is lost does not come back by it.
func TestC004_OurOwnPacketsByAnotherInterface(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	here := map[int]netip.Addr{2: netip.MustParseAddr("fe80::2222"), 3: netip.MustParseAddr("fe80::3333")}
	for index, addr := range here {
		s.e.InterfaceUp(s.now, InterfaceConfig{Index: index, LinkLocal: addr})
	}
	s.e.Originate(s.now, prefixB, nowhere, 0)
	loop := func(d time.Duration) {
		for until := s.now.Add(d); s.now.Before(until); s.pass(20 * time.Millisecond) {
			sent := s.packets
			s.packets = nil
			for _, p := range sent {
				if to := 5 - p.Interface; p.Interface != 1 && (p.Dst.IsMulticast() || p.Dst == here[to]) {
					s.e.Receive(s.now, to, netip.AddrPortFrom(here[p.Interface], wire.Port), p.Dst, p.Data)
					s.drain()
				}
			}
			a.greet()
		}
	}
	loop(10 * time.Second)
	a.announce(prefixA, originA, 1, 10)
	loop(20 * time.Second)
	s.wantRoute("by the neighbour", prefixA, a)
	s.wantRoute("ours", prefixB, nil)
	a.retract(prefixA)
	for range 20 {
		loop(time.Second)
		s.wantUnreachableOrNone("lost", prefixA)
	}
}

func TestC005_C009_LyingLengths(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	for _, b := range [][]byte{
		{},
		{42},
		{42, 2, 0},
		{42, 2, 0xff, 0xff},
		{42, 2, 0, 5, 4, 6, 0, 0},
		{42, 2, 0, 4, 8, 255, 2, 0x80},
		{42, 2, 0, 3, 4, 6, 0, 0, 0, 7, 1, 0x90},
	} {
		a.deliver(wire.Group(), b)
	}
	a.raw("06 0a 0000 000000000000000a 08 12 02 80 40 00 1770 0001 000a 20010db80042000a 08 ff 02")
	s.wantRoute("what was before the cut is good", prefixA, a)
	if n := s.e.Snapshot(s.now).Interfaces[0].Malformed; n == 0 {
		t.Error("nothing is counted as malformed")
	}
}

// An Update in the trailer is no Update: nobody vouches for it.
func TestC006_UpdateInTheTrailer(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	enc := wire.NewEncoder(1000)
	enc.Add(&wire.Update{Prefix: prefixB, Interval: 6000, Seqno: 1, Metric: 1, RouterID: originB})
	body := enc.Bytes()[wire.HeaderLen:]
	enc.Reset()
	enc.Add(&wire.Update{Prefix: prefixA, Interval: 6000, Seqno: 1, Metric: 1, RouterID: originA})
	a.deliver(wire.Group(), append(enc.Bytes(), body...))
	s.wantRoute("in the body", prefixA, a)
	s.wantRoute("in the trailer", prefixB, nil)
}

func TestC007_PacketSizes(t *testing.T) {
	const routes = 500
	for _, v := range []struct{ mtu, limit int }{
		{1280, 1232}, {1420, 1372}, {9000, 8952}, {576, 528}, {560, 512}, {512, 512}, {100, 512}, {0, 1232},
	} {
		s := newScript(t, nil)
		s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, LinkLocal: self, Kind: Wired, MTU: v.mtu})
		a := s.peer(1)
		for i := range routes {
			s.e.Originate(s.now, nodePrefix(i), nowhere, 0)
		}
		s.pass(100 * time.Millisecond)
		s.packets = nil
		a.say(&wire.RouteRequest{})
		s.pass(3 * time.Second)
		wantPacked(t, fmt.Sprint("MTU ", v.mtu), s.packets, v.limit, routes)

		// An MTU that changes counts for the next packet.
		s.e.SetMTU(s.now, 1, 700)
		s.packets = nil
		a.say(&wire.RouteRequest{})
		s.pass(3 * time.Second)
		wantPacked(t, fmt.Sprint("MTU 700 after ", v.mtu), s.packets, 652, routes)

		// And as large as we may send, we take: larger too.
		enc := wire.NewEncoder(max(v.limit, 1500))
		n := 0
		for enc.Add(&wire.Update{Prefix: nodePrefix(1000 + n), Interval: 6000, Seqno: 1, Metric: 1, RouterID: originA}) {
			n++
		}
		a.deliver(wire.Group(), enc.Bytes())
		if len(s.fib) != n {
			t.Errorf("MTU %d: %d of %d routes of a packet of %d octets", v.mtu, len(s.fib), n, enc.Len())
		}
	}
}

// An interface with a huge MTU: the length of a UDP datagram has 16 bits.
func TestC007_NoJumbograms(t *testing.T) {
	s := newScript(t, nil)
	s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, LinkLocal: self, MTU: 1 << 20})
	s.peer(1)
	for i := range 12000 {
		s.e.Originate(s.now, nodePrefix(i), nowhere, 0)
	}
	s.packets = nil
	s.pass(3 * time.Second)
	wantPacked(t, "MTU 2^20", s.packets, 65535-48, 12000)
}

// wantPacked checks a dump: no packet above the limit, all but the last (and what
// goes with Hellos) near it, and every prefix in it.
func wantPacked(t *testing.T, name string, packets []Packet, limit, routes int) {
	t.Helper()
	full, updates := 0, 0
	for _, p := range packets {
		if len(p.Data) > limit {
			t.Errorf("%s: a packet of %d octets, limit %d", name, len(p.Data), limit)
		}
		var d wire.Decoder
		n := 0
		for _, tlv := range d.Parse(p.Data, self).TLVs {
			if _, ok := tlv.(*wire.Update); ok {
				n++
			}
		}
		updates += n
		if n > 0 && len(p.Data) > limit-40 {
			full++
		}
	}
	if octets := routes * 14; updates < routes || full < octets/limit-1 {
		t.Errorf("%s: %d updates for %d routes, %d full packets for %d octets", name, updates, routes, full, octets)
	}
}

func TestC011_Jitter(t *testing.T) {
	gaps := map[time.Duration]bool{}
	dumps := map[time.Duration]bool{}
	for seed := range uint64(5) {
		s := newScript(t, func(c *Config) { c.Rand = rand.New(rand.NewPCG(seed, 9)) })
		a := s.link(1, Wired)
		s.e.Originate(s.now, prefixB, nowhere, 0)
		s.idle(10*time.Second, a)
		s.heard = nil
		s.idle(2*time.Minute, a)
		for _, g := range between(s.heard, isHello) {
			gaps[g] = true
			if g > 4*time.Second {
				t.Errorf("%v between Hellos", g)
			}
		}
		for _, g := range between(s.heard, isUpdate(prefixB)) {
			dumps[g] = true
		}
		s.heard = nil
		begin := s.now
		a.say(&wire.RouteRequest{Prefix: prefixB})
		s.pass(time.Second)
		for _, u := range s.heard {
			if isUpdate(prefixB)(u) {
				gaps[u.at.Sub(begin)] = true
				if u.at == begin {
					t.Error("an answer without any delay")
				}
			}
		}
	}
	if len(gaps) < 100 || len(dumps) < 20 {
		t.Errorf("%d different times between Hellos, %d between Updates", len(gaps), len(dumps))
	}
}

func isHello(u utterance) bool { _, ok := u.tlv.(*wire.Hello); return ok }

func isUpdate(prefix netip.Prefix) func(utterance) bool {
	return func(u utterance) bool { t, ok := u.tlv.(*wire.Update); return ok && t.Prefix == prefix }
}

// between are the times between utterances of a kind.
func between(heard []utterance, is func(utterance) bool) (gaps []time.Duration) {
	var last time.Time
	for _, u := range heard {
		if is(u) {
			if !last.IsZero() {
				gaps = append(gaps, u.at.Sub(last))
			}
			last = u.at
		}
	}
	return gaps
}

// A large table leaves at a pace that a receive buffer stands, and what is urgent
// or promised does not wait for its end.
func TestC011_C012_PacingOfALargeTable(t *testing.T) {
	const routes = 30000
	far := netip.MustParsePrefix("2001:db8:77::/48")
	for _, kind := range []Kind{Wired, Tunnel} {
		s := newScript(t, nil)
		a, b := s.link(1, kind), s.link(2, kind)
		for i := range routes {
			s.e.Originate(s.now, nodePrefix(i), nowhere, 0)
		}
		b.announce(far, originA, 1, 10)
		s.idle(20*time.Second, a, b)
		s.packets, s.heard = nil, nil
		a.say(&wire.RouteRequest{})
		begin := s.now
		s.pass(150 * time.Millisecond)
		if n := len(s.packets); n < 5 || n > 150 {
			t.Errorf("%v: %d packets in the first 150 ms", kind, n)
		}
		// In the middle of it: a retraction, a request, an Ack Request.
		s.heard = nil
		at := s.now
		b.retract(far)
		b.say(&wire.RouteRequest{Prefix: nodePrefix(5)}, &wire.AckRequest{Opaque: 9, Interval: 10})
		s.pass(10 * time.Second)
		for what, is := range map[string]func(utterance) bool{
			"retraction": func(u utterance) bool { return u.index == 1 && isUpdate(far)(u) },
			"answer":     func(u utterance) bool { return u.dst == b.addr && isUpdate(nodePrefix(5))(u) },
			"ack":        func(u utterance) bool { t, ok := u.tlv.(*wire.Ack); return ok && t.Opaque == 9 },
		} {
			i := slices.IndexFunc(s.heard, is)
			if i < 0 || s.heard[i].at.Sub(at) > 200*time.Millisecond {
				t.Errorf("%v: no %s within 0.2 s", kind, what)
			}
		}
		for _, g := range between(s.heard, func(u utterance) bool { return u.index == 1 && isHello(u) }) {
			if g > 4*time.Second {
				t.Errorf("%v: %v between Hellos", kind, g)
			}
		}
		t.Logf("%v: %d packets in %v", kind, len(s.packets), s.now.Sub(begin))
	}
}

// What is promised comes before its time: for each Hello, IHU and Update the next
// one comes within the interval that it said.
func TestC012_C042_C080_Promises(t *testing.T) {
	for _, kind := range []Kind{Wired, Wireless, Tunnel} {
		s := newScript(t, nil)
		a, b := s.link(1, kind), s.link(2, kind)
		s.e.Originate(s.now, prefixB, nowhere, 0)
		b.announce(prefixA, originA, 1, 10)
		s.idle(30*time.Second, a, b)
		// The schedule changes while it runs: both ways.
		s.heard = nil
		for _, hello := range []time.Duration{0, 300 * time.Millisecond, 10 * time.Second, time.Second, 4 * time.Second} {
			s.e.SetIntervals(s.now, 1, hello, 0)
			for range 340 {
				a.greet()
				b.say(&wire.Update{Prefix: prefixA, Interval: 6000, Seqno: 1, Metric: 10, RouterID: originA})
				b.greet()
				s.pass(time.Second)
			}
		}
		var hello, ihu, own, learnt promise
		seen := 0
		for _, u := range s.heard {
			if u.index != 1 {
				continue
			}
			switch t := u.tlv.(type) {
			case *wire.Hello:
				hello.next(s, kind, "Hello", u.at, t.Interval)
				seen++
			case *wire.IHU:
				ihu.next(s, kind, "IHU", u.at, t.Interval)
			case *wire.Update:
				if t.Prefix == prefixB {
					own.next(s, kind, "own route", u.at, t.Interval)
				} else if t.Metric != Infinity {
					learnt.next(s, kind, "learnt route", u.at, t.Interval)
				}
			}
		}
		if seen < 1000 || own.count < 4 || learnt.count < 4 || ihu.count < 100 {
			t.Errorf("%v: %d Hellos, %d IHUs, %d and %d Updates in half an hour", kind, seen, ihu.count, own.count, learnt.count)
		}
	}
}

type promise struct {
	until time.Time
	count int
}

func (p *promise) next(s *script, kind Kind, what string, at time.Time, interval wire.Interval) {
	s.Helper()
	if !p.until.IsZero() && at.After(p.until) {
		s.Errorf("%v: %s came %v after the promised time", kind, what, at.Sub(p.until))
	}
	p.until = at.Add(interval.Duration())
	p.count++
}

// IPv6 carries everything, IPv4 routes too.
func TestC013_OneFamily(t *testing.T) {
	s := newScript(t, nil)
	s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, LinkLocal: self, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	a := s.peer(1)
	s.e.Originate(s.now, netip.MustParsePrefix("10.0.0.0/8"), nowhere, 0)
	a.say(&wire.RouteRequest{}, &wire.AckRequest{Opaque: 1, Interval: 100})
	s.idle(time.Minute, a)
	for _, p := range s.packets {
		if !p.Dst.Is6() || p.Dst.Is4In6() {
			t.Errorf("a packet to %v", p.Dst)
		}
	}
	hello := wire.NewEncoder(100)
	hello.Add(&wire.Hello{Seqno: 1, Interval: 400})
	s.e.Receive(s.now, 1, netip.MustParseAddrPort("192.0.2.9:6696"), netip.MustParseAddr("224.0.0.111"), hello.Bytes())
	if n := len(s.e.Snapshot(s.now).Neighbours); n != 1 {
		t.Errorf("%d neighbours, want the one of IPv6", n)
	}
}

// The state of the parser changes by an Update that is refused, for whatever
// reason: the next one builds on it.
func TestC016_UnwantedUpdatesChangeTheState(t *testing.T) {
	const next = "08 0b 02 00 40 07 1770 0001 000a 0b" // prefixB after any of 2001:db8:42::
	for _, v := range []struct {
		name, hex string
		want      RouterID
	}{
		{"refused by the filter", "06 0a 0000 000000000000000b 08 12 02 80 40 00 1770 0001 000a 20010db8004200ad", originB},
		{"of our own router-id", "08 1a 02 c0 80 00 1770 0001 000a 20010db800420001 00000000000000ff 06 0a 0000 000000000000000b", originB},
		{"unfeasible", "06 0a 0000 000000000000000b 08 12 02 80 40 00 1770 0000 0fff 20010db800420001", originB},
		{"not to be routed", "08 1a 02 c0 80 00 1770 0001 000a ff020db80042000b 000000000000000b 08 12 02 80 40 00 1770 0001 ffff 20010db800420009", originB},
		{"a retraction", "08 1a 02 c0 80 00 1770 0001 ffff 20010db800420001 000000000000000b", originB},
	} {
		s := newScript(t, func(c *Config) {
			c.Import = func(u Update) Verdict {
				if a := u.Prefix.Addr().As16(); a[7] == 0xad {
					return Refuse
				}
				return Accept
			}
		})
		a := s.link(1, Wired)
		a.announce(netip.MustParsePrefix("2001:db8:42:1::/64"), originB, 1, 10)
		s.pass(time.Second)
		a.raw(v.hex + next)
		if r, ok := s.route(prefixB, a); !ok || r.RouterID != v.want {
			t.Errorf("%s: %+v, want router-id %v", v.name, r, v.want)
		}
	}
	// A neighbour that cannot hear us: its routes are noted, and of use as soon
	// as it can.
	s := newScript(t, nil)
	a := s.link(1, Wired)
	a.say(&wire.IHU{RxCost: Infinity, Interval: 1200, Address: self})
	a.raw("06 0a 0000 000000000000000b 08 12 02 80 40 00 1770 0001 000a 20010db800420009" + next)
	s.wantRoute("deaf", prefixB, nil)
	a.greet()
	s.wantRoute("hears us", prefixB, a)
}

func TestC029_C117_WildcardRetraction(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	v4 := netip.MustParsePrefix("10.0.0.0/8")
	a.announce(prefixA, originA, 1, 10)
	a.say(&wire.Update{Prefix: prefixA, From: prefixB, Interval: 6000, Seqno: 1, Metric: 10, RouterID: originA})
	a.announce(v4, originA, 1, 10)
	b.announce(prefixB, originB, 1, 10)
	a.raw("06 0a 0000 000000000000000a 08 0a 00 00 00 00 1770 0001 000a") // finite
	a.raw("08 0a 00 00 01 00 1770 0001 ffff")                             // with a length
	a.raw("08 0f 00 00 00 00 1770 0001 ffff 80 03 10 2001")               // with a source
	s.wantRoute("nothing is retracted", prefixA, a)
	a.say(&wire.Update{Interval: 1600, Metric: Infinity})
	s.wantUnreachable("a's", prefixA)
	s.wantUnreachable("the IPv4 one", v4)
	if r := s.fib[keyOf(prefixA, prefixB)]; !r.Unreachable {
		t.Errorf("the source-specific one: %+v", r)
	}
	s.wantRoute("b's", prefixB, b)
}

// Interval zero: a finite Update is ignored, a retraction honoured; so an IHU and
// an Ack Request are ignored.
func TestC031_IllegalIntervals(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	a.raw("06 0a 0000 000000000000000a 08 12 02 00 40 00 0000 0001 000a 20010db80042000a")
	s.wantRoute("no such Update", prefixA, nil)
	a.announce(prefixA, originA, 1, 10)
	before, _ := s.route(prefixA, a)
	s.pass(time.Second)
	a.raw("06 0a 0000 000000000000000a 08 12 02 00 40 00 0000 0001 0001 20010db80042000a")
	if after, _ := s.route(prefixA, a); after != before {
		t.Errorf("%+v became %+v", before, after)
	}
	s.said()
	a.raw("02 06 0000 0007 0000")
	a.raw("05 06 0000 ffff 0000")
	s.wantSaid("no acknowledgment")
	s.wantRoute("the IHU is ignored", prefixA, a)
	a.raw("08 12 02 00 40 00 0000 0001 ffff 20010db80042000a")
	s.wantUnreachable("a retraction has no interval", prefixA)
}

// Interval 0xFFFF: 3.5 times 655 s, no less, and no overflow.
func TestC032_UpdateThatIsNotRepeated(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	a.mute = true
	a.say(&wire.Update{Prefix: prefixA, Interval: 0xFFFF, Seqno: 1, Metric: 10, RouterID: originA})
	s.idle(2280*time.Second, a)
	s.wantRoute("before", prefixA, a)
	s.idle(20*time.Second, a)
	s.wantUnreachable("after", prefixA)
	a.say(&wire.Update{Prefix: prefixA, Interval: 0xFFFF, Seqno: 2, Metric: 10, RouterID: originA})
	s.idle(time.Second, a)
	a.retract(prefixA)
	s.wantUnreachable("retracted at any time", prefixA)
	// What we send is always repeated.
	for _, u := range s.heard {
		if t, ok := u.tlv.(*wire.Update); ok && (t.Interval == 0 || t.Interval == 0xFFFF) {
			s.Errorf("sent: %+v", t)
		}
	}
}

func TestC035_C064_Retraction(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	a.announce(prefixA, originA, 100, 10)
	b.announce(prefixB, originB, 1, 10)
	before := len(s.e.Snapshot(s.now).Routes)
	unknown := netip.MustParsePrefix("2001:db8:77::/48")
	a.retract(unknown)
	a.retract(prefixB) // b's, not a's
	if got := len(s.e.Snapshot(s.now).Routes); got != before {
		t.Errorf("%d routes, want %d", got, before)
	}
	s.wantRoute("b's stays", prefixB, b)
	// Another router-id, an old seqno: it is a retraction all the same.
	a.say(&wire.Update{Prefix: prefixA, Interval: 1600, Seqno: 3, Metric: Infinity, RouterID: originB})
	s.wantUnreachable("retracted", prefixA)
	a.announce(prefixA, originA, 101, 10)
	a.raw("08 12 02 00 40 00 0640 0000 ffff 20010db80042000a") // no router-id at all
	s.wantUnreachable("retracted", prefixA)
}

// The next hop is what the packet says, which need not be its source.
func TestC028_C122_NextHopIsInstalled(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	v4 := netip.MustParsePrefix("192.0.2.0/24")
	a.raw("06 0a 0000 000000000000000a" +
		"07 12 0200 20010db8000000000000000000000009 08 12 02 00 40 00 1770 0001 000a 20010db80042000a" +
		"07 0a 0300 0000000000000042 08 12 02 00 40 00 1770 0001 000a 20010db80042000b" +
		"08 0d 04 00 18 00 1770 0001 000a c00002")
	for prefix, hop := range map[netip.Prefix]string{prefixA: "2001:db8::9", prefixB: "fe80::42", v4: "fe80::42"} {
		want := Route{Prefix: prefix, NextHop: netip.MustParseAddr(hop), Interface: 1}
		if got := s.fib[keyOf(prefix, nowhere)]; got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	// Another next hop replaces it.
	a.announce(prefixA, originA, 1, 10)
	s.wantRoute("the packet's source", prefixA, a)
}

// A dump is in the order that compresses best: by router-id, then by prefix.
func TestC036_OrderOfADump(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	b := s.link(2, Wired)
	const origins, routes = 10, 500
	for i := range routes {
		a.announce(nodePrefix(i*7919%routes), RouterID{7: byte(1 + i%origins)}, 1, 10)
	}
	s.idle(20*time.Second, a, b)
	s.heard, s.packets = nil, nil
	b.say(&wire.RouteRequest{})
	s.pass(time.Second)
	var last *wire.Update
	octets, updates, changes := 0, 0, 0
	for _, u := range s.heard {
		t2, ok := u.tlv.(*wire.Update)
		if !ok || u.index != 2 || t2.Metric == Infinity {
			continue
		}
		if last != nil && last.RouterID == t2.RouterID && last.Prefix.Addr().Compare(t2.Prefix.Addr()) >= 0 {
			t.Errorf("%v after %v", t2.Prefix, last.Prefix)
		}
		if last == nil || last.RouterID != t2.RouterID {
			changes++
		}
		last = t2
		updates++
	}
	for _, p := range s.packets {
		if p.Interface == 2 {
			octets += len(p.Data)
		}
	}
	if updates < routes || changes > origins || octets*14/10 > updates*(2+10+8+2+10/2) {
		t.Errorf("%d Updates in %d octets with %d changes of router-id", updates, octets, changes)
	}
}
