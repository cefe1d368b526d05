package wg

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// The two backends.
const (
	Kernel    = "kernel"
	Userspace = "userspace"
	Auto      = "auto" // kernel where it can, else userspace
)

const (
	// DefaultMTU leaves room for an outer IPv6 header in 1500 bytes.
	DefaultMTU = 1420
	minMTU     = 1280 // RFC 8200, section 5
	maxMTU     = 65535 - 80

	longestName = 15 // IFNAMSIZ - 1
)

// Errors that a caller branches on.
var (
	// ErrUnsupported: this host cannot have such devices; the text says why and
	// what helps.
	ErrUnsupported = errors.New("not supported on this host")
	// ErrNameTaken: an interface or a control socket of that name exists. Namespaces
	// of a host share /run, so it may be another namespace's.
	ErrNameTaken = errors.New("name in use")
	// ErrNoPort: no port of the range is free.
	ErrNoPort = errors.New("no free UDP port")
)

// Backend makes devices. Its methods may be called by several goroutines.
type Backend interface {
	// Kind is Kernel or Userspace.
	Kind() string
	// Create makes an interface and brings it up. On an error nothing of it
	// stays.
	Create(Config) (Device, error)
	// Close gives back what the backend itself holds. Devices stay: close
	// them first.
	Close() error
}

// Device is one interface with, after SetPeer, one peer.
type Device interface {
	Name() string
	Index() int
	// Port is where peers send to. Several devices may have the same.
	Port() uint16
	// SetPeer sets the peer, in the place of an earlier one with another key.
	// With the same key it changes the rest, and a session that stands goes on.
	SetPeer(Peer) error
	// Stats are those of now.
	Stats() (Stats, error)
	// Close removes the interface. After it all methods but Name, Index, Port
	// and Close fail; a second Close does nothing.
	Close() error
}

// Config is what a device is made of.
type Config struct {
	Name       string     // re6st-xxxxxxxx
	Alias      string     // ifalias: kernel.Alias of the instance and the peer's name
	Group      uint32     // kernel.Group of the instance; 0: the kernel's default group
	PrivateKey Key        // made for this tunnel alone
	Port       uint16     // 0: one of the backend's range
	Mark       uint32     // on the outer packets
	MTU        int        // 0: DefaultMTU
	LinkLocal  netip.Addr // the only address
}

// Peer is the other end.
type Peer struct {
	PublicKey    Key
	PresharedKey Key            // zero: none
	Endpoint     netip.AddrPort // zero: wait for the peer. A link-local one needs its zone.
	Keepalive    time.Duration  // 0: none; whole seconds
}

// Stats of a device. Bytes are those of WireGuard's messages, keepalives and
// handshakes included.
type Stats struct {
	LastHandshake time.Time // zero: never
	RxBytes       uint64
	TxBytes       uint64
	Endpoint      netip.AddrPort // from where the peer was last heard
}

// PortRange is what an operator opens in a firewall. The zero range is the
// default one.
type PortRange struct{ First, Last uint16 }

// DefaultPorts is 6327 to 6582.
var DefaultPorts = PortRange{First: 6327, Last: 6582}

func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

func (c Config) withDefaults() Config {
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	return c
}

func (c Config) check() error {
	switch {
	case c.Name == "" || len(c.Name) > longestName || strings.ContainsAny(c.Name, "/ \t\n"):
		return fmt.Errorf("interface name %q: not usable", c.Name)
	case c.MTU < minMTU || c.MTU > maxMTU:
		return fmt.Errorf("MTU %d of %s: want one from %d to %d", c.MTU, c.Name, minMTU, maxMTU)
	case !c.LinkLocal.Is6() || !c.LinkLocal.IsLinkLocalUnicast():
		return fmt.Errorf("address %v of %s: not an IPv6 link-local one", c.LinkLocal, c.Name)
	case c.PrivateKey.IsZero():
		return fmt.Errorf("interface %s: no private key", c.Name)
	}
	return nil
}

func (p Peer) check() error {
	switch {
	case p.PublicKey.IsZero():
		return errors.New("peer without public key")
	case p.Keepalive < 0 || p.Keepalive > 65535*time.Second:
		return fmt.Errorf("keepalive %v: want one up to 65535 s", p.Keepalive)
	}
	return nil
}
