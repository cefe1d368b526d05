package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"re6st/internal/border"
)

// tokenSize is that of the payload: nobody who does not see our echoes can
// answer them.
const tokenSize = 16

// echoer asks for echoes by one interface, outside the mesh.
type echoer struct {
	family border.Family
	iface  string
	token  [tokenSize]byte
	seq    uint16
	conn   net.PacketConn
	done   chan struct{} // closed when the reader is gone
}

// openEchoer calls answered, from a goroutine of its own, with the address of
// each answer.
func openEchoer(f border.Family, iface string, mark uint32, answered func(netip.Addr)) (*echoer, error) {
	config := net.ListenConfig{Control: boundTo(iface, mark)}
	network := "ip4:icmp"
	if f == border.IPv6 {
		network = "ip6:ipv6-icmp"
	}
	conn, err := config.ListenPacket(context.Background(), network, "")
	if err != nil {
		return nil, fmt.Errorf("opening a socket for echoes on %s: %w", iface, err)
	}
	e := &echoer{family: f, iface: iface, conn: conn, done: make(chan struct{})}
	_, _ = rand.Read(e.token[:]) // never fails (crypto/rand)
	if f == border.IPv6 {
		var filter ipv6.ICMPFilter
		filter.SetAll(true)
		filter.Accept(ipv6.ICMPTypeEchoReply)
		if err := ipv6.NewPacketConn(conn).SetICMPFilter(&filter); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("filtering echoes on %s: %w", iface, err)
		}
	}
	go e.read(answered)
	return e, nil
}

// boundTo binds a socket to an interface and, unless mark is 0, marks what it
// sends.
func boundTo(iface string, mark uint32) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var failure error
		err := c.Control(func(fd uintptr) {
			failure = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			if failure == nil {
				failure = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, iface)
			}
			if failure == nil && mark != 0 {
				failure = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
			}
		})
		return errors.Join(err, failure)
	}
}

func (e *echoer) close() {
	_ = e.conn.Close()
	<-e.done
}

func (e *echoer) read(answered func(netip.Addr)) {
	defer close(e.done)
	buf := make([]byte, 512)
	for {
		n, from, err := e.conn.ReadFrom(buf)
		if err != nil {
			return // closed
		}
		ip, ok := from.(*net.IPAddr)
		if !ok || !isAnswerTo(e.family, e.token[:], buf[:n]) {
			continue
		}
		if a, ok := netip.AddrFromSlice(ip.IP); ok {
			answered(a.Unmap())
		}
	}
}

// send asks; an error means that the kernel knows no way, which silence tells as
// well.
func (e *echoer) send(to netip.Addr) {
	e.seq++
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: int(binary.BigEndian.Uint16(e.token[:])), Seq: int(e.seq), Data: e.token[:]}}
	if e.family == border.IPv6 {
		m.Type = ipv6.ICMPTypeEchoRequest
	}
	b, err := m.Marshal(nil) // the kernel fills in the checksum of ICMPv6
	if err != nil {
		return
	}
	dst := &net.IPAddr{IP: to.AsSlice()}
	if to.IsLinkLocalUnicast() {
		dst.Zone = e.iface
	}
	_, _ = e.conn.WriteTo(b, dst)
}

// isAnswerTo: an echo reply with our token. Type, code, checksum, identifier and
// sequence are 8 bytes in both protocols (RFC 792, RFC 4443 section 4.2).
func isAnswerTo(f border.Family, token, b []byte) bool {
	kind := byte(ipv4.ICMPTypeEchoReply)
	if f == border.IPv6 {
		kind = byte(ipv6.ICMPTypeEchoReply)
	}
	const header = 8
	return len(b) == header+len(token) && b[0] == kind && b[1] == 0 && string(b[header:]) == string(token)
}
