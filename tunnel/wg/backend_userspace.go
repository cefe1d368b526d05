package wg

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"re6st/tunnel/wg/userspace"
)

// userspaceBackend makes wireguard-go devices, which have one port of the range
// together: the first that is free when the first of them comes up.
type userspaceBackend struct {
	links    links
	ports    *ports
	underlay *userspace.Underlay
	log      *slog.Logger
}

func newUserspace(r PortRange, log *slog.Logger) (*userspaceBackend, error) {
	if err := userspace.Supported(); err != nil {
		return nil, fmt.Errorf("wireguard-go: %w: %w", ErrUnsupported, err)
	}
	p, err := newPorts(r)
	if err != nil {
		return nil, err
	}
	l, err := openLinks()
	if err != nil {
		return nil, err
	}
	return &userspaceBackend{links: l, ports: p, underlay: userspace.NewUnderlay(log), log: log}, nil
}

func (b *userspaceBackend) Kind() string { return Userspace }

// Dropped counts datagrams that reached no device, by why.
func (b *userspaceBackend) Dropped() map[string]uint64 { return b.underlay.Dropped() }

func (b *userspaceBackend) Close() error {
	b.links.close()
	userspace.RemoveSocketDir()
	return nil
}

func (b *userspaceBackend) Create(c Config) (Device, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := b.links.checkName(c.Name); err != nil {
		return nil, err
	}
	d, err := b.create(c)
	if err != nil {
		return nil, fmt.Errorf("creating tunnel interface %s: %w", c.Name, err)
	}
	return d, nil
}

func (b *userspaceBackend) create(c Config) (*userspaceDevice, error) {
	u, err := userspace.New(b.underlay, c.Name, c.MTU, b.log)
	if err != nil {
		return nil, err
	}
	d := &userspaceDevice{backend: b, device: u, name: c.Name}
	if err := d.start(c); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// userspaceDevice is one device of wireguard-go.
type userspaceDevice struct {
	backend *userspaceBackend
	device  *userspace.Device
	name    string
	index   int
	port    uint16

	mu     sync.Mutex
	peer   Key
	closed bool
}

func (d *userspaceDevice) start(c Config) error {
	link, err := d.backend.links.handle.LinkByName(c.Name)
	if err != nil {
		return fmt.Errorf("looking for it: %w", err)
	}
	d.index = link.Attrs().Index
	if err := d.backend.links.setUp(link, c); err != nil {
		return err
	}
	key := hex.EncodeToString(c.PrivateKey[:])
	if err := d.device.Configure(fmt.Sprintf("private_key=%s\nfwmark=%d\n", key, c.Mark)); err != nil {
		return err
	}
	if d.port, err = d.join(c.Port); err != nil {
		return err
	}
	return d.backend.links.start(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: d.index, Name: c.Name}}, c)
}

// join opens the port that all devices share, or takes part in it. Others' programs
// may have some of the range.
func (d *userspaceDevice) join(wanted uint16) (uint16, error) {
	first, last := d.backend.ports.r.First, d.backend.ports.r.Last
	if wanted != 0 {
		first, last = wanted, wanted
	}
	for port := int(first); port <= int(last); port++ {
		err := d.device.Configure(fmt.Sprintf("listen_port=%d\n", port))
		if err == nil {
			err = d.device.Up()
		}
		if errors.Is(err, unix.EADDRINUSE) && wanted == 0 {
			continue
		}
		if err != nil {
			return 0, err
		}
		return d.joined(wanted)
	}
	return 0, fmt.Errorf("tunnel ports %v: %w; give another range", d.backend.ports.r, ErrNoPort)
}

// joined reads which port it is.
func (d *userspaceDevice) joined(wanted uint16) (uint16, error) {
	values, err := d.device.Read()
	if err != nil {
		return 0, err
	}
	port, err := strconv.ParseUint(values["listen_port"], 10, 16)
	if err != nil {
		return 0, fmt.Errorf("reading the port of %s: %w", d.name, err)
	}
	if wanted != 0 && uint16(port) != wanted {
		return 0, fmt.Errorf("UDP port %d: all tunnels of this process share %d: %w", wanted, port, unix.EADDRINUSE)
	}
	return uint16(port), nil
}

func (d *userspaceDevice) Name() string { return d.name }
func (d *userspaceDevice) Index() int   { return d.index }
func (d *userspaceDevice) Port() uint16 { return d.port }

func (d *userspaceDevice) SetPeer(p Peer) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("interface %s: %w", d.name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fmt.Errorf("interface %s: %w", d.name, errClosed)
	}
	if err := d.device.Configure(peerLines(p, d.peer)); err != nil {
		return err
	}
	d.peer = p.PublicKey
	return nil
}

var errClosed = errors.New("closed")

// peerLines is the cross-platform interface's form. Replacing the peers ends
// their sessions: only when the key is another.
func peerLines(p Peer, before Key) string {
	var b strings.Builder
	if p.PublicKey != before {
		b.WriteString("replace_peers=true\n")
	}
	fmt.Fprintf(&b, "public_key=%s\n", hex.EncodeToString(p.PublicKey[:]))
	fmt.Fprintf(&b, "preshared_key=%s\n", hex.EncodeToString(p.PresharedKey[:]))
	if p.Endpoint.IsValid() {
		fmt.Fprintf(&b, "endpoint=%v\n", netip.AddrPortFrom(p.Endpoint.Addr().Unmap(), p.Endpoint.Port()))
	}
	fmt.Fprintf(&b, "persistent_keepalive_interval=%d\n", int(p.Keepalive/time.Second))
	b.WriteString("replace_allowed_ips=true\nallowed_ip=::/0\nallowed_ip=0.0.0.0/0\n")
	return b.String()
}

func (d *userspaceDevice) Stats() (Stats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || isClosed(d.device.Closed()) {
		return Stats{}, fmt.Errorf("interface %s: %w", d.name, errClosed)
	}
	values, err := d.device.Read()
	if err != nil {
		return Stats{}, err
	}
	return statsOf(values), nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// statsOf reads what is there: before the first handshake some is not.
func statsOf(values map[string]string) Stats {
	number := func(key string) uint64 {
		n, _ := strconv.ParseUint(values[key], 10, 63)
		return n
	}
	s := Stats{RxBytes: number("rx_bytes"), TxBytes: number("tx_bytes")}
	if seconds := number("last_handshake_time_sec"); seconds != 0 {
		s.LastHandshake = time.Unix(int64(seconds), int64(number("last_handshake_time_nsec")))
	}
	s.Endpoint, _ = netip.ParseAddrPort(values["endpoint"])
	return s
}

func (d *userspaceDevice) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	return d.device.Close()
}
