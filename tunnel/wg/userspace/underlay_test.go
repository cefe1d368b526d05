package userspace

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	stock "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
	"re6st/tunnel/wg/userspace/device"
)

// wireGuard is what ours and a stock device have in common.
type wireGuard interface {
	Up() error
	Down() error
	Close()
	Wait() chan struct{}
	IpcSet(string) error
	IpcGet() (string, error)
	RemoveAllPeers()
}

// peer is a wireguard-go device with a TUN of channels.
type peer struct {
	t      *testing.T
	device wireGuard
	ours   *device.Device // nil: a stock one
	tun    *tuntest.ChannelTUN
	key    [32]byte
	public [32]byte
	inner  netip.Addr
	got    atomic.Int64 // packets that came out
	sink   atomic.Pointer[func([]byte)]
}

// newPeer makes one: ours where u is not nil, else a stock one.
func newPeer(t *testing.T, u *Underlay, number byte) *peer {
	t.Helper()
	return newPeerOn(t, u, number, func(s *share) conn.Bind { return s })
}

// newPeerOn gives ours a Bind around its share.
func newPeerOn(t *testing.T, u *Underlay, number byte, around func(*share) conn.Bind) *peer {
	t.Helper()
	p := &peer{t: t, tun: tuntest.NewChannelTUN(), inner: netip.AddrFrom4([4]byte{10, 0, 0, number})}
	p.key[0], p.key[31] = 8*number, 64
	public, err := publicKey(hex.EncodeToString(p.key[:]))
	must(t, err)
	p.public = public
	if u == nil {
		p.device = stock.NewDevice(p.tun.TUN(), conn.NewStdNetBind(), &stock.Logger{Verbosef: stock.DiscardLogf, Errorf: stock.DiscardLogf})
	} else {
		s := u.newShare()
		p.ours = device.NewDevice(p.tun.TUN(), around(s), &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
		p.device, s.device = p.ours, p.ours
		s.setKey(p.public)
	}
	p.set("private_key=" + hex.EncodeToString(p.key[:]) + "\nlisten_port=0\n")
	must(t, p.device.Up())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case packet := <-p.tun.Inbound:
				p.got.Add(1)
				if sink := p.sink.Load(); sink != nil && !bytes.Contains(packet[:v4Header], p.inner.AsSlice()) { // no ping of reaches
					(*sink)(packet)
				}
			case <-p.device.Wait():
				return
			}
		}
	}()
	t.Cleanup(func() { p.device.Close(); <-done })
	return p
}

func (p *peer) set(lines string) {
	p.t.Helper()
	must(p.t, p.device.IpcSet(lines))
}

func (p *peer) get(key string) string {
	p.t.Helper()
	text, err := p.device.IpcGet()
	must(p.t, err)
	for line := range strings.Lines(text) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), "="); k == key {
			return v
		}
	}
	return ""
}

// knows makes q a peer of p, at host unless that is empty.
func (p *peer) knows(q *peer, host string) {
	p.t.Helper()
	lines := "public_key=" + hex.EncodeToString(q.public[:]) + "\nallowed_ip=" + q.inner.String() + "/32\n"
	if host != "" {
		lines += "endpoint=" + net.JoinHostPort(host, q.get("listen_port")) + "\n"
	}
	p.set(lines)
}

// reaches sends until a packet comes out at q.
func (p *peer) reaches(q *peer) {
	p.t.Helper()
	before := q.got.Load()
	packet := tuntest.Ping(q.inner, p.inner)
	await(p.t, fmt.Sprintf("%v reaches %v", p.inner, q.inner), func() bool {
		p.tun.Outbound <- packet
		return q.got.Load() > before
	})
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

func testUnderlay(t *testing.T) *Underlay {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) }) // last of the cleanups
	u := NewUnderlay(slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if u.sockets.Load() != nil || u.users != 0 || len(u.table.stations)+len(u.table.sessions) != 0 {
			t.Errorf("left: %d users, %v, %v", u.users, u.table.stations, u.table.sessions)
		}
	})
	return u
}

// Several devices of ours on one port, each with a stock wireguard-go as its peer.
func TestSharedPortWithStockPeers(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			u := testUnderlay(t)
			var ours, theirs []*peer
			for i := range byte(4) {
				a, b := newPeer(t, u, 2*i+1), newPeer(t, nil, 2*i+2)
				ours, theirs = append(ours, a), append(theirs, b)
				a.knows(b, "")
				if i%2 == 0 { // both directions of the first call
					a.knows(b, host)
					b.knows(a, "")
				} else {
					b.knows(a, host)
				}
			}
			for i, a := range ours {
				if a.get("listen_port") != ours[0].get("listen_port") {
					t.Errorf("device %d listens on %s, the first on %s", i, a.get("listen_port"), ours[0].get("listen_port"))
				}
				first, second := a, theirs[i]
				if i%2 == 1 {
					first, second = second, first
				}
				first.reaches(second)
				second.reaches(first)
			}

			t.Log("a new handshake beside a session, and a peer that moves")
			theirs[0].set("listen_port=0\n")
			theirs[0].reaches(ours[0])
			ours[0].reaches(theirs[0])
			if got, want := ours[0].get("endpoint"), net.JoinHostPort(host, theirs[0].get("listen_port")); got != want {
				t.Errorf("the peer's endpoint is %s, want %s", got, want)
			}
			must(t, theirs[1].device.Down())
			must(t, theirs[1].device.Up())
			theirs[1].set("private_key=" + hex.EncodeToString(theirs[1].key[:]) + "\n")
			theirs[1].reaches(ours[1])

			t.Log("one ends; the others do not notice")
			sessions := len(u.table.stations)
			ours[0].device.Close()
			if len(u.table.stations) != sessions-1 {
				t.Errorf("%d stations", len(u.table.stations))
			}
			ours[1].reaches(theirs[1])
			theirs[2].reaches(ours[2])
		})
	}
}

// Two tunnels between the same two ports: the kernel joins what arrives of both.
func TestTwoTunnelsBetweenTwoPorts(t *testing.T) {
	u, v := testUnderlay(t), testUnderlay(t)
	var pairs [][2]*peer
	for i := range byte(3) {
		a, b := newPeer(t, u, 2*i+1), newPeer(t, v, 2*i+2)
		a.knows(b, "127.0.0.1")
		b.knows(a, "")
		a.reaches(b)
		pairs = append(pairs, [2]*peer{a, b})
	}
	for _, p := range pairs {
		before := p[1].got.Load()
		packet := tuntest.Ping(p[1].inner, p[0].inner)
		for range 200 {
			p[0].tun.Outbound <- packet
		}
		await(t, "all have arrived", func() bool { return p[1].got.Load() >= before+200 })
	}
	if n := v.lost.unknown.Load() + v.lost.overflow.Load(); n != 0 {
		t.Errorf("%d datagrams reached no device", n)
	}
}

// Bogus initiations do not disturb a session, nor a peer's new one.
func TestP12_FloodOfBadInitiations(t *testing.T) {
	u := testUnderlay(t)
	a, b := newPeer(t, u, 1), newPeer(t, nil, 2)
	late, caller := newPeer(t, u, 3), newPeer(t, nil, 4)
	a.knows(b, "127.0.0.1")
	b.knows(a, "")
	a.reaches(b)
	flood, err := net.Dial("udp", "127.0.0.1:"+a.get("listen_port"))
	must(t, err)
	defer flood.Close()
	bad := make([]byte, device.MessageInitiationSize)
	bad[0] = byte(initiation)
	const floods = 20_000
	for i := range floods {
		binary.LittleEndian.PutUint32(bad[4:], uint32(i))
		_, err := flood.Write(bad)
		must(t, err)
		if i%1000 == 0 {
			a.reaches(b)
		}
	}
	await(t, "the flood was seen", func() bool { return u.lost.refused.Load() > floods/2 })
	late.knows(caller, "127.0.0.1")
	caller.knows(late, "127.0.0.1")
	caller.reaches(late)
	b.reaches(a)
}

// With a right MAC1 but from nobody, a flood meets the device's own defence: cookies.
func TestP12_CookiesUnderLoad(t *testing.T) {
	u := testUnderlay(t)
	a, b := newPeer(t, u, 1), newPeer(t, nil, 2)
	a.knows(b, "127.0.0.1")
	b.knows(a, "")
	a.reaches(b)
	flood, err := net.Dial("udp", "127.0.0.1:"+a.get("listen_port"))
	must(t, err)
	defer flood.Close()
	replied := make(chan bool, 1)
	go func() {
		d := make([]byte, 2000)
		_ = flood.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := flood.Read(d)
		k, index := classify(d[:n])
		replied <- err == nil && k == cookieReply && index == 0x77777777
	}()
	d := make([]byte, device.MessageInitiationSize)
	d[0] = byte(initiation)
	binary.LittleEndian.PutUint32(d[4:], 0x77777777)
	var g device.CookieGenerator
	g.Init(a.public)
	for i := 0; ; i++ {
		binary.LittleEndian.PutUint32(d[8:], uint32(i))
		g.AddMacs(d)
		_, err := flood.Write(d)
		must(t, err)
		select {
		case ok := <-replied:
			if !ok {
				t.Error("no cookie for the sender's index")
			}
			a.reaches(b)
			b.reaches(a)
			return
		default:
		}
	}
}

func listenBoth(t *testing.T, is6 bool) (*udpSocket, uint16) {
	t.Helper()
	s, port, err := listenUDP(is6, 0)
	must(t, err)
	t.Cleanup(func() { must(t, s.close()) })
	return s, port
}

// sendAndReceive gives the datagrams that arrive, until there are as many.
func sendAndReceive(t *testing.T, from, to *udpSocket, e *endpoint, bufs [][]byte) (got [][]byte, last *endpoint) {
	t.Helper()
	must(t, from.send(bufs, e))
	r := &receiver{socket: to}
	for len(got) < len(bufs) {
		must(t, r.receive(func(m arrived) {
			last = m.from
			for at := 0; at < len(m.data); at += m.size {
				got = append(got, bytes.Clone(m.data[at:min(at+m.size, len(m.data))]))
			}
			m.buffer.release()
		}))
	}
	return got, last
}

func datagrams(sizes ...int) (bufs [][]byte) {
	for i, n := range sizes {
		bufs = append(bufs, bytes.Repeat([]byte{byte(i + 1)}, n))
	}
	return bufs
}

func wantSame(t *testing.T, got, want [][]byte) {
	t.Helper()
	for i := range want {
		if i >= len(got) || !bytes.Equal(got[i], want[i]) {
			t.Fatalf("datagram %d of %d is another", i, len(got))
		}
	}
}

func TestRowsOverUDP(t *testing.T) {
	many := make([]int, batchSize)
	for i := range many {
		many[i] = 1452
	}
	for _, is6 := range []bool{false, true} {
		a, _ := listenBoth(t, is6)
		b, port := listenBoth(t, is6)
		host := netip.IPv6Loopback()
		if !is6 {
			host = netip.MustParseAddr("127.0.0.1")
		}
		for _, sizes := range [][]int{{1}, {1452}, {100, 100, 100}, {1452, 1452, 32}, {32, 1452, 1452, 64, 64, 63, 64}, many, {1, 2, 3, 4}, {4, 3, 2, 1}} {
			want := datagrams(sizes...)
			got, from := sendAndReceive(t, a, b, &endpoint{dst: netip.AddrPortFrom(host, port)}, want)
			wantSame(t, got, want)
			if from.src != host {
				t.Errorf("sent to %v, want %v", from.src, host)
			}
		}
		if !a.offload.Load() {
			t.Error("no offload: this shows less")
		}
	}
}

// A path with a small MTU: rows are refused, single datagrams are fragmented.
func TestRowsLargerThanThePath(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	linkUp(t, "lo", 1280)
	a, _ := listenBoth(t, false)
	b, port := listenBoth(t, false)
	want := datagrams(1452, 1452, 1452, 1452)
	got, _ := sendAndReceive(t, a, b, &endpoint{dst: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}, want)
	wantSame(t, got, want)
	if !a.offload.Load() {
		t.Error("one small path ends offload for all")
	}
}

// A peer hears from the address that it sent to, while we have it.
func TestSourceStays(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	linkUp(t, "lo", 65536)
	a, portA := listenBoth(t, false)
	b, portB := listenBoth(t, false)
	want := datagrams(100)
	_, from := sendAndReceive(t, a, b, &endpoint{dst: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.5"), portB)}, want)
	_, back := sendAndReceive(t, b, a, from, want)
	if back.dst != netip.AddrPortFrom(netip.MustParseAddr("127.0.0.5"), portB) {
		t.Errorf("the answer is from %v", back.dst)
	}
	gone := &endpoint{dst: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), portA), src: netip.MustParseAddr("192.0.2.99")}
	_, back = sendAndReceive(t, b, a, gone, datagrams(100, 100))
	if back.dst.Addr() != netip.MustParseAddr("127.0.0.1") || gone.SrcIP().IsValid() {
		t.Errorf("from an address that we have no more: %v, %v", back.dst, gone.SrcIP())
	}
}

func linkUp(t *testing.T, name string, mtu uint32) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(s)
	request, err := unix.NewIfreq(name)
	must(t, err)
	request.SetUint32(mtu)
	must(t, unix.IoctlIfreq(s, unix.SIOCSIFMTU, request))
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	must(t, unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, request))
}

// One mark for the socket that all share: another is refused, not ignored.
func TestMarkIsOne(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	u := testUnderlay(t)
	a, b := newPeer(t, u, 1), newPeer(t, u, 2)
	a.set("fwmark=7\n")
	b.set("fwmark=7\n")
	if err := b.device.IpcSet("fwmark=8\n"); err == nil {
		t.Error("a second mark is taken")
	}
	var mark int
	var err error
	must(t, u.sockets.Load().v6.use(func(fd int) { mark, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK) }))
	if err != nil || mark != 7 {
		t.Errorf("mark %d, %v", mark, err)
	}
}

func TestEndpointText(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1:7": "192.0.2.1:7", "[::ffff:192.0.2.1]:7": "192.0.2.1:7", "[2001:db8::1]:7": "[2001:db8::1]:7",
		"[fe80::1%lo]:7": "[fe80::1%lo]:7", "[fe80::1%1]:7": "[fe80::1%lo]:7", "[fe80::1%99999]:7": "[fe80::1%99999]:7",
	} {
		e, err := parseEndpoint(text)
		if err != nil || e.DstToString() != want {
			t.Errorf("%s: %v, %v", text, e, err)
		}
	}
	for _, bad := range []string{"", "192.0.2.1", "[fe80::1%nowhere]:7"} {
		if e, err := parseEndpoint(bad); err == nil {
			t.Errorf("%q is %v", bad, e)
		}
	}
}
