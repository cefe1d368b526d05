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
	left   segments // of a packet that had more than fitted
	buffer *lent    // where left is

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
	var failed error
	err := t.wait(func(fd int) bool {
		for n < len(bufs) && t.left.isEmpty() {
			got, errno := t.readOne(fd)
			switch {
			case errno == unix.EAGAIN:
				return n > 0
			case errno != 0 && errno != unix.EINTR:
				failed = closedError(errno)
				return true
			case errno == 0:
				isSuper := t.buffer.data[1] != unix.VIRTIO_NET_HDR_GSO_NONE
				if t.left, failed = parseSegments(t.buffer.data[:got]); failed != nil {
					t.left, failed = segments{}, nil // no packet that is worth to end the device
				}
				if n = t.cut(bufs, sizes, offset, n); isSuper && n > 0 {
					return true
				}
			}
		}
		return n > 0
	})
	t.giveBack()
	if err = errors.Join(err, failed); n > 0 || err == nil {
		return n, nil // an error comes again
	}
	return 0, err
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
	var failed error
	err := t.use(func(fd int) {
		for len(bufs) > 0 {
			n := min(batchSize, len(bufs))
			if err := t.writeBatch(fd, bufs[:n], offset); err != nil && failed == nil {
				failed = err
			}
			bufs = bufs[n:]
		}
	})
	if err != nil {
		return 0, err
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
