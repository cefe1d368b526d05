package kernel

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// batchMessages bounds the answers to one send, if all of it is refused: each
	// takes about 800 bytes of the receive buffer, whose default is 200 KiB.
	batchMessages = 128
	batchBytes    = 16 << 10
	batchSlack    = 1 << 10  // for the message that fills the datagram
	receiveBytes  = 64 << 10 // more than the kernel ever puts in one datagram of a dump
	dumpTries     = 5
)

// errInterrupted: the table changed during the dump (NLM_F_DUMP_INTR).
var errInterrupted = errors.New("dump interrupted by changes")

// socket asks the kernel and waits for its answers.
//
// The kernel works a request off inside sendto, and dumps inside recvfrom, so
// nothing here waits long.
type socket struct {
	fd      int
	port    uint32 // events that we caused carry it
	isAlone bool   // see OpenAlone

	mu      sync.Mutex
	seq     uint32
	buffer  []byte
	closed  bool
	pending requests
}

func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	s := &socket{fd: fd, buffer: make([]byte, receiveBytes)}
	if err := s.setup(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *socket) setup() error {
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("binding a netlink socket: %w", err)
	}
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return fmt.Errorf("reading the port of a netlink socket: %w", err)
	}
	if n, ok := sa.(*unix.SockaddrNetlink); ok {
		s.port = n.Pid
	}
	// Older kernels lack some of these, and nothing breaks without: strict
	// checking makes the kernel filter dumps, which we do again.
	for _, option := range []int{unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK, unix.NETLINK_GET_STRICT_CHK} {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, option, 1)
	}
	timeout := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return fmt.Errorf("bounding the wait of a netlink socket: %w", err)
	}
	return nil
}

func (s *socket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return unix.Close(s.fd)
}

// exchange sends the requests, many to a datagram, and gives the answer to each.
func (s *socket) exchange(all []message) []error {
	answers := make([]error, len(all))
	r := s.begin()
	defer r.end()
	start := 0
	flush := func(sent int) {
		r.flush(func(n int, err error) { answers[start+n] = err })
		start = sent
	}
	for i, m := range all {
		if r.add(m) {
			flush(i + 1)
		}
	}
	flush(len(all))
	return answers
}

// requests collects messages for one datagram. The kernel works them off in
// order, and answers those that it refuses, and the last one: with an
// acknowledgement for each, half of the time would go into those.
type requests struct {
	socket   *socket
	datagram []byte
	last     int // where the last message begins
	count    int
}

// begin takes the socket until end.
func (s *socket) begin() *requests {
	s.mu.Lock()
	s.pending.socket = s
	return &s.pending
}

func (r *requests) end() { r.socket.mu.Unlock() }

// add says whether it is time to flush.
func (r *requests) add(m message) (isFull bool) {
	if r.datagram == nil {
		r.datagram = make([]byte, 0, batchBytes+batchSlack)
	}
	r.last = len(r.datagram)
	r.datagram = append(r.datagram, m...)
	header := r.datagram[r.last:]
	r.socket.seq++
	native.PutUint16(header[6:], native.Uint16(header[6:])&^unix.NLM_F_ACK)
	native.PutUint32(header[8:], r.socket.seq)
	native.PutUint32(header[12:], r.socket.port)
	r.count++
	return r.count >= batchMessages || len(r.datagram) >= batchBytes
}

// flush sends what was added and reports those that failed, by their number
// since the last flush.
func (r *requests) flush(failed func(n int, err error)) {
	count, s := r.count, r.socket
	if count == 0 {
		return
	}
	flags := r.datagram[r.last+6:]
	native.PutUint16(flags, native.Uint16(flags)|unix.NLM_F_ACK)
	err := s.send(r.datagram)
	first := s.seq - uint32(count) + 1
	r.datagram, r.count = r.datagram[:0], 0
	done := -1 // all up to here are settled
	for err == nil && done < count-1 {
		err = s.receive(func(h header, body []byte) error {
			n := h.seq - first
			if h.kind != unix.NLMSG_ERROR || n >= uint32(count) || int(n) <= done {
				return nil // an answer to a request that was given up
			}
			done = int(n)
			if refusal := errnoOf(h, body); refusal != nil {
				failed(done, refusal)
			}
			return nil
		})
	}
	if err != nil {
		// What became of the rest is unknown.
		for n := done + 1; n < count; n++ {
			failed(n, err)
		}
	}
}

// dump asks for a listing and hands over each message of it. f sees everything
// twice when the listing was interrupted: reset is called before each attempt.
func (s *socket) dump(request message, reset func(), f func(kind uint16, body []byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range dumpTries {
		reset()
		err := s.dumpLocked(request, f)
		if !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return errInterrupted
}

func (s *socket) dumpLocked(request message, f func(kind uint16, body []byte) error) error {
	s.seq++
	native.PutUint16(request[6:], native.Uint16(request[6:])|unix.NLM_F_DUMP)
	native.PutUint32(request[8:], s.seq)
	native.PutUint32(request[12:], s.port)
	if err := s.send(request); err != nil {
		return err
	}
	var done, interrupted bool
	var failed, unread error
	for !done {
		err := s.receive(func(h header, body []byte) error {
			if h.seq != s.seq {
				return nil
			}
			interrupted = interrupted || h.flags&unix.NLM_F_DUMP_INTR != 0
			switch h.kind {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				done, failed = true, errnoOf(h, body)
			default:
				// Read on after an error: a dump left half-way makes the
				// next one fail with EBUSY.
				if err := f(h.kind, body); err != nil && unread == nil {
					unread = err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if failed == nil && unread != nil {
		return unread
	}
	if failed == nil && interrupted {
		return errInterrupted
	}
	return failed
}

func (s *socket) send(datagram []byte) error {
	if s.closed {
		return fmt.Errorf("asking the kernel: %w", unix.EBADF)
	}
	for {
		if err := s.sendto(datagram); err != unix.EINTR {
			return err
		}
	}
}

func (s *socket) receive(f func(header, []byte) error) error {
	for {
		n, from, err := s.recvfrom()
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for the kernel's answer: %w", err)
		}
		// Any process may send to our port; only the kernel has port 0.
		if from != 0 {
			continue
		}
		return eachMessage(s.buffer[:n], f)
	}
}

// errnoOf reads NLMSG_ERROR or NLMSG_DONE: a negative errno, zero for success,
// and, where the kernel has one, a sentence (NLMSGERR_ATTR_MSG).
func errnoOf(h header, body []byte) error {
	if len(body) < 4 {
		if h.kind == unix.NLMSG_DONE {
			return nil
		}
		return fmt.Errorf("%w: acknowledgement of %d bytes", errMessage, len(body))
	}
	errno := int32(native.Uint32(body))
	if errno >= 0 {
		return nil
	}
	if text := reasonOf(h, body); text != "" {
		return fmt.Errorf("%w (%s)", unix.Errno(-errno), text)
	}
	return unix.Errno(-errno)
}

const (
	nlmsgerrAttrMsg = 1     // NLMSGERR_ATTR_MSG
	flagCapped      = 0x100 // NLM_F_CAPPED
	flagAckTLVs     = 0x200 // NLM_F_ACK_TLVS
)

func reasonOf(h header, body []byte) string {
	if h.flags&flagAckTLVs == 0 {
		return ""
	}
	skip := 4
	if h.kind == unix.NLMSG_ERROR {
		skip += headerLen
		if h.flags&flagCapped == 0 && len(body) >= skip {
			skip = 4 + int(min(uint64(native.Uint32(body[4:])+3)&^3, uint64(len(body))))
		}
	}
	if skip > len(body) {
		return ""
	}
	text := ""
	_ = eachAttr(body[skip:], func(kind uint16, v []byte) error {
		if kind == nlmsgerrAttrMsg {
			text = cString(v)
		}
		return nil
	})
	return text
}

func cString(v []byte) string {
	for i, c := range v {
		if c == 0 {
			return string(v[:i])
		}
	}
	return string(v)
}
