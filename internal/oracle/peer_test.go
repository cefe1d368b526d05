package oracle

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"testing"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"re6st/internal/lab"
	"re6st/internal/lab/packets"
	"re6st/tunnel/wg"
)

// peerPort is a real tunnel of the relay's, seen from its other end: a stock
// wireguard-go without an interface, which the loopback joins to the relay.
type peerPort struct {
	iface  string
	device *device.Device
	tun    *memoryTUN
}

// openTunnel makes a tunnel of the backend and its peer.
func openTunnel(t *testing.T, b wg.Backend, k tunnel) port {
	t.Helper()
	mine, err := wg.NewKey()
	lab.Must(t, err)
	theirs, err := wg.NewKey()
	lab.Must(t, err)
	relay, err := b.Create(wg.Config{
		Name: k.name(), PrivateKey: mine, MTU: k.mtu, Mark: mark,
		LinkLocal: netip.MustParseAddr(fmt.Sprintf("fe80::%d:1", k.number)),
	})
	lab.Must(t, err)
	t.Cleanup(func() { lab.Must(t, relay.Close()) })
	m := newMemoryTUN()
	log := &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf}
	d := device.NewDevice(m, conn.NewStdNetBind(), log)
	port, public := 40000+k.number, mine.Public()
	lab.Must(t, d.IpcSet(fmt.Sprintf("private_key=%x\nlisten_port=%d\npublic_key=%x\nendpoint=127.0.0.1:%d\nallowed_ip=::/0\nallowed_ip=0.0.0.0/0\n",
		[]byte(theirs[:]), port, []byte(public[:]), relay.Port())))
	lab.Must(t, d.Up())
	lab.Must(t, relay.SetPeer(wg.Peer{
		PublicKey: theirs.Public(), Endpoint: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)),
	}))
	return &peerPort{iface: k.name(), device: d, tun: m}
}

// backend is that of this test run: the kernel's in the kernel lane.
func backend(t *testing.T, kind string) wg.Backend {
	t.Helper()
	b, _, err := wg.Select(kind, wg.PortRange{}, slog.New(slog.DiscardHandler))
	lab.Must(t, err)
	t.Cleanup(func() { lab.Must(t, b.Close()) })
	return b
}

func (p *peerPort) name() string { return p.iface }
func (p *peerPort) close()       { p.device.Close() }

func (p *peerPort) inject(x packets.Packet) error {
	p.tun.out <- x.Bytes
	return nil
}

func (p *peerPort) drain() ([]outcome, error) {
	var all []outcome
	for _, b := range p.tun.take() {
		all = append(all, outcome{p.iface, "whole", b})
	}
	return all, nil
}

// memoryTUN is no interface.
type memoryTUN struct {
	out    chan []byte
	closed chan struct{}
	once   sync.Once
	events chan tun.Event

	mu sync.Mutex // guards in
	in [][]byte
}

func newMemoryTUN() *memoryTUN {
	return &memoryTUN{out: make(chan []byte, 1024), closed: make(chan struct{}), events: make(chan tun.Event)}
}

func (m *memoryTUN) File() *os.File           { return nil }
func (m *memoryTUN) MTU() (int, error)        { return 1500, nil }
func (m *memoryTUN) Name() (string, error)    { return "memory", nil }
func (m *memoryTUN) Events() <-chan tun.Event { return m.events }
func (m *memoryTUN) BatchSize() int           { return 128 }

func (m *memoryTUN) Close() error {
	m.once.Do(func() { close(m.closed); close(m.events) })
	return nil
}

func (m *memoryTUN) Read(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	select {
	case <-m.closed:
		return 0, os.ErrClosed
	case b := <-m.out:
		for {
			sizes[n] = copy(bufs[n][offset:], b)
			if n++; n == len(bufs) {
				return n, nil
			}
			select {
			case b = <-m.out:
			default:
				return n, nil
			}
		}
	}
}

func (m *memoryTUN) Write(bufs [][]byte, offset int) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range bufs {
		m.in = append(m.in, append([]byte{}, b[offset:]...))
	}
	return len(bufs), nil
}

func (m *memoryTUN) take() [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.in
	m.in = nil
	return all
}
