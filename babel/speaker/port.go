package speaker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"re6st/babel"
)

// socket is a UDP socket on one interface. send may be called while recv waits;
// after close both fail, recv with net.ErrClosed.
type socket interface {
	recv() ([]datagram, error)
	send(b []byte, dst netip.Addr) error
	setBuffer(size int) error
	// rejoin makes sure that the multicast group is heard.
	rejoin() error
	close() error
}

// port is an interface with its socket.
type port struct {
	index  int
	name   string
	socket socket

	// Owned by the loop.
	config   babel.InterfaceConfig
	isDown   bool          // the engine knows it no more
	isBroken bool          // the socket can no longer be read
	wait     time.Duration // before the next attempt to bring it back
	retry    *time.Timer
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
	lost uint32 // datagrams before it that the socket's buffer had no room for
	// memory is that of data, to be lent again; nil: it is not.
	memory *[lentMax]byte
}

// lentMax is room for what fits into an Ethernet frame. What comes of a large table
// would only be much garbage.
const lentMax = 2048

var lent = sync.Pool{New: func() any { return new([lentMax]byte) }}

// keep takes a copy of what was read.
func (d *datagram) keep(b []byte) {
	if len(b) > lentMax {
		d.data = slices.Clone(b)
		return
	}
	d.memory = lent.Get().(*[lentMax]byte)
	d.data = d.memory[:copy(d.memory[:], b)]
}

// release: nobody looks at the data any more.
func (d *datagram) release() {
	if d.memory != nil {
		lent.Put(d.memory)
		d.data, d.memory = nil, nil
	}
}

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
			s.closeSocket(p)
			return
		}
		s.closePort(p.index)
		s.openPort(now, p)
	})
	return nil
}

func (s *Speaker) openPort(now time.Time, p *port) {
	s.sockets[p.index] = p
	s.fitBuffers(p)
	s.startReader(p)
	s.engine.InterfaceUp(now, p.config)
}

func (s *Speaker) startReader(p *port) {
	s.readers.Add(1)
	go s.read(p, p.socket)
}

// RemoveInterface stops speaking there; routes over it are retracted at once.
func (s *Speaker) RemoveInterface(index int) {
	s.input(func(now time.Time) {
		s.closePort(index)
		s.engine.InterfaceDown(now, index)
	})
}

// LinkChanged says that the carrier of an interface came or went. Neighbours on
// a link that is down are lost at once, not after a few Hellos; when it is back,
// it starts anew. An interface that was not added is none of ours.
func (s *Speaker) LinkChanged(index int, isUp bool) {
	s.input(func(now time.Time) {
		p := s.sockets[index]
		switch {
		case p == nil:
		case isUp && p.isDown:
			s.resume(now, p)
		case !isUp && !p.isDown:
			s.suspend(now, p, errCarrier)
		case !isUp && p.retry != nil:
			p.retry.Stop() // there will be word of it
		}
	})
}

var errCarrier = errors.New("no carrier")

func (s *Speaker) closePort(index int) {
	p := s.sockets[index]
	if p == nil {
		return
	}
	delete(s.sockets, index)
	if p.retry != nil {
		p.retry.Stop()
	}
	s.closeSocket(p)
	s.fitBuffers(nil)
}

func (s *Speaker) closeSocket(p *port) {
	if err := p.socket.close(); err != nil {
		s.log.Warn("closing a Babel socket", "iface", p.name, "err", err)
	}
}

// Between two attempts to use a link that is down: where nobody tells us that it
// is up again, by LinkChanged, we have to look.
const (
	downWaitMin = 500 * time.Millisecond
	downWaitMax = 16 * time.Second
)

// suspend takes a link that is down out of the engine.
func (s *Speaker) suspend(now time.Time, p *port, why error) {
	s.engine.InterfaceDown(now, p.index)
	if p.wait == 0 {
		s.log.Info("Babel interface is down", "iface", p.name, "err", why)
	}
	p.isDown = true
	if errors.Is(why, errCarrier) {
		p.wait = downWaitMin
		return // there will be word of it
	}
	p.wait = min(max(2*p.wait, downWaitMin), downWaitMax)
	p.retry = time.AfterFunc(p.wait, func() {
		s.input(func(now time.Time) {
			if s.sockets[p.index] == p && p.isDown {
				s.resume(now, p)
			}
		})
	})
}

// resume lets the engine meet the neighbours anew. A device that was down may
// have forgotten who was in the group, and a socket may be broken for good.
func (s *Speaker) resume(now time.Time, p *port) {
	switch err := s.refresh(p); {
	case err == nil:
	case isGone(err):
		s.giveUp(now, p, err)
		return
	default:
		s.suspend(now, p, err)
		return
	}
	p.isDown = false
	s.engine.InterfaceUp(now, p.config)
}

// giveUp is for a device that went away before anyone told us.
func (s *Speaker) giveUp(now time.Time, p *port, why error) {
	s.log.Info("Babel interface is gone", "iface", p.name, "err", why)
	s.closePort(p.index)
	s.engine.InterfaceDown(now, p.index)
}

func (s *Speaker) refresh(p *port) error {
	if !p.isBroken {
		return p.socket.rejoin()
	}
	sock, err := s.config.listen(p.config)
	if err != nil {
		return err
	}
	s.closeSocket(p)
	p.socket, p.isBroken = sock, false
	s.fitBuffer(p, s.bufferSize)
	s.startReader(p)
	return nil
}

const (
	// receiveBufferMax holds what a neighbour sends that paces nothing: 50,000
	// routes are 480 datagrams, and the kernel's default has room for 92. (It
	// doubles what it is told, and counts 2.3 KB for a datagram of 1.4.)
	receiveBufferMax = 4 << 20
	receiveBufferMin = 512 << 10
	// receiveBufferSum is for all interfaces together, until each has the least.
	receiveBufferSum = 64 << 20
)

// receiveBuffer is the size for each of n sockets.
func receiveBuffer(n int) int {
	size := receiveBufferMax
	for size > receiveBufferMin && n*size > receiveBufferSum {
		size /= 2
	}
	return size
}

// fitBuffers shares the memory for what waits to be read among the sockets.
func (s *Speaker) fitBuffers(fresh *port) {
	size := receiveBuffer(len(s.sockets))
	if size == s.bufferSize {
		if fresh != nil {
			s.fitBuffer(fresh, size)
		}
		return
	}
	s.bufferSize = size
	for _, p := range s.sockets {
		s.fitBuffer(p, size)
	}
}

func (s *Speaker) fitBuffer(p *port, size int) {
	if err := p.socket.setBuffer(size); err != nil {
		s.log.Debug("sizing a Babel receive buffer", "iface", p.name, "err", err)
	}
}

// receive gives a datagram to the engine, unless its interface was removed or
// replaced meanwhile.
func (s *Speaker) receive(d datagram) {
	defer d.release() // the engine copies what it remembers
	if s.sockets[d.port.index] != d.port {
		return
	}
	if d.lost > 0 {
		s.log.Debug("Babel packets were lost: the receive buffer was full", "iface", d.port.name, "count", d.lost)
		s.engine.SocketDrops(d.at, d.port.index)
	}
	s.engine.Receive(d.at, d.port.index, d.src, d.dst, d.data)
}

const (
	// bulkMin octets at once are a part of a large table, and the next part
	// follows. Taking each as it comes would cost more in wake-ups of threads
	// than in routing; after a pause there are several to take.
	bulkMin = 1000
	// bulkPause is well below the delays by which updates are collected anyway.
	// The socket's buffer holds more than comes meanwhile, and the kernel notes
	// when it came.
	bulkPause = 50 * time.Millisecond
)

func isBulk(batch []datagram) bool {
	sum := 0
	for _, d := range batch {
		sum += len(d.data)
	}
	return sum >= bulkMin
}

// readErrorsMax is how often a socket may fail without a datagram in between:
// each call takes one error away, and waits where there is none.
const readErrorsMax = 10

// read is the goroutine of a socket. It ends when the socket is closed, or when
// it is broken for good.
func (s *Speaker) read(p *port, sock socket) {
	defer s.readers.Done()
	var failed error
	for errs := 0; errs < readErrorsMax; {
		batch, err := sock.recv()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			errs++
			failed = err
			continue
		}
		errs = 0
		for _, d := range batch {
			d.port = p
			s.inbox <- d
		}
		if isBulk(batch) {
			time.Sleep(bulkPause)
		}
	}
	s.input(func(now time.Time) {
		if s.sockets[p.index] != p || p.socket != sock {
			return
		}
		p.isBroken = true
		if !p.isDown {
			s.suspend(now, p, fmt.Errorf("receiving: %w", failed))
		}
	})
}
