package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Blocked says what of others' packets does not get through this host, although
// the kernel forwards: what another's firewall stops.
type Blocked struct {
	IPv6, IPv4 bool // forwarding from tunnel to tunnel
	Babel      bool // UDP 6696 of a neighbour, to this host
}

// Any says whether something is blocked.
func (b Blocked) Any() bool { return b.IPv6 || b.IPv4 || b.Babel }

const (
	// trialPatience is how long a packet may take through the kernel; it takes
	// microseconds, and is sent anew each trialPause.
	trialPatience = 600 * time.Millisecond
	trialPause    = 100 * time.Millisecond
	babelPort     = 6696
	// trialAlias tells people, and tests, that the interface is no tunnel.
	trialAlias = "trial of re6st"
)

// Trial is what Forwards needs.
type Trial struct {
	// Prefix, of the node's own, lends two addresses, drawn at random, so that no
	// rule for strangers is met. One too long to have some to spare is not used.
	Prefix netip.Prefix
	Table  uint32 // in which the mesh's prefixes are looked up
	IPv4   bool   // try that as well
}

// Forwards finds out by sending packets through the host: between two interfaces
// that are named as tunnels are, exist for the moment of the trial, and vanish
// with our process. Reading the firewall's rules could not tell: they are in
// nftables, in iptables' older tables and in eBPF, and jump. An error means that
// no trial was possible.
func Forwards(c Trial) (Blocked, error) {
	t, err := newTrial()
	if err != nil {
		return Blocked{}, fmt.Errorf("trying whether this host forwards: %w", err)
	}
	defer t.close()
	var b Blocked
	from, to, table := t.addresses6(c)
	arrives, err := t.forwards(from, to, table)
	b.IPv6 = !arrives
	if err == nil && c.IPv4 {
		from, to = t.addresses4()
		arrives, err = t.forwards(from, to, unix.RT_TABLE_MAIN)
		b.IPv4 = !arrives
	}
	if err == nil {
		arrives, err = t.hearsBabel()
		b.Babel = !arrives
	}
	if err != nil {
		return Blocked{}, fmt.Errorf("trying whether this host forwards: %w", err)
	}
	return b, nil
}

// trial is two TUN interfaces: what is written to the one is to be read from the
// other.
type trial struct {
	ends  [2]*os.File
	names [2]string
	index [2]int
	token [16]byte
}

func newTrial() (*trial, error) {
	t := &trial{}
	_, _ = rand.Read(t.token[:]) // never fails (crypto/rand)
	for i := range t.ends {
		var err error
		t.names[i] = fmt.Sprintf("%s%s", TunnelPrefix, hex.EncodeToString(t.token[4*i:4*i+4]))
		if t.ends[i], t.index[i], err = openTUN(t.names[i]); err != nil {
			t.close()
			return nil, err
		}
	}
	return t, nil
}

func (t *trial) close() {
	for _, f := range t.ends {
		if f != nil {
			_ = f.Close()
		}
	}
}

func openTUN(name string) (*os.File, int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, 0, fmt.Errorf("making interface %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name) // with the poller: it has deadlines
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetAlias(link, trialAlias)
	}
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, fmt.Errorf("setting up interface %s: %w", name, err)
	}
	return f, link.Attrs().Index, nil
}

// spareBits is how many bits of a prefix must be free for a random address in it
// to be nobody's.
const spareBits = 48

// addresses6 are two of the node's own prefix, or of a unique local network that
// is drawn at random, and the table in which their routes are looked up.
func (t *trial) addresses6(c Trial) (from, to netip.Addr, table int) {
	b := [16]byte{0xfd}
	copy(b[1:], t.token[:])
	table = unix.RT_TABLE_MAIN
	if p := c.Prefix.Masked(); p.IsValid() && p.Addr().Is6() && p.Bits() <= 128-spareBits {
		own := p.Addr().As16()
		for bit := range p.Bits() {
			mask := byte(0x80) >> (bit % 8)
			b[bit/8] = b[bit/8]&^mask | own[bit/8]&mask
		}
		table = int(c.Table)
	}
	b[15] = 1
	from = netip.AddrFrom16(b)
	return from, from.Next(), table
}

// addresses4 are two that no host has: of a network for documentation (RFC 5737).
func (t *trial) addresses4() (from, to netip.Addr) {
	from = netip.AddrFrom4([4]byte{203, 0, 113, t.token[15]&0x7e | 0x80})
	return from, from.Next()
}

// forwards says whether a packet from the one end comes out of the other. Both
// addresses have a route, as reverse path filters want it; the routes go with
// the interfaces.
func (t *trial) forwards(from, to netip.Addr, table int) (bool, error) {
	for i, a := range []netip.Addr{from, to} {
		// By their protocol no one takes them for routes of the mesh.
		r := &netlink.Route{
			LinkIndex: t.index[i], Table: table, Protocol: unix.RTPROT_STATIC, Dst: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}, Scope: netlink.SCOPE_LINK,
		}
		if err := netlink.RouteAdd(r); err != nil {
			return false, fmt.Errorf("adding a route to %v: %w", a, err)
		}
	}
	packet := datagram(netip.AddrPortFrom(from, babelPort), netip.AddrPortFrom(to, 9), 64, t.token[:])
	buf := make([]byte, 2048)
	return t.repeat(packet, func(deadline time.Time) (bool, error) {
		if err := t.ends[1].SetReadDeadline(deadline); err != nil {
			return false, err
		}
		n, err := t.ends[1].Read(buf) // the kernel speaks there as well
		return err == nil && n >= len(t.token) && string(buf[n-len(t.token):n]) == string(t.token[:]), err
	})
}

// repeat writes the packet now and then until it has arrived, or time is over.
func (t *trial) repeat(packet []byte, arrived func(deadline time.Time) (bool, error)) (bool, error) {
	end := time.Now().Add(trialPatience)
	for time.Now().Before(end) {
		if _, err := t.ends[0].Write(packet); err != nil {
			return false, fmt.Errorf("sending a packet through %s: %w", t.names[0], err)
		}
		for pause := time.Now().Add(trialPause); time.Now().Before(pause); {
			ok, err := arrived(pause)
			switch {
			case ok:
				return true, nil
			case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
				return false, err
			}
		}
	}
	return false, nil
}

// hearsBabel says whether a neighbour's packet to Babel's port reaches a socket:
// a unicast one, so that no membership in a group matters.
func (t *trial) hearsBabel() (bool, error) {
	own, err := linkLocal(t.index[0])
	if err != nil {
		return false, err
	}
	config := net.ListenConfig{Control: boundTo(t.names[0], 0)}
	conn, err := config.ListenPacket(context.Background(), "udp6", fmt.Sprintf("[::]:%d", babelPort))
	if err != nil {
		return false, fmt.Errorf("listening on UDP %d: %w", babelPort, err)
	}
	defer func() { _ = conn.Close() }()
	neighbour := netip.AddrPortFrom(netip.MustParseAddr("fe80::6:6:9:6"), babelPort)
	packet := datagram(neighbour, netip.AddrPortFrom(own, babelPort), 1, t.token[:])
	buf := make([]byte, 2048)
	return t.repeat(packet, func(deadline time.Time) (bool, error) {
		if err := conn.SetReadDeadline(deadline); err != nil {
			return false, err
		}
		n, _, err := conn.ReadFrom(buf)
		return err == nil && string(buf[:n]) == string(t.token[:]), err
	})
}

// linkLocal gives the interface a link-local address and returns it.
func linkLocal(index int) (netip.Addr, error) {
	a := netip.MustParseAddr("fe80::6:6:9:5")
	err := netlink.AddrAdd(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}, &netlink.Addr{
		IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD,
	})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return a, fmt.Errorf("adding address %v: %w", a, err)
	}
	return a, nil
}

// datagram is a UDP packet of either family (RFC 768, RFC 791, RFC 8200).
func datagram(from, to netip.AddrPort, hops byte, payload []byte) []byte {
	src, dst := from.Addr().AsSlice(), to.Addr().AsSlice()
	udp := make([]byte, 0, 8+len(payload))
	udp = binary.BigEndian.AppendUint16(udp, from.Port())
	udp = binary.BigEndian.AppendUint16(udp, to.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(udp, 0, 0)
	udp = append(udp, payload...)
	pseudo := append(append([]byte{}, src...), dst...)
	pseudo = append(pseudo, 0, unix.IPPROTO_UDP)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(udp)))
	binary.BigEndian.PutUint16(udp[6:], checksum(append(pseudo, udp...)))

	var header []byte
	if from.Addr().Is4() {
		header = []byte{0x45, 0, 0, 0, 0, 0, 0, 0, hops, unix.IPPROTO_UDP, 0, 0}
		binary.BigEndian.PutUint16(header[2:], uint16(20+len(udp)))
		header = append(append(header, src...), dst...)
		binary.BigEndian.PutUint16(header[10:], checksum(header))
	} else {
		header = []byte{0x60, 0, 0, 0, 0, 0, unix.IPPROTO_UDP, hops}
		binary.BigEndian.PutUint16(header[4:], uint16(len(udp)))
		header = append(append(header, src...), dst...)
	}
	return append(header, udp...)
}

// checksum is the Internet's (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i, c := range b {
		sum += uint32(c) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
