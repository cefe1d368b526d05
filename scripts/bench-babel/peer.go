package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/rpc"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"re6st/babel/wire"
)

// The other end of what is measured: the same for every daemon. A peer is a
// process in a host of the lab that speaks just enough Babel to be a neighbour,
// announces as many prefixes as it is told to, and counts what it hears.

const (
	peerHello  = 4 * time.Second
	peerUpdate = 16 * time.Second
	packetMax  = 1452
)

// peerControl is where the measuring process finds a peer, inside its host.
var peerControl = netip.MustParseAddrPort("[::1]:6697")

// Counts is what a peer has heard since it started, or since Reset.
type Counts struct {
	Packets, Bytes         uint64
	Updates, Retractions   uint64
	SeqnoRequests, Request uint64
	Known                  int       // prefixes with a finite metric
	Changed                time.Time // when Known changed last
	Neighbours             int       // that hear us
}

// Announce tells a peer what to announce from now on.
type Announce struct {
	Prefixes int
	Rate     int // datagrams a second; 0: all at once
}

// peer is the RPC service.
type peer struct {
	mu      sync.Mutex
	conn    *net.UDPConn
	v6      *ipv6.PacketConn
	zone    string
	hello   uint16
	seqno   uint16
	plan    Announce
	silent  bool // announce nothing more, repeat nothing
	heard   map[netip.Addr]bool
	finite  map[netip.Prefix]struct{}
	counts  Counts
	pending chan func()
}

var peerID = wire.RouterID{0x02, 0, 0, 0, 0, 0, 0, 1}

// prefixNumber is a /64 of a sequence.
func prefixNumber(i int) netip.Prefix {
	a := [16]byte{0xfd, 0x00, 0x0b, 0xab, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// runPeer serves until it is killed.
func runPeer(device string) error {
	p := &peer{
		zone: device, seqno: 1, heard: map[netip.Addr]bool{}, finite: map[netip.Prefix]struct{}{},
		pending: make(chan func(), 1024),
	}
	if err := p.open(); err != nil {
		return fmt.Errorf("speaking on %s: %w", device, err)
	}
	control, err := net.Listen("tcp", peerControl.String())
	if err != nil {
		return err
	}
	if err := rpc.RegisterName("Peer", p); err != nil {
		return err
	}
	go rpc.Accept(control)
	go p.sendLoop()
	return p.receiveLoop()
}

func (p *peer) open() error {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = errors.Join(unix.BindToDevice(int(fd), p.zone),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
		}), err)
	}}
	pc, err := lc.ListenPacket(context.Background(), "udp6", fmt.Sprintf("[::]:%d", wire.Port))
	if err != nil {
		return err
	}
	p.conn = pc.(*net.UDPConn)
	device, err := net.InterfaceByName(p.zone)
	if err != nil {
		return err
	}
	p.v6 = ipv6.NewPacketConn(pc)
	return errors.Join(p.v6.SetHopLimit(1), p.v6.SetMulticastHopLimit(1), p.v6.SetMulticastLoopback(false),
		p.v6.SetMulticastInterface(device), p.v6.JoinGroup(device, &net.UDPAddr{IP: wire.Group().AsSlice()}))
}

// sendLoop is the only one that sends.
func (p *peer) sendLoop() {
	hello := time.NewTicker(peerHello)
	early := time.NewTicker(peerHello / 20) // to be heard soon
	update := time.NewTicker(peerUpdate)
	begun := time.Now()
	p.sendHello()
	for {
		select {
		case <-hello.C:
			p.sendHello()
		case <-early.C:
			p.sendHello()
			if time.Since(begun) > 2*time.Second {
				early.Stop()
			}
		case <-update.C:
			p.sendAll(false)
		case f := <-p.pending:
			f()
		}
	}
}

func (p *peer) send(e *wire.Encoder, to netip.Addr) {
	if !e.IsEmpty() {
		// A full queue is a loss like any other.
		_, _ = p.conn.WriteToUDPAddrPort(e.Bytes(), netip.AddrPortFrom(to.WithZone(p.zone), wire.Port))
	}
	e.Reset()
}

func (p *peer) sendHello() {
	e := wire.NewEncoder(packetMax)
	p.hello++
	e.Add(&wire.Hello{Seqno: p.hello, Interval: wire.IntervalOf(peerHello)})
	p.mu.Lock()
	for a := range p.heard {
		e.Add(&wire.IHU{RxCost: 96, Interval: wire.IntervalOf(3 * peerHello), Address: a})
	}
	p.mu.Unlock()
	p.send(e, wire.Group())
}

// sendAll announces or retracts everything, at the rate of the plan.
func (p *peer) sendAll(retract bool) {
	p.mu.Lock()
	plan, seqno, silent := p.plan, p.seqno, p.silent
	p.mu.Unlock()
	if silent && !retract {
		return
	}
	e := wire.NewEncoder(packetMax)
	started, sent, helloAt := time.Now(), 0, time.Now().Add(peerHello)
	for i := range plan.Prefixes {
		u := wire.Update{Prefix: prefixNumber(i), Interval: wire.IntervalOf(peerUpdate), Seqno: seqno, RouterID: peerID}
		if retract {
			u.Metric = wire.Infinity
		}
		if e.Add(&u) {
			continue
		}
		p.send(e, wire.Group())
		e.Add(&u)
		sent++
		if plan.Rate > 0 {
			<-time.After(time.Until(started.Add(time.Duration(sent) * time.Second / time.Duration(plan.Rate))))
		}
		if time.Now().After(helloAt) {
			p.sendHello()
			helloAt = time.Now().Add(peerHello)
		}
	}
	p.send(e, wire.Group())
}

// Announce replaces what is announced.
func (p *peer) Announce(a Announce, _ *struct{}) error {
	p.mu.Lock()
	p.plan, p.silent = a, false
	p.mu.Unlock()
	p.pending <- func() { p.sendAll(false) }
	return nil
}

// Retract retracts everything, with one wildcard Update three times.
func (p *peer) Retract(struct{}, *struct{}) error {
	p.pending <- func() {
		p.mu.Lock()
		p.silent = true
		p.mu.Unlock()
		for range 3 {
			e := wire.NewEncoder(packetMax)
			e.Add(&wire.Update{Interval: wire.IntervalOf(peerUpdate), Metric: wire.Infinity})
			p.send(e, wire.Group())
		}
	}
	return nil
}

// AskAll requests a full dump.
func (p *peer) AskAll(struct{}, *struct{}) error {
	p.pending <- func() {
		e := wire.NewEncoder(packetMax)
		e.Add(&wire.RouteRequest{})
		p.send(e, wire.Group())
	}
	return nil
}

// Counts is what has been heard.
func (p *peer) Counts(_ struct{}, reply *Counts) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	*reply = p.counts
	reply.Known, reply.Neighbours = len(p.finite), len(p.heard)
	return nil
}

func (p *peer) receiveLoop() error {
	b := make([]byte, 65536)
	var d wire.Decoder
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return err
		}
		src := from.Addr().WithZone("")
		packet := d.Parse(b[:n], src)
		p.mu.Lock()
		p.counts.Packets++
		p.counts.Bytes += uint64(n)
		for _, tlv := range packet.TLVs {
			p.take(src, tlv)
		}
		p.mu.Unlock()
	}
}

func (p *peer) take(src netip.Addr, tlv wire.TLV) {
	switch t := tlv.(type) {
	case *wire.Hello:
		if !p.heard[src] {
			p.heard[src] = true
			p.later(p.sendHello)
		}
	case *wire.AckRequest:
		ack := wire.Ack{Opaque: t.Opaque}
		p.later(func() {
			e := wire.NewEncoder(packetMax)
			e.Add(&ack)
			p.send(e, src)
		})
	case *wire.Update:
		p.takeUpdate(t)
	case *wire.RouteRequest:
		p.counts.Request++
		if !t.Prefix.IsValid() && p.plan.Prefixes > 0 {
			p.later(func() { p.sendAll(false) })
		}
	case *wire.SeqnoRequest:
		p.counts.SeqnoRequests++
		p.answer(src, t)
	}
}

// answer is what an origin does about a seqno request.
func (p *peer) answer(src netip.Addr, t *wire.SeqnoRequest) {
	if t.RouterID != peerID || p.silent {
		return
	}
	if int16(t.Seqno-p.seqno) > 0 {
		p.seqno++
	}
	u := wire.Update{Prefix: t.Prefix, Interval: wire.IntervalOf(peerUpdate), Seqno: p.seqno, RouterID: peerID}
	p.later(func() {
		e := wire.NewEncoder(packetMax)
		e.Add(&u)
		p.send(e, src)
	})
}

func (p *peer) takeUpdate(t *wire.Update) {
	was := len(p.finite)
	switch {
	case t.Metric != wire.Infinity:
		p.counts.Updates++
		p.finite[t.Prefix] = struct{}{}
	case !t.Prefix.IsValid():
		p.counts.Retractions++
		clear(p.finite)
	default:
		p.counts.Retractions++
		delete(p.finite, t.Prefix)
	}
	if len(p.finite) != was {
		p.counts.Changed = time.Now()
	}
}

// later never waits: what does not fit would have been lost on the way.
func (p *peer) later(f func()) {
	select {
	case p.pending <- f:
	default:
	}
}
