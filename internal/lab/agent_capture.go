package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// CaptureArgs say what is allowed where.
type CaptureArgs struct {
	// Tunnel begins the names of interfaces on which only the mesh's own
	// addresses may be seen; all others but lo are underlay.
	Tunnel string
	Mesh   []netip.Prefix
	// OuterPorts are UDP ports that carry tunnels, and so must not be seen
	// inside of one.
	OuterPorts [2]uint16
	// Underlay, if there are any, are addresses of the mesh's own hosts on the
	// underlay. Inside tunnels all but those may be seen: the mesh has a gateway.
	Underlay []netip.Prefix
	// Secrets must not be seen on the underlay: label to bytes.
	Secrets map[string][]byte
}

// CaptureReply is what was seen.
type CaptureReply struct {
	Underlay, Inner uint64 // packets looked at
	Dropped         uint64 // packets that the kernel could not give us
	Offences        uint64
	Examples        []string // the first of them
}

// examplesMax bounds the report.
const examplesMax = 10

// captureBuffer is large because a loaded machine schedules the agent late.
const captureBuffer = 16 << 20

// CaptureStart begins to look at every packet of the host.
func (a *Agent) CaptureStart(args CaptureArgs, _ *struct{}) error {
	// Cooked: starts at the network layer on every kind of interface.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
	if err != nil {
		return fmt.Errorf("opening a packet socket: %w", err)
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer)
	tv := unix.NsecToTimeval(int64(200 * time.Millisecond))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		unix.Close(fd)
		return err
	}
	c := &capture{args: args, fd: fd, stop: make(chan struct{}), done: make(chan struct{}), names: map[int]string{}}
	go c.run()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.capture != nil {
		a.capture.end()
	}
	a.capture = c
	return nil
}

// CaptureStop ends it and reports.
func (a *Agent) CaptureStop(_ struct{}, reply *CaptureReply) error {
	a.mu.Lock()
	c := a.capture
	a.capture = nil
	a.mu.Unlock()
	if c == nil {
		return fmt.Errorf("nothing is being captured")
	}
	*reply = c.end()
	return nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// capture's fields belong to its goroutine until done is closed.
type capture struct {
	args       CaptureArgs
	fd         int
	stop, done chan struct{}
	once       sync.Once
	names      map[int]string // interfaces by index; those that are gone too
	report     CaptureReply
}

func (c *capture) end() CaptureReply {
	c.once.Do(func() { close(c.stop) })
	<-c.done
	return c.report
}

func (c *capture) run() {
	defer close(c.done)
	defer unix.Close(c.fd)
	buf := make([]byte, 65536)
	for {
		select {
		case <-c.stop:
			for c.next(buf, unix.MSG_DONTWAIT) { // what is in the queue was seen
			}
			if s, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
				c.report.Dropped = uint64(s.Drops)
			}
			return
		default:
		}
		c.next(buf, 0) // a time-out lets us look at stop
	}
}

// next looks at one packet; there may be none.
func (c *capture) next(buf []byte, flags int) bool {
	n, from, err := unix.Recvfrom(c.fd, buf, flags)
	if err != nil {
		return false
	}
	if ll, ok := from.(*unix.SockaddrLinklayer); ok {
		c.look(c.name(ll.Ifindex), buf[:n])
	}
	return true
}

func (c *capture) name(index int) string {
	if name, ok := c.names[index]; ok {
		return name
	}
	ifc, err := net.InterfaceByIndex(index)
	if err != nil {
		return "" // gone before we could ask; what it was cannot be told
	}
	c.names[index] = ifc.Name
	return ifc.Name
}

func (c *capture) look(name string, packet []byte) {
	switch {
	case name == "" || name == "lo":
	case strings.HasPrefix(name, c.args.Tunnel):
		c.report.Inner++
		if what := c.args.judgeInner(packet); what != "" {
			c.offence(name, what)
		}
	default:
		c.report.Underlay++
		if what := c.args.judgeOuter(packet); what != "" {
			c.offence(name, what)
		}
	}
}

func (c *capture) offence(name, what string) {
	c.report.Offences++
	if len(c.report.Examples) < examplesMax {
		c.report.Examples = append(c.report.Examples, name+": "+what)
	}
}

// judgeInner says what is wrong with a packet inside the mesh.
func (c *CaptureArgs) judgeInner(packet []byte) string {
	p, ok := parsePacket(packet)
	if !ok {
		return fmt.Sprintf("not IP: % x", packet[:min(len(packet), 16)])
	}
	if !c.mayBeInside(p) && !isTrial(p) {
		return "outer packet inside the mesh: " + p.String()
	}
	isTunnel := func(port uint16) bool { return port >= c.OuterPorts[0] && port <= c.OuterPorts[1] && port != 0 }
	if p.protocol == unix.IPPROTO_UDP && (isTunnel(p.sport) && isTunnel(p.dport)) {
		return "tunnel inside a tunnel: " + p.String()
	}
	return ""
}

// mayBeInside judges by the addresses. What a router says of a packet that it
// dropped may bear any address of the router. (What a host's kernel says of an
// outer packet stays at the host's edge, where it has nftables.)
func (c *CaptureArgs) mayBeInside(p packet) bool {
	if len(c.Underlay) == 0 {
		return c.isInner(p.src) && c.isInner(p.dst)
	}
	outer := func(a netip.Addr) bool { return !c.isInner(a) && contains(c.Underlay, a) }
	return p.isError || !outer(p.dst) && !outer(p.src) && (c.isInner(p.src) || c.isInner(p.dst))
}

// trialRange holds the IPv4 addresses of a node's trial whether its host
// forwards: it sends between two interfaces that exist for that moment.
var trialRange = netip.MustParsePrefix("203.0.113.128/25")

func isTrial(p packet) bool {
	return trialRange.Contains(p.src) && trialRange.Contains(p.dst) && p.sport == babelPort && p.dport == 9
}

func (c *CaptureArgs) isInner(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() || contains(c.Mesh, a)
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// babelPort is RFC 8966's.
const babelPort = 6696

// judgeOuter says what is wrong with a packet of the underlay.
func (c *CaptureArgs) judgeOuter(packet []byte) string {
	for label, secret := range c.Secrets {
		if bytes.Contains(packet, secret) {
			p, _ := parsePacket(packet)
			return label + " in clear: " + p.String()
		}
	}
	p, ok := parsePacket(packet)
	if ok && p.protocol == unix.IPPROTO_UDP && (p.sport == babelPort || p.dport == babelPort) {
		return "Babel in clear: " + p.String()
	}
	return ""
}

// packet is what matters of an IP packet.
type packet struct {
	src, dst     netip.Addr
	protocol     byte
	sport, dport uint16
	size         int
	isError      bool // of ICMP
}

func (p packet) String() string {
	return fmt.Sprintf("%v port %d to %v port %d, protocol %d, %d bytes", p.src, p.sport, p.dst, p.dport, p.protocol, p.size)
}

func parsePacket(b []byte) (packet, bool) {
	p := packet{size: len(b)}
	var rest []byte
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		p.src, p.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		p.protocol = b[9]
		rest = b[min(len(b), int(b[0]&15)*4):]
	case len(b) >= 40 && b[0]>>4 == 6:
		p.src, p.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		p.protocol = b[6]
		rest = b[40:]
	default:
		return p, false
	}
	if (p.protocol == unix.IPPROTO_UDP || p.protocol == unix.IPPROTO_TCP) && len(rest) >= 4 {
		p.sport, p.dport = binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:])
	}
	p.isError = len(rest) > 0 && isICMPError(p.protocol, rest[0])
	return p, true
}

// isICMPError: RFC 1122 §3.2.2 and RFC 4443 §2.1.
func isICMPError(protocol, kind byte) bool {
	switch protocol {
	case unix.IPPROTO_ICMP:
		return kind == 3 || kind == 4 || kind == 5 || kind == 11 || kind == 12
	case unix.IPPROTO_ICMPV6:
		return kind < 128
	}
	return false
}
