package userspace

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// tunDevice is our tun.Device. wireguard-go's keeps 64 KiB to read into for each
// interface and copies what it joins; it also has watchers, which cost a netlink
// socket and a write to the TUN each second, to learn of an interface going up:
// our own doing here. And where packets are small, it reads one at a time.
type tunDevice struct {
	*descriptor
	name   string
	index  int
	mtu    int // wireguard-go reads it once
	events chan tun.Event
	once   sync.Once

	// Of the one who reads.
	reading reading
	left    segments // of a packet that had more than fitted
	buffer  *lent    // where left is

	writing sync.Mutex
	joined  coalescer
	vectors [batchSize]unix.Iovec
}

var _ tun.Device = (*tunDevice)(nil)

func (t *tunDevice) File() *os.File           { return nil } // nobody is to read beside us
func (t *tunDevice) MTU() (int, error)        { return t.mtu, nil }
func (t *tunDevice) Name() (string, error)    { return t.name, nil }
func (t *tunDevice) Events() <-chan tun.Event { return t.events }
func (t *tunDevice) BatchSize() int           { return batchSize }

// Close removes the interface.
func (t *tunDevice) Close() error {
	var err error
	t.once.Do(func() {
		close(t.events)
		err = t.close()
	})
	return err
}

// Read waits for packets and gives all that are there and fit.
func (t *tunDevice) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n := t.cut(bufs, sizes, offset, 0)
	if n > 0 {
		return n, nil
	}
	r := &t.reading
	r.bufs, r.sizes, r.offset, r.n, r.failed = bufs, sizes, offset, 0, nil
	if r.fill == nil {
		r.fill = t.fill
	}
	err := t.wait(r.fill)
	t.giveBack()
	if err = errors.Join(err, r.failed); r.n > 0 || err == nil {
		return r.n, nil // an error comes again
	}
	return 0, err
}

// reading is one Read, but for what it knows of those before.
type reading struct {
	bufs   [][]byte
	sizes  []int
	offset int
	n      int // packets that it has
	failed error

	fill    func(uintptr) bool // made once, not for each packet
	since   int                // packets since it has waited
	isAlone bool               // when it had waited last, there was one
}

// fill reads all that is there. Where packets come one by one it leaves with the first:
// a call to find out that there is no second would delay it.
func (t *tunDevice) fill(uintptr) bool {
	r := &t.reading
	for r.n < len(r.bufs) && t.left.isEmpty() {
		got, errno := t.readOne(t.fd)
		switch {
		case errno == unix.EAGAIN:
			if r.n == 0 {
				r.isAlone, r.since = r.since == 1, 0
			}
			return r.n > 0
		case errno != 0 && errno != unix.EINTR:
			r.failed = closedError(errno)
			return true
		case errno == 0:
			isSuper := t.buffer.data[1] != unix.VIRTIO_NET_HDR_GSO_NONE
			var err error
			if t.left, err = parseSegments(t.buffer.data[:got]); err != nil {
				t.left = segments{} // no packet that is worth to end the device
			}
			r.n = t.cut(r.bufs, r.sizes, r.offset, r.n)
			r.since++
			if r.n > 0 && (isSuper || r.isAlone && r.since == 1) {
				return true
			}
		}
	}
	return r.n > 0
}

// readOne borrows the buffer: it goes back when there is nothing more to read.
func (t *tunDevice) readOne(fd int) (int, syscall.Errno) {
	if t.buffer == nil {
		t.buffer = lend(largeBuffers)
	}
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&t.buffer.data[0])), datagramMax)
	if errno == unix.EAGAIN {
		t.giveBack()
	}
	if errno == 0 && n < vnetSize {
		return 0, unix.EINTR // nothing: once more
	}
	return int(n), errno
}

func (t *tunDevice) giveBack() {
	if t.buffer != nil && t.left.isEmpty() {
		t.buffer.release()
		t.buffer = nil
	}
}

// cut fills buffers from the n-th on.
func (t *tunDevice) cut(bufs [][]byte, sizes []int, offset, n int) int {
	for ; n < len(bufs) && !t.left.isEmpty(); n++ {
		sizes[n] = t.left.next(bufs[n][offset:])
	}
	return n
}

// closedError: the kernel says EBADFD when the interface was deleted.
func closedError(errno syscall.Errno) error {
	if errno == unix.EBADFD || errno == unix.EBADF {
		return os.ErrClosed
	}
	return errno
}

// Write gives packets to the kernel, those that follow each other as one.
func (t *tunDevice) Write(bufs [][]byte, offset int) (int, error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if !t.hold() {
		return 0, os.ErrClosed
	}
	defer t.letGo()
	var failed error
	for len(bufs) > 0 {
		n := min(batchSize, len(bufs))
		if err := t.writeBatch(t.fd, bufs[:n], offset); err != nil && failed == nil {
			failed = err
		}
		bufs = bufs[n:]
	}
	return 0, failed // wireguard-go does not look at the count
}

func (t *tunDevice) writeBatch(fd int, bufs [][]byte, offset int) error {
	t.joined.rows = t.joined.rows[:0]
	packet := func(i int) []byte { return bufs[i][offset:] }
	for i := range bufs {
		t.joined.add(packet, i)
	}
	var failed error
	for i := range t.joined.rows {
		if errno := t.writeRow(fd, bufs, offset, &t.joined.rows[i]); errno != 0 && failed == nil {
			failed = closedError(errno)
		}
	}
	return failed
}

// writeRow writes vnet header and first packet, which lie together, and the
// others' payloads.
func (t *tunDevice) writeRow(fd int, bufs [][]byte, offset int, r *row) syscall.Errno {
	head := bufs[r.first]
	r.finish(head[offset:], bufs[r.last][offset:]).put(head[offset-vnetSize:])
	data, n := head[offset-vnetSize:], 0
	for i := r.first; ; data = bufs[i][offset+r.headers:] {
		t.vectors[n].Base = unsafe.SliceData(data)
		t.vectors[n].SetLen(len(data))
		n++
		if i = t.joined.next[i]; i < 0 {
			break
		}
	}
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&t.vectors[0])), uintptr(n))
	clear(t.vectors[:n]) // lent
	return errno
}
