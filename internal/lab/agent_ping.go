package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// PingArgs are those of Ping.
type PingArgs struct {
	To      []netip.Addr
	Timeout time.Duration
	Size    int // of the payload; 0 is a small one
}

// PingResult is the answer of one address.
type PingResult struct {
	To   netip.Addr
	OK   bool
	RTT  time.Duration
	Hops int    // hops of the answer, if it left with a hop limit of 64
	Err  string // what the kernel said to the last attempt, or silence
}

// PingReply holds a result for each address asked, in the same order.
type PingReply struct{ Results []PingResult }

// pingInterval is the time between two attempts at one address.
const pingInterval = 250 * time.Millisecond

var pingID atomic.Uint32

// Ping sends echo requests to all addresses until each has answered or the
// time is over. One socket for each family: cheap for hundreds of targets.
func (a *Agent) Ping(args PingArgs, reply *PingReply) error {
	reply.Results = make([]PingResult, len(args.To))
	b := &pingBatch{id: uint16(os.Getpid())<<8 ^ uint16(pingID.Add(1)), size: args.Size, results: reply.Results}
	for i, to := range args.To {
		b.results[i] = PingResult{To: to, Err: "silence"}
	}
	return b.run(time.Now().Add(args.Timeout))
}

// pingBatch owns the sockets of one call. An attempt's sequence number is its
// index in sent.
type pingBatch struct {
	id      uint16
	size    int
	results []PingResult
	sent    []attempt
	c4      *ipv4.PacketConn
	c6      *ipv6.PacketConn
}

type attempt struct {
	target int
	at     time.Time
}

type echo struct {
	from netip.Addr
	seq  uint16
	ttl  int
	at   time.Time
}

func (b *pingBatch) run(deadline time.Time) error {
	answers := make(chan echo, 1024) // a burst of answers must not block the readers
	for _, network := range []string{"ip4:icmp", "ip6:ipv6-icmp"} {
		c, err := net.ListenPacket(network, "")
		if err != nil {
			return fmt.Errorf("opening a raw socket: %w", err)
		}
		done := make(chan struct{})
		defer func() { c.Close(); <-done }()
		if network == "ip4:icmp" {
			b.c4 = ipv4.NewPacketConn(c)
			b.c4.SetControlMessage(ipv4.FlagTTL, true)
			go func() { defer close(done); b.read4(answers) }()
			continue
		}
		b.c6 = ipv6.NewPacketConn(c)
		b.c6.SetControlMessage(ipv6.FlagHopLimit, true)
		var f ipv6.ICMPFilter
		f.SetAll(true)
		f.Accept(ipv6.ICMPTypeEchoReply)
		b.c6.SetICMPFilter(&f)
		go func() { defer close(done); b.read6(answers) }()
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	b.round()
	for b.open() > 0 {
		select {
		case e := <-answers:
			b.take(e)
		case <-tick.C:
			b.round()
		case <-timer.C:
			return nil
		}
	}
	return nil
}

func (b *pingBatch) open() int {
	n := 0
	for _, r := range b.results {
		if !r.OK {
			n++
		}
	}
	return n
}

// round sends one request to each address that has not answered.
func (b *pingBatch) round() {
	for i := range b.results {
		r := &b.results[i]
		if r.OK {
			continue
		}
		seq := uint16(len(b.sent))
		b.sent = append(b.sent, attempt{target: i, at: time.Now()})
		if err := b.send(r.To, seq); err != nil {
			r.Err = rootCause(err)
		}
	}
}

func (b *pingBatch) send(to netip.Addr, seq uint16) error {
	m := make([]byte, 8+max(b.size, 16))
	binary.BigEndian.PutUint16(m[4:], b.id)
	binary.BigEndian.PutUint16(m[6:], seq)
	dst := &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}
	if to.Is4() {
		m[0] = byte(ipv4.ICMPTypeEcho)
		binary.BigEndian.PutUint16(m[2:], internetChecksum(m))
		_, err := b.c4.WriteTo(m, nil, dst)
		return err
	}
	m[0] = 128 // echo request; the kernel fills in the checksum
	_, err := b.c6.WriteTo(m, nil, dst)
	return err
}

func (b *pingBatch) read4(answers chan<- echo) {
	buf := make([]byte, 65536)
	for {
		n, cm, src, err := b.c4.ReadFrom(buf)
		if err != nil {
			return
		}
		if n >= 8 && buf[0] == 0 && cm != nil {
			b.deliver(answers, buf[:n], cm.TTL, src)
		}
	}
}

func (b *pingBatch) read6(answers chan<- echo) {
	buf := make([]byte, 65536)
	for {
		n, cm, src, err := b.c6.ReadFrom(buf)
		if err != nil {
			return
		}
		if n >= 8 && cm != nil {
			b.deliver(answers, buf[:n], cm.HopLimit, src)
		}
	}
}

// deliver drops an answer that nobody waits for.
func (b *pingBatch) deliver(answers chan<- echo, m []byte, ttl int, src net.Addr) {
	ip, ok := src.(*net.IPAddr)
	if !ok || binary.BigEndian.Uint16(m[4:]) != b.id {
		return
	}
	from, _ := netip.AddrFromSlice(ip.IP)
	select {
	case answers <- echo{from: from.Unmap(), seq: binary.BigEndian.Uint16(m[6:]), ttl: ttl, at: time.Now()}:
	default:
	}
}

func (b *pingBatch) take(e echo) {
	if int(e.seq) >= len(b.sent) {
		return
	}
	s := b.sent[e.seq]
	r := &b.results[s.target]
	if r.OK || r.To.WithZone("") != e.from {
		return
	}
	*r = PingResult{To: r.To, OK: true, RTT: e.at.Sub(s.at), Hops: 64 - e.ttl + 1}
}

func internetChecksum(m []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(m); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(m[i:]))
	}
	if len(m)%2 == 1 {
		sum += uint32(m[len(m)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// rootCause is the innermost error's text: "network is unreachable".
func rootCause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
