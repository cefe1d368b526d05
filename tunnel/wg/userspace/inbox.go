package userspace

import (
	"net"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
)

const (
	datagramMax = 1 << 16
	smallMax    = 2048 // holds any datagram that came alone over common links

	// inboxPackets: with 64, small packets were lost.
	inboxPackets = 2048
	inboxLarge   = 64 // large buffers, 64 KiB each
)

// lent is a buffer that goes back to its pool when the last has let go of it.
type lent struct {
	data []byte
	refs atomic.Int32
	pool *sync.Pool
}

var largeBuffers, smallBuffers = buffersOf(datagramMax), buffersOf(smallMax)

func buffersOf(size int) *sync.Pool {
	pool := &sync.Pool{}
	pool.New = func() any { return &lent{data: make([]byte, size), pool: pool} }
	return pool
}

// lend gives a buffer with one reference.
func lend(pool *sync.Pool) *lent {
	b := pool.Get().(*lent)
	b.refs.Store(1)
	return b
}

func (b *lent) hold() { b.refs.Add(1) }

func (b *lent) release() {
	if b.refs.Add(-1) == 0 {
		b.pool.Put(b)
	}
}

// run is a row of datagrams of one size, the last of which may be smaller, from
// one sender to one device.
type run struct {
	buffer *lent
	data   []byte // in buffer
	size   int
	from   *endpoint
}

func (r run) count() int { return (len(r.data) + r.size - 1) / r.size }

// inbox holds what came for a device until it takes it. The reader of the socket
// does not wait for one that is slow: what does not fit is lost.
type inbox struct {
	mu      sync.Mutex
	filled  sync.Cond
	runs    []run
	packets int
	large   int
	closed  bool

	current []run // of the one who receives; what it works at
	next    int   // in current
}

func newInbox() *inbox {
	q := &inbox{}
	q.filled.L = &q.mu
	return q
}

// put takes the reference to r's buffer over; where it gives false as well.
// Handshakes may fill a quarter.
func (q *inbox) put(r run, isHandshake bool) bool {
	n, isLarge := r.count(), r.buffer.pool == largeBuffers
	q.mu.Lock()
	room := inboxPackets
	if isHandshake {
		room /= 4
	}
	if q.closed || q.packets+n > room || isLarge && q.large >= inboxLarge {
		q.mu.Unlock()
		r.buffer.release()
		return false
	}
	q.runs = append(q.runs, r)
	q.packets += n
	if isLarge {
		q.large++
	}
	q.mu.Unlock()
	q.filled.Signal()
	return true
}

// receive is wireguard-go's conn.ReceiveFunc.
func (q *inbox) receive(bufs [][]byte, sizes []int, from []conn.Endpoint) (int, error) {
	if q.next == len(q.current) && !q.turn() {
		return 0, net.ErrClosed
	}
	n := 0
	for ; n < len(bufs) && q.next < len(q.current); n++ {
		r := &q.current[q.next]
		size := min(r.size, len(r.data))
		sizes[n] = copy(bufs[n], r.data[:size])
		from[n] = r.from
		if r.data = r.data[size:]; len(r.data) == 0 {
			r.buffer.release()
			*r = run{}
			q.next++
		}
	}
	return n, nil
}

// turn waits for runs and makes them the current ones.
func (q *inbox) turn() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.runs) == 0 && !q.closed {
		q.filled.Wait()
	}
	if q.closed {
		return false
	}
	q.runs, q.current, q.next = q.current[:0], q.runs, 0
	q.packets, q.large = 0, 0
	return true
}

// close ends receive. What is being received is left to the garbage collector.
func (q *inbox) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, r := range q.runs {
		r.buffer.release()
	}
	q.runs = nil
	q.filled.Broadcast()
}
