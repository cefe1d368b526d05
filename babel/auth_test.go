package babel

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"re6st/babel/mac"
	"re6st/babel/wire"
)

var (
	keyA = mac.Key{Algorithm: mac.HMACSHA256, Secret: []byte("0123456789abcdef0123456789abcdef")}
	keyB = mac.Key{Algorithm: mac.BLAKE2s128, Secret: []byte("fedcba9876543210")}
	keyC = mac.Key{Algorithm: mac.HMACSHA256, Secret: []byte("ffffffffffffffffffffffffffffffff")}
)

// A dialogue is one engine with keys and one router that the test plays.
type dialogue struct {
	*testing.T
	e    *Engine
	now  time.Time
	peer *mac.Interface
	addr netip.AddrPort
	sent []Packet // by the engine, stamped
	in   int      // octets that the engine got
	out  int
}

func newDialogue(t *testing.T, config InterfaceConfig) *dialogue {
	if config.Keys == nil {
		config.Keys = []mac.Key{keyA}
	}
	config.Index, config.LinkLocal = 1, self
	d := &dialogue{
		T: t, now: epoch, addr: netip.MustParseAddrPort("[fe80::1:1]:6696"),
		e: New(Config{RouterID: selfID, Seqno: 100, Rand: rand.New(rand.NewPCG(1, 1))}),
	}
	d.peer = mac.NewInterface(rand.New(rand.NewPCG(2, 2)), 8, config.Keys)
	d.e.InterfaceUp(d.now, config)
	d.drain()
	return d
}

func selfTo(dst netip.Addr) (src, to netip.AddrPort) {
	return netip.AddrPortFrom(self, wire.Port), netip.AddrPortFrom(dst, wire.Port)
}

// packet is what the peer would send.
func (d *dialogue) packet(dst netip.Addr, tlvs ...wire.TLV) []byte {
	enc := wire.NewEncoder(1200)
	for _, tlv := range tlvs {
		enc.Add(tlv)
	}
	return d.peer.Sealer().Seal(enc.Bytes(), d.addr, netip.AddrPortFrom(dst, wire.Port))
}

func (d *dialogue) receive(dst netip.Addr, data []byte) {
	d.in += len(data)
	d.e.Receive(d.now, 1, d.addr, dst, data)
}

// say gives the engine a packet and sees what it wants to send at once.
func (d *dialogue) say(dst netip.Addr, tlvs ...wire.TLV) []Packet {
	d.receive(dst, d.packet(dst, tlvs...))
	return d.drain()
}

func (d *dialogue) drain() []Packet {
	packets := d.e.Output().Packets
	for i := range packets {
		p := &packets[i]
		p.Stamp(d.e.Timestamp(d.now))
		d.out += len(p.Data)
	}
	d.sent = append(d.sent, packets...)
	return packets
}

// pass lets time go by; the peer answers challenges.
func (d *dialogue) pass(t time.Duration) {
	for until := d.now.Add(t); ; {
		at := d.e.Deadline()
		if at.IsZero() || at.After(until) {
			d.now = until
			return
		}
		d.now = maxTime(d.now, at)
		d.e.Advance(d.now)
		for _, p := range d.drain() {
			d.hear(p)
		}
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// hear is how the peer takes a packet: it must be right, and is answered and
// acknowledged.
func (d *dialogue) hear(p Packet) {
	d.Helper()
	src, dst := selfTo(p.Dst)
	v := d.peer.Verify(d.now, src, dst, p.Data)
	if v.Outcome != mac.Accepted && v.Outcome != mac.Unproven {
		d.Fatalf("the engine sends what its peer takes for %v", v.Outcome)
	}
	var tlvs []wire.TLV
	if v.MustReply {
		tlvs = append(tlvs, &wire.ChallengeReply{Nonce: slices.Clone(v.Reply)})
	}
	if v.Challenge != nil {
		tlvs = append(tlvs, &wire.ChallengeRequest{Nonce: slices.Clone(v.Challenge)})
	}
	if v.Outcome == mac.Accepted {
		signed, _, _ := wire.Split(p.Data)
		for typ, b := range wire.Each(signed[wire.HeaderLen:]) {
			if typ == wire.TypeAckRequest {
				tlvs = append(tlvs, &wire.Ack{Opaque: uint16(b[2])<<8 | uint16(b[3])})
			}
		}
	}
	if tlvs != nil {
		for _, p := range d.say(self, tlvs...) {
			d.hear(p)
		}
	}
}

// greet makes both know each other, and the peer a neighbour.
func (d *dialogue) greet() {
	d.Helper()
	for n := range 4 {
		for _, p := range d.say(wire.Group(), &wire.Hello{Seqno: uint16(n), Interval: 400}, &wire.IHU{RxCost: 96, Interval: 1200, Address: self}) {
			d.hear(p)
		}
		d.pass(100 * time.Millisecond)
	}
	if n := d.neighbours(); n != 1 {
		d.Fatalf("%d neighbours after the greeting", n)
	}
}

func (d *dialogue) neighbours() int    { return len(d.e.Neighbours()) }
func (d *dialogue) counters() MACState { return d.e.Interfaces()[0].MAC }

// types are the TLVs of a packet's body.
func types(t testing.TB, p Packet) []wire.Type {
	t.Helper()
	signed, _, err := wire.Split(p.Data)
	if err != nil {
		t.Fatal(err)
	}
	var all []wire.Type
	for typ := range wire.Each(signed[wire.HeaderLen:]) {
		all = append(all, typ)
	}
	return all
}

// From as many addresses as there are: nothing is remembered, nothing is sent.
func TestC103_StrangersMakeNoNeighbours(t *testing.T) {
	d := newDialogue(t, InterfaceConfig{})
	d.peer.SetKeys([]mac.Key{keyC})
	for n := range 2000 {
		a := d.addr.Addr().As16()
		a[14], a[15] = byte(n>>8), byte(n)
		d.addr = netip.AddrPortFrom(netip.AddrFrom16(a), wire.Port)
		if sent := d.say(wire.Group(), &wire.Hello{Seqno: 1, Interval: 400}, &wire.AckRequest{Opaque: 1, Interval: 100}); len(sent) > 0 {
			t.Fatal("a stranger is answered")
		}
		plain := wire.NewEncoder(500)
		plain.Add(&wire.Hello{Seqno: 1, Interval: 400})
		d.receive(wire.Group(), plain.Bytes())
	}
	if d.neighbours() != 0 {
		t.Errorf("%d neighbours", d.neighbours())
	}
	if c := d.counters(); c.Forged != 2000 || c.Unsigned != 2000 || c.Accepted != 0 || c.Challenges != 0 {
		t.Errorf("%+v", c)
	}
}

// An operator is told, but not by each packet.
func TestC103_RefusalsAreToldNowAndThen(t *testing.T) {
	d := newDialogue(t, InterfaceConfig{})
	d.peer.SetKeys([]mac.Key{keyC})
	var events []Event
	for range 2100 {
		d.receive(wire.Group(), d.packet(wire.Group(), &wire.Hello{Seqno: 1, Interval: 400}))
		events = append(events, d.e.Output().Events...)
		d.now = d.now.Add(10 * time.Millisecond)
	}
	if len(events) != 3 || events[0].Kind != PacketRefused || events[0].Text != "wrong MAC" || events[0].Neighbour != d.addr.Addr() {
		t.Errorf("%d events: %+v", len(events), events)
	}
}

// "SHOULD NOT send any other packets over the same interface before sending the
// Challenge Reply": also not those that are waiting.
func TestC105_ReplyLeavesAtOnceAndFirst(t *testing.T) {
	d := newDialogue(t, InterfaceConfig{})
	d.greet()
	d.now = d.now.Add(time.Second)
	d.receive(self, d.packet(self, &wire.AckRequest{Opaque: 1, Interval: 100}))
	d.receive(self, d.packet(self, &wire.AckRequest{Opaque: 2, Interval: 100}))
	// The peer has lost what it knew of us.
	sent := d.say(self, &wire.ChallengeRequest{Nonce: []byte("nonce of its")})
	if len(sent) != 3 {
		t.Fatalf("%d packets", len(sent))
	}
	if got := types(t, sent[0]); !slices.Equal(got, []wire.Type{wire.TypeChallengeReply, wire.TypePC}) || sent[0].Dst != d.addr.Addr() {
		t.Errorf("first %v to %v", got, sent[0].Dst)
	}
	if !bytes.Contains(sent[0].Data, []byte("nonce of its")) {
		t.Error("the nonce is not echoed")
	}
	// And so its packet counter is lower than theirs.
	for _, p := range sent {
		d.hear(p)
	}
}

// A challenge and a reply for the same peer share a packet, which it takes as
// proof and answers.
func TestC105_StrangersMeetInThreePackets(t *testing.T) {
	d := newDialogue(t, InterfaceConfig{})
	sent := d.say(wire.Group(), &wire.Hello{Seqno: 1, Interval: 400})
	if len(sent) != 1 || !slices.Equal(types(t, sent[0]), []wire.Type{wire.TypeChallengeRequest, wire.TypePC}) {
		t.Fatalf("%d packets", len(sent))
	}
	src, dst := selfTo(sent[0].Dst)
	v := d.peer.Verify(d.now, src, dst, sent[0].Data)
	sent = d.say(self, &wire.ChallengeReply{Nonce: v.Reply}, &wire.ChallengeRequest{Nonce: v.Challenge})
	if len(sent) != 1 || !slices.Equal(types(t, sent[0]), []wire.Type{wire.TypeChallengeReply, wire.TypePC}) {
		t.Fatalf("%d packets", len(sent))
	}
	if v := d.peer.Verify(d.now, src, dst, sent[0].Data); v.Outcome != mac.Accepted {
		t.Error(v.Outcome)
	}
	if c := d.counters(); c.Accepted != 1 || c.Unproven != 1 || c.Challenges != 1 || c.Replies != 1 {
		t.Errorf("%+v", c)
	}
}

// A storm of bad and of recorded packets: what we send in return is bounded in
// packets, and far less than what came.
func TestC109_FloodIsNotAmplified(t *testing.T) {
	record := func(d *dialogue) (old, current [][]byte) {
		d.greet()
		for range 50 {
			old = append(old, d.packet(self, &wire.ChallengeRequest{Nonce: []byte("n")}, &wire.AckRequest{Opaque: 1, Interval: 10}))
		}
		d.peer = mac.NewInterface(rand.New(rand.NewPCG(3, 3)), 8, []mac.Key{keyA})
		d.now = d.now.Add(time.Second)
		d.greet()
		for range 50 {
			p := d.packet(self, &wire.ChallengeRequest{Nonce: []byte("n")})
			d.receive(self, p)
			current = append(current, p)
		}
		d.drain()
		d.now = d.now.Add(time.Second)
		return old, current
	}
	const flood, span = 10000, 10 * time.Second
	for _, c := range []struct {
		name string
		make func(d *dialogue, old, current [][]byte, n int) []byte
		most int // packets in return
	}{
		{"wrong MAC", func(d *dialogue, _, current [][]byte, n int) []byte {
			p := slices.Clone(current[n%50])
			p[len(p)-1] ^= 1
			return p
		}, 0},
		{"no MAC", func(d *dialogue, _, current [][]byte, n int) []byte {
			signed, _, _ := wire.Split(current[n%50])
			return signed
		}, 0},
		{"replays", func(d *dialogue, _, current [][]byte, n int) []byte { return current[n%50] }, 0},
		{
			"replays of an earlier life", func(d *dialogue, old, _ [][]byte, n int) []byte { return old[n%50] },
			int(span/(300*time.Millisecond)) + 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDialogue(t, InterfaceConfig{HelloInterval: time.Hour})
			old, current := record(d)
			d.in, d.out, d.sent = 0, 0, nil
			known := d.neighbours()
			for n := range flood {
				d.receive(self, c.make(d, old, current, n))
				d.drain()
				d.now = d.now.Add(span / flood)
			}
			if len(d.sent) > c.most || d.out > d.in/20 {
				t.Errorf("%d packets in return, at most %d; %d octets for %d", len(d.sent), c.most, d.out, d.in)
			}
			if d.neighbours() != known {
				t.Error("a neighbour more or less")
			}
			t.Logf("%d octets in, %d out, %d packets", d.in, d.out, len(d.sent))
		})
	}
}

func TestC111_SignAndAcceptAll(t *testing.T) {
	d := newDialogue(t, InterfaceConfig{AcceptUnsigned: true})
	plain := func(seqno uint16) {
		enc := wire.NewEncoder(500)
		enc.Add(&wire.Hello{Seqno: seqno, Interval: 400})
		d.receive(wire.Group(), enc.Bytes())
	}
	plain(1)
	if d.neighbours() != 1 {
		t.Fatal("an unsigned Hello is not accepted")
	}
	d.addr = netip.MustParseAddrPort("[fe80::2:2]:6696")
	d.peer.SetKeys([]mac.Key{keyC})
	d.say(wire.Group(), &wire.Hello{Seqno: 1, Interval: 400})
	if d.neighbours() != 2 {
		t.Fatal("a Hello with a wrong MAC is not accepted")
	}
	for _, p := range d.sent {
		if _, trailer, err := wire.Split(p.Data); err != nil || len(trailer) != 34 {
			t.Fatal("a packet is not signed")
		}
	}
	// It takes part in the protocol: when the mode ends, those with the key go on.
	d.addr = netip.MustParseAddrPort("[fe80::3:3]:6696")
	d.peer.SetKeys([]mac.Key{keyA})
	d.now = d.now.Add(time.Second)
	for _, p := range d.say(wire.Group(), &wire.Hello{Seqno: 1, Interval: 400}) {
		if p.Dst == d.addr.Addr() {
			d.hear(p)
		}
	}
	d.e.SetKeys(d.now, 1, []mac.Key{keyA}, false)
	before := d.counters()
	d.say(wire.Group(), &wire.Hello{Seqno: 2, Interval: 400})
	d.addr = netip.MustParseAddrPort("[fe80::1:1]:6696")
	plain(2)
	after := d.counters()
	if after.Accepted != before.Accepted+1 || after.Unsigned != before.Unsigned+1 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// Keys are changed node by node, while everything runs; nobody loses a packet.
func TestC111_RotationLosesNothing(t *testing.T) {
	w := newWorld(t, 3)
	nodes := []*node{w.add(), w.add(), w.add()}
	c := w.connectKeyed(Wired, []mac.Key{keyA}, nodes...)
	w.await("convergence", 5*time.Second, w.allReach)
	w.run(20 * time.Second)
	refused := func() (n uint64) {
		for _, x := range nodes {
			s := x.engine.Interfaces()[0].MAC
			n += s.Unsigned + s.Forged + s.Uncounted + s.Replayed + s.Unproven
			x.events = nil
		}
		return n
	}
	before := refused()
	for _, keys := range [][]mac.Key{{keyA, keyB}, {keyB}, {keyB, keyC}, {keyC}} {
		for _, e := range c.ends {
			e.n.engine.SetKeys(w.now, e.index, keys, false)
			w.run(7 * time.Second)
		}
	}
	if after := refused(); after != before {
		t.Errorf("%d packets were refused", after-before)
	}
	for _, n := range nodes {
		if len(n.events) > 0 {
			t.Errorf("node %d: %+v", n.index, n.events)
		}
	}
	w.checkShortest(0)
}

// Also from nothing to keys: sign and accept all, everywhere; then keys alone.
func TestC111_DeploymentLosesNothing(t *testing.T) {
	w := newWorld(t, 4)
	nodes := []*node{w.add(), w.add(), w.add()}
	c := w.connect(Wired, time.Millisecond, nodes...)
	w.await("convergence", 5*time.Second, w.allReach)
	w.run(20 * time.Second)
	for _, n := range nodes {
		n.events = nil
	}
	for _, accept := range []bool{true, false} {
		for _, e := range c.ends {
			e.n.engine.SetKeys(w.now, e.index, []mac.Key{keyA}, accept)
			w.run(11 * time.Second)
		}
	}
	for _, n := range nodes {
		if s := n.engine.Interfaces()[0].MAC; len(n.events) > 0 || s.Accepted == 0 || s.AcceptUnsigned {
			t.Errorf("node %d: %+v, %+v", n.index, n.events, s)
		}
	}
	// And back.
	for _, e := range c.ends {
		e.n.engine.SetKeys(w.now, e.index, []mac.Key{keyA}, true)
	}
	for _, e := range c.ends {
		e.n.engine.SetKeys(w.now, e.index, nil, false)
		w.run(11 * time.Second)
	}
	if !w.allReach() {
		t.Error("not without keys any more")
	}
	for _, n := range nodes {
		if len(n.events) > 0 {
			t.Errorf("node %d: %+v", n.index, n.events)
		}
	}
}

// Packets are filled up to the limit and not beyond, whatever the keys.
func TestC112_RoomForTheMACIsKept(t *testing.T) {
	for _, mtu := range []int{0, 512, 576, 1280, 1420, 1500, 9000} {
		for _, keys := range [][]mac.Key{{keyA}, {keyB}, {keyA, keyB, keyC}} {
			t.Run(fmt.Sprint(mtu, " ", len(keys), " ", keys[0].Algorithm), func(t *testing.T) {
				d := newDialogue(t, InterfaceConfig{MTU: mtu, Keys: keys, Kind: Tunnel})
				for i := range 600 {
					d.e.Originate(d.now, nodePrefix(i), nowhere, 0)
				}
				d.sent = nil
				d.greet()
				d.pass(5 * time.Second)
				limit, most := max(mtu-48, 512), 0
				if mtu == 0 {
					limit = 1280 - 48
				}
				counters := d.counters()
				for _, p := range d.sent {
					most = max(most, len(p.Data))
					if typ := types(t, p); typ[len(typ)-1] != wire.TypePC || slices.Index(typ, wire.TypePC) != len(typ)-1 {
						t.Fatalf("TLVs %v", typ)
					}
				}
				if most > limit || most < min(limit-40, 7800) {
					t.Errorf("packets of at most %d octets, limit %d", most, limit)
				}
				if counters.Keys != len(keys) || counters.Forged > 0 {
					t.Errorf("%+v", counters)
				}
			})
		}
	}
}

// Keys that come while packets wait do not make them longer than they may be.
func TestC112_KeysThatComeLater(t *testing.T) {
	d := newDialogue(t, InterfaceConfig{MTU: 576, Kind: Tunnel})
	for i := range 300 {
		d.e.Originate(d.now, nodePrefix(i), nowhere, 0)
	}
	d.greet()
	d.e.Receive(d.now, 1, d.addr, self, d.packet(self, &wire.RouteRequest{}))
	for range 100 {
		d.now = d.now.Add(20 * time.Millisecond)
		d.e.Advance(d.now)
	}
	d.e.SetKeys(d.now, 1, []mac.Key{keyA, keyB, keyC}, false)
	for range 100 {
		d.now = d.now.Add(20 * time.Millisecond)
		d.e.Advance(d.now)
	}
	sizes := map[int]int{}
	for _, p := range d.drain() {
		_, trailer, _ := wire.Split(p.Data)
		sizes[len(trailer)]++
		if len(p.Data) > 576-48 {
			t.Errorf("a packet of %d octets", len(p.Data))
		}
	}
	if sizes[34] == 0 || sizes[34+18+34] == 0 {
		t.Errorf("trailers %v", sizes)
	}
}

// On a link without keys the TLVs of RFC 8967 mean nothing.
func TestC113_IgnoredByTheParser(t *testing.T) {
	s := newScript(t, nil)
	p := s.link(1, Wired)
	s.pass(20 * time.Second)
	s.heard = nil
	p.say(&wire.ChallengeRequest{Nonce: []byte("n")}, &wire.ChallengeReply{Nonce: []byte("n")})
	for _, u := range s.heard {
		switch u.tlv.(type) {
		case *wire.ChallengeReply, *wire.ChallengeRequest:
			t.Errorf("%T", u.tlv)
		}
	}
	var decoder wire.Decoder
	enc := wire.NewEncoder(1200)
	enc.Add(&wire.ChallengeRequest{Nonce: []byte("n")})
	enc.Add(&wire.Hello{Seqno: 1, Interval: 400})
	enc.Add(&wire.ChallengeReply{Nonce: []byte("n")})
	packet := wire.AppendMAC(wire.AppendPC(enc.Bytes(), wire.PC{Count: 1}), make([]byte, 32))
	wire.SetBodyLen(packet) // a MAC in the body
	if got := decoder.Parse(packet, self); got.Err != nil || len(got.TLVs) != 1 {
		t.Errorf("%+v", got)
	}
}

// Each time a packet is sent it has its own counter, whatever was sent between.
func TestC104_PacketThatIsSentTwice(t *testing.T) {
	d := newDialogue(t, InterfaceConfig{})
	d.greet()
	d.e.Stop(d.now)
	packets := d.e.Output().Packets
	for range 3 {
		for i := range packets {
			packets[i].Stamp(7)
			d.hear(packets[i])
		}
	}
	src, dst := selfTo(packets[0].Dst)
	if v := d.peer.Verify(d.now, src, dst, packets[0].Data); v.Outcome != mac.Replayed {
		t.Error(v.Outcome)
	}
}
