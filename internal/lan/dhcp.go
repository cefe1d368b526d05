package lan

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"golang.org/x/net/ipv4"

	"re6st/internal/kernel"
	"re6st/internal/lan/advert"
	"re6st/internal/lan/lease"
)

const (
	// dhcpRate bounds the messages that are answered, as each may have to be kept
	// on disk: so many a second, after a burst.
	dhcpRate  = 20
	dhcpBurst = 100
	// foreignTime is how long another server is spoken of after it was noticed:
	// its machines ask it again within a day.
	foreignTime = 24 * time.Hour
)

// Store keeps the leases of a network.
type Store interface {
	// Load gives no bytes where there are none.
	Load(iface string) []byte
	// Save returns when they are safe.
	Save(iface string, leases []byte) error
}

// dhcpConn is the socket.
type dhcpConn interface {
	read(b []byte) (n int, err error)
	write(b []byte, to netip.AddrPort) error
	close() error
}

// dhcp serves one network as long as its interface lives.
type dhcp struct {
	network lease.Network
	link    kernel.Link
	conn    dhcpConn
	store   Store
	log     *slog.Logger
	table   *lease.Table // owned by run
	tokens  float64      // owned by run: messages that may be answered now
	filled  time.Time    // owned by run
	ended   chan struct{}
	tell    func()

	mu      sync.Mutex // guards what follows
	offer   dhcpOffer
	foreign netip.Addr
	heardAt time.Time
	problem string
}

func newDHCP(n lease.Network, k kernel.Link, c dhcpConn, s Store, log *slog.Logger, tell func()) *dhcp {
	now := time.Now()
	d := &dhcp{
		network: n, link: k, conn: c, store: s, log: log, table: lease.New(n),
		tokens: dhcpBurst, filled: now, ended: make(chan struct{}), tell: tell, offer: dhcpOffer{gateway: n.Gateway()},
	}
	if b := s.Load(n.Interface); len(b) > 0 {
		leases, err := decodeLeases(b)
		if err != nil {
			log.Warn("leases of a LAN are lost; machines find their addresses again by their names", "iface", n.Interface, "err", err)
		}
		d.table.Load(now, leases)
	}
	return d
}

func (d *dhcp) setMesh(m advert.Mesh) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.offer = dhcpOffer{gateway: d.network.Gateway(), dns: m.DNS4, domain: m.Domain}
	if m.MTU < d.link.MTU {
		d.offer.mtu = m.MTU
	}
}

func (d *dhcp) setMTU(int)             {}
func (d *dhcp) stop()                  { d.abandon() }
func (d *dhcp) abandon()               { _ = d.conn.close() }
func (d *dhcp) done() <-chan struct{}  { return d.ended }
func (d *dhcp) others() []advert.Other { return nil }

// run reads and answers until the socket is closed.
func (d *dhcp) run() {
	defer d.tell()
	defer close(d.ended)
	defer d.conn.close()
	b := make([]byte, maxMessageBytes)
	for {
		n, err := d.conn.read(b)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				d.log.Warn("serving a LAN by DHCP fails", "iface", d.link.Name, "err", err)
			}
			return
		}
		if now := time.Now(); d.take(now) {
			d.receive(now, b[:n])
		}
	}
}

// take spends a token, if there is one.
func (d *dhcp) take(now time.Time) bool {
	d.tokens = min(dhcpBurst, d.tokens+now.Sub(d.filled).Seconds()*dhcpRate)
	d.filled = now
	if d.tokens < 1 {
		return false
	}
	d.tokens--
	return true
}

func (d *dhcp) receive(now time.Time, b []byte) {
	request, m, err := decodeDHCP(b)
	if err != nil {
		d.log.Debug("message on a LAN is not valid", "iface", d.link.Name, "err", err)
		return
	}
	answer := d.table.Handle(now, m)
	if answer.Foreign.IsValid() {
		d.heard(now, answer.Foreign)
	}
	// First the disk: what was acknowledged must not be given to another after a
	// restart.
	if answer.Store && !d.save() {
		return
	}
	if _, isAnswered := answers[answer.Kind]; !isAnswered {
		return
	}
	if err := d.send(request, answer); err != nil {
		d.log.Debug("answering by DHCP", "iface", d.link.Name, "err", err)
	}
}

func (d *dhcp) heard(now time.Time, server netip.Addr) {
	d.mu.Lock()
	isNew := d.foreign != server
	d.foreign, d.heardAt = server, now
	d.mu.Unlock()
	if isNew {
		d.log.Warn("another DHCP server is on a LAN", "iface", d.link.Name, "server", server)
	}
}

func (d *dhcp) save() bool {
	b, err := encodeLeases(d.table.Leases())
	if err == nil {
		err = d.store.Save(d.network.Interface, b)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.problem = ""
		return true
	}
	if d.problem == "" {
		d.log.Error("keeping the leases of a LAN", "iface", d.link.Name, "err", err)
	}
	d.problem = err.Error()
	return false
}

// send answers to the machine's address where it has one that works, else to all
// (RFC 2131, section 4.1): a machine without address hears nothing else but by
// means that need a packet socket.
func (d *dhcp) send(request *dhcpv4.DHCPv4, a lease.Answer) error {
	d.mu.Lock()
	offer := d.offer
	d.mu.Unlock()
	b, err := encodeDHCP(request, a, offer)
	if err != nil {
		return err
	}
	to := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if client := addrOf(request.ClientIPAddr); client.IsValid() && a.Kind == lease.Ack && d.network.Subnet.Contains(client) {
		to = client
	}
	return d.conn.write(b, netip.AddrPortFrom(to, dhcpv4.ClientPort))
}

func (d *dhcp) health() []Health {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []Health
	if d.foreign.IsValid() && time.Since(d.heardAt) < foreignTime {
		list = append(list, Health{"lan-other-dhcp", fmt.Sprintf("on %s the DHCP server %v answers as well: which address a machine gets is chance", d.link.Name, d.foreign)})
	}
	if d.problem != "" {
		list = append(list, Health{"lan-leases", fmt.Sprintf("on %s no addresses are given by DHCP, as the leases cannot be kept: %s", d.link.Name, d.problem)})
	}
	return list
}

// dhcpSocket is the library's, with the source of answers in our hands: the
// interface may have addresses of other networks.
type dhcpSocket struct {
	pc    *ipv4.PacketConn
	index int
	from  net.IP
}

func listenDHCP(k kernel.Link, n lease.Network) (dhcpConn, error) {
	c, err := server4.NewIPv4UDPConn(k.Name, &net.UDPAddr{IP: net.IPv4zero, Port: dhcpv4.ServerPort})
	if err != nil {
		return nil, fmt.Errorf("opening a socket for DHCP on %s: %w", k.Name, err)
	}
	return &dhcpSocket{pc: ipv4.NewPacketConn(c), index: k.Index, from: n.Gateway().Addr().AsSlice()}, nil
}

func (s *dhcpSocket) read(b []byte) (int, error) {
	n, _, _, err := s.pc.ReadFrom(b)
	return n, err
}

func (s *dhcpSocket) write(b []byte, to netip.AddrPort) error {
	_, err := s.pc.WriteTo(b, &ipv4.ControlMessage{Src: s.from, IfIndex: s.index}, net.UDPAddrFromAddrPort(to))
	return err
}

func (s *dhcpSocket) close() error { return s.pc.Close() }
