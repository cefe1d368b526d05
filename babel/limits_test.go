package babel

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"re6st/babel/wire"
)

var attackTime = flag.Duration("attack", attackDefault(), "virtual time of each attack (10m: the whole T-12)")

func attackDefault() time.Duration {
	if isSoak() {
		return 10 * time.Minute
	}
	return 5 * time.Second
}

// A siege is a router between an attacker, on link 1, and honest neighbours on
// links 2 and 3. The attacker says 10,000 TLVs a second in packets of ten, a
// packet each millisecond. Meanwhile the honest ones go about their business:
// what link 2 says must be heard on link 3.
type siege struct {
	testing.TB
	e     *Engine
	now   time.Time
	rand  *rand.Rand
	enc   *wire.Encoder
	addrs []netip.Addr // of the attacker
	seqno uint16
	in    int64         // octets from the attacker, IPv6 and UDP included
	out   map[int]int64 // octets to each link
	sent  map[int]int   // packets
	most  map[int]int   // packets in the worst second
	this  map[int]int   // packets in this second
	probe netip.Prefix
	said  [2]bool // the probe was announced, retracted, on link 3
	peak  Sizes
	fib   int
	event int
}

const (
	siegeTLVs   = 10 // a packet
	siegeTable  = 200
	siegePacket = 1372
)

func honestAddr(index int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 14: 1, 15: byte(index)})
}

func newSiege(t testing.TB, kind Kind, change func(*Config)) *siege {
	config := Config{RouterID: selfID, Seqno: 100, Rand: rand.New(rand.NewPCG(1, 1))}
	if change != nil {
		change(&config)
	}
	s := &siege{
		TB: t, e: New(config), now: epoch, rand: rand.New(rand.NewPCG(2, 2)), enc: wire.NewEncoder(siegePacket),
		addrs: []netip.Addr{honestAddr(1)}, out: map[int]int64{}, sent: map[int]int{},
		most: map[int]int{}, this: map[int]int{},
	}
	for i, k := range []Kind{kind, Tunnel, Tunnel} {
		s.e.InterfaceUp(s.now, InterfaceConfig{Index: i + 1, LinkLocal: self, Kind: k, MTU: 1420})
	}
	s.e.Originate(s.now, prefixA, nowhere, 0)
	for range 5 {
		s.greet()
		s.pass(250 * time.Millisecond)
	}
	for i := range siegeTable {
		s.honest(2, &wire.Update{Prefix: nodePrefix(1000 + i), Interval: 60000, Seqno: 1, Metric: 10, RouterID: originA})
	}
	s.pass(5 * time.Second)
	clear(s.out)
	clear(s.sent)
	clear(s.most)
	return s
}

// greet keeps everybody a neighbour.
func (s *siege) greet() {
	s.seqno++
	for index := 1; index <= 3; index++ {
		s.honest(index, &wire.Hello{Seqno: s.seqno, Interval: 400}, &wire.IHU{RxCost: 96, Interval: 3000, Address: self})
	}
}

func (s *siege) honest(index int, tlvs ...wire.TLV) {
	enc := wire.NewEncoder(siegePacket)
	for _, tlv := range tlvs {
		enc.Add(tlv)
	}
	s.receive(index, honestAddr(index), enc.Bytes())
}

func (s *siege) receive(index int, src netip.Addr, data []byte) {
	s.e.Receive(s.now, index, netip.AddrPortFrom(src, wire.Port), wire.Group(), data)
	s.drain()
}

// strike is a packet of the attacker.
func (s *siege) strike(data []byte) {
	s.in += int64(len(data)) + packetOverhead
	s.receive(1, s.addrs[s.rand.IntN(len(s.addrs))], data)
}

func (s *siege) drain() {
	out := s.e.Output()
	s.fib += len(out.Routes)
	s.event += len(out.Events)
	for _, p := range out.Packets {
		s.out[p.Interface] += int64(len(p.Data)) + packetOverhead
		s.sent[p.Interface]++
		s.this[p.Interface]++
		if p.Interface != 1 {
			s.listen(p)
		}
	}
}

// listen is an honest neighbour: it acknowledges.
func (s *siege) listen(p Packet) {
	var d wire.Decoder
	for _, tlv := range d.Parse(p.Data, self).TLVs {
		switch t := tlv.(type) {
		case *wire.AckRequest:
			s.honest(p.Interface, &wire.Ack{Opaque: t.Opaque})
		case *wire.Update:
			if p.Interface == 3 && t.Prefix == s.probe {
				s.said[heardAs(t.Metric == Infinity)] = true
			}
		}
	}
}

func heardAs(isGone bool) int {
	if isGone {
		return 1
	}
	return 0
}

func (s *siege) pass(d time.Duration) {
	for until := s.now.Add(d); ; {
		at := s.e.Deadline()
		if at.IsZero() || at.After(until) {
			s.now = until
			return
		}
		s.now = later(s.now, at)
		s.e.Advance(s.now)
		s.drain()
	}
}

// attack is what one packet has: it adds TLVs, or returns a packet of its own.
type attack func(s *siege, i int) []byte

// outcome is the slowest that an honest announcement and retraction
// took to get through.
type outcome struct{ announced, retracted time.Duration }

func (s *siege) stand(a attack) outcome {
	var h outcome
	s.probe = nowhere
	var began time.Time
	isRetracting := false
	wait := func(most *time.Duration, isGone bool) bool {
		if s.said[heardAs(isGone)] {
			*most = max(*most, s.now.Sub(began))
			return true
		}
		if s.now.Sub(began) > 10*time.Second {
			s.Fatalf("%v (retraction: %v) did not get through", s.probe, isGone)
		}
		return false
	}
	for i := 0; s.now.Sub(epoch) < *attackTime+10*time.Second; i++ {
		if i%1000 == 0 {
			s.greet()
			for index, n := range s.this {
				s.most[index] = max(s.most[index], n)
			}
			clear(s.this)
			s.notePeak()
		}
		switch {
		case s.probe == nowhere:
			s.probe, s.said, began = nodePrefix(5000+i/100%20000), [2]bool{}, s.now
			s.honest(2, &wire.Update{Prefix: s.probe, Interval: 60000, Seqno: 1, Metric: 10, RouterID: originA})
		case !isRetracting && wait(&h.announced, false):
			isRetracting, began = true, s.now
			s.honest(2, &wire.Update{Prefix: s.probe, Interval: 60000, Metric: Infinity})
		case isRetracting && wait(&h.retracted, true):
			isRetracting, s.probe = false, nowhere
		}
		s.enc.Reset()
		data := a(s, i)
		if data == nil {
			data = s.enc.Bytes()
		}
		s.strike(data)
		s.pass(time.Millisecond)
	}
	return h
}

func (s *siege) notePeak() {
	x := s.e.Sizes()
	s.peak.Entries = max(s.peak.Entries, x.Entries)
	s.peak.Routes = max(s.peak.Routes, x.Routes)
	s.peak.Sources = max(s.peak.Sources, x.Sources)
	s.peak.Requests = max(s.peak.Requests, x.Requests)
	s.peak.Queued = max(s.peak.Queued, x.Queued)
	s.peak.Flights = max(s.peak.Flights, x.Flights)
	s.peak.Neighbours = max(s.peak.Neighbours, x.Neighbours)
}

func heapSize() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// each adds ten TLVs.
func each(f func(s *siege, k int) wire.TLV) attack {
	return func(s *siege, i int) []byte {
		for j := range siegeTLVs {
			s.enc.Add(f(s, i*siegeTLVs+j))
		}
		return nil
	}
}

// many is one of a great number of prefixes.
func many(k int) netip.Prefix {
	a := [16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb9}
	binary.BigEndian.PutUint32(a[4:], uint32(k))
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

func update(p netip.Prefix, id byte, seqno, metric uint16) *wire.Update {
	return &wire.Update{Prefix: p, Interval: 1600, Seqno: seqno, Metric: metric, RouterID: RouterID{0: 9, 7: id}}
}

var attacks = []struct {
	name string
	kind Kind
	do   attack
}{
	{"rubbish", Tunnel, func(s *siege, i int) []byte {
		b := make([]byte, 100)
		for j := range b {
			b[j] = byte(s.rand.Uint32())
		}
		if i%2 == 0 {
			copy(b, []byte{42, 2, 0, 96})
		}
		return b
	}},
	{"route requests, known", Tunnel, each(func(_ *siege, k int) wire.TLV { return &wire.RouteRequest{Prefix: nodePrefix(1000 + k%siegeTable)} })},
	{"route requests, unknown", Tunnel, each(func(_ *siege, k int) wire.TLV {
		return &wire.RouteRequest{Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{byte(0x20 + k%16)}), 8)}
	})},
	{"wildcard requests", Tunnel, each(func(*siege, int) wire.TLV { return &wire.RouteRequest{} })},
	{"wildcard requests, one a packet", Wired, func(s *siege, _ int) []byte { s.enc.Add(&wire.RouteRequest{}); return nil }},
	{"seqno requests for us", Tunnel, each(func(_ *siege, k int) wire.TLV {
		return &wire.SeqnoRequest{Prefix: prefixA, Seqno: uint16(k), HopCount: 200, RouterID: selfID}
	})},
	{"seqno requests for others", Tunnel, each(func(_ *siege, k int) wire.TLV {
		return &wire.SeqnoRequest{Prefix: nodePrefix(1000 + k%siegeTable), Seqno: uint16(k / siegeTable), HopCount: 200, RouterID: originA}
	})},
	{"seqno requests, ever higher", Tunnel, each(func(_ *siege, k int) wire.TLV {
		return &wire.SeqnoRequest{Prefix: nodePrefix(1000), Seqno: uint16(k), HopCount: 200, RouterID: originA}
	})},
	{"seqno requests for strange router-ids", Tunnel, each(func(_ *siege, k int) wire.TLV {
		return &wire.SeqnoRequest{Prefix: nodePrefix(1000 + k%siegeTable), Seqno: 1, HopCount: 200, RouterID: RouterID{1, 2, byte(k >> 16), byte(k >> 8), byte(k)}}
	})},
	{"ack requests", Tunnel, each(func(_ *siege, k int) wire.TLV { return &wire.AckRequest{Opaque: uint16(k), Interval: 1} })},
	{"acks", Tunnel, each(func(_ *siege, k int) wire.TLV { return &wire.Ack{Opaque: uint16(k)} })},
	{"router-ids, one prefix", Tunnel, each(func(_ *siege, k int) wire.TLV {
		u := update(many(1), 0, 1, 1)
		binary.BigEndian.PutUint32(u.RouterID[1:], uint32(k))
		return u
	})},
	{"router-ids, a thousand prefixes", Tunnel, each(func(_ *siege, k int) wire.TLV {
		u := update(many(k%1000), 0, 1, 1)
		binary.BigEndian.PutUint32(u.RouterID[1:], uint32(k))
		return u
	})},
	{"flapping, one prefix", Tunnel, each(func(_ *siege, k int) wire.TLV {
		return update(many(1), 1, uint16(k), uint16(1+k%2*(Infinity-1)))
	})},
	{"flapping, a thousand prefixes", Tunnel, each(func(_ *siege, k int) wire.TLV {
		return update(many(k/2%1000), 1, uint16(k/2000), uint16(1+k%2*(Infinity-1)))
	})},
	{"flapping, prefixes of others", Tunnel, each(func(_ *siege, k int) wire.TLV {
		return update(nodePrefix(1000+k/2%siegeTable), 1, uint16(k/400), uint16(1+k%2*(Infinity-1)))
	})},
	{"metrics", Tunnel, each(func(_ *siege, k int) wire.TLV { return update(many(k%1000), 1, uint16(k/1000), uint16(k*7919%30000)) })},
	{"prefixes without end", Tunnel, each(func(_ *siege, k int) wire.TLV { return update(many(k), 1, 1, 1) })},
	{"prefixes that come and go", Tunnel, each(func(_ *siege, k int) wire.TLV {
		u := update(many(k/2), 1, 1, uint16(1+k%2*(Infinity-1)))
		u.Interval = 1
		return u
	})},
	{"source prefixes without end", Tunnel, each(func(_ *siege, k int) wire.TLV {
		u := update(netip.MustParsePrefix("::/0"), 1, 1, 1)
		u.From = many(k)
		return u
	})},
	{"attachments", Tunnel, each(func(_ *siege, k int) wire.TLV {
		u := update(many(k%5), 1, 1, 1)
		u.Attachment = make([]byte, 200)
		u.Attachment[0], u.Attachment[1] = 112, 198
		binary.BigEndian.PutUint32(u.Attachment[2:], uint32(k))
		return u
	})},
	{"intervals, zero and huge", Tunnel, each(func(_ *siege, k int) wire.TLV {
		u := update(many(k%1000), 1, uint16(k/1000), uint16(k%3))
		u.Interval = []wire.Interval{0, 1, 0xffff}[k%3]
		return u
	})},
	{"Hello intervals", Tunnel, each(func(s *siege, k int) wire.TLV {
		return &wire.Hello{Unicast: true, Seqno: uint16(k), Interval: []wire.Interval{0, 1, 0xffff}[k%3]}
	})},
	{"restarts", Tunnel, each(func(_ *siege, k int) wire.TLV {
		if k%2 == 0 {
			return &wire.IHU{RxCost: 96, Interval: 1000, Address: self}
		}
		return &wire.Hello{Seqno: uint16(k * 1000), Interval: 1}
	})},
	{"IHUs", Tunnel, each(func(_ *siege, k int) wire.TLV {
		return &wire.IHU{RxCost: []uint16{1, 96, 60000, Infinity}[k%4], Interval: 0xffff, Address: self}
	})},
	{"wildcard retractions", Tunnel, each(func(_ *siege, k int) wire.TLV {
		if k%2 == 0 {
			return update(many(k%2000), 1, uint16(k), 1)
		}
		return &wire.Update{Interval: 100, Metric: Infinity}
	})},
	{"our router-id", Tunnel, each(func(_ *siege, k int) wire.TLV {
		return &wire.Update{Prefix: prefixA, Interval: 1600, Seqno: uint16(k * 32000), Metric: 1, RouterID: selfID}
	})},
	{"many neighbours", Wired, func(s *siege, i int) []byte {
		s.addrs = []netip.Addr{netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: 1, 12: byte(i >> 16), 13: byte(i >> 8), 14: byte(i)})}
		s.enc.Add(&wire.Hello{Seqno: uint16(i), Interval: 0xffff})
		for j := range siegeTLVs - 1 {
			s.enc.Add(update(many(i*siegeTLVs+j), 1, 1, 1))
		}
		return nil
	}},
}

// T-12, from each kind of attack: memory, packets and octets out stay within the
// bounds below; what honest neighbours say gets through in time.
//
//re6st:reduced 5 of 600 seconds of each attack; full in make soak
func TestT12_Attacks(t *testing.T) {
	for _, x := range attacks {
		t.Run(x.name, func(t *testing.T) {
			before := heapSize()
			s := newSiege(t, x.kind, nil)
			began := time.Now()
			h := s.stand(x.do)
			took := time.Since(began)
			grown := heapSize() - before
			seconds := s.now.Sub(epoch).Seconds() - 10
			out := s.out[1] + s.out[2] + s.out[3]
			t.Logf("%.0f s, %d kB in, out %d/%d/%d kB, packets a second at most %d/%d/%d; peak %+v; heap +%d kB; %d route changes, %d events; honest: announced in %v, retracted in %v; CPU %.1f %% of a core (real %v)",
				seconds, s.in/1000, s.out[1]/1000, s.out[2]/1000, s.out[3]/1000, s.most[1], s.most[2], s.most[3],
				s.peak, grown/1000, s.fib, s.event, h.announced, h.retracted, 100*took.Seconds()/seconds, took.Round(time.Millisecond))
			for _, n := range s.e.Neighbours() {
				if n.Interface == 1 && n.Dropped != (Dropped{}) {
					t.Logf("%v: dropped %+v", n.Address, n.Dropped)
					break
				}
			}
			s.checkBounds(seconds, out, grown, h)
			runtime.KeepAlive(s.e)
		})
	}
}

func (s *siege) checkBounds(seconds float64, out, grown int64, h outcome) {
	s.Helper()
	// The base load: what an honest neighbour may make us say.
	table := int64(siegeTable+1000) * updateCost
	own := int64(seconds*3*4*300) + table*2 // Hellos, the probes and their dumps
	answers := creditBurst + dumpsBurst + table + int64(seconds*(creditRate+dumpsRate))
	news := int64(routesMaxDefault+seconds*2*newsRate) * updateCost * 2 // links 2 and 3
	if most := s.in + own + answers; s.out[1] > most {
		s.Errorf("%d octets to the attacker, at most %d", s.out[1], most)
	}
	if most := s.in + own + answers + news; out > most {
		s.Errorf("%d octets to all, at most %d", out, most)
	}
	for index := 1; index <= 3; index++ {
		if s.most[index] > bucketRate+1000 {
			s.Errorf("%d packets in a second to link %d", s.most[index], index)
		}
	}
	if grown > 32<<20 {
		s.Errorf("heap grown by %d octets", grown)
	}
	limit := Sizes{Entries: 2*routesMaxDefault + 2000, Routes: routesMaxDefault + 2000, Sources: 2*routesMaxDefault + 10000, Requests: 20000, Neighbours: neighboursMax + 2}
	if p := s.peak; p.Entries > limit.Entries || p.Routes > limit.Routes || p.Sources > limit.Sources || p.Requests > limit.Requests || p.Neighbours > limit.Neighbours {
		s.Errorf("peak %+v, limit %+v", p, limit)
	}
	if h.announced > 3*time.Second || h.retracted > 3*time.Second {
		s.Errorf("honest news took %+v", h)
	}
	for i := range siegeTable {
		p := s.e.find(keyOf(nodePrefix(1000+i), nowhere))
		if p == nil || !slices.ContainsFunc(p.routes, func(r route) bool { return p.neighbour(&r).link.Index == 2 && r.refMetric == 10 }) {
			s.Fatalf("the honest route to %v was pushed out", nodePrefix(1000+i))
		}
	}
}
