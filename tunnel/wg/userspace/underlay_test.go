package userspace

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	stock "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
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

// quietTUN does not have its device come up before its share knows it, as ours does
// not.
type quietTUN struct {
	tun.Device
	events chan tun.Event
}

func (q quietTUN) Events() <-chan tun.Event { return q.events }

func (q quietTUN) Close() error {
	close(q.events)
	return q.Device.Close()
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
		quiet := quietTUN{p.tun.TUN(), make(chan tun.Event)}
		p.ours = device.NewDevice(quiet, around(s), &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
		p.device = p.ours
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

// What wg(8) shows of a tunnel is what its other end shows.
func TestBothEndsSayTheSame(t *testing.T) {
	u := testUnderlay(t)
	a, b := newPeer(t, u, 1), newPeer(t, nil, 2)
	a.knows(b, "127.0.0.1")
	b.knows(a, "")
	a.reaches(b)
	b.reaches(a)
	packet := tuntest.Ping(b.inner, a.inner)
	for range 100 {
		a.tun.Outbound <- packet
	}
	await(t, "the same counters", func() bool {
		return a.get("tx_bytes") == b.get("rx_bytes") && a.get("rx_bytes") == b.get("tx_bytes")
	})
	if n, err := strconv.Atoi(a.get("tx_bytes")); err != nil || n < 100*len(packet) {
		t.Errorf("%d octets sent, %v", n, err)
	}
	if a.get("last_handshake_time_sec") == "0" || a.get("endpoint") != "127.0.0.1:"+b.get("listen_port") {
		t.Errorf("handshake %s, endpoint %s", a.get("last_handshake_time_sec"), a.get("endpoint"))
	}
}

// A stream in both directions does not notice that keys are replaced, which is
// every 120 s. Package device has the test that does not take its time.
func TestNewKeysInRealTime(t *testing.T) {
	if os.Getenv("RE6ST_SOAK") != "1" {
		t.Skip("in make soak: keys live for 120 s")
	}
	u := testUnderlay(t)
	a, b := newPeer(t, u, 1), newPeer(t, nil, 2)
	a.knows(b, "127.0.0.1")
	b.knows(a, "")
	a.reaches(b)
	b.reaches(a)
	first := a.get("last_handshake_time_sec")
	in, out := tuntest.Ping(a.inner, b.inner), tuntest.Ping(b.inner, a.inner)
	beforeA, beforeB := a.got.Load(), b.got.Load()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	sent := int64(0)
	for end := time.Now().Add(260 * time.Second); time.Now().Before(end); sent++ {
		<-tick.C
		b.tun.Outbound <- in
		a.tun.Outbound <- out
	}
	await(t, "all have arrived", func() bool { return a.got.Load() >= beforeA+sent && b.got.Load() >= beforeB+sent })
	if a.get("last_handshake_time_sec") == first {
		t.Error("no new keys")
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
	mark, err = unix.GetsockoptInt(u.sockets.Load().v6.fd, unix.SOL_SOCKET, unix.SO_MARK)
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
