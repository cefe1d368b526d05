package tun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"re6st/internal/nat64"
)

const (
	clonePath = "/dev/net/tun"
	// MTU is that of the device: the Internet's. Tunnels of the mesh have less, and
	// what does not fit into them the kernel answers by itself.
	MTU = 1500
	// headroom is where the library puts the virtio header.
	headroom = 16
	// packetBytes is room for a packet of the device's MTU.
	packetBytes = 2048
	// outBytes is room for the packets that the library puts behind it as one.
	outBytes = 65535
	outsMax  = 128
)

// Device is a TUN device and what flows through it.
type Device struct {
	device     tun.Device
	mu         sync.Mutex // guards translator
	translator *nat64.Translator
	counts     [nat64.Results]atomic.Uint64
	mappings   atomic.Int64

	// Owned by Run.
	outs   [][]byte // buffers with headroom
	filled [][]byte // the first of outs, each cut to its packet
}

// Open makes the device. Its name must be free.
func Open(name string, t *nat64.Translator) (*Device, error) {
	fd, err := unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openError(&fs.PathError{Op: "open", Path: clonePath, Err: err})
	}
	device, err := attach(fd, name)
	if err != nil {
		unix.Close(fd)
		return nil, openError(fmt.Errorf("making interface %s: %w", name, err))
	}
	return &Device{device: device, translator: t}, nil
}

func openError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w (modprobe tun; in a container, give it the device)", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (this needs root, or CAP_NET_ADMIN and access to the device)", err)
	}
	return err
}

// attach makes the interface, which the kernel may hand many packets as one
// (IFF_VNET_HDR). The MTU comes before the device, which reads it once; the
// descriptor must not block before it gets to the runtime's poller.
func attach(fd int, name string) (tun.Device, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, err
	}
	if err := setMTU(name); err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	device, _, err := tun.CreateUnmonitoredTUNFromFD(fd)
	return device, err
}

func setMTU(name string) error {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint32(MTU)
	return unix.IoctlIfreq(s, unix.SIOCSIFMTU, request)
}

// Close ends the device, and Run with it.
func (d *Device) Close() error { return d.device.Close() }

// Counts tells how many packets came to each result.
func (d *Device) Counts() map[string]uint64 {
	all := make(map[string]uint64, nat64.Results)
	for r := range nat64.Results {
		all[r.String()] = d.counts[r].Load()
	}
	return all
}

// Mappings is how many sources have an IPv4 address.
func (d *Device) Mappings() int { return int(d.mappings.Load()) }

// SetPrefix replaces the NAT64 prefix.
func (d *Device) SetPrefix(p netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.translator.SetPrefix(p)
}

// Run translates until ctx ends, and closes the device.
func (d *Device) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = d.device.Close() })
	defer stop()
	n := d.device.BatchSize()
	ins, sizes := make([][]byte, n), make([]int, n)
	for i := range ins {
		ins[i] = make([]byte, headroom+packetBytes)
	}
	d.outs, d.filled = make([][]byte, 0, outsMax), make([][]byte, 0, outsMax)
	next := d.next
	for {
		n, err := d.device.Read(ins, sizes, headroom)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, tun.ErrTooManySegments):
		case err != nil:
			return fmt.Errorf("reading from the NAT64 device: %w", err)
		}
		d.translate(time.Now(), ins[:n], sizes, next)
		if err := d.flush(); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func (d *Device) translate(now time.Time, ins [][]byte, sizes []int, next func(int) []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, in := range ins {
		r := d.translator.Translate(now, in[headroom:headroom+sizes[i]], next)
		d.counts[r].Add(1)
	}
	d.mappings.Store(int64(d.translator.Mappings()))
}

// next gives room for one more packet. What is full is written first.
func (d *Device) next(size int) []byte {
	if len(d.filled) == outsMax {
		_ = d.flush() // a device that is gone fails at the next read
	}
	if len(d.filled) == len(d.outs) {
		d.outs = append(d.outs, make([]byte, headroom+outBytes))
	}
	buffer := d.outs[len(d.filled)] // no packet is longer than that
	d.filled = append(d.filled, buffer[:headroom+size])
	return buffer[headroom : headroom+size]
}

// flush hands the packets to the kernel. One that it does not want is a lost
// packet, and no reason to end.
func (d *Device) flush() error {
	if len(d.filled) == 0 {
		return nil
	}
	_, err := d.device.Write(d.filled, headroom)
	d.filled = d.filled[:0]
	if errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("writing to the NAT64 device: %w", err)
	}
	return nil
}
