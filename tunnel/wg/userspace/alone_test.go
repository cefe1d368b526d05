package userspace

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What comes alone is not looked after: the poller must tell of all that follows, at
// whatever moment.
func TestNothingIsLeftBehindInASocket(t *testing.T) {
	a, _ := listenBoth(t, true)
	b, port, err := listenUDP(true, 0)
	must(t, err)
	to := &endpoint{dst: netip.AddrPortFrom(netip.IPv6Loopback(), port)}
	var got atomic.Int64
	var last atomic.Pointer[endpoint]
	ended := make(chan struct{})
	t.Cleanup(func() { <-ended }) // after b is closed
	go func() {
		defer close(ended)
		r := &receiver{socket: b}
		_ = r.receive(func(m arrived) bool { // ends with the socket
			last.Store(m.from)
			got.Add(int64((len(m.data) + m.size - 1) / m.size))
			m.buffer.release()
			return true
		})
	}()
	t.Cleanup(func() { must(t, b.close()) })
	r, sent := rand.New(rand.NewPCG(1, 2)), int64(0)
	for range 300 {
		for range 1 + r.IntN(4) {
			sizes := make([]int, 1+r.IntN(3)*r.IntN(4))
			for i := range sizes {
				sizes[i] = 64 << r.IntN(2)
			}
			must(t, a.send(datagrams(sizes...), make([]uint8, len(sizes)), to))
			sent += int64(len(sizes))
		}
		await(t, "all have arrived", func() bool { return got.Load() == sent })
	}

	t.Log("the same sender, the same endpoint, until its source is of no use")
	again := func() *endpoint {
		must(t, a.send(datagrams(64), []uint8{0}, to))
		sent++
		await(t, "one more has arrived", func() bool { return got.Load() == sent })
		return last.Load()
	}
	first := again()
	if e := again(); e != first {
		t.Errorf("%v and %v", first.DstToString(), e.DstToString())
	}
	first.ClearSrc()
	if e := again(); e == first || e.SrcIP() != netip.IPv6Loopback() {
		t.Errorf("%v with the source %v", e.DstToString(), e.SrcIP())
	}
}

func TestNothingIsLeftBehindInATUN(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	d, err := createTUN("re6st-00000001", 1420)
	must(t, err)
	linkUp(t, "re6st-00000001", 1420)
	var got atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		bufs, sizes := make([][]byte, batchSize), make([]int, batchSize)
		for i := range bufs {
			bufs[i] = make([]byte, smallMax)
		}
		for {
			n, err := d.Read(bufs, sizes, 0)
			if err != nil {
				return
			}
			for i := range n {
				if p := bufs[i][:sizes[i]]; len(p) > v6Header+udpHeader && p[6] == unix.IPPROTO_UDP && p[v6Header+udpHeader] == 'x' {
					got.Add(1)
				}
			}
		}
	}()
	c, err := net.ListenPacket("udp6", "[::]:0")
	must(t, err)
	defer c.Close()
	to := &net.UDPAddr{IP: net.ParseIP("ff02::77"), Port: 7, Zone: "re6st-00000001"}
	send := func() error { _, err := c.WriteTo([]byte("x"), to); return err }
	// The interface's own address comes a little later.
	await(t, "the first is sent", func() bool { return send() == nil })
	await(t, "the first has arrived", func() bool { return got.Load() == 1 })
	r, sent := rand.New(rand.NewPCG(1, 2)), int64(1)
	for range 300 {
		for range 1 + r.IntN(3)*r.IntN(4) {
			must(t, send())
			sent++
		}
		await(t, "all have arrived", func() bool { return got.Load() == sent })
	}
	must(t, d.Close())
	<-ended
}

// The reader of a socket ends though there is always more to read.
func TestPortIsClosedInAFlood(t *testing.T) {
	u := testUnderlay(t)
	p := newPeer(t, u, 1)
	both, port, err := u.acquire(0)
	must(t, err)
	a, _ := listenBoth(t, true)
	done, ended := make(chan struct{}), make(chan struct{})
	defer func() { close(done); <-ended }()
	go func() {
		defer close(ended)
		bufs := datagrams(64, 64, 64, 64, 64, 64, 64, 64, 64, 64)
		to := &endpoint{dst: netip.AddrPortFrom(netip.IPv6Loopback(), port)}
		for {
			select {
			case <-done:
				return
			default:
				_ = a.send(bufs, make([]uint8, len(bufs)), to) // refused when the port is closed
			}
		}
	}()
	await(t, "datagrams that are nobody's", func() bool { return u.Dropped()["unknown"] > 10_000 })
	p.device.Close()
	closed := make(chan error)
	go func() { closed <- u.release() }()
	select {
	case err := <-closed:
		must(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("the port is not closed")
	}
	if both.v6.hold() {
		t.Error("who sends still has the socket")
	}
}
