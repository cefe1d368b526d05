package wg

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// kernelBackend makes interfaces of kind wireguard.
type kernelBackend struct {
	links  links
	ports  *ports
	client *wgctrl.Client
	genl   wireguardFamily
}

// newKernel tries whether the kernel really can: the module may be missing, be
// forbidden, or be there in a version that does not load.
func newKernel(r PortRange) (*kernelBackend, error) {
	p, err := newPorts(r)
	if err != nil {
		return nil, err
	}
	l, err := openLinks()
	if err != nil {
		return nil, err
	}
	b := &kernelBackend{links: l, ports: p}
	if err := b.probe(); err != nil {
		l.close()
		return nil, fmt.Errorf("kernel WireGuard: %w", err)
	}
	if b.client, err = wgctrl.New(); err != nil {
		l.close()
		return nil, fmt.Errorf("kernel WireGuard: opening its control: %w", err)
	}
	return b, nil
}

func (b *kernelBackend) probe() error {
	name := fmt.Sprintf("re6st-p%07x", rand.Uint32N(1<<28))
	link := &netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: name}}
	err := b.links.handle.LinkAdd(link)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: the kernel has no such interfaces (modprobe wireguard)", ErrUnsupported)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: %w (this needs root, or CAP_NET_ADMIN)", ErrUnsupported, err)
	case err != nil:
		return fmt.Errorf("%w: making a probe interface: %w", ErrUnsupported, err)
	}
	b.genl, err = findWireguardFamily()
	if e := b.links.handle.LinkDel(link); e != nil {
		return fmt.Errorf("removing the probe interface: %w", e)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return nil
}

func (b *kernelBackend) Kind() string { return Kernel }

func (b *kernelBackend) Close() error {
	b.links.close()
	return b.client.Close()
}

func (b *kernelBackend) Create(c Config) (Device, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := b.links.checkName(c.Name); err != nil {
		return nil, err
	}
	link := &netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: c.Name, MTU: c.MTU}}
	if err := b.links.handle.LinkAdd(link); err != nil {
		if errors.Is(err, unix.EEXIST) {
			err = ErrNameTaken
		}
		return nil, fmt.Errorf("creating tunnel interface %s: %w", c.Name, err)
	}
	d := &kernelDevice{backend: b, name: c.Name}
	if err := d.start(c); err != nil {
		return nil, errors.Join(fmt.Errorf("creating tunnel interface %s: %w", c.Name, err), d.Close())
	}
	return d, nil
}

// kernelDevice is one interface of the kernel's.
type kernelDevice struct {
	backend *kernelBackend
	name    string
	index   int
	port    uint16

	mu     sync.Mutex
	peer   Key
	closed bool
}

func (d *kernelDevice) start(c Config) error {
	link, err := d.backend.links.handle.LinkByName(c.Name)
	if err != nil {
		return fmt.Errorf("looking for it: %w", err)
	}
	d.index = link.Attrs().Index
	if err := d.backend.links.setUp(link, c); err != nil {
		return err
	}
	key, mark := wgtypes.Key(c.PrivateKey), int(c.Mark)
	config := wgtypes.Config{PrivateKey: &key, FirewallMark: &mark}
	if err := d.backend.client.ConfigureDevice(c.Name, config); err != nil {
		return fmt.Errorf("setting its key and mark: %w", err)
	}
	// The kernel binds the port when the interface comes up.
	d.port, err = bindPort(d.backend.ports, c.Port, func(port uint16) error {
		n := int(port)
		if err := d.backend.client.ConfigureDevice(c.Name, wgtypes.Config{ListenPort: &n}); err != nil {
			return fmt.Errorf("setting its port: %w", err)
		}
		return d.backend.links.handle.LinkSetUp(link)
	})
	if err != nil {
		return err
	}
	return d.backend.links.start(link, c)
}

func (d *kernelDevice) Name() string { return d.name }
func (d *kernelDevice) Index() int   { return d.index }
func (d *kernelDevice) Port() uint16 { return d.port }

func (d *kernelDevice) SetPeer(p Peer) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("interface %s: %w", d.name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fmt.Errorf("interface %s: %w", d.name, errClosed)
	}
	if err := d.backend.genl.setPeer(d.index, p, p.PublicKey != d.peer); err != nil {
		return fmt.Errorf("setting the peer of %s: %w", d.name, err)
	}
	d.peer = p.PublicKey
	return nil
}

func (d *kernelDevice) Stats() (Stats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return Stats{}, fmt.Errorf("interface %s: %w", d.name, errClosed)
	}
	device, err := d.backend.client.Device(d.name)
	if errors.Is(err, os.ErrNotExist) {
		return Stats{}, fmt.Errorf("interface %s: %w", d.name, errClosed)
	}
	if err != nil {
		return Stats{}, fmt.Errorf("reading the state of %s: %w", d.name, err)
	}
	if len(device.Peers) == 0 {
		return Stats{}, nil
	}
	p := device.Peers[0]
	s := Stats{RxBytes: uint64(p.ReceiveBytes), TxBytes: uint64(p.TransmitBytes)}
	if !p.LastHandshakeTime.IsZero() && p.LastHandshakeTime.Unix() != 0 {
		s.LastHandshake = p.LastHandshakeTime
	}
	if p.Endpoint != nil {
		a := p.Endpoint.AddrPort()
		s.Endpoint = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return s, nil
}

func (d *kernelDevice) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	link := &netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: d.name, Index: d.index}}
	if err := d.backend.links.handle.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("deleting interface %s: %w", d.name, err)
	}
	d.closed = true
	if d.port != 0 {
		d.backend.ports.give(d.port)
	}
	return nil
}
