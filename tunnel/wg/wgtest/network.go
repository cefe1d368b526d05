package wgtest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"re6st/tunnel/wg"
)

// firstPort is where the ports of each backend begin.
const firstPort = 6327

// Network is an underlay. Its zero value is not ready: New.
type Network struct {
	mu      sync.Mutex
	devices []*Device
	cut     map[[2]netip.Addr]bool
	index   int
}

// New makes an underlay without hosts.
func New() *Network {
	return &Network{cut: make(map[[2]netip.Addr]bool)}
}

// Backend gives a host its devices. The address is where others find them.
func (n *Network) Backend(host netip.Addr) *Backend {
	return &Backend{network: n, host: host, nextPort: firstPort}
}

// Cut stops, or allows again, what goes between two hosts. A session that stands
// stays in the Stats, as it would.
func (n *Network) Cut(a, b netip.Addr, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]netip.Addr{a, b}], n.cut[[2]netip.Addr{b, a}] = cut, cut
	if !cut {
		n.handshakeLocked()
	}
}

// Devices are the open ones of all hosts, for a test that looks for leaks.
func (n *Network) Devices() []*Device {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.devices)
}

// handshakeLocked makes every session that can be.
func (n *Network) handshakeLocked() {
	for i, a := range n.devices {
		for _, b := range n.devices[i+1:] {
			if a.matches(b) && b.matches(a) && (a.finds(b) || b.finds(a)) && !n.cut[[2]netip.Addr{a.backend.host, b.backend.host}] {
				a.session(b)
				b.session(a)
			}
		}
	}
}

// Backend is one host's wg.Backend.
type Backend struct {
	network  *Network
	host     netip.Addr
	nextPort uint16 // guarded by network.mu
	failure  error  // guarded by network.mu
}

var _ wg.Backend = (*Backend)(nil)

// Kind is that of the userspace backend: what a host without kernel WireGuard has.
func (b *Backend) Kind() string { return wg.Userspace }

// Close does nothing: devices stay.
func (b *Backend) Close() error { return nil }

// Fail makes Create fail, until it is called with nil.
func (b *Backend) Fail(err error) {
	b.network.mu.Lock()
	defer b.network.mu.Unlock()
	b.failure = err
}

// Create makes a device, as the contract of wg.Backend says.
func (b *Backend) Create(c wg.Config) (wg.Device, error) {
	n := b.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if b.failure != nil {
		return nil, fmt.Errorf("creating tunnel interface %s: %w", c.Name, b.failure)
	}
	if c.Name == "" || len(c.Name) > 15 || strings.ContainsAny(c.Name, "/ ") {
		return nil, fmt.Errorf("interface name %q: not usable", c.Name)
	}
	if c.PrivateKey.IsZero() || !c.LinkLocal.IsLinkLocalUnicast() {
		return nil, fmt.Errorf("creating tunnel interface %s: no key or no link-local address", c.Name)
	}
	for _, d := range n.devices {
		if d.backend == b && d.config.Name == c.Name {
			return nil, fmt.Errorf("interface %s: %w", c.Name, wg.ErrNameTaken)
		}
	}
	if c.Port == 0 {
		c.Port = b.nextPort
		b.nextPort++
	}
	n.index++
	d := &Device{backend: b, config: c, index: n.index}
	n.devices = append(n.devices, d)
	return d, nil
}

// Device is one wg.Device without an interface.
type Device struct {
	backend *Backend
	config  wg.Config
	index   int

	// guarded by Network.mu
	peer   wg.Peer
	other  *Device // of the session
	stats  wg.Stats
	closed bool
}

var _ wg.Device = (*Device)(nil)

var errClosed = errors.New("closed")

func (d *Device) Name() string { return d.config.Name }
func (d *Device) Index() int   { return d.index }
func (d *Device) Port() uint16 { return d.config.Port }

// Config is what the device was made of.
func (d *Device) Config() wg.Config { return d.config }

// Endpoint is where others reach it.
func (d *Device) Endpoint() netip.AddrPort {
	return netip.AddrPortFrom(d.backend.host, d.config.Port)
}

// Peer is what SetPeer set last.
func (d *Device) Peer() wg.Peer {
	d.backend.network.mu.Lock()
	defer d.backend.network.mu.Unlock()
	return d.peer
}

func (d *Device) SetPeer(p wg.Peer) error {
	n := d.backend.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if d.closed {
		return fmt.Errorf("interface %s: %w", d.config.Name, errClosed)
	}
	if p.PublicKey.IsZero() {
		return fmt.Errorf("interface %s: peer without public key", d.config.Name)
	}
	if p.PublicKey != d.peer.PublicKey {
		d.other, d.stats = nil, wg.Stats{}
	}
	d.peer = p
	if d.stats.Endpoint == (netip.AddrPort{}) || p.Endpoint.IsValid() {
		d.stats.Endpoint = p.Endpoint
	}
	n.handshakeLocked()
	return nil
}

func (d *Device) Stats() (wg.Stats, error) {
	n := d.backend.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if d.closed {
		return wg.Stats{}, fmt.Errorf("interface %s: %w", d.config.Name, errClosed)
	}
	return d.stats, nil
}

func (d *Device) Close() error {
	n := d.backend.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	n.devices = slices.DeleteFunc(n.devices, func(o *Device) bool { return o == d })
	if d.other != nil {
		d.other.other = nil
	}
	return nil
}

// Deliver counts bytes as sent to the other end, and there as received, and says
// whether there is a session to carry them.
func (d *Device) Deliver(bytes uint64) bool {
	n := d.backend.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if d.closed {
		return false
	}
	d.stats.TxBytes += bytes
	if d.other == nil || n.cut[[2]netip.Addr{d.backend.host, d.other.backend.host}] {
		return false
	}
	d.other.stats.RxBytes += bytes
	return true
}

// matches: d has b as its peer.
func (d *Device) matches(b *Device) bool {
	return d.peer.PublicKey == b.config.PrivateKey.Public() && d.peer.PresharedKey == b.peer.PresharedKey
}

func (d *Device) finds(b *Device) bool { return d.peer.Endpoint == b.Endpoint() }

// The sizes of WireGuard's handshake messages: both ends count them.
const (
	initiationBytes = 148
	responseBytes   = 92
)

func (d *Device) session(b *Device) {
	if d.other == b {
		return
	}
	d.other = b
	d.stats.LastHandshake = time.Now()
	d.stats.Endpoint = b.Endpoint()
	if d.peer.Endpoint.IsValid() {
		d.stats.TxBytes += initiationBytes
		d.stats.RxBytes += responseBytes
		return
	}
	d.stats.RxBytes += initiationBytes
	d.stats.TxBytes += responseBytes
}
