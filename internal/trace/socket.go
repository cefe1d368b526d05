package trace

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

// defaultLimit is that of a Ping.
const defaultLimit = 64

// socket sends and hears for one target.
type socket struct {
	target netip.Addr
	id     uint16
	conn   *icmp.PacketConn
	heard  chan heard
	done   chan struct{} // closed when the reader is gone
}

type heard struct {
	at   time.Time
	from netip.Addr
	kind Kind
	seq  uint16
}

// open makes the socket; source may be zero: the kernel chooses.
func open(target, source netip.Addr) (*socket, error) {
	network, local := "ip6:ipv6-icmp", "::"
	if target.Is4() {
		network, local = "ip4:icmp", "0.0.0.0"
	}
	if source.IsValid() {
		local = source.String()
	}
	conn, err := icmp.ListenPacket(network, local)
	if err != nil {
		return nil, fmt.Errorf("opening a socket for ICMP: %w", err)
	}
	if p := conn.IPv6PacketConn(); p != nil {
		var filter ipv6.ICMPFilter
		filter.SetAll(true)
		for _, t := range []ipv6.ICMPType{ipv6.ICMPTypeEchoReply, ipv6.ICMPTypeTimeExceeded, ipv6.ICMPTypeDestinationUnreachable} {
			filter.Accept(t)
		}
		if err := p.SetICMPFilter(&filter); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("filtering ICMP: %w", err)
		}
	}
	s := &socket{target: target, id: uint16(rand.Uint32()), conn: conn, heard: make(chan heard, 64), done: make(chan struct{})}
	go s.read()
	return s, nil
}

// read hands over what is ours. Nobody waits for a slow owner: an answer more or
// less is no harm.
func (s *socket) read() {
	defer close(s.done)
	buf := make([]byte, 1500)
	for {
		n, peer, err := s.conn.ReadFrom(buf)
		if err != nil {
			return // closed
		}
		now := time.Now()
		ip, ok := peer.(*net.IPAddr)
		if !ok {
			continue
		}
		from, _ := netip.AddrFromSlice(ip.IP)
		from = from.Unmap()
		if kind, seq, ok := parse(buf[:n], from, s.target, s.id); ok {
			select {
			case s.heard <- heard{now, from, kind, seq}:
			default:
			}
		}
	}
}

func (s *socket) close() {
	_ = s.conn.Close()
	<-s.done
}

func (s *socket) send(limit int, seq uint16) error {
	b, err := echo(s.target, s.id, seq)
	if err != nil {
		return err
	}
	to := &net.IPAddr{IP: s.target.AsSlice()}
	if p := s.conn.IPv6PacketConn(); p != nil {
		_, err = p.WriteTo(b, &ipv6.ControlMessage{HopLimit: limit}, to)
		return err
	}
	p := s.conn.IPv4PacketConn()
	if err := p.SetTTL(limit); err != nil {
		return err
	}
	_, err = p.WriteTo(b, nil, to)
	return err
}

// Result is what a survey saw.
type Result struct {
	Hops    []Hop
	Reached bool
	Error   error // of this host: it has no way, or may not send
}

// Survey finds the way to an address: it takes 1.8 s at most. source may be zero.
func Survey(ctx context.Context, target, source netip.Addr) (Result, error) {
	s, err := open(target, source)
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	p := newPlan(time.Now(), uint16(rand.Uint32()))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		limits, seqs := p.due(now)
		for i, limit := range limits {
			if err := s.send(limit, seqs[i]); err != nil {
				r := p.result()
				r.Error = err
				return r, nil
			}
		}
		if p.isOver(now) {
			return p.result(), nil
		}
		timer.Reset(max(time.Until(p.wake()), time.Millisecond))
		select {
		case <-ctx.Done():
			return p.result(), ctx.Err()
		case <-timer.C:
		case h := <-s.heard:
			p.answered(h.at, h.from, h.kind, h.seq)
		}
	}
}
