package babel

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"re6st/babel/wire"
)

// Arbitrary inputs in an arbitrary order: never a panic, and the invariants of
// doc.go hold after each.
func FuzzT13_Engine(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"))
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		b := make([]byte, 400)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(play)
}

// The same with long random inputs, of which more get deep.
func TestT13_RandomInputs(t *testing.T) {
	for seed := range *seeds * 20 {
		r := rand.New(rand.NewPCG(seed, 1))
		b := make([]byte, 6000)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		t.Logf("seed %d", seed)
		play(t, b)
	}
}

func play(t *testing.T, b []byte) {
	z := &fuzz{T: t, in: b, now: epoch, fib: map[key]Route{}}
	z.e = New(Config{RouterID: selfID, Rand: rand.New(rand.NewPCG(1, 1)), RoutesMax: 50, Import: func(u Update) Verdict {
		return Verdict(u.RouterID[7] / 100)
	}})
	for i := range 3 {
		z.e.InterfaceUp(z.now, InterfaceConfig{Index: i + 1, LinkLocal: self, Kind: Kind(i)})
	}
	for steps := 0; len(z.in) > 0 && steps < 4000; steps++ {
		z.step()
		z.drain()
		z.check()
	}
	z.e.Stop(z.now)
	z.drain()
	if len(z.fib) > 0 {
		t.Fatalf("left after Stop: %v", z.fib)
	}
}

type fuzz struct {
	*testing.T
	e     *Engine
	in    []byte
	now   time.Time
	fib   map[key]Route
	limit uint16
	fail  byte
}

func (z *fuzz) byte() byte {
	if len(z.in) == 0 {
		return 0
	}
	b := z.in[0]
	z.in = z.in[1:]
	return b
}

func (z *fuzz) uint16() uint16 { return uint16(z.byte())<<8 | uint16(z.byte()) }

func (z *fuzz) index() int { return int(z.byte()%3) + 1 }

// prefix is one of few, so that inputs meet.
func (z *fuzz) prefix() netip.Prefix { return nodePrefix(int(z.byte() % 6)) }

func (z *fuzz) from() netip.Prefix {
	if z.byte()%4 == 0 {
		return nodePrefix(200)
	}
	return netip.Prefix{}
}

func (z *fuzz) id() RouterID { return RouterID{7: z.byte()} }

func (z *fuzz) step() {
	switch e := z.e; z.byte() % 16 {
	case 0:
		e.InterfaceUp(z.now, InterfaceConfig{
			Index: z.index(), LinkLocal: self, Kind: Kind(z.byte() % 3), MTU: int(z.uint16() % 2000),
			HelloInterval: time.Duration(z.uint16()) * time.Millisecond, UpdateInterval: time.Duration(z.byte()) * time.Second,
		})
	case 1:
		e.InterfaceDown(z.now, z.index())
	case 2:
		e.SetIntervals(z.now, z.index(), time.Duration(z.uint16())*time.Millisecond, time.Duration(z.byte())*time.Second)
	case 3:
		e.Originate(z.now, z.prefix(), z.from(), z.uint16())
	case 4:
		e.Withdraw(z.now, z.prefix(), z.from())
	case 5:
		e.SetExtraCost(z.now, z.index(), z.uint16())
	case 6:
		e.FilterChanged(z.now)
	case 7:
		z.fail = z.byte()
	case 8:
		n := min(int(z.byte()), len(z.in))
		body := z.in[:n]
		z.in = z.in[n:]
		z.receive(append([]byte{42, 2, 0, byte(n)}, body...))
	case 9:
		// Time may stand still, or go back a little between a reader and the loop.
		z.now = z.now.Add(time.Duration(z.uint16()-100) * time.Millisecond)
		e.Advance(z.now)
	case 10:
		z.now = z.now.Add(time.Duration(z.byte()) * time.Minute)
		e.Advance(z.now)
	default:
		z.speak()
	}
	if at := z.e.Deadline(); !at.IsZero() && z.byte()%2 == 0 {
		if at.After(z.now) {
			z.now = at
		}
		z.e.Advance(z.now)
	}
}

// speak is a well-formed packet of a neighbour.
func (z *fuzz) speak() {
	enc := wire.NewEncoder(1000)
	for range z.byte()%4 + 1 {
		switch z.byte() % 8 {
		case 0, 1:
			enc.Add(&wire.Hello{
				Unicast: z.byte()%4 == 0, Seqno: uint16(z.byte() % 32), Interval: wire.Interval(z.uint16() % 1000),
				Timestamp: wire.Timestamp{Present: true, Transmit: uint32(z.uint16())},
			})
		case 2:
			enc.Add(&wire.IHU{RxCost: z.uint16(), Interval: 1000, Echo: wire.Echo{Present: true, Origin: uint32(z.uint16()), Receive: uint32(z.uint16())}})
		case 3:
			enc.Add(&wire.Update{Prefix: z.prefix(), From: z.from(), Interval: wire.Interval(z.uint16()), Metric: Infinity})
		case 4, 5:
			enc.Add(&wire.Update{
				Prefix: z.prefix(), From: z.from(), Interval: wire.Interval(z.uint16()), Seqno: uint16(z.byte() % 8),
				Metric: z.uint16() % 1024, RouterID: z.id(),
			})
		case 6:
			enc.Add(&wire.RouteRequest{Prefix: z.prefix(), From: z.from()})
		case 7:
			enc.Add(&wire.SeqnoRequest{Prefix: z.prefix(), From: z.from(), Seqno: uint16(z.byte() % 16), HopCount: z.byte(), RouterID: z.id()})
		}
	}
	enc.Add(&wire.Ack{Opaque: uint16(z.byte() % 16)})
	z.receive(enc.Bytes())
}

func (z *fuzz) receive(data []byte) {
	src := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: z.byte()%4 + 1})
	z.e.Receive(z.now, z.index(), netip.AddrPortFrom(src, wire.Port), wire.Group(), data)
}

func (z *fuzz) drain() {
	for range 5 {
		out := z.e.Output()
		if out.HasReserve {
			if z.fail&1 != 0 && z.limit != 0 {
				z.e.ReserveFailed(z.now)
			} else {
				z.limit = out.Reserve
			}
		}
		for i, c := range out.Routes {
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
		for _, p := range out.Packets {
			if len(p.Data) < 4 || int(binary.BigEndian.Uint16(p.Data[2:])) != len(p.Data)-4 {
				z.Fatalf("malformed packet %x", p.Data)
			}
		}
		z.fail = 0
	}
}

// check is the list of invariants.
func (z *fuzz) check() {
	e := z.e
	if !isNewer(z.limit, e.seqno.current) && !e.seqno.wish {
		z.Fatalf("seqno %d, durable before %d", e.seqno.current, z.limit)
	}
	for p := range e.entries.each() {
		k := p.key()
		if p.isGone() || e.find(k) != p {
			z.Fatal("an entry that is gone is in the table")
		}
		if r, n := p.selected(), p.next(); r != nil && (!p.isUsable(r) || p.own() != nil || p.isHeld() || e.link(n.link.Index) != n.link) {
			z.Fatalf("selected but not usable: %+v", r)
		}
		for i := range p.routes {
			r := &p.routes[i]
			n := p.neighbour(r)
			if n.routes[r.slot] != p.number || r.metric != metricOf(p.importCost(r), metricOf(n.cost, r.refMetric)) || r.verdict() == Refuse {
				z.Fatalf("route out of step: %+v", r)
			}
			if p.chosen == 0 && p.own() == nil && p.isUsable(r) {
				z.Fatalf("usable but nothing is selected: %+v", r)
			}
		}
		if want := p.wanted(); !p.isUnknown() {
			route := p.routeBy(want)
			if got, ok := z.fib[k]; ok != (want != 0) || ok && got != route {
				z.Fatalf("%v: table %+v (%v), wanted %+v", k, got, ok, route)
			}
		}
	}
	for k := range z.fib {
		if e.find(k) == nil {
			z.Fatalf("%v is in the table and not known", k)
		}
	}
	for i, tm := range e.timers {
		if tm.index != i || i > 0 && tm.at.Before(e.timers[(i-1)/2].at) {
			z.Fatal("the heap is no heap")
		}
	}
}
