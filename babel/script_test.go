package babel

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"re6st/babel/wire"
)

// A script talks to one engine in TLVs: verbs put something in, wants look at
// what came out, and fail on what nobody expected.

type script struct {
	*testing.T
	e     *Engine
	now   time.Time
	fib   map[key]Route
	heard []utterance
	peers []*peer

	packets []Packet // as they left
}

// utterance is a TLV that the engine sent.
type utterance struct {
	at    time.Time
	index int
	dst   netip.Addr
	tlv   wire.TLV
}

// peer is a neighbour played by the test.
type peer struct {
	s     *script
	index int
	addr  netip.Addr
	seqno uint16
	mute  bool // acknowledges nothing
}

var (
	self    = netip.MustParseAddr("fe80::ffff")
	selfID  = RouterID{7: 0xff}
	prefixA = netip.MustParsePrefix("2001:db8:42:a::/64")
	prefixB = netip.MustParsePrefix("2001:db8:42:b::/64")
	originA = RouterID{7: 0xa}
	originB = RouterID{7: 0xb}
	nowhere netip.Prefix
)

// raw is a packet body in hex, for what the encoder does not write.
func (p *peer) raw(body string) {
	p.s.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(body, " ", ""))
	if err != nil {
		p.s.Fatal(err)
	}
	p.deliver(wire.Group(), append([]byte{42, 2, byte(len(b) >> 8), byte(len(b))}, b...))
}

func (p *peer) deliver(dst netip.Addr, packet []byte) {
	p.s.Helper()
	p.s.e.Receive(p.s.now, p.index, netip.AddrPortFrom(p.addr, wire.Port), dst, packet)
	p.s.drain()
}

// retract takes an announcement back.
func (p *peer) retract(prefix netip.Prefix) {
	p.s.Helper()
	p.say(&wire.Update{Prefix: prefix, Interval: 6000, Metric: Infinity})
}

func newScript(t *testing.T, change func(*Config)) *script {
	config := Config{RouterID: selfID, Seqno: 100, Rand: rand.New(rand.NewPCG(1, 1))}
	if change != nil {
		change(&config)
	}
	return &script{T: t, e: New(config), now: epoch, fib: map[key]Route{}}
}

// link brings an interface up; with it comes its first peer, heard both ways.
func (s *script) link(index int, kind Kind) *peer {
	s.Helper()
	s.up(index, kind)
	return s.peer(index)
}

func (s *script) up(index int, kind Kind) {
	s.e.InterfaceUp(s.now, InterfaceConfig{
		Index: index, Name: fmt.Sprint("if", index), LinkLocal: self, Kind: kind, MTU: 1420,
		NoSplitHorizon: kind == Wired, // one link is enough to hear what is said of its routes
	})
}

func (s *script) peer(index int) *peer {
	p := &peer{s: s, index: index, addr: netip.MustParseAddr(fmt.Sprintf("fe80::%d:%d", index, len(s.peers)+1))}
	return s.meet(p)
}

// meet has the peer become a neighbour.
func (s *script) meet(p *peer) *peer {
	s.peers = append(s.peers, p)
	for range 3 {
		p.greet()
		s.pass(50 * time.Millisecond)
	}
	// A neighbour that tells nothing is asked.
	p.say(&wire.Update{Prefix: netip.MustParsePrefix("2001:db8::/128"), Interval: 100, Metric: Infinity})
	s.heard = nil
	return p
}

func (p *peer) greet() {
	p.seqno++
	p.say(&wire.Hello{Seqno: p.seqno, Interval: 400}, &wire.IHU{RxCost: 96, Interval: 60000, Address: self})
}

func (p *peer) say(tlvs ...wire.TLV) {
	p.s.Helper()
	enc := wire.NewEncoder(4096)
	for _, tlv := range tlvs {
		if !enc.Add(tlv) {
			p.s.Fatalf("%v does not fit", tlv)
		}
	}
	p.deliver(wire.Group(), enc.Bytes())
}

// announce says an Update.
func (p *peer) announce(prefix netip.Prefix, id RouterID, seqno, metric uint16) {
	p.s.Helper()
	p.say(&wire.Update{Prefix: prefix, Interval: 6000, Seqno: seqno, Metric: metric, RouterID: id})
}

func (s *script) drain() {
	out := s.e.Output()
	for _, c := range out.Routes {
		k := key{c.Prefix, c.From}
		if c.Delete {
			delete(s.fib, k)
		} else {
			s.fib[k] = c.Route
		}
	}
	for _, packet := range out.Packets {
		s.listen(packet)
	}
	s.packets = append(s.packets, out.Packets...)
}

// neighbour and route are what the engine says of a peer and of what it told.
func (s *script) neighbour(p *peer) (n NeighbourState, ok bool) {
	for _, n = range s.e.Snapshot(s.now).Neighbours {
		if n.Interface == p.index && n.Address == p.addr {
			return n, true
		}
	}
	return NeighbourState{}, false
}

func (s *script) route(prefix netip.Prefix, p *peer) (r RouteState, ok bool) {
	for _, r = range s.e.Snapshot(s.now).Routes {
		if r.Prefix == prefix && r.Interface == p.index && r.Neighbour == p.addr {
			return r, true
		}
	}
	return RouteState{}, false
}

func (s *script) source(prefix, from netip.Prefix, id RouterID) (x SourceState, ok bool) {
	for _, x = range s.e.Snapshot(s.now).Sources {
		if x.Prefix == prefix && x.From == from && x.RouterID == id {
			return x, true
		}
	}
	return SourceState{}, false
}

func (s *script) listen(packet Packet) {
	var d wire.Decoder
	p := d.Parse(packet.Data, self)
	if p.Err != nil || p.Ignored > 0 {
		s.Errorf("a malformed packet was sent: %v, %d ignored: %.200x", p.Err, p.Ignored, packet.Data)
	}
	s.audit(packet, p.TLVs)
	for _, tlv := range p.TLVs {
		s.heard = append(s.heard, utterance{s.now, packet.Interface, packet.Dst, tlv})
		if a, ok := tlv.(*wire.AckRequest); ok {
			for _, peer := range s.peers {
				if peer.index == packet.Interface && !peer.mute && a.Opaque != 0 {
					defer peer.say(&wire.Ack{Opaque: a.Opaque})
				}
			}
		}
	}
}

// audit is what holds of every packet of every script, whatever it is about: it
// goes where it may (C003), has one Hello at most (C040), of the right kind (C039)
// and scheduled (C041); Acks and Seqno Requests go by unicast (C053, C092); an IHU
// echoes only beside a Hello with its time (C129); and the source table covers
// every announcement (C057).
func (s *script) audit(packet Packet, tlvs []wire.TLV) {
	s.Helper()
	wrong := func(format string, args ...any) {
		s.Helper()
		s.Errorf("sent to %v: %s: %.200x", packet.Dst, fmt.Sprintf(format, args...), packet.Data)
	}
	isGroup := packet.Dst == wire.Group()
	if !isGroup && (!packet.Dst.IsLinkLocalUnicast() || !packet.Dst.Is6()) {
		wrong("not a link-local address")
	}
	hellos, isTimed, echoes := 0, false, 0
	for _, tlv := range tlvs {
		switch t := tlv.(type) {
		case *wire.Hello:
			hellos++
			isTimed = t.Timestamp.Present
			if t.Unicast == isGroup {
				wrong("a Hello of the other kind")
			}
			if t.Interval == 0 && isGroup {
				wrong("an unscheduled Hello for everybody")
			}
		case *wire.IHU:
			if t.Echo.Present {
				echoes++
			}
		case *wire.Ack, *wire.SeqnoRequest:
			if isGroup {
				wrong("%T for everybody", t)
			}
		case *wire.Update:
			if t.Metric != Infinity && t.RouterID != s.e.RouterID {
				x, ok := s.source(t.Prefix, t.From, t.RouterID)
				if !ok || isNewer(t.Seqno, x.Seqno) || t.Seqno == x.Seqno && t.Metric < x.Metric {
					wrong("%s, of which the source table has %+v", describe(t), x)
				}
			}
		}
	}
	if hellos > 1 {
		wrong("%d Hellos", hellos)
	}
	if echoes > 0 && !isTimed {
		wrong("an echo without a Hello that has its time")
	}
}

// pass lets time pass.
func (s *script) pass(d time.Duration) {
	for until := s.now.Add(d); ; {
		at := s.e.Deadline()
		if at.IsZero() || at.After(until) {
			s.now = until
			return
		}
		if at.After(s.now) {
			s.now = at
		}
		s.e.Advance(s.now)
		s.drain()
	}
}

// idle passes time while every peer says Hello each 4 s.
func (s *script) idle(d time.Duration, peers ...*peer) {
	for until := s.now.Add(d); s.now.Before(until); {
		for _, p := range peers {
			p.greet()
		}
		s.pass(min(4*time.Second, until.Sub(s.now)))
	}
}

func describe(tlv wire.TLV) string {
	switch t := tlv.(type) {
	case *wire.Update:
		text := fmt.Sprintf("update %v", t.Prefix)
		if t.From.IsValid() {
			text += fmt.Sprintf(" from %v", t.From)
		}
		if t.Metric == Infinity {
			return "retract" + text[len("update"):]
		}
		return fmt.Sprintf("%s id %x seqno %d metric %d", text, t.RouterID[7], t.Seqno, t.Metric)
	case *wire.SeqnoRequest:
		return fmt.Sprintf("seqno request %v id %x seqno %d hops %d", t.Prefix, t.RouterID[7], t.Seqno, t.HopCount)
	case *wire.RouteRequest:
		return fmt.Sprintf("route request %v", t.Prefix)
	case *wire.Ack:
		return fmt.Sprintf("ack %d", t.Opaque)
	case *wire.AckRequest:
		return "ack request"
	case *wire.Hello:
		return "hello"
	case *wire.IHU:
		return "IHU"
	}
	return fmt.Sprintf("%T", tlv)
}

// said is what the engine sent since the last call, in the order of links; * is the
// group. Aside from what any neighbour gets: Hellos, IHUs, Ack Requests, and the
// request for everything that goes to one which has told nothing.
func (s *script) said() []string {
	var all []string
	for _, u := range s.heard {
		switch t := u.tlv.(type) {
		case *wire.Hello, *wire.IHU, *wire.AckRequest:
			continue
		case *wire.RouteRequest:
			if !t.Prefix.IsValid() {
				continue
			}
		}
		dst := "*"
		if !u.dst.IsMulticast() {
			dst = u.dst.String()
		}
		all = append(all, fmt.Sprintf("%d %s %s", u.index, dst, describe(u.tlv)))
	}
	s.heard = nil
	slices.Sort(all)
	return slices.Compact(all)
}

// wantSaid compares what was said in the next tenth of a second: what is urgent.
func (s *script) wantSaid(why string, want ...string) {
	s.Helper()
	s.pass(100 * time.Millisecond)
	slices.Sort(want)
	if got := s.said(); !slices.Equal(got, want) {
		s.Errorf("%s: said\n\t%s\nwant\n\t%s", why, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func (s *script) wantRoute(why string, prefix netip.Prefix, via *peer) {
	s.Helper()
	r, ok := s.fib[keyOf(prefix, nowhere)]
	want := Route{}
	if via != nil {
		want = Route{Prefix: prefix, NextHop: via.addr, Interface: via.index}
	}
	if r != want || ok != (via != nil) {
		s.Errorf("%s: route %+v (%v), want %+v", why, r, ok, want)
	}
}

func (s *script) wantUnreachable(why string, prefix netip.Prefix) {
	s.Helper()
	if r := s.fib[keyOf(prefix, nowhere)]; !r.Unreachable {
		s.Errorf("%s: route %+v, want unreachable", why, r)
	}
}
