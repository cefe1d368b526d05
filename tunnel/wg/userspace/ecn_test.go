package userspace

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"

	"re6st/internal/lab/packets"
	"re6st/tunnel/wg/userspace/device"
	"re6st/tunnel/wg/userspace/ecn"
)

// received is what of a message a test wants to know.
type received struct {
	class   uint8
	numbers []byte // the first octet of each datagram
}

// receiveAll reads until there were as many datagrams.
func receiveAll(t *testing.T, s *udpSocket, datagrams int) (all []received) {
	t.Helper()
	r := &receiver{socket: s}
	n := 0
	must(t, r.receive(func(m arrived) bool {
		x := received{class: m.class}
		for at := 0; at < len(m.data); at += m.size {
			x.numbers = append(x.numbers, m.data[at])
			n++
		}
		all = append(all, x)
		m.buffer.release()
		return n < datagrams
	}))
	return all
}

// Each datagram arrives with the class that it was sent with, in order, and those of
// one class travel together.
func TestP13_ClassesOverUDP(t *testing.T) {
	for _, is6 := range []bool{false, true} {
		a, _ := listenBoth(t, is6)
		b, port := listenBoth(t, is6)
		host := netip.IPv6Loopback()
		if !is6 {
			host = netip.MustParseAddr("127.0.0.1")
		}
		to := &endpoint{dst: netip.AddrPortFrom(host, port)}
		for name, classOf := range map[string]func(i int) uint8{
			"one":   func(int) uint8 { return ecn.ECT0 },
			"none":  func(int) uint8 { return ecn.NotECT },
			"rows":  func(i int) uint8 { return uint8(i / 16) },
			"turns": func(i int) uint8 { return uint8(i) & 3 },
		} {
			bufs, classes := make([][]byte, batchSize), make([]uint8, batchSize)
			for i := range bufs {
				bufs[i] = make([]byte, 500)
				bufs[i][0], classes[i] = byte(i), classOf(i)
			}
			_, err := a.trySend(bufs, classes, to)
			must(t, err)
			next, largest := 0, 0
			for _, m := range receiveAll(t, b, batchSize) {
				largest = max(largest, len(m.numbers))
				for _, n := range m.numbers {
					if int(n) != next || m.class != classes[next] {
						t.Fatalf("IPv6 %t, %s: number %d with class %02b came in the place of %d with %02b", is6, name, n, m.class, next, classes[next])
					}
					next++
				}
			}
			if want := map[string]int{"one": batchSize, "none": batchSize, "rows": 16, "turns": 1}[name]; a.offload.Load() && largest != want {
				t.Errorf("IPv6 %t, %s: %d travelled together, want %d", is6, name, largest, want)
			}
		}
	}
}

// The control messages of a send are read as what was meant.
func FuzzP13_Control(f *testing.F) {
	number := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	room := make([]byte, 0, controlMax)
	b := appendControl(room, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, netip.IPv6Loopback().AsSlice(), unix.SizeofInet6Pktinfo)
	b = appendControl(b, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, number(3), 4)
	f.Add(append([]byte(nil), appendControl(b, unix.SOL_UDP, unix.UDP_GRO, number(1452), 4)...))
	b = appendControl(room, unix.IPPROTO_IP, unix.IP_PKTINFO, []byte{0, 0, 0, 0, 127, 0, 0, 1}, unix.SizeofInet4Pktinfo)
	f.Add(append([]byte(nil), appendControl(b, unix.IPPROTO_IP, unix.IP_TOS, []byte{2}, 1)...))
	f.Add(append([]byte(nil), appendControl(b, unix.IPPROTO_IP, unix.IP_TOS, nil, 0)...))
	f.Fuzz(func(t *testing.T, control []byte) {
		m := arrived{size: 77, from: &endpoint{}}
		m.readControl(control)
		if m.size < 1 || m.size > 0xffff {
			t.Fatalf("datagrams of %d octets", m.size)
		}
		if len(control) < unix.CmsgLen(0) && (m.class != 0 || m.from.src.IsValid()) {
			t.Fatalf("%v out of nothing", m)
		}
	})
}

// router is a Bind behind which a router marks what is sent.
type router struct {
	*share
	mark atomic.Uint32 // codepoint; notMarking: leaves what is there
	saw  [4]atomic.Uint64
}

const notMarking = 4

func newRouter() *router {
	r := &router{}
	r.mark.Store(notMarking)
	return r
}

func (r *router) before(s *share) conn.Bind {
	r.share = s
	return r
}

func (r *router) pass(classes []uint8) []uint8 {
	out := make([]uint8, len(classes))
	for i, c := range classes {
		r.saw[c&3].Add(1)
		if out[i] = c; r.mark.Load() != notMarking {
			out[i] = uint8(r.mark.Load())
		}
	}
	return out
}

func (r *router) SendMarked(bufs [][]byte, classes []uint8, to conn.Endpoint) error {
	return r.share.SendMarked(bufs, r.pass(classes), to)
}

func (r *router) TrySend(bufs [][]byte, classes []uint8, to conn.Endpoint) (int, error) {
	return r.share.TrySend(bufs, r.pass(classes), to)
}

var _ device.MarkedBind = (*router)(nil)

// A tunnel between two sockets of each family, and every codepoint in every other.
func TestP13_Tunnel(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) { testTunnelMarks(t, host) })
	}
}

func testTunnelMarks(t *testing.T, host string) {
	after := [4][4]uint8{{0, 0, 0, 0}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}} // RFC 6040, figure 4, without its drop
	u, v := testUnderlay(t), testUnderlay(t)
	r := newRouter()
	a, b := newPeerOn(t, u, 1, r.before), newPeer(t, v, 2)
	a.knowsAll(b, host)
	b.knowsAll(a, host)
	a.reaches(b)
	out := b.collect()
	send := func(inner uint8, is6 bool) []byte {
		p := packets.UDP(hostA4, hostC4, inner, []byte("marked"))
		if is6 {
			p = packets.UDP(hostA6, hostC6, inner, []byte("marked"))
		}
		a.tun.Outbound <- p
		return next(t, "a packet arrives", out)
	}
	for _, is6 := range []bool{false, true} {
		for inner := range uint8(4) {
			for outer := range uint8(4) {
				r.mark.Store(uint32(outer))
				if p := send(inner, is6); ecn.Of(p) != after[inner][outer] || !isIPv4Intact(p) {
					t.Errorf("IPv6 %t: %02b in %02b came out as %02b: %x", is6, inner, outer, ecn.Of(p), p)
				}
			}
			r.mark.Store(notMarking)
			want := [4]uint8{ecn.NotECT: ecn.NotECT, ecn.ECT1: ecn.ECT1, ecn.ECT0: ecn.ECT0, ecn.CE: ecn.ECT0}[inner]
			before := r.saw[want].Load()
			if p := send(inner, is6); ecn.Of(p) != inner || r.saw[want].Load() == before {
				t.Errorf("IPv6 %t: no outer packet of %02b is %02b, or %02b came out", is6, inner, want, ecn.Of(p))
			}
		}
	}
}

// What a router in front of the relay marks leaves the relay marked, and what the next
// one is told is of the packet's own mark.
func TestP13_Relay(t *testing.T) {
	v := testUnderlay(t)
	x := newChain(t)
	r, second := newRouter(), newRouter()
	before, out := newPeerOn(t, v, 5, r.before), newPeerOn(t, x.u, 6, second.before)
	end, in := newPeer(t, nil, 7), newPeer(t, x.u, 8)
	x.join(t, before, in, leftIndex)
	x.join(t, end, out, otherIndex)
	got := end.collect()
	for i, c := range []struct{ inner, mark, atEnd, outer uint8 }{
		{ecn.NotECT, ecn.CE, ecn.NotECT, ecn.NotECT},
		{ecn.ECT0, ecn.ECT0, ecn.ECT0, ecn.ECT0},
		{ecn.ECT0, ecn.CE, ecn.CE, ecn.ECT0},
		{ecn.ECT0, ecn.ECT1, ecn.ECT1, ecn.ECT1},
		{ecn.ECT1, ecn.CE, ecn.CE, ecn.ECT0},
		{ecn.ECT1, ecn.NotECT, ecn.ECT1, ecn.ECT1},
		{ecn.CE, ecn.NotECT, ecn.CE, ecn.ECT0},
	} {
		r.mark.Store(uint32(c.mark))
		relayed, _ := x.u.Relayed()
		saw := second.saw[c.outer].Load()
		before.tun.Outbound <- packets.UDP(hostA6, netip.MustParseAddr("2001:db8:d::1"), c.inner, []byte(fmt.Sprint(i)))
		if p := next(t, "a packet arrives", got); ecn.Of(p) != c.atEnd || second.saw[c.outer].Load() == saw {
			t.Errorf("%02b in %02b came out as %02b, want %02b, and %02b around it", c.inner, c.mark, ecn.Of(p), c.atEnd, c.outer)
		}
		if now, _ := x.u.Relayed(); now[otherIndex].PacketsOut != relayed[otherIndex].PacketsOut+1 {
			t.Error("it went by the stack")
		}
	}
}
