package userspace

import (
	"sync"
	"sync/atomic"

	"re6st/tunnel/wg/userspace/device"
)

const (
	datagramMax = 1 << 16
	smallMax    = 2048 // holds any datagram that came alone over common links

	// inboxPackets: with 64, small packets were lost.
	inboxPackets = 2048
	inboxLarge   = 64 // large buffers, 64 KiB each

	// directMax datagrams are decrypted and given to the TUN by the reader of the
	// socket, if a call has read no more than fewMessages: it is fast enough, then,
	// and they arrive sooner.
	directMax   = 8
	fewMessages = 2
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
	class  uint8 // traffic class
}

// receive lets go of the buffer.
func (r run) receive(in *device.Incoming) {
	for data := r.data; len(data) > 0; {
		size := min(r.size, len(data))
		in.Add(data[:size], r.from, r.class)
		data = data[size:]
	}
	r.buffer.release()
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

	idle    bool             // the one who takes waits
	isBusy  bool             // the one who puts does the work itself
	direct  *device.Incoming // of that one
	current []run            // of the one who takes: what it works at
}

func newInbox(direct *device.Incoming) *inbox {
	q := &inbox{direct: direct}
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

// begin is true where nothing waits and nobody works: then the caller may do the
// work itself, until it says end. Nothing is taken meanwhile.
func (q *inbox) begin() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.isBusy || !q.idle || len(q.runs) > 0 {
		return false
	}
	q.isBusy = true
	return true
}

func (q *inbox) end() {
	q.mu.Lock()
	q.isBusy = false
	isAwaited := q.closed || len(q.runs) > 0
	q.mu.Unlock()
	if isAwaited {
		q.filled.Broadcast()
	}
}

// take waits for runs, which are the caller's until it comes again. It gives false
// after close.
func (q *inbox) take() ([]run, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.current)
	q.idle = true
	for (len(q.runs) == 0 || q.isBusy) && !q.closed {
		q.filled.Wait()
	}
	q.idle = false
	if q.closed {
		return nil, false
	}
	q.runs, q.current = q.current[:0], q.runs
	q.packets, q.large = 0, 0
	return q.current, true
}

// receive gives the device what comes, until close.
func (q *inbox) receive(in *device.Incoming) {
	for {
		runs, ok := q.take()
		if !ok {
			return
		}
		for _, r := range runs {
			r.receive(in)
		}
		in.Flush()
	}
}

// close ends take, and waits for one who does the work itself.
func (q *inbox) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, r := range q.runs {
		r.buffer.release()
	}
	q.runs = nil
	q.filled.Broadcast()
	for q.isBusy {
		q.filled.Wait()
	}
}
