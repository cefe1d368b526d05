package speaker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"re6st/babel"
)

// socket is a UDP socket on one interface. send may be called while recv waits;
// after close both fail.
type socket interface {
	recv(b []byte) (n int, src netip.AddrPort, dst netip.Addr, err error)
	send(b []byte, dst netip.Addr) error
	close() error
}

// port is an interface with its socket.
type port struct {
	index  int
	name   string
	socket socket

	// Owned by the loop.
	config babel.InterfaceConfig
	isDown bool // no packet could be sent
}

func (p *port) String() string {
	if p == nil {
		return ""
	}
	return p.name
}

// datagram is what a reader hands to the loop.
type datagram struct {
	port *port
	at   time.Time
	src  netip.AddrPort
	dst  netip.Addr
	data []byte
}

// datagramMax is more than any link's MTU: no implementation sends jumbograms.
const datagramMax = 65536

// AddInterface opens the socket and begins to speak. An interface of the same
// index is replaced.
func (s *Speaker) AddInterface(config babel.InterfaceConfig) error {
	sock, err := s.config.listen(config)
	if err != nil {
		return fmt.Errorf("speaking Babel on %s: %w", config.Name, err)
	}
	p := &port{index: config.Index, name: config.Name, socket: sock, config: config}
	s.post(func(now time.Time) {
		if now.IsZero() { // Run is over
			if err := sock.close(); err != nil {
				s.log.Warn("closing a Babel socket", "iface", p.name, "err", err)
			}
			return
		}
		s.closePort(p.index)
		s.sockets[p.index] = p
		s.readers.Add(1)
		go s.read(p)
		s.engine.InterfaceUp(now, config)
	})
	return nil
}

// RemoveInterface stops speaking there; routes over it are retracted at once.
func (s *Speaker) RemoveInterface(index int) {
	s.input(func(now time.Time) {
		s.closePort(index)
		s.engine.InterfaceDown(now, index)
	})
}

func (s *Speaker) closePort(index int) {
	p := s.sockets[index]
	if p == nil {
		return
	}
	delete(s.sockets, index)
	if err := p.socket.close(); err != nil {
		s.log.Warn("closing a Babel socket", "iface", p.name, "err", err)
	}
}

// receive gives a datagram to the engine, unless its interface was removed or
// replaced meanwhile.
func (s *Speaker) receive(d datagram) {
	if s.sockets[d.port.index] == d.port {
		s.engine.Receive(d.at, d.port.index, d.src, d.dst, d.data)
	}
}

const (
	readErrorsMax = 10
	readErrorWait = 100 * time.Millisecond
)

// read is the goroutine of a socket. It ends when the socket is closed, or when
// it is broken for good.
func (s *Speaker) read(p *port) {
	defer s.readers.Done()
	buffer := make([]byte, datagramMax)
	for errs := 0; errs < readErrorsMax; {
		n, src, dst, err := p.socket.recv(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// ENETDOWN and the like: the link may come back.
			errs++
			s.log.Debug("receiving Babel packets", "iface", p.name, "err", err)
			time.Sleep(readErrorWait)
			continue
		}
		errs = 0
		s.inbox <- datagram{p, time.Now(), src, dst, append([]byte(nil), buffer[:n]...)}
	}
	s.input(func(now time.Time) {
		if s.sockets[p.index] == p {
			s.log.Warn("Babel socket is broken", "iface", p.name)
			s.closePort(p.index)
			s.engine.InterfaceDown(now, p.index)
		}
	})
}
