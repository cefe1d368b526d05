package userspace

import (
	"bufio"
	"crypto/ecdh"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"re6st/tunnel/wg/userspace/device"
)

// Device is one wireguard-go device. Its methods may be called by several
// goroutines.
type Device struct {
	name   string
	index  int
	device *device.Device
	share  *share
	relay  *relay
	uapi   net.Listener

	clients   sync.WaitGroup // the accept loop and those it serves
	closeOnce sync.Once

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once closed

	keyMu sync.Mutex
	key   string // private, in hexadecimal; what share knows of
}

// Index is that of the interface.
func (d *Device) Index() int { return d.index }

// MaxMTU is what fits into wireguard-go's buffers with header and tag.
const MaxMTU = device.MaxSegmentSize - device.MessageTransportSize

// New makes a TUN interface, which is down, and a device on it, which has no part
// in the Underlay before Up is called.
func New(u *Underlay, name string, mtu int, log *slog.Logger) (*Device, error) {
	if mtu > MaxMTU {
		return nil, fmt.Errorf("creating TUN interface %s: an MTU of %d is more than %d, which userspace tunnels can have", name, mtu, MaxMTU)
	}
	t, err := createTUN(name, mtu)
	if err != nil {
		return nil, fmt.Errorf("creating TUN interface %s: %w", name, err)
	}
	d := &Device{name: name, index: t.index, share: u.newShare(), relay: &u.relay, conns: make(map[net.Conn]struct{})}
	if d.uapi, err = listen(name); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the control socket of %s: %w", name, err), t.Close())
	}
	d.device = device.NewDevice(t, d.share, logger(name, log))
	d.relay.add(t.index, d.device)
	d.clients.Add(1)
	go d.serve()
	return d, nil
}

// logger passes wireguard-go's log on. Its errors are about single packets and
// sends that the next one repairs: debug is enough.
func logger(name string, log *slog.Logger) *device.Logger {
	line := func(format string, args ...any) {
		log.Debug("wireguard-go", "iface", name, "text", fmt.Sprintf(format, args...))
	}
	return &device.Logger{Verbosef: device.DiscardLogf, Errorf: line}
}

// Configure takes the lines of wireguard-go's "set" operation.
func (d *Device) Configure(lines string) error {
	if err := d.device.IpcSet(lines); err != nil {
		return fmt.Errorf("configuring %s: %w", d.name, errnoOf(err))
	}
	if strings.Contains(lines, "private_key=") {
		return d.learnKey()
	}
	return nil
}

// learnKey tells the Underlay by which key to know this device's initiations. The
// key may have come from wg(8).
func (d *Device) learnKey() error {
	values, err := d.Read()
	if err != nil {
		return err
	}
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	text := values["private_key"]
	if text == d.key || text == "" {
		return nil
	}
	public, err := publicKey(text)
	if err != nil {
		return fmt.Errorf("reading the key of %s: %w", d.name, err)
	}
	d.key = text
	d.share.setKey(public)
	return nil
}

// publicKey belongs to a private one in hexadecimal.
func publicKey(private string) (public device.NoisePublicKey, err error) {
	raw, err := hex.DecodeString(private)
	if err != nil {
		return public, err
	}
	key, err := ecdh.X25519().NewPrivateKey(raw)
	if err != nil {
		return public, err
	}
	copy(public[:], key.PublicKey().Bytes())
	return public, nil
}

// errnoOf makes the code in an IPC error one that errors.Is finds.
func errnoOf(err error) error {
	var ipcErr *device.IPCError
	if errors.As(err, &ipcErr) && ipcErr.ErrorCode() < 0 {
		return fmt.Errorf("%w: %w", err, unix.Errno(-ipcErr.ErrorCode()))
	}
	return err
}

// Up opens the port that was configured, or takes a share in the one that is open
// already. The interface's own state is not touched.
func (d *Device) Up() error {
	if err := d.device.Up(); err != nil {
		return fmt.Errorf("starting %s: %w", d.name, err)
	}
	return nil
}

// Read gives the values of wireguard-go's "get" operation; of one peer, as there
// is one.
func (d *Device) Read() (map[string]string, error) {
	text, err := d.device.IpcGet()
	if err != nil {
		return nil, fmt.Errorf("reading the state of %s: %w", d.name, err)
	}
	values := make(map[string]string)
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok {
			values[key] = value
		}
	}
	return values, lines.Err()
}

// Closed is closed when the device has ended, be it because its interface was
// deleted.
func (d *Device) Closed() <-chan struct{} { return d.device.Wait() }

// serve answers wg(8).
func (d *Device) serve() {
	defer d.clients.Done()
	for {
		c, err := d.uapi.Accept()
		if err != nil {
			return
		}
		if !d.add(c) {
			c.Close()
			return
		}
		go func() {
			defer d.clients.Done()
			d.device.IpcHandle(c)
			d.drop(c)
			_ = d.learnKey() // fails where the device is closed
		}()
	}
}

func (d *Device) add(c net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns == nil {
		return false
	}
	d.clients.Add(1)
	d.conns[c] = struct{}{}
	return true
}

func (d *Device) drop(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, c)
	c.Close()
}

// Close ends the device and its clients and removes interface and socket.
func (d *Device) Close() error {
	var err error
	d.closeOnce.Do(func() {
		d.mu.Lock()
		for c := range d.conns {
			c.Close()
		}
		d.conns = nil
		d.mu.Unlock()
		if err = d.uapi.Close(); err != nil { // which removes the file
			err = fmt.Errorf("closing the control socket of %s: %w", d.name, err)
		}
		d.relay.remove(d.device)
		d.device.Close()
		d.clients.Wait()
	})
	return err
}
