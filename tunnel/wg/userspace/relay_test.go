package userspace

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"

	"re6st/internal/fib"
	"re6st/internal/lab/packets"
	"re6st/tunnel/wg/userspace/device"
)

// chain is two stock ends, and between them two tunnels of one process: what they
// give to their TUNs is what the stack gets.
//
//	a ── left | right ── c
type chain struct {
	u                 *Underlay
	a, left, right, c *peer
	table             atomic.Pointer[fib.Table]
}

const (
	leftIndex, rightIndex, otherIndex = 11, 12, 13
	relayMTU                          = 1420
)

var (
	hostA6, hostC6 = netip.MustParseAddr("2001:db8:a::1"), netip.MustParseAddr("2001:db8:c::1")
	hostA4, hostC4 = netip.MustParseAddr("10.97.1.1"), netip.MustParseAddr("10.97.3.1")
)

// routes is a table with a prefix of each family behind both ends, and one behind
// another interface.
func routes(t *testing.T) *fib.Table {
	t.Helper()
	s := fib.Snapshot{Rules: []fib.Rule{{Lookup: true}, {IPv4: true, Lookup: true}}}
	for index, prefixes := range map[int][]string{
		leftIndex:  {"2001:db8:a::/48", "10.97.1.0/24"},
		rightIndex: {"2001:db8:c::/48", "10.97.3.0/24"},
		otherIndex: {"2001:db8:d::/48", "10.97.4.0/24"},
	} {
		s.Links = append(s.Links, fib.Link{Index: index, Kind: fib.Raw, Up: true, MTU: relayMTU})
		for _, p := range prefixes {
			s.Routes = append(s.Routes, fib.Route{RouteKey: fib.RouteKey{Dst: netip.MustParsePrefix(p)}, Ordinary: true, Interface: index})
		}
	}
	f := fib.New()
	f.Apply(s)
	table, _, _ := f.Compile()
	return table
}

// knowsAll makes q the peer for everything.
func (p *peer) knowsAll(q *peer, host string) {
	p.t.Helper()
	p.knows(q, host)
	p.set("public_key=" + hex.EncodeToString(q.public[:]) + "\nallowed_ip=0.0.0.0/0\nallowed_ip=::/0\n")
}

// newChain has sessions on both sides, and a relay that follows routes.
func newChain(t *testing.T) *chain {
	t.Helper()
	x := &chain{u: testUnderlay(t)}
	x.a, x.c = newPeer(t, nil, 1), newPeer(t, nil, 4)
	x.left, x.right = newPeer(t, x.u, 2), newPeer(t, x.u, 3)
	x.join(t, x.a, x.left, leftIndex)
	x.join(t, x.c, x.right, rightIndex)
	x.u.Relay(&x.table)
	x.table.Store(routes(t))
	return x
}

// join makes a session, and ours a way of the relay.
func (x *chain) join(t *testing.T, end, ours *peer, index int) {
	t.Helper()
	ours.knowsAll(end, "127.0.0.1")
	end.knowsAll(ours, "127.0.0.1")
	end.reaches(ours)
	ours.reaches(end)
	x.u.relay.add(index, ours.ours)
}

// datagram is a UDP packet with a right IP header.
func datagram(src, dst netip.Addr, hops byte, payload []byte) []byte {
	n := udpHeader + len(payload)
	l4 := make([]byte, n)
	binary.BigEndian.PutUint16(l4[4:], uint16(n))
	copy(l4[udpHeader:], payload)
	var p []byte
	if src.Is6() {
		p = make([]byte, v6Header, v6Header+n)
		p[0], p[6], p[7] = 0x60, unix.IPPROTO_UDP, hops
		copy(p[v6Addresses:], src.AsSlice())
		copy(p[v6Addresses+16:], dst.AsSlice())
	} else {
		p = make([]byte, v4Header, v4Header+n)
		p[0], p[8], p[9] = 0x45, hops, unix.IPPROTO_UDP
		copy(p[v4Addresses:], src.AsSlice())
		copy(p[v4Addresses+4:], dst.AsSlice())
	}
	p = append(p, l4...)
	setLength(p, len(p))
	return p
}

func isIPv4Intact(p []byte) bool { return p[0]>>4 != 4 || fold(sum(p[:v4Header], 0)) == 0xffff }

// collect has a copy of all that comes out at p from now on.
func (p *peer) collect() <-chan []byte {
	c := make(chan []byte, 4096)
	sink := func(packet []byte) { c <- packet }
	p.sink.Store(&sink)
	return c
}

func next(t *testing.T, what string, c <-chan []byte) (p []byte) {
	t.Helper()
	await(t, what, func() bool {
		select {
		case p = <-c:
			return true
		default:
			return false
		}
	})
	return p
}

func TestRelayHandsOver(t *testing.T) {
	x := newChain(t)
	atA, atC, toStack := x.a.collect(), x.c.collect(), x.left.collect()
	other := netip.MustParseAddr("2001:db8:d::1")
	for _, test := range []struct {
		what     string
		src, dst netip.Addr
		hops     byte
		size     int
		relayed  bool
	}{
		{"IPv6", hostA6, hostC6, 64, 100, true},
		{"IPv4", hostA4, hostC4, 64, 100, true},
		{"nothing in it", hostA6, hostC6, 2, 0, true},
		{"as large as can be", hostA6, hostC6, 255, relayMTU - v6Header - udpHeader, true},
		{"too big", hostA6, hostC6, 64, relayMTU - v6Header - udpHeader + 1, false},
		{"too big for IPv4", hostA4, hostC4, 64, relayMTU - v4Header - udpHeader + 1, false},
		{"the last hop", hostA6, hostC6, 1, 100, false},
		{"no hop", hostA4, hostC4, 0, 100, false},
		{"by another interface", hostA6, other, 64, 100, false},
		{"no route", hostA6, netip.MustParseAddr("2001:db9::1"), 64, 100, false},
		{"back", hostA6, hostA6.Next(), 64, 100, false},
		{"multicast", hostA6, netip.MustParseAddr("ff0e::1"), 64, 100, false},
	} {
		packet := datagram(test.src, test.dst, test.hops, bytes.Repeat([]byte{7}, test.size))
		x.a.tun.Outbound <- packet
		if !test.relayed {
			if got := next(t, test.what+" comes to the stack", toStack); !bytes.Equal(got, packet) {
				t.Errorf("%s: the stack got % x, want % x", test.what, got, packet)
			}
			continue
		}
		got := next(t, test.what+" comes to C", atC)
		want := bytes.Clone(packet)
		fib.LowerHopLimit(want)
		if !bytes.Equal(got, want) || !isIPv4Intact(got) {
			t.Errorf("%s: C got % x, want % x", test.what, got, want)
		}
	}
	x.c.tun.Outbound <- datagram(hostC6, hostA6, 64, nil)
	next(t, "the other direction", atA)

	by, sum := x.u.Relayed()
	if sum.PacketsOut != 5 || by[leftIndex].PacketsIn != 4 || by[rightIndex].PacketsOut != 4 || by[leftIndex].PacketsOut != 1 || sum.Refused != 0 {
		t.Errorf("counted %+v, in all %+v", by, sum)
	}
	want := map[string]Flow{
		"2001:db8:c::/48": {From: leftIndex, Into: rightIndex, Packets: 3, Bytes: 148 + 48 + relayMTU},
		"10.97.3.0/24":    {From: leftIndex, Into: rightIndex, Packets: 1, Bytes: 128},
		"2001:db8:a::/48": {From: rightIndex, Into: leftIndex, Packets: 1, Bytes: 48},
	}
	for _, f := range x.u.Flows() {
		prefix := f.Prefix.String()
		if f.Prefix = (netip.Prefix{}); f != want[prefix] {
			t.Errorf("to %s: %+v, want %+v", prefix, f, want[prefix])
		}
		delete(want, prefix)
	}
	if len(want) != 0 {
		t.Errorf("not counted: %v", want)
	}

	t.Log("without a table all is the stack's; and where there is no session")
	x.table.Store(nil)
	x.a.tun.Outbound <- datagram(hostA6, hostC6, 64, nil)
	next(t, "it comes to the stack", toStack)
	x.table.Store(routes(t))
	x.right.device.RemoveAllPeers()
	x.right.knowsAll(x.c, "")
	x.a.tun.Outbound <- datagram(hostA6, hostC6, 64, nil)
	next(t, "what has to wait for a handshake comes to the stack", toStack)
	x.u.relay.remove(x.right.ours)
	if _, after := x.u.Relayed(); after != sum {
		t.Errorf("after the tunnel's end: %+v, before %+v", after, sum)
	}
}

// Whatever comes, what is handed over is an ordinary packet with its hop limit
// lowered, by the way that the table says, and all else is as it was.
func TestRelayTouchesNothingElse(t *testing.T) {
	x := newChain(t)
	table := x.table.Load()
	from := x.u.relay.all()[leftIndex]
	plan := packets.Plan{
		V6:   packets.Ends{Sources: []packets.Address{{What: "A", Addr: hostA6}}, Destinations: []packets.Address{{What: "C", Addr: hostC6}, {What: "D", Addr: netip.MustParseAddr("2001:db8:d::1")}}},
		V4:   packets.Ends{Sources: []packets.Address{{What: "A", Addr: hostA4}}, Destinations: []packets.Address{{What: "C", Addr: hostC4}, {What: "A", Addr: hostA4}}},
		MTUs: []int{relayMTU},
	}
	g := packets.New(plan, 1)
	handed := 0
	for range 200 {
		var all, before [][]byte
		var what []string
		for range 64 {
			p := g.Next()
			all, before, what = append(all, p.Bytes), append(before, bytes.Clone(p.Bytes)), append(what, p.What)
		}
		ways := make([]*device.Peer, len(all))
		from.decide(all, ways)
		for i, p := range all {
			want := bytes.Clone(before[i])
			if ways[i] == nil {
				if !bytes.Equal(p, want) {
					t.Fatalf("%s: changed on its way to the stack", what[i])
				}
				continue
			}
			handed++
			isOrdinary := fib.Inspect(want, len(want)) == fib.Ordinary
			src, dst := fib.Addresses(want)
			d := table.Lookup(src, dst)
			fib.LowerHopLimit(want)
			if !isOrdinary || !bytes.Equal(p, want) || !isIPv4Intact(p) || d.Interface != rightIndex || len(p) > d.MTU {
				t.Fatalf("%s: handed over, %+v", what[i], d)
			}
		}
	}
	if handed < 200*64/20 {
		t.Errorf("only %d handed over: this shows little", handed)
	}
}

// stream sends numbered packets from one end to the other, as many at a time as the
// queues hold, and says what came when.
func (x *chain) stream(t *testing.T, count int, at func(i int)) (order []uint32) {
	t.Helper()
	const window = 50
	var mu sync.Mutex
	sink := func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, binary.BigEndian.Uint32(p[v6Header+udpHeader:]))
	}
	x.c.sink.Store(&sink)
	come := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(order)
	}
	for i := range count {
		at(i)
		if i-come() >= window {
			await(t, fmt.Sprintf("packet %d of the window comes", i-window), func() bool { return i-come() < window/2 })
		}
		x.a.tun.Outbound <- datagram(hostA6, hostC6, 64, binary.BigEndian.AppendUint32(nil, uint32(i)))
	}
	await(t, "all have come", func() bool { return come() == count })
	return order
}

// stack is what the kernel does with what it gets from the left.
func (x *chain) stack() {
	sink := func(p []byte) {
		if _, dst := fib.Addresses(p); dst == hostC6 {
			fib.LowerHopLimit(p)
			x.right.tun.Outbound <- p
		}
	}
	x.left.sink.Store(&sink)
}

func late(order []uint32) (n int) {
	highest := uint32(0)
	for _, i := range order {
		if i < highest {
			n++
		}
		highest = max(highest, i)
	}
	return n
}

// Inside a flow nothing changes places, nor is lost, while the relay goes on, nor
// when it is switched off. When it is switched on, what is on its way through the
// stack may be overtaken; nothing is lost then either.
func TestP10_OrderWhileRelayed(t *testing.T) {
	if late([]uint32{0, 1, 3, 2, 4, 0}) != 2 {
		t.Fatal("packets that come late are not seen")
	}
	x := newChain(t)
	x.stack()
	if n := late(x.stream(t, 3000, func(int) {})); n != 0 {
		t.Errorf("%d of 3000 relayed packets came late", n)
	}
	off := x.stream(t, 1000, func(i int) {
		if i == 500 {
			x.table.Store(nil)
		}
	})
	if n := late(off); n != 0 {
		t.Errorf("%d packets came late when the relay was switched off", n)
	}
	if _, sum := x.u.Relayed(); sum.PacketsOut < 3000 || sum.PacketsOut > 3600 || sum.Refused != 0 {
		t.Errorf("relayed %+v", sum)
	}
	table := routes(t)
	x.stream(t, 2000, func(i int) { // none is lost
		switch i % 200 {
		case 0:
			x.table.Store(table)
		case 100:
			x.table.Store(nil)
		}
	})
}

// stuckBind does not get rid of anything until it is let.
type stuckBind struct {
	*share
	isStuck atomic.Bool
	release chan struct{}
}

func (b *stuckBind) Send(bufs [][]byte, to conn.Endpoint) error {
	if b.isStuck.Load() {
		<-b.release
	}
	return b.share.Send(bufs, to)
}

func (b *stuckBind) SendMarked(bufs [][]byte, classes []uint8, to conn.Endpoint) error {
	if b.isStuck.Load() {
		<-b.release
	}
	return b.share.SendMarked(bufs, classes, to)
}

func (b *stuckBind) TrySend(bufs [][]byte, classes []uint8, to conn.Endpoint) (int, error) {
	if b.isStuck.Load() {
		return 0, nil
	}
	return b.share.TrySend(bufs, classes, to)
}

// An egress that is stuck loses its newest packets, and holds up neither the ingress
// nor the others.
func TestRelayHeadOfLine(t *testing.T) {
	x := newChain(t)
	stuck := &stuckBind{release: make(chan struct{})}
	slow := newPeerOn(t, x.u, 5, func(s *share) conn.Bind {
		stuck.share = s
		return stuck
	})
	d := newPeer(t, nil, 6)
	x.join(t, d, slow, otherIndex)
	atD := d.collect()
	toD := func(i uint32) []byte {
		return datagram(hostA6, netip.MustParseAddr("2001:db8:d::1"), 64, binary.BigEndian.AppendUint32(nil, i))
	}
	stuck.isStuck.Store(true)
	const flood = 2 * 1024
	for i := range uint32(flood) {
		x.a.tun.Outbound <- toD(i)
		if i%64 == 0 {
			x.stream(t, 1, func(int) {})
		}
	}
	if n := late(x.stream(t, 500, func(int) {})); n != 0 {
		t.Errorf("%d packets of the other flow came late", n)
	}
	await(t, "the flood has come to the relay", func() bool {
		by, _ := x.u.Relayed()
		return by[otherIndex].PacketsOut == flood
	})
	by, _ := x.u.Relayed()
	refused := by[otherIndex].Refused
	if refused < flood/4 || refused > flood-512 || by[rightIndex].Refused != 0 {
		t.Errorf("of %d packets %d were refused; on the other way %d", flood, refused, by[rightIndex].Refused)
	}
	stuck.isStuck.Store(false)
	close(stuck.release)
	for i := range uint32(flood) - uint32(refused) {
		if got := binary.BigEndian.Uint32(next(t, "what was kept comes", atD)[v6Header+udpHeader:]); got != i {
			t.Fatalf("packet %d came in the place of %d: not the newest were lost", got, i)
		}
	}
	x.a.tun.Outbound <- toD(flood)
	next(t, "it goes on", atD)
}

// Devices end while packets are handed to them.
func TestRelayWhileDevicesEnd(t *testing.T) {
	x := newChain(t)
	end := make(chan struct{})
	var sending sync.WaitGroup
	for _, s := range []struct {
		from     *peer
		src, dst netip.Addr
	}{{x.a, hostA6, hostC6}, {x.c, hostC6, hostA6}} {
		sending.Go(func() {
			tick := time.NewTicker(time.Millisecond) // a full socket would lose handshakes too
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-end:
					return
				}
				for range 8 {
					s.from.tun.Outbound <- datagram(s.src, s.dst, 64, make([]byte, 1000))
				}
			}
		})
	}
	before := uint64(0)
	for round := range 6 {
		began := time.Now()
		await(t, "packets are handed over, for longer than a peer refuses another handshake", func() bool {
			_, sum := x.u.Relayed()
			return sum.PacketsOut > before+50 && time.Since(began) > 2*device.HandshakeInitationRate
		})
		_, sum := x.u.Relayed()
		before = sum.PacketsOut
		switch round % 3 {
		case 0:
			must(t, x.right.device.Down())
			must(t, x.right.device.Up())
			x.right.reaches(x.c)
		case 1:
			x.right.device.RemoveAllPeers()
			x.right.knowsAll(x.c, "127.0.0.1")
			x.right.reaches(x.c)
		case 2:
			x.u.relay.remove(x.left.ours)
			x.u.relay.add(leftIndex, x.left.ours)
		}
	}
	x.u.relay.remove(x.right.ours)
	x.right.device.Close()
	close(end)
	sending.Wait()
}

// Two relays in line, of two processes.
func TestTwoRelaysInLine(t *testing.T) {
	x := newChain(t)
	y := &chain{u: NewUnderlay(x.u.log)}
	// a ── x.left | x.right ── y.left | y.right ── e
	y.left, y.right = newPeer(t, y.u, 7), newPeer(t, y.u, 8)
	e := newPeer(t, nil, 9)
	x.right.device.RemoveAllPeers()
	x.right.knowsAll(y.left, "")
	y.left.knowsAll(x.right, "127.0.0.1")
	y.left.reaches(x.right)
	x.right.reaches(y.left)
	y.u.relay.add(leftIndex, y.left.ours)
	y.join(t, e, y.right, rightIndex)
	y.u.Relay(&x.table)
	atE, atA := e.collect(), x.a.collect()
	for _, is6 := range []bool{true, false} {
		there, here := hostC6, hostA6
		if !is6 {
			there, here = hostC4, hostA4
		}
		x.a.tun.Outbound <- datagram(here, there, 64, []byte("there"))
		e.tun.Outbound <- datagram(there, here, 64, []byte("back"))
		for _, got := range [][]byte{next(t, "it comes there", atE), next(t, "it comes back", atA)} {
			if hops := got[v6HopLimit(got)]; hops != 62 || !isIPv4Intact(got) {
				t.Errorf("arrived with hop limit %d", hops)
			}
		}
	}
}

// v6HopLimit is where the hop limit is.
func v6HopLimit(p []byte) int {
	if p[0]>>4 == 6 {
		return 7
	}
	return 8
}

func TestFlowsAreBounded(t *testing.T) {
	var f flows
	busy := flowKey{netip.MustParsePrefix("2001:db8::/32"), 1}
	for i := range 10 * flowsMax {
		address := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		f.add(flowKey{netip.PrefixFrom(address, 32), 1}, 1, 100)
		f.add(busy, 2, 200)
	}
	if len(f.known) != flowsMax {
		t.Errorf("%d flows are known, want %d", len(f.known), flowsMax)
	}
	if k := f.known[busy]; k == nil || k.packets != 20*flowsMax || k.bytes != 2000*flowsMax {
		t.Errorf("the busiest one: %+v", k)
	}
}

// BenchmarkDecide is the cost of a burst of packets to one destination, and of one
// where each is to another than the last.
func BenchmarkDecide(b *testing.B) {
	f := fib.New()
	s := fib.Snapshot{Rules: []fib.Rule{{Lookup: true}}, Links: []fib.Link{{Index: 12, Kind: fib.Raw, Up: true, MTU: relayMTU}}}
	for i := range 10_000 {
		dst := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 8), byte(i)})
		s.Routes = append(s.Routes, fib.Route{RouteKey: fib.RouteKey{Dst: netip.PrefixFrom(dst, 48)}, Ordinary: true, Interface: 12})
	}
	f.Apply(s)
	table, _, _ := f.Compile()
	for name, step := range map[string]int{"same": 0, "each": 1} {
		b.Run(name, func(b *testing.B) {
			r := &relay{}
			from := &way{relay: r, index: 11}
			var holder atomic.Pointer[fib.Table]
			holder.Store(table)
			r.table.Store(&holder)
			all, ways := make([][]byte, batchSize), make([]*device.Peer, batchSize)
			for i := range all {
				n := i * step
				all[i] = datagram(hostA6, netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(n >> 8), byte(n), 15: 1}), 255, make([]byte, 100))
			}
			b.ReportAllocs()
			for b.Loop() {
				from.decide(all, ways)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batchSize), "ns/packet")
		})
	}
}
