package userspace

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"re6st/tunnel/wg/userspace/device"
)

// Underlay is the UDP port that all devices of a process share: one mapping in a
// NAT, one line in a firewall. It is open while a device is up, and it owns the
// readers of its sockets, one for each family.
type Underlay struct {
	log *slog.Logger

	// Opening and closing, by one at a time.
	mu      sync.Mutex
	users   int
	port    uint16
	mark    uint32
	readers sync.WaitGroup
	done    chan struct{} // closed when the readers are to end

	sockets atomic.Pointer[sockets] // nil: closed

	table struct {
		sync.Mutex
		*demux[*share]
	}
	lost  counters
	relay relay
}

type sockets struct{ v4, v6 *udpSocket }

// counters of datagrams that reached no device.
type counters struct {
	unknown  atomic.Uint64 // no WireGuard, or nobody's index
	refused  atomic.Uint64 // initiations without a MAC1 of ours, or too many
	overflow atomic.Uint64 // the device is too slow
}

// Dropped counts datagrams that reached no device, by why.
func (u *Underlay) Dropped() map[string]uint64 {
	return map[string]uint64{
		"unknown": u.lost.unknown.Load(), "refused": u.lost.refused.Load(), "overflow": u.lost.overflow.Load(),
	}
}

// NewUnderlay opens nothing yet.
func NewUnderlay(log *slog.Logger) *Underlay {
	u := &Underlay{log: log}
	u.table.demux = newDemux[*share]()
	return u
}

// acquire opens the port for its first user. Another user gets that port, whatever
// it asks for.
func (u *Underlay) acquire(port uint16) (*sockets, uint16, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.users == 0 {
		if err := u.open(port); err != nil {
			return nil, 0, err
		}
	}
	u.users++
	return u.sockets.Load(), u.port, nil
}

// open: a host may lack one family.
func (u *Underlay) open(port uint16) error {
	v4, got, err := listenUDP(false, port)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return err
	}
	if v4 != nil {
		port = got
	}
	v6, got, err := listenUDP(true, port)
	if err != nil && (v4 == nil || !errors.Is(err, unix.EAFNOSUPPORT)) {
		if v4 != nil {
			_ = v4.close() // the first error says more
		}
		return err
	}
	u.port, u.mark, u.done = got, 0, make(chan struct{})
	if v6 == nil {
		u.port = port
	}
	u.sockets.Store(&sockets{v4: v4, v6: v6})
	for _, s := range []*udpSocket{v4, v6} {
		if s != nil {
			u.readers.Add(1)
			go u.read(s, u.done)
		}
	}
	return nil
}

// release closes the port with its last user.
func (u *Underlay) release() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.users--; u.users > 0 {
		return nil
	}
	close(u.done)
	both := u.sockets.Swap(nil)
	var err error
	for _, s := range []*udpSocket{both.v4, both.v6} {
		if s != nil {
			err = errors.Join(err, s.close())
		}
	}
	u.readers.Wait()
	return err
}

// errMark: one socket has one mark.
var errMark = errors.New("the devices of a process share a socket, and its mark")

func (u *Underlay) setMark(mark uint32) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	both := u.sockets.Load()
	if both == nil || mark == u.mark {
		return nil
	}
	if u.mark != 0 && u.users > 1 {
		return fmt.Errorf("mark %d in the place of %d: %w", mark, u.mark, errMark)
	}
	for _, s := range []*udpSocket{both.v4, both.v6} {
		if s != nil {
			if err := s.setMark(mark); err != nil {
				return err
			}
		}
	}
	u.mark = mark
	return nil
}

// readPause follows an error of a socket that is none of ours, such as ENOMEM.
const readPause = 100 * time.Millisecond

// read is the life of a socket's reader.
func (u *Underlay) read(s *udpSocket, done <-chan struct{}) {
	defer u.readers.Done()
	r := &receiver{socket: s}
	deliver := func(m arrived) bool {
		u.deliver(time.Now(), m)
		select {
		case <-done: // close waits for us
			return false
		default:
			return true
		}
	}
	for {
		err := r.receive(deliver)
		if err == nil || errors.Is(err, os.ErrClosed) {
			return
		}
		u.log.Debug("receiving for the tunnels", "port", u.port, "err", err)
		select {
		case <-time.After(readPause):
		case <-done:
			return
		}
	}
}

// deliver cuts a message into runs, each for one device.
func (u *Underlay) deliver(now time.Time, m arrived) {
	var owner *share
	var last kind
	var index uint32
	start := 0
	flush := func(end int) {
		if owner != nil && start < end {
			m.buffer.hold()
			r := run{buffer: m.buffer, data: m.data[start:end], size: m.size, from: m.from, class: m.class}
			if m.few && last == transport && owner.receiveNow(r) {
				start = end
				return
			}
			if !owner.put(r, last != transport) {
				u.lost.overflow.Add(1)
			}
		}
		start = end
	}
	for at := 0; at < len(m.data); at += m.size {
		d := m.data[at:min(at+m.size, len(m.data))]
		k, i := classify(d)
		if at > 0 && k == transport && last == transport && i == index {
			continue
		}
		flush(at)
		last, index = k, i
		owner = u.ownerOf(now, k, i, d, m.from)
	}
	flush(len(m.data))
	m.buffer.release()
}

func (u *Underlay) ownerOf(now time.Time, k kind, index uint32, d []byte, from *endpoint) *share {
	u.table.Lock()
	defer u.table.Unlock()
	switch k {
	case initiation:
		if b, ok := u.table.byMAC1(now, d, from.DstIP()); ok {
			return b
		}
		u.lost.refused.Add(1)
		return nil
	case response, cookieReply, transport:
		if b, ok := u.table.byIndex(now, index); ok {
			return b
		}
	}
	u.lost.unknown.Add(1)
	return nil
}

// share is one device's share of an Underlay.
type share struct {
	underlay *Underlay
	device   *device.Device // set before Open

	mu      sync.Mutex
	done    chan struct{}         // closed when the one who takes from the inbox has ended
	mac1    *device.CookieChecker // nil: the device has no key yet
	inbox   atomic.Pointer[inbox] // nil: closed
	sockets atomic.Pointer[sockets]
}

var (
	_ conn.Bind         = (*share)(nil)
	_ device.TryBind    = (*share)(nil)
	_ device.MarkedBind = (*share)(nil)
	_ device.DirectBind = (*share)(nil)
)

func (u *Underlay) newShare() *share { return &share{underlay: u} }

// SetDevice implements device.DirectBind.
func (b *share) SetDevice(d *device.Device) { b.device = d }

// setKey says which initiations are the device's.
func (b *share) setKey(public device.NoisePublicKey) {
	mac1 := &device.CookieChecker{}
	mac1.Init(public)
	b.mu.Lock()
	b.mac1 = mac1
	b.mu.Unlock()
	t := &b.underlay.table
	t.Lock()
	defer t.Unlock()
	t.setKey(b, mac1)
}

// Open implements conn.Bind. The port asked for counts where no other device is
// up.
func (b *share) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inbox.Load() != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	both, port, err := b.underlay.acquire(port)
	if err != nil {
		return nil, 0, err
	}
	q := newInbox(b.device.Incoming(batchSize))
	b.sockets.Store(both)
	b.inbox.Store(q)
	t := &b.underlay.table
	t.Lock()
	t.add(b, b.mac1)
	t.Unlock()
	b.done = make(chan struct{})
	go func() {
		defer close(b.done)
		q.receive(b.device.Incoming(batchSize))
	}()
	return nil, port, nil
}

// Close implements conn.Bind. It is called before each Open too.
func (b *share) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.inbox.Swap(nil)
	if q == nil {
		return nil
	}
	t := &b.underlay.table
	t.Lock()
	t.remove(b)
	t.Unlock()
	q.close()
	<-b.done
	b.sockets.Store(nil)
	return b.underlay.release()
}

// receiveNow is true where nothing waits for the device and its work is done here,
// by the reader of the socket. It then has taken the reference to the buffer.
func (b *share) receiveNow(r run) bool {
	q := b.inbox.Load()
	if q == nil || r.count() > directMax || !q.begin() {
		return false
	}
	defer q.end()
	r.receive(q.direct)
	q.direct.Flush()
	return true
}

func (b *share) put(r run, isHandshake bool) bool {
	if q := b.inbox.Load(); q != nil {
		return q.put(r, isHandshake)
	}
	r.buffer.release()
	return false
}

// SetMark implements conn.Bind.
func (b *share) SetMark(mark uint32) error { return b.underlay.setMark(mark) }

// BatchSize implements conn.Bind.
func (b *share) BatchSize() int { return batchSize }

// ParseEndpoint implements conn.Bind.
func (b *share) ParseEndpoint(s string) (conn.Endpoint, error) { return parseEndpoint(s) }

var errIndexTaken = errors.New("another device has that index: the next handshake takes another")

// Send implements conn.Bind, for handshake messages. It learns from them which index
// is this device's.
func (b *share) Send(bufs [][]byte, to conn.Endpoint) error {
	s, e, err := b.socketFor(to)
	if err != nil {
		return err
	}
	for _, d := range bufs {
		if index, ok := senderIndex(d); ok && !b.learn(index, e) {
			return errIndexTaken
		}
	}
	return s.send(bufs, handshakeClasses[:len(bufs)], e)
}

// SendMarked implements device.MarkedBind.
func (b *share) SendMarked(bufs [][]byte, classes []uint8, to conn.Endpoint) error {
	s, e, err := b.socketFor(to)
	if err != nil {
		return err
	}
	return s.send(bufs, classes, e)
}

// TrySend implements device.TryBind, for datagrams that are no handshakes.
func (b *share) TrySend(bufs [][]byte, classes []uint8, to conn.Endpoint) (int, error) {
	s, e, err := b.socketFor(to)
	if err != nil {
		return len(bufs), err
	}
	return s.trySend(bufs, classes, e)
}

func (b *share) socketFor(to conn.Endpoint) (*udpSocket, *endpoint, error) {
	e, ok := to.(*endpoint)
	if !ok {
		return nil, nil, conn.ErrWrongEndpointType
	}
	both := b.sockets.Load()
	if both == nil {
		return nil, nil, net.ErrClosed
	}
	s := both.v4
	if e.dst.Addr().Is6() {
		s = both.v6
	}
	if s == nil {
		return nil, nil, unix.EAFNOSUPPORT
	}
	return s, e, nil
}

func (b *share) learn(index uint32, to *endpoint) bool {
	t := &b.underlay.table
	t.Lock()
	defer t.Unlock()
	return t.sent(time.Now(), b, index, to.DstIP())
}
