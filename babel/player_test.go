package babel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"re6st/babel/mac"
	"re6st/babel/wire"
)

// A player turns octets into inputs of an engine.
type player struct {
	e      *Engine
	in     []byte
	now    time.Time
	fib    map[key]Route
	limit  uint16 // seqnos before it are durable
	fail   byte
	policy byte
	sizes  map[int]int // what packets of a link may have, in this step
	isOver bool
}

const playerRoutes = 50

func newPlayer(in []byte, fault Fault) *player {
	z := &player{in: in, now: epoch, fib: map[key]Route{}, sizes: map[int]int{}}
	z.e = New(Config{
		RouterID: selfID, Rand: rand.New(rand.NewPCG(1, 1)), RoutesMax: playerRoutes, RoutesTotalMax: 150, Fault: fault,
		Import: func(u Update) Verdict {
			switch (u.RouterID[7] ^ z.policy) % 9 {
			case 0:
				return Refuse
			case 1:
				return Hold
			}
			return Accept
		},
		ImportCost: func(u Update) uint16 { return uint16(u.RouterID[7]&z.policy) << 4 },
		Export: func(a Announcement) (uint16, bool) {
			return uint16(z.policy & 0x70), (int(a.RouterID[7])+a.Interface+int(z.policy))%5 != 0
		},
	})
	for i := range 3 {
		z.e.InterfaceUp(z.now, InterfaceConfig{Index: i + 1, LinkLocal: self, Kind: Kind(i)})
	}
	return z
}

// play is a whole game. after is called after each step, before the check.
func play(in []byte, fault Fault, after func(*player)) error {
	z := newPlayer(in, fault)
	for steps := 0; len(z.in) > 0 && steps < 4000; steps++ {
		z.noteSizes()
		z.step()
		if after != nil {
			after(z)
		}
		if err := z.settle(); err != nil {
			return fmt.Errorf("step %d: %w", steps, err)
		}
	}
	z.e.Stop(z.now)
	z.isOver = true
	if err := z.drain(); err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	if len(z.fib) > 0 || !z.e.Deadline().IsZero() {
		return fmt.Errorf("left after Stop: %v, deadline %v", z.fib, z.e.Deadline())
	}
	return nil
}

// settle carries out what the engine wants, and looks at it.
func (z *player) settle() error {
	if err := z.drain(); err != nil {
		return err
	}
	return z.check()
}

func (z *player) byte() byte {
	if len(z.in) == 0 {
		return 0
	}
	b := z.in[0]
	z.in = z.in[1:]
	return b
}

func (z *player) uint16() uint16 { return uint16(z.byte())<<8 | uint16(z.byte()) }

func (z *player) index() int { return int(z.byte()%3) + 1 }

// prefix is one of few, so that inputs meet.
func (z *player) prefix() netip.Prefix {
	i := int(z.byte() % 8)
	if i == 7 {
		return fuzzPrefix4
	}
	return nodePrefix(i)
}

func (z *player) from() netip.Prefix {
	if z.byte()%4 == 0 {
		return nodePrefix(200)
	}
	return netip.Prefix{}
}

// id is one of few, or any.
func (z *player) id() RouterID {
	b := z.byte()
	if b < 200 {
		b = b%4 + 1
	}
	return RouterID{7: b}
}

func (z *player) peer(i byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: i})
}

// address is an IPv4 address or none.
func (z *player) address() netip.Addr {
	if b := z.byte(); b%2 == 0 {
		return netip.AddrFrom4([4]byte{192, 0, 2, b})
	}
	return netip.Addr{}
}

func (z *player) keys() (keys []mac.Key) {
	b := z.byte()
	for i := range b % 3 {
		secret := make([]byte, 16)
		secret[0] = i
		keys = append(keys, mac.Key{Algorithm: mac.Algorithm(i % 2), Secret: secret})
	}
	return keys
}

func (z *player) attachment() []wire.SubTLV {
	b := z.byte()
	if b%2 == 0 {
		return nil
	}
	return []wire.SubTLV{{Type: 112 + b%8, Body: make([]byte, b)}, {Type: 113}}
}

func (z *player) step() {
	z.input()
	switch b := z.byte(); {
	case b%4 == 0:
		z.speak()
	case b%2 == 0:
		if at := z.e.Deadline(); !at.IsZero() {
			z.now = later(z.now, at)
			z.e.Advance(z.now)
		}
	}
}

func (z *player) input() {
	e := z.e
	switch z.byte() % 32 {
	case 0:
		if z.byte()%4 != 0 {
			return
		}
		e.InterfaceUp(z.now, InterfaceConfig{
			Index: z.index(), LinkLocal: self, Kind: Kind(z.byte() % 3), MTU: int(z.uint16() % 2000), IPv4: z.address(),
			HelloInterval: time.Duration(z.uint16()) * time.Millisecond, UpdateInterval: time.Duration(z.byte()) * time.Second,
			Keys: z.keys(), AcceptUnsigned: z.byte()%4 != 0, UnicastHello: z.byte()%4 == 0, NoSplitHorizon: z.byte()%4 == 0,
		})
	case 1:
		if z.byte()%4 == 0 {
			e.InterfaceDown(z.now, z.index())
		}
	case 2:
		e.SetIntervals(z.now, z.index(), time.Duration(z.uint16())*time.Millisecond, time.Duration(z.byte())*time.Second)
	case 3, 4:
		e.Originate(z.now, z.prefix(), z.from(), z.uint16())
	case 5:
		e.Withdraw(z.now, z.prefix(), z.from())
	case 6:
		e.SetExtraCost(z.now, z.index(), z.uint16())
	case 7:
		z.policy = z.byte()
		e.FilterChanged(z.now)
	case 8:
		z.fail = z.byte()
	case 9:
		n := min(int(z.byte()), len(z.in))
		body := z.in[:n]
		z.in = z.in[n:]
		z.receive(append([]byte{42, 2, 0, byte(n)}, body...))
	case 10:
		// Time may stand still, or go back a little between a reader and the loop.
		z.now = z.now.Add(time.Duration(z.uint16()-100) * time.Millisecond)
		e.Advance(z.now)
	case 11:
		d := time.Duration(z.byte()) * time.Second
		if z.byte()%8 == 0 {
			d *= 60
		}
		z.now = z.now.Add(d)
		e.Advance(z.now)
	case 12:
		e.SetMTU(z.now, z.index(), int(z.uint16()))
	case 13:
		e.SetKeys(z.now, z.index(), z.keys(), z.byte()%4 != 0)
	case 14:
		e.SocketDrops(z.now, z.index())
	case 15:
		e.SetAttachment(z.now, z.prefix(), z.from(), z.attachment())
	case 16:
		e.SetIPv4(z.now, z.index(), z.address())
	case 17:
		e.RouteFailed(z.now, Route{Prefix: z.prefix(), From: z.from(), NextHop: z.peer(z.byte() % 5), Interface: z.index()}, nil)
	case 22:
		z.table(z.byte() % 32)
	case 18, 19, 20, 21:
		// Whoever says three in a row is a neighbour.
		index, seqno := z.index(), uint16(z.byte()%32)
		from := z.byte()%4 + 1
		for i := range uint16(3) {
			z.hello(index, from, seqno+i)
		}
	default:
		z.speak()
	}
}

// table makes as many Updates as fill packets, and takes the rest back.
func (z *player) table(count byte) {
	for i := range byte(32) {
		p := nodePrefix(300 + int(i))
		if i >= count {
			z.e.Withdraw(z.now, p, netip.Prefix{})
			continue
		}
		z.e.Originate(z.now, p, netip.Prefix{}, 0)
		z.e.SetAttachment(z.now, p, netip.Prefix{}, []wire.SubTLV{{Type: 112, Body: make([]byte, 200)}})
	}
}

// hello makes a neighbour usable.
func (z *player) hello(index int, from byte, seqno uint16) {
	enc := wire.NewEncoder(200)
	enc.Add(&wire.Hello{Seqno: seqno, Interval: 400})
	enc.Add(&wire.IHU{RxCost: 96, Interval: 6000, Address: self})
	z.deliver(index, z.peer(from), wire.Group(), enc.Bytes())
}

// speak is a well-formed packet of a neighbour.
func (z *player) speak() {
	enc := wire.NewEncoder(1000)
	for range z.byte()%4 + 1 {
		enc.Add(z.tlv())
	}
	enc.Add(&wire.Ack{Opaque: uint16(z.byte() % 16)})
	z.receive(enc.Bytes())
}

func (z *player) tlv() wire.TLV {
	switch z.byte() % 9 {
	case 0, 1:
		return &wire.Hello{
			Unicast: z.byte()%4 == 0, Seqno: uint16(z.byte() % 32), Interval: wire.Interval(z.uint16() % 1000),
			Timestamp: wire.Timestamp{Present: true, Transmit: uint32(z.uint16())},
		}
	case 2:
		return &wire.IHU{RxCost: z.uint16(), Interval: 1000, Echo: wire.Echo{Present: true, Origin: uint32(z.uint16()), Receive: uint32(z.uint16())}}
	case 3:
		return &wire.Update{Prefix: z.prefix(), From: z.from(), Interval: wire.Interval(z.uint16()), Metric: Infinity}
	case 4, 5, 6:
		attached, _ := wire.NewAttachment(z.attachment())
		return &wire.Update{
			Prefix: z.prefix(), From: z.from(), Interval: wire.Interval(z.uint16()), Seqno: uint16(z.byte() % 8),
			Metric: z.uint16() % 1024, RouterID: z.id(), Attachment: attached, NextHop: z.address(),
		}
	case 7:
		if z.byte()%8 == 0 {
			return &wire.RouteRequest{}
		}
		return &wire.RouteRequest{Prefix: z.prefix(), From: z.from()}
	}
	return &wire.SeqnoRequest{Prefix: z.prefix(), From: z.from(), Seqno: uint16(z.byte() % 16), HopCount: z.byte(), RouterID: z.id()}
}

func (z *player) receive(data []byte) {
	dst := wire.Group()
	if z.byte()%4 == 0 {
		dst = self
	}
	z.deliver(z.index(), z.peer(z.byte()%4+1), dst, data)
}

func (z *player) deliver(index int, src, dst netip.Addr, data []byte) {
	z.e.Receive(z.now, index, netip.AddrPortFrom(src, wire.Port), dst, data)
}

// noteSizes: packets made before an MTU shrinks are as large as they were.
func (z *player) noteSizes() {
	clear(z.sizes)
	z.growSizes()
}

func (z *player) growSizes() {
	for _, l := range z.e.links {
		z.sizes[l.Index] = max(z.sizes[l.Index], min(max(l.MTU-packetOverhead, packetMin), 65535-packetOverhead))
	}
}

func (z *player) drain() error {
	z.growSizes()
	for range 5 {
		out := z.e.Output()
		hasFailed := false
		if out.HasReserve {
			if z.fail&1 != 0 && z.limit != 0 {
				hasFailed = true
				z.e.ReserveFailed(z.now)
			} else {
				z.limit = out.Reserve
			}
		}
		z.apply(out.Routes)
		for _, p := range out.Packets {
			if err := z.checkPacket(p); err != nil && !hasFailed {
				return fmt.Errorf("%w: %x", err, p.Data)
			}
		}
		z.fail = 0
	}
	if out := z.e.Output(); out.HasReserve || len(out.Routes)+len(out.Packets)+len(out.Events) > 0 {
		return fmt.Errorf("output without end: %+v", out)
	}
	return nil
}

func (z *player) apply(routes []RouteChange) {
	for i, c := range routes {
		if z.fail&2 != 0 && i%2 == 0 {
			z.e.RouteFailed(z.now, c.Route, errors.New("refused"))
			continue
		}
		if c.Delete {
			delete(z.fib, key{c.Prefix, c.From})
		} else {
			z.fib[key{c.Prefix, c.From}] = c.Route
		}
	}
}

// checkPacket looks at what leaves.
func (z *player) checkPacket(p Packet) error {
	if len(p.Data) < 4 || int(binary.BigEndian.Uint16(p.Data[2:])) != len(p.Data)-4 {
		return errors.New("malformed packet")
	}
	if l := z.e.link(p.Interface); l != nil && len(p.Data)+max(l.reserved, 0) > z.sizes[p.Interface] {
		return fmt.Errorf("packet of %d octets, limit %d", len(p.Data), z.sizes[p.Interface])
	}
	var d wire.Decoder
	packet := d.Parse(p.Data, self)
	if packet.Err != nil || packet.Ignored > 0 {
		return fmt.Errorf("unreadable packet: %d TLVs ignored, %v", packet.Ignored, packet.Err)
	}
	for _, tlv := range packet.TLVs {
		u, ok := tlv.(*wire.Update)
		if !ok || u.Metric == Infinity {
			continue
		}
		if u.RouterID == selfID {
			if !isNewer(z.limit, u.Seqno) && !z.isOver {
				return fmt.Errorf("seqno %d leaves, durable before %d", u.Seqno, z.limit)
			}
			continue
		}
		if p := z.e.find(keyOf(u.Prefix, u.From)); p == nil || isBelow(p, u.RouterID, u.Seqno, u.Metric) {
			return fmt.Errorf("%v leaves by %v, seqno %d, metric %d, and the source table does not know", u.Prefix, u.RouterID, u.Seqno, u.Metric)
		}
	}
	return nil
}

// isBelow tells whether a route would be feasible: below what the source table
// has, or unknown to it. It is section 3.5.1 once more, written independently.
func isBelow(p *entry, id RouterID, seqno, metric uint16) bool {
	all := []source{p.source}
	if p.x != nil {
		all = append(all, p.x.sources...)
	}
	for _, s := range all {
		if s.id == id {
			d := seqno - s.seqno
			return d != 0 && d < 0x8000 || d == 0 && metric < s.metric
		}
	}
	return true
}
