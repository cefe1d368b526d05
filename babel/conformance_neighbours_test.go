package babel

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"testing"
	"time"

	"re6st/babel/wire"
)

// The numbers of docs/babel-conformance.md about neighbours, Hellos, IHUs, costs
// and acknowledgments.

// stranger is a peer of which the engine knows nothing yet.
func (s *script) stranger(index int, addr string) *peer {
	p := &peer{s: s, index: index, addr: netip.MustParseAddr(addr)}
	s.peers = append(s.peers, p)
	return p
}

// hear says a Hello of the given kind.
func (p *peer) hear(unicast bool, seqno uint16, interval wire.Interval) {
	p.s.Helper()
	p.say(&wire.Hello{Unicast: unicast, Seqno: seqno, Interval: interval})
}

func (p *peer) ihu(rxcost uint16) {
	p.s.Helper()
	p.say(&wire.IHU{RxCost: rxcost, Interval: 60000, Address: self})
}

func TestC037_NeighboursAreInterfaceAndAddress(t *testing.T) {
	s := newScript(t, nil)
	s.link(1, Wired)
	s.link(2, Wired)
	both := "fe80::77"
	x, y := s.stranger(1, both), s.stranger(2, both)
	// Nothing but a Hello makes a neighbour (or an IHU that names us, which answers
	// a Hello of ours: TestC037_IHUBeforeTheFirstHelloCounts).
	x.say(&wire.IHU{RxCost: 96, Interval: 400}, &wire.IHU{RxCost: 96, Interval: 400, Address: netip.MustParseAddr("fe80::99")})
	x.announce(prefixA, originA, 1, 10)
	x.say(&wire.RouteRequest{}, &wire.SeqnoRequest{Prefix: prefixA, Seqno: 1, HopCount: 3, RouterID: originA}, &wire.Ack{Opaque: 1})
	if _, ok := s.neighbour(x); ok {
		t.Error("a neighbour without a Hello")
	}
	x.hear(false, 1, 400)
	_, ok := s.neighbour(x)
	if _, other := s.neighbour(y); !ok || other {
		t.Errorf("after its first Hello: known %v, on the other interface %v", ok, other)
	}
	y.hear(true, 9, 400)
	if _, ok := s.neighbour(y); !ok {
		t.Error("a unicast Hello makes no neighbour")
	}
	if n, _ := s.neighbour(x); n.Unicast != 0 || n.Multicast != 0x8000 {
		t.Errorf("the Hello of the other interface counts: %+v", n)
	}
	// The last trace of both kinds must be gone: 16 misses each.
	x.hear(true, 1, 1600)
	s.pass(17 * 4 * time.Second) // multicast: 1.5 intervals and 15 more
	if n, ok := s.neighbour(x); !ok || n.Multicast != 0 || n.Unicast == 0 {
		t.Errorf("with one history left: %v, %+v", ok, n)
	}
	s.pass((17*16 - 17*4) * time.Second)
	if n, ok := s.neighbour(x); ok {
		t.Errorf("still there: %+v", n)
	}
}

func TestC038_HelloSeqnos(t *testing.T) {
	for _, unicast := range []bool{false, true} {
		s := newScript(t, nil)
		s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, LinkLocal: self, UnicastHello: unicast})
		a, b := s.peer(1), s.peer(1)
		s.e.InterfaceUp(s.now, InterfaceConfig{Index: 2, LinkLocal: self, UnicastHello: unicast})
		c := s.peer(2)
		s.heard = nil
		s.idle(20*time.Second, a, b, c)
		s.e.SetIntervals(s.now, 1, time.Second, 0) // early ones count too
		a.retract(prefixA)
		s.idle(20*time.Second, a, b, c)
		last := map[string]uint16{}
		count := 0
		for _, u := range s.heard {
			h, ok := u.tlv.(*wire.Hello)
			if !ok {
				continue
			}
			space := fmt.Sprint(u.index, " to all")
			if h.Unicast {
				space = fmt.Sprint(u.index, " to ", u.dst)
			}
			if was, ok := last[space]; ok && h.Seqno != was+1 {
				t.Errorf("%s: %d after %d", space, h.Seqno, was)
			}
			last[space] = h.Seqno
			count++
		}
		if want := map[bool]int{false: 2, true: 5}[unicast]; len(last) != want || count < 30 {
			t.Errorf("unicast %v: %d Hellos of %d kinds, want %d kinds", unicast, count, len(last), want)
		}
	}
}

// The direction of each kind and their number in a packet are in script.audit:
// here it has every reason to put two into one.
func TestC039_C040_HellosInAPacket(t *testing.T) {
	for _, kind := range []Kind{Wired, Tunnel, Wireless} {
		s := newScript(t, nil)
		a := s.link(1, kind)
		for i := range 40 {
			a.say(&wire.AckRequest{Opaque: uint16(i), Interval: 5}, &wire.RouteRequest{})
			a.hear(i%2 == 0, uint16(1000*i), 10) // a restart each time
			s.e.SetIntervals(s.now, 1, time.Duration(10+i)*time.Millisecond, 0)
			s.pass(15 * time.Millisecond)
		}
		hellos := 0
		for _, u := range s.heard {
			if isHello(u) {
				hellos++
			}
		}
		if hellos < 20 {
			t.Errorf("%v: %d Hellos", kind, hellos)
		}
	}
}

func TestC041_C044_UnscheduledAndUnicastHellos(t *testing.T) {
	s := newScript(t, nil)
	s.link(1, Wired)
	x := s.stranger(1, "fe80::77")
	x.hear(false, 1, 0)
	x.hear(false, 2, 0)
	if n, _ := s.neighbour(x); n.RxCost != 96 || n.Multicast != 0xc000 {
		t.Errorf("two unscheduled ones: %+v", n)
	}
	s.pass(time.Hour)
	if n, ok := s.neighbour(x); !ok || n.Multicast != 0xc000 {
		t.Errorf("nothing was promised: %+v", n)
	}
	// The promise of a scheduled one stands: an unscheduled one after it changes
	// nothing, neither sooner nor later.
	x.hear(false, 3, 400)
	s.pass(5 * time.Second)
	x.hear(false, 4, 0)
	s.pass(900 * time.Millisecond)
	if n, _ := s.neighbour(x); n.Multicast != 0xf000 {
		t.Errorf("before 1.5 intervals: %04x", n.Multicast)
	}
	s.pass(200 * time.Millisecond)
	if n, _ := s.neighbour(x); n.Multicast != 0x7800 {
		t.Errorf("after 1.5 intervals: %04x", n.Multicast)
	}
	// Unicast ones alone, then multicast ones alone, make a finite rxcost.
	y, z := s.stranger(1, "fe80::78"), s.stranger(1, "fe80::79")
	for i := range uint16(3) {
		y.hear(true, i, 400)
		z.hear(false, 70+i, 400)
	}
	for _, p := range []*peer{y, z} {
		if n, _ := s.neighbour(p); n.RxCost == Infinity {
			t.Errorf("%v: %+v", p.addr, n)
		}
		p.ihu(96)
		p.announce(nodePrefix(int(p.addr.As16()[15])), originA, 1, 10)
		s.wantRoute("by whom it is heard", nodePrefix(int(p.addr.As16()[15])), p)
	}
}

// A longer interval begins with the Hello that says so; the IHU's too. The
// promises themselves are checked in TestC012_C042_C080_Promises: here, that the
// change is not put off.
func TestC042_LongerIntervals(t *testing.T) {
	s := newScript(t, nil)
	a := s.link(1, Wired)
	s.e.SetIntervals(s.now, 1, 300*time.Millisecond, 0)
	s.idle(10*time.Second, a)
	s.heard = nil
	s.e.SetIntervals(s.now, 1, 10*time.Second, 0)
	s.pass(time.Second)
	hellos, ihus := 0, 0
	for _, u := range s.heard {
		switch tlv := u.tlv.(type) {
		case *wire.Hello:
			if hellos++; tlv.Interval < 930 || tlv.Interval > 1000 {
				t.Errorf("Hello says %d", tlv.Interval)
			}
		case *wire.IHU:
			if ihus++; tlv.Interval < 1000 {
				t.Errorf("IHU says %d, and comes with Hellos only", tlv.Interval)
			}
		}
	}
	if hellos != 1 || ihus != 1 {
		t.Errorf("%d Hellos and %d IHUs in the old interval, want one of each", hellos, ihus)
	}
}

// + is a Hello of the expected seqno, - a timeout, a number a Hello that differs
// from the expected one by so much.
func TestC043_HelloHistory(t *testing.T) {
	for _, unicast := range []bool{false, true} {
		for _, v := range []struct {
			events []string
			want   uint16
			isGood bool
			isNew  bool // the neighbour was forgotten and made again
		}{
			{[]string{"+"}, 0x8000, false, false},
			{[]string{"+", "+"}, 0xc000, true, false},
			{[]string{"+", "+", "-"}, 0x6000, true, false},
			{[]string{"+", "+", "-", "-"}, 0x3000, false, false},
			{[]string{"+", "+", "2"}, 0x9800, false, false},                            // two were lost
			{[]string{"+", "+", "-", "-", "-2"}, 0xe000, true, false},                  // they were not: undone
			{[]string{"+", "+", "-", "-", "-1"}, 0xb000, true, false},                  // one of them
			{[]string{"+", "+", "-", "-", "+"}, 0x9800, false, false},                  // both were
			{[]string{"+", "+", "-", "-", "-3"}, 0xc000, true, false},                  // and one before
			{[]string{"+", "+", "16"}, 0x8000, false, false},                           // as far as it goes
			{[]string{"+", "+", "17"}, 0x8000, false, true},                            // a restart
			{[]string{"+", "+", "-16"}, 0x8000, false, false},                          // undone altogether
			{[]string{"+", "+", "-17"}, 0x8000, false, true},                           // a restart
			{[]string{"+", "+", "+", "30000"}, 0x8000, false, true},                    // a restart
			{[]string{"65530", "+", "+", "+", "+", "+", "+", "+"}, 0xff00, true, true}, // over the end
		} {
			s := newScript(t, nil)
			s.link(1, Wired)
			x := s.stranger(1, "fe80::77")
			expected := uint16(1)
			x.hear(unicast, expected, 400)
			begun := s.now
			expected++
			s.pass(10 * time.Millisecond)
			for _, e := range v.events[1:] {
				d := 0
				switch e {
				case "-":
					s.missOne(x, unicast)
					expected++
					continue
				case "+":
				default:
					_, _ = fmt.Sscan(e, &d)
				}
				expected += uint16(d)
				x.hear(unicast, expected, 400)
				expected++
				s.pass(10 * time.Millisecond)
			}
			n, _ := s.neighbour(x)
			got, other := n.Multicast, n.Unicast
			if unicast {
				got, other = other, got
			}
			if got != v.want || other != 0 || (n.RxCost != Infinity) != v.isGood || n.Since.After(begun) != v.isNew && v.events[0] == "+" {
				t.Errorf("unicast %v, %v: %04x (other %04x), rxcost %d, new %v; want %04x, good %v, new %v",
					unicast, v.events, got, other, n.RxCost, n.Since.After(begun), v.want, v.isGood, v.isNew)
			}
		}
	}
}

// missOne waits until the history has grown by a missed Hello.
func (s *script) missOne(p *peer, unicast bool) {
	s.Helper()
	length := func() int {
		n, _ := s.neighbour(p)
		if unicast {
			return bits.TrailingZeros16(n.Unicast)
		}
		return bits.TrailingZeros16(n.Multicast)
	}
	for was, until := length(), s.now.Add(time.Minute); length() == was; {
		if s.now.After(until) {
			s.Fatal("no Hello is missed")
		}
		s.pass(100 * time.Millisecond)
	}
}

// Appendix A.1: 1.5 intervals after a Hello, 1.0 after a miss.
func TestC043_HelloTimer(t *testing.T) {
	s := newScript(t, nil)
	s.link(1, Wired)
	x := s.stranger(1, "fe80::77")
	x.hear(false, 1, 400)
	x.hear(false, 2, 400)
	last := s.now
	for _, v := range []struct {
		after time.Duration
		want  uint16
	}{
		{5990, 0xc000}, {6010, 0x6000}, {9990, 0x6000}, {10010, 0x3000}, {13990, 0x3000}, {14010, 0x1800},
	} {
		s.pass(last.Add(v.after * time.Millisecond).Sub(s.now))
		if n, _ := s.neighbour(x); n.Multicast != v.want {
			t.Errorf("after %v ms: %04x, want %04x", int64(v.after), n.Multicast, v.want)
		}
	}
}

func TestC045_C048_Costs(t *testing.T) {
	for _, kind := range []Kind{Wired, Tunnel, Wireless} {
		s := newScript(t, nil)
		a := s.link(1, kind)
		a.announce(prefixA, originA, 1, 10)
		s.idle(4*time.Second, a)
		for _, tx := range []uint16{0, 1, 96, 256, 0xFFFE} {
			a.ihu(tx)
			n, _ := s.neighbour(a)
			if n.Cost < 1 || n.Cost == Infinity {
				t.Errorf("%v: cost %d for txcost %d", kind, n.Cost, tx)
			}
			if r, _ := s.route(prefixA, a); r.Metric <= r.Received {
				t.Errorf("%v: metric %d, received %d", kind, r.Metric, r.Received)
			}
		}
		a.ihu(Infinity)
		if n, _ := s.neighbour(a); n.Cost != Infinity {
			t.Errorf("%v: cost %d for an infinite txcost", kind, n.Cost)
		}
		s.wantUnreachable("it cannot hear us", prefixA)
		a.ihu(96)
		s.wantRoute("it can again", prefixA, a)
		s.pass(70 * time.Second) // no Hello
		if n, ok := s.neighbour(a); ok && (n.RxCost != Infinity || n.Cost != Infinity) {
			t.Errorf("%v: not heard: %+v", kind, n)
		}
		s.wantUnreachableOrNone("we cannot hear it", prefixA)
	}
}

func TestC046_C047_IHU(t *testing.T) {
	for _, v := range []struct {
		name string
		addr netip.Addr
		want bool
	}{
		{"to us", self, true},
		{"to whoever hears it", netip.Addr{}, true},
		{"to another address of ours", netip.MustParseAddr("2001:db8::7"), true},
		{"to our other link-local address", netip.MustParseAddr("fe80::8"), true},
		{"to our IPv4 address", netip.MustParseAddr("192.0.2.7"), true},
		{"to another", netip.MustParseAddr("fe80::77"), false},
		{"to another global address", netip.MustParseAddr("2001:db8::8"), false},
		{"to another IPv4 address", netip.MustParseAddr("192.0.2.8"), false},
	} {
		s := newScript(t, nil)
		s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, LinkLocal: self, Addresses: []netip.Addr{
			netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("fe80::8%eth0"), netip.MustParseAddr("192.0.2.7"),
		}})
		p := s.stranger(1, "fe80::1")
		for i := range 2 {
			p.say(&wire.Hello{Seqno: uint16(i), Interval: 6000}, &wire.IHU{RxCost: 96, Interval: 100, Address: v.addr})
		}
		if n, _ := s.neighbour(p); n.Reachable != v.want {
			t.Errorf("%s: reachable %v", v.name, n.Reachable)
		}
		if !v.want {
			continue
		}
		s.pass(3400 * time.Millisecond)
		if n, _ := s.neighbour(p); n.TxCost != 96 {
			t.Errorf("%s: txcost %d before 3.5 intervals", v.name, n.TxCost)
		}
		s.pass(200 * time.Millisecond)
		if n, _ := s.neighbour(p); n.TxCost != Infinity || n.Cost != Infinity {
			t.Errorf("%s: txcost %d after 3.5 intervals", v.name, n.TxCost)
		}
		p.say(&wire.IHU{RxCost: 96, Interval: 100, Address: v.addr})
		if n, _ := s.neighbour(p); n.TxCost != 96 || !n.Reachable {
			t.Errorf("%s: txcost %d after a new IHU", v.name, n.TxCost)
		}
	}
}

func TestC049_LinkComesUpWithTwoOfThree(t *testing.T) {
	s := newScript(t, nil)
	s.link(1, Wired)
	x := s.stranger(1, "fe80::77")
	x.hear(false, 1, 400)
	x.ihu(96)
	if n, _ := s.neighbour(x); n.Reachable {
		t.Error("one Hello is enough")
	}
	s.pass(4 * time.Second)
	x.hear(false, 2, 400)
	if n, _ := s.neighbour(x); !n.Reachable {
		t.Error("two are not")
	}
	// The last one, one interval and a half, and one interval.
	last := s.now
	for s.now.Sub(last) < 9900*time.Millisecond {
		s.pass(100 * time.Millisecond)
		if n, _ := s.neighbour(x); !n.Reachable {
			t.Fatalf("down after %v", s.now.Sub(last))
		}
	}
	s.pass(200 * time.Millisecond)
	if n, _ := s.neighbour(x); n.Reachable {
		t.Error("up for more than 10 s")
	}
	// Up again after two of three.
	x.hear(false, 5, 400)
	if n, _ := s.neighbour(x); n.Reachable {
		t.Error("one of three is enough")
	}
	x.hear(false, 6, 400)
	if n, _ := s.neighbour(x); !n.Reachable {
		t.Error("two of three are not")
	}
}

// Wired takes the better of both histories, ETX the multicast one.
func TestC050_Histories(t *testing.T) {
	for _, v := range []struct {
		kind Kind
		m, u []uint16
		want uint16
	}{
		{Wired, []uint16{1}, []uint16{1, 2}, 96},
		{Wired, []uint16{1, 2}, []uint16{1}, 96},
		{Wired, []uint16{1}, []uint16{1}, Infinity}, // one of each is no two of three
		{Wired, nil, []uint16{7, 8}, 96},
		{Wireless, []uint16{1, 2, 3, 4, 5, 6}, nil, 256},
		{Wireless, []uint16{1, 2, 3, 5, 6}, []uint16{1, 2, 3, 4, 5, 6}, 307}, // five of six
		{Wireless, []uint16{1, 2, 4, 6}, []uint16{1, 2, 3, 4, 5, 6}, 384},    // four of six
		{Wireless, nil, []uint16{1, 2, 3, 4, 5, 6}, Infinity},
	} {
		s := newScript(t, nil)
		s.link(1, v.kind)
		x := s.stranger(1, "fe80::77")
		for _, seqno := range v.m {
			x.hear(false, seqno, 6000)
		}
		for _, seqno := range v.u {
			x.hear(true, seqno, 6000)
		}
		if n, _ := s.neighbour(x); n.RxCost != v.want {
			t.Errorf("%v, multicast %v, unicast %v: rxcost %d, want %d", v.kind, v.m, v.u, n.RxCost, v.want)
		}
	}
}

// ETX: cost = max(txcost, 256) * rxcost / 256.
func TestC050_ETX(t *testing.T) {
	for _, v := range []struct {
		heard []uint16
		tx    uint16
		want  uint16
	}{
		{[]uint16{1, 2, 3, 4, 5, 6}, 256, 256},
		{[]uint16{1, 2, 3, 4, 5, 6}, 100, 256}, // alpha is 1 at most
		{[]uint16{1, 2, 3, 4, 5, 6}, 512, 512},
		{[]uint16{1, 2, 4, 6}, 512, 768},
	} {
		s := newScript(t, nil)
		s.link(1, Wireless)
		x := s.stranger(1, "fe80::77")
		for _, seqno := range v.heard {
			x.hear(false, seqno, 6000)
		}
		x.ihu(v.tx)
		if n, _ := s.neighbour(x); n.Cost != v.want {
			t.Errorf("%v heard, txcost %d: cost %d, want %d", v.heard, v.tx, n.Cost, v.want)
		}
	}
}

func TestC051_CostChangesEveryMetric(t *testing.T) {
	s := newScript(t, nil)
	a, b := s.link(1, Wired), s.link(2, Wired)
	const routes = 100
	for i := range routes {
		a.announce(nodePrefix(i), originA, 1, uint16(10+i))
		b.announce(nodePrefix(i), originA, 1, 1)
	}
	s.e.SetExtraCost(s.now, 2, 300)
	s.drain()
	check := func(why string, cost int, via *peer) {
		t.Helper()
		for i := range routes {
			r, _ := s.route(nodePrefix(i), a)
			if want := min(cost+10+i, Infinity); int(r.Metric) != want {
				t.Fatalf("%s: metric %d, want %d", why, r.Metric, want)
			}
			s.wantRoute(why, nodePrefix(i), via)
		}
	}
	check("before", 96, a)
	a.ihu(200)
	s.drain()
	check("by an IHU", 200, a)
	a.ihu(2000)
	s.idle(20*time.Second, b) // hysteresis; a's Hellos last 10 s
	a.say(&wire.Hello{Seqno: a.seqno, Interval: 400})
	a.ihu(96)
	s.e.SetExtraCost(s.now, 1, 5000)
	s.drain()
	s.idle(30*time.Second, a, b)
	check("by extra cost", 5096, b)
	s.e.SetExtraCost(s.now, 1, 0)
	s.idle(30*time.Second, a, b)
	check("and back", 96, a)
	a.ihu(Infinity)
	s.drain()
	check("infinite", Infinity, b)
}

// Each Ack Request is answered, by unicast, before its time: whoever asks and by
// whatever way it came, also where there is nothing to tell.
func TestC052_C053_Acknowledgments(t *testing.T) {
	for _, kind := range []Kind{Wired, Tunnel, Wireless} {
		s := newScript(t, nil)
		a := s.link(1, kind)
		x := s.stranger(1, "fe80::77") // nobody's neighbour
		s.heard = nil
		for _, p := range []*peer{a, x} {
			for i, interval := range []wire.Interval{1, 2, 100, 0xFFFF} {
				enc := wire.NewEncoder(100)
				enc.Add(&wire.AckRequest{Opaque: uint16(i), Interval: interval})
				dst := wire.Group()
				if i%2 == 0 {
					dst = self
				}
				asked := s.now
				p.deliver(dst, enc.Bytes())
				s.pass(time.Second)
				j := slices.IndexFunc(s.heard, func(u utterance) bool {
					ack, ok := u.tlv.(*wire.Ack)
					return ok && ack.Opaque == uint16(i) && u.dst == p.addr && u.index == 1
				})
				if j < 0 || s.heard[j].at.Sub(asked) >= interval.Duration() {
					t.Errorf("%v: no Ack for %v within %v", kind, p.addr, interval.Duration())
				}
				s.heard = nil
			}
		}
		a.say(&wire.AckRequest{Opaque: 1, Interval: 50}, &wire.AckRequest{Opaque: 2, Interval: 50}, &wire.AckRequest{Opaque: 1, Interval: 50})
		s.pass(time.Second)
		acks := 0
		for _, u := range s.heard {
			if _, ok := u.tlv.(*wire.Ack); ok {
				acks++
			}
		}
		if acks != 3 {
			t.Errorf("%v: %d Acks for three requests", kind, acks)
		}
	}
}

// News is acknowledged where neighbours are few; the periodic dump is not, and a
// link with many neighbours is asked for nothing.
func TestC054_WhatIsAcknowledged(t *testing.T) {
	for _, v := range []struct {
		kind       Kind
		neighbours int
	}{{Tunnel, 1}, {Wired, 1}, {Wireless, 3}, {Wired, ackersMax + 1}} {
		kind, isFew := v.kind, v.neighbours <= ackersMax
		s := newScript(t, nil)
		a, b := s.link(1, kind), s.link(2, kind)
		all := []*peer{a, b}
		for range v.neighbours - 1 {
			all = append(all, s.peer(1))
		}
		s.idle(10*time.Second, all...)
		asks := func() (n int) {
			for _, u := range s.heard {
				if r, ok := u.tlv.(*wire.AckRequest); ok && u.index == 1 && r.Opaque != 0 {
					n++
				}
			}
			s.heard = nil
			return n
		}
		asks()
		b.announce(prefixA, originA, 1, 10)
		s.pass(time.Second)
		if n := asks(); (n > 0) != isFew {
			t.Errorf("%v: a new route: %d Ack Requests", kind, n)
		}
		b.announce(prefixA, originB, 1, 10)
		s.pass(time.Second)
		if n := asks(); (n > 0) != isFew {
			t.Errorf("%v: another router-id: %d Ack Requests", kind, n)
		}
		b.say(&wire.Update{Prefix: prefixA, Interval: 0xFFFF, Seqno: 1, Metric: 10, RouterID: originB})
		s.idle(10*time.Minute, all...)
		dumped := slices.ContainsFunc(s.heard, func(u utterance) bool { return u.index == 1 && isUpdate(prefixA)(u) })
		if n := asks(); n > 0 || !dumped {
			t.Errorf("%v: periodic dumps (%v): %d Ack Requests", kind, dumped, n)
		}
		b.retract(prefixA)
		s.pass(time.Second)
		if n := asks(); (n > 0) != isFew {
			t.Errorf("%v: a retraction: %d Ack Requests", kind, n)
		}
	}
}
