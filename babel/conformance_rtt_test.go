package babel

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"re6st/babel/wire"
)

// The numbers of docs/babel-conformance.md about the round-trip time.

// clock is that of a peer, in microseconds, which has nothing to do with ours.
const clock = 0xFFFFFF00 // it wraps soon

// timed is a link with timestamps on which a peer is heard, without a sample.
func (s *script) timed(kind Kind) *peer {
	s.Helper()
	s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, LinkLocal: self, Kind: kind, RTT: true})
	return s.peer(1)
}

// sample makes the four times of a packet: a Hello of ours that came to the peer
// at its time clock and left us here ago, and the peer's, that left there later.
func (p *peer) sample(clock uint32, here, there time.Duration) {
	p.s.Helper()
	us := func(d time.Duration) uint32 { return uint32(d.Microseconds()) }
	p.seqno++
	p.say(
		&wire.Hello{Seqno: p.seqno, Interval: 400, Timestamp: wire.Timestamp{Present: true, Transmit: clock + us(there)}},
		&wire.IHU{RxCost: 96, Interval: 60000, Address: self, Echo: wire.Echo{
			Present: true, Origin: p.s.e.Timestamp(p.s.now) - us(here), Receive: clock,
		}},
	)
}

func (s *script) rtt(p *peer) time.Duration {
	n, _ := s.neighbour(p)
	return n.RTT.Round(time.Microsecond)
}

// Every Hello has a timestamp, which is that of the moment of sending and nothing
// else of the packet.
func TestC128_TimestampInEveryHello(t *testing.T) {
	for _, v := range []struct {
		config InterfaceConfig
		want   bool
	}{
		{InterfaceConfig{Kind: Tunnel}, true},
		{InterfaceConfig{Kind: Wired, RTT: true}, true},
		{InterfaceConfig{Kind: Wired, RTT: true, UnicastHello: true}, true},
		{InterfaceConfig{Kind: Wired}, false},
	} {
		s := newScript(t, nil)
		v.config.Index, v.config.LinkLocal = 1, self
		s.e.InterfaceUp(s.now, v.config)
		a := s.peer(1)
		s.packets = nil
		s.idle(time.Minute, a)
		s.e.SetIntervals(s.now, 1, 300*time.Millisecond, 0)
		s.idle(10*time.Second, a)
		hellos := 0
		for i := range s.packets {
			p := &s.packets[i]
			hello := helloOf(p.Data)
			before := bytes.Clone(p.Data)
			p.Stamp(0xdeadbeef)
			if hello == nil {
				if !bytes.Equal(before, p.Data) {
					t.Fatalf("a packet without Hello was stamped: %x", p.Data)
				}
				continue
			}
			hellos++
			if hello.Timestamp.Present != v.want {
				t.Fatalf("%+v: timestamp %v", v.config, hello.Timestamp)
			}
			after := helloOf(p.Data)
			if v.want && after.Timestamp.Transmit != 0xdeadbeef {
				t.Fatalf("%+v: stamped %x", v.config, after.Timestamp.Transmit)
			}
			p.Stamp(hello.Timestamp.Transmit)
			if !bytes.Equal(before, p.Data) {
				t.Fatalf("more than the timestamp was written: %x, %x", before, p.Data)
			}
		}
		if hellos < 40 {
			t.Errorf("%+v: %d Hellos", v.config, hellos)
		}
	}
}

func helloOf(data []byte) *wire.Hello {
	var d wire.Decoder
	for _, tlv := range d.Parse(data, self).TLVs {
		if h, ok := tlv.(*wire.Hello); ok {
			c := *h
			return &c
		}
	}
	return nil
}

// With more neighbours than IHUs fit into a packet, each still gets its echo, in a
// packet that has a Hello (script.audit), before the IHU before has expired.
func TestC129_EchoesAtPacketBoundaries(t *testing.T) {
	s := newScript(t, nil)
	s.e.InterfaceUp(s.now, InterfaceConfig{Index: 1, LinkLocal: self, RTT: true, MTU: 512})
	var all []*peer
	for i := range 100 {
		p := s.stranger(1, fmt.Sprintf("fe80::1:%x", i+1))
		all = append(all, p)
		for range 3 {
			p.sample(uint32(1000*i), 30*time.Millisecond, 10*time.Millisecond)
		}
		p.retract(prefixA)
	}
	tell := func(d time.Duration) {
		for until := s.now.Add(d); s.now.Before(until); s.pass(4 * time.Second) {
			for i, p := range all {
				p.sample(uint32(1000*i)+uint32(s.now.Sub(epoch).Microseconds()), 30*time.Millisecond, 10*time.Millisecond)
			}
		}
	}
	tell(20 * time.Second)
	s.heard = nil
	tell(time.Minute)
	last := map[netip.Addr]promise{}
	for _, u := range s.heard {
		ihu, ok := u.tlv.(*wire.IHU)
		if !ok {
			continue
		}
		if !ihu.Echo.Present {
			t.Fatalf("an IHU without echo for %v", ihu.Address)
		}
		p := last[ihu.Address]
		p.next(s, Wired, fmt.Sprint("IHU for ", ihu.Address), u.at, ihu.Interval)
		last[ihu.Address] = p
	}
	for _, p := range all {
		if n := last[p.addr].count; n < 4 {
			t.Errorf("%v has got %d IHUs in a minute", p.addr, n)
		}
	}
}

func TestC130_C131_C134_Samples(t *testing.T) {
	const ms = time.Millisecond
	for _, v := range []struct {
		name        string
		clock       uint32
		here, there time.Duration
		want        time.Duration // zero: no sample
	}{
		{"20 ms", 5e6, 320 * ms, 300 * ms, 20 * ms},
		{"its clock wraps meanwhile", 0xFFFFFFFF - 100e3, 320 * ms, 300 * ms, 20 * ms},
		{"three minutes less a bit", 5e6, 179*time.Second + 50*ms, 179 * time.Second, 50 * ms},
		{"never below zero", 5e6, 299 * ms, 300 * ms, time.Microsecond},
		{"far below zero", 5e6, 1 * ms, 10 * time.Second, time.Microsecond},
		{"origin in the future", 5e6, -1 * ms, 300 * ms, 0},
		{"origin too old", 5e6, 181 * time.Second, 180 * time.Second, 0},
		{"its Hello before it heard ours", 5e6, 320 * ms, -1 * ms, 0},
		{"its Hello long after", 5e6, 179 * time.Second, 181 * time.Second, 0},
		{"half the space", 5e6, 1 << 31 * time.Microsecond, 1 << 31 * time.Microsecond, 0},
	} {
		s := newScript(t, nil)
		a := s.timed(Wired)
		s.pass(200 * time.Second) // so that there is a past
		a.greet()
		a.greet()
		a.sample(v.clock, v.here, v.there)
		if got := s.rtt(a); got != v.want {
			t.Errorf("%s: RTT %v, want %v", v.name, got, v.want)
		}
		// The times are recorded, sample or no sample: our echo has them.
		heard := s.e.Timestamp(s.now)
		s.heard = nil
		s.pass(13 * time.Second)
		found := false
		for _, u := range s.heard {
			if ihu, ok := u.tlv.(*wire.IHU); ok && ihu.Echo.Present {
				found = true
				if want := v.clock + uint32(v.there.Microseconds()); ihu.Echo.Origin != want || ihu.Echo.Receive != heard {
					t.Errorf("%s: echo %+v, want %d and %d", v.name, ihu.Echo, want, heard)
				}
			}
		}
		if !found {
			t.Errorf("%s: no echo", v.name)
		}
	}
}

// A sample needs both the Hello's and the IHU's times, in one packet.
func TestC130_BothInOnePacket(t *testing.T) {
	for _, v := range []struct {
		name    string
		packets func(hello *wire.Hello, ihu *wire.IHU) [][]wire.TLV
		want    bool
	}{
		{"one packet", func(h *wire.Hello, i *wire.IHU) [][]wire.TLV { return [][]wire.TLV{{h, i}} }, true},
		{"in the other order", func(h *wire.Hello, i *wire.IHU) [][]wire.TLV { return [][]wire.TLV{{i, h}} }, true},
		{"unscheduled Hello", func(h *wire.Hello, i *wire.IHU) [][]wire.TLV { h.Interval = 0; return [][]wire.TLV{{h, i}} }, true},
		{"two packets", func(h *wire.Hello, i *wire.IHU) [][]wire.TLV { return [][]wire.TLV{{h}, {i}} }, false},
		{"two packets, the IHU first", func(h *wire.Hello, i *wire.IHU) [][]wire.TLV { return [][]wire.TLV{{i}, {h}} }, false},
		{"Hello without time", func(h *wire.Hello, i *wire.IHU) [][]wire.TLV {
			h.Timestamp = wire.Timestamp{}
			return [][]wire.TLV{{h, i}}
		}, false},
		{"IHU without times", func(h *wire.Hello, i *wire.IHU) [][]wire.TLV { i.Echo = wire.Echo{}; return [][]wire.TLV{{h, i}} }, false},
		{"IHU for another", func(h *wire.Hello, i *wire.IHU) [][]wire.TLV {
			i.Address = netip.MustParseAddr("fe80::99")
			return [][]wire.TLV{{h, i}}
		}, false},
	} {
		s := newScript(t, nil)
		a := s.timed(Wired)
		s.pass(time.Second)
		a.seqno++
		hello := &wire.Hello{Seqno: a.seqno, Interval: 400, Timestamp: wire.Timestamp{Present: true, Transmit: 5_010_000}}
		ihu := &wire.IHU{RxCost: 96, Interval: 60000, Address: self, Echo: wire.Echo{Present: true, Origin: s.e.Timestamp(s.now) - 30_000, Receive: 5_000_000}}
		for _, tlvs := range v.packets(hello, ihu) {
			a.say(tlvs...)
		}
		if got := s.rtt(a) != 0; got != v.want {
			t.Errorf("%s: RTT %v", v.name, s.rtt(a))
		}
	}
}

// Our clock wraps after 71 minutes; a peer's jumps, or it restarts.
func TestC131_ClocksWrapAndJump(t *testing.T) {
	s := newScript(t, nil)
	a := s.timed(Tunnel)
	for its := uint32(clock); s.now.Sub(epoch) < 75*time.Minute; its += 10_000_000 {
		a.sample(its, 320*time.Millisecond, 300*time.Millisecond)
		s.pass(4 * time.Second)
		a.greet()
		s.pass(4 * time.Second)
		a.greet()
		s.pass(2 * time.Second)
		if got := s.rtt(a); got != 20*time.Millisecond {
			t.Fatalf("after %v: RTT %v", s.now.Sub(epoch), got)
		}
	}
	// The echo is of the clock before the jump, its Hello of the one after it.
	for _, jump := range []time.Duration{-time.Hour, time.Hour, 10 * time.Minute, -time.Second} {
		a.sample(123456, 320*time.Millisecond, 300*time.Millisecond+jump)
		if got := s.rtt(a); got != 20*time.Millisecond {
			t.Errorf("a jump by %v: RTT %v", jump, got)
		}
	}
	// A restart: new seqnos, new clock, and an old echo of ours.
	a.seqno += 5000
	a.sample(99, 100*time.Second, -50*time.Second)
	if got := s.rtt(a); got != 0 {
		t.Errorf("after a restart: RTT %v", got)
	}
	// We restart: what comes back is of a clock that we do not have any more.
	s = newScript(t, nil)
	a = s.timed(Tunnel)
	s.pass(10 * time.Second)
	a.sample(99, -70*time.Second, 300*time.Millisecond)
	if got := s.rtt(a); got != 0 {
		t.Errorf("after our restart: RTT %v", got)
	}
}

// The first sample is taken as it is, the next ones with 0.164 of their weight: to
// settle to a tenth takes 13.
func TestC132_Smoothing(t *testing.T) {
	s := newScript(t, nil)
	a := s.timed(Wired)
	s.pass(time.Second)
	next := func(ms int) float64 {
		a.sample(5e6, time.Duration(300+ms)*time.Millisecond, 300*time.Millisecond)
		s.pass(time.Second)
		return float64(s.rtt(a)) / float64(time.Millisecond)
	}
	if got := next(20); got != 20 {
		t.Errorf("first: %v ms", got)
	}
	if got := next(120); math.Abs(got-36.4) > 0.01 {
		t.Errorf("second: %v ms, want 0.836 * 20 + 0.164 * 120", got)
	}
	n := 1
	for ; next(120) < 110; n++ {
	}
	if n < 11 || n > 13 {
		t.Errorf("settled to a tenth after %d samples", n)
	}
}

// Linear between 10 and 120 ms, constant below and above.
func TestC132_Cost(t *testing.T) {
	for _, v := range []struct {
		ms   int
		want uint16
	}{{0, 96}, {1, 96}, {10, 96}, {65, 171}, {120, 246}, {121, 246}, {5000, 246}} {
		s := newScript(t, nil)
		a := s.timed(Wired)
		s.pass(10 * time.Second)
		a.greet()
		a.greet()
		a.sample(5e6, time.Duration(300+v.ms)*time.Millisecond, 300*time.Millisecond)
		if n, _ := s.neighbour(a); n.Cost != v.want {
			t.Errorf("%d ms: cost %d, want %d", v.ms, n.Cost, v.want)
		}
	}
}

// An RTT that swings does not make the routes swing.
func TestC132_RTTDoesNotFlap(t *testing.T) {
	s := newScript(t, nil)
	a := s.timed(Wired)
	s.e.InterfaceUp(s.now, InterfaceConfig{Index: 2, LinkLocal: self, RTT: true})
	b := s.peer(2)
	a.announce(prefixA, originA, 1, 10)
	b.announce(prefixA, originA, 1, 10)
	var last Route
	changes := -1
	for i := range 300 {
		// Both about 60 ms, now the one and now the other is better by up to 40.
		a.sample(uint32(4e6*i), time.Duration(340+40*(i/3%2))*time.Millisecond, 300*time.Millisecond)
		b.sample(uint32(4e6*i), time.Duration(380-40*(i/3%2))*time.Millisecond, 300*time.Millisecond)
		s.pass(4 * time.Second)
		if i%30 == 0 {
			for _, p := range []*peer{a, b} {
				p.announce(prefixA, originA, 1, 10)
			}
		}
		if r := s.fib[keyOf(prefixA, nowhere)]; r != last {
			changes++
			last = r
		}
	}
	if changes > 3 {
		t.Errorf("%d route changes in 20 minutes", changes)
	}
	t.Log(changes, "route changes")
}

func TestC133_OldRTTIsForgotten(t *testing.T) {
	for _, kind := range []Kind{Wired, Tunnel} {
		s := newScript(t, nil)
		a := s.timed(kind)
		s.pass(10 * time.Second)
		a.greet()
		a.greet()
		a.sample(5e6, 390*time.Millisecond, 300*time.Millisecond)
		known, _ := s.neighbour(a)
		s.idle(170*time.Second, a) // no samples any more
		if got := s.rtt(a); got != 90*time.Millisecond {
			t.Errorf("%v: after 170 s: RTT %v", kind, got)
		}
		s.idle(20*time.Second, a)
		if n, _ := s.neighbour(a); n.RTT != 0 || n.Cost == known.Cost {
			t.Errorf("%v: after 190 s: RTT %v, cost %d was %d", kind, n.RTT, n.Cost, known.Cost)
		}
	}
}
