package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Canary is in every packet of a stream: seen in clear on the underlay, it
// proves that something is not encrypted.
const Canary = "re6st-lab-canary-in-clear"

const streamPort = 9100

// A stream packet is the canary, the sender's identity (4 bytes), and the
// sequence number (8 bytes); then zeros up to the size that was asked for.
const streamBytes = len(Canary) + 12

// StreamSendArgs are those of StreamSend.
type StreamSendArgs struct {
	ID       uint32 // of the sender, unique in the lab
	To       []netip.Addr
	Interval time.Duration
	Size     int    // of the payload; 0: as small as can be
	Count    uint64 // how many to each address; 0: until stopped
}

// Sent counts what went to one address. Packets that the kernel refused count
// as sent: they were not delivered.
type Sent struct {
	To      netip.Addr
	Packets uint64
	Refused uint64
	Err     string // the last refusal
}

// SentReply is what a sender did.
type SentReply struct {
	Sent        []Sent
	Start, Stop time.Time
}

// Received counts what came from one sender.
type Received struct {
	From       uint32
	Packets    uint64 // distinct ones
	Duplicates uint64
	Reordered  uint64
	First      time.Time
	Last       time.Time
	Gap        time.Duration // the longest between two arrivals
	GapStart   time.Time
	Seen       []uint64 // a bit for each sequence number
}

// ReceivedReply is what a receiver saw.
type ReceivedReply struct{ From []Received }

// StreamListen starts counting.
func (a *Agent) StreamListen(struct{}, *struct{}) error {
	c, err := net.ListenUDP("udp", &net.UDPAddr{Port: streamPort})
	if err != nil {
		return fmt.Errorf("opening the stream's socket: %w", err)
	}
	c.SetReadBuffer(4 << 20)
	r := &receiver{conn: c, done: make(chan struct{}), from: map[uint32]*tally{}}
	go r.run()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.receiver != nil {
		a.receiver.close()
	}
	a.receiver = r
	return nil
}

// StreamReceived stops counting and reports.
func (a *Agent) StreamReceived(_ struct{}, reply *ReceivedReply) error {
	a.mu.Lock()
	r := a.receiver
	a.receiver = nil
	a.mu.Unlock()
	if r == nil {
		return fmt.Errorf("no stream is being received")
	}
	r.close()
	for _, t := range r.from {
		reply.From = append(reply.From, t.Received)
	}
	return nil
}

// StreamSend starts sending.
func (a *Agent) StreamSend(args StreamSendArgs, _ *struct{}) error {
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		return fmt.Errorf("opening the stream's socket: %w", err)
	}
	s := &sender{args: args, conn: c, stop: make(chan struct{}), done: make(chan struct{}), sent: make([]Sent, len(args.To))}
	go s.run()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.senders[args.ID] = s
	return nil
}

// StreamStop stops one sender, which sends its count first if it has one, and
// reports.
func (a *Agent) StreamStop(id uint32, reply *SentReply) error {
	a.mu.Lock()
	s := a.senders[id]
	delete(a.senders, id)
	a.mu.Unlock()
	if s == nil {
		return fmt.Errorf("no stream %d is being sent", id)
	}
	if s.args.Count == 0 {
		close(s.stop)
	}
	<-s.done
	*reply = SentReply{Sent: s.sent, Start: s.start, Stop: s.end}
	return nil
}

// sender's fields belong to its goroutine until done is closed.
type sender struct {
	args       StreamSendArgs
	conn       *net.UDPConn
	stop, done chan struct{}
	sent       []Sent
	start, end time.Time
}

func (s *sender) run() {
	defer close(s.done)
	defer s.conn.Close()
	for i, to := range s.args.To {
		s.sent[i].To = to
	}
	s.start = time.Now()
	tick := time.NewTicker(s.args.Interval)
	defer tick.Stop()
	packet := make([]byte, max(streamBytes, s.args.Size))
	copy(packet, Canary)
	binary.BigEndian.PutUint32(packet[len(Canary):], s.args.ID)
	for {
		select {
		case <-s.stop:
			s.end = time.Now()
			return
		case <-tick.C:
		}
		if s.args.Count != 0 && !slices.ContainsFunc(s.sent, func(t Sent) bool { return t.Packets < s.args.Count }) {
			s.end = time.Now()
			return
		}
		for i := range s.sent {
			t := &s.sent[i]
			binary.BigEndian.PutUint64(packet[len(Canary)+4:], t.Packets)
			t.Packets++
			if _, err := s.conn.WriteToUDPAddrPort(packet, netip.AddrPortFrom(t.To, streamPort)); err != nil {
				t.Refused++
				t.Err = rootCause(err)
			}
		}
	}
}

// receiver's map belongs to its goroutine until done is closed.
type receiver struct {
	conn *net.UDPConn
	done chan struct{}
	once sync.Once
	from map[uint32]*tally
}

// close ends it when it has taken what is in its queue.
func (r *receiver) close() {
	r.once.Do(func() { r.conn.SetReadDeadline(time.Now()) })
	<-r.done
	r.conn.Close()
}

func (r *receiver) run() {
	defer close(r.done)
	buf := make([]byte, 2048)
	for {
		n, err := r.conn.Read(buf)
		if err != nil {
			break
		}
		r.take(buf[:n])
	}
	raw, err := r.conn.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		for {
			n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			r.take(buf[:n])
		}
	})
}

func (r *receiver) take(packet []byte) {
	if len(packet) < streamBytes || !bytes.HasPrefix(packet, []byte(Canary)) {
		return
	}
	id := binary.BigEndian.Uint32(packet[len(Canary):])
	t := r.from[id]
	if t == nil {
		t = &tally{Received: Received{From: id}}
		r.from[id] = t
	}
	t.take(time.Now(), binary.BigEndian.Uint64(packet[len(Canary)+4:]))
}

// tally counts the packets of one sender.
type tally struct {
	Received
	highest uint64
}

// seqMax bounds the bits that a stray packet can make us keep.
const seqMax = 1 << 28

func (t *tally) take(now time.Time, seq uint64) {
	if seq >= seqMax {
		return
	}
	word, bit := seq/64, uint64(1)<<(seq%64)
	for uint64(len(t.Seen)) <= word {
		t.Seen = append(t.Seen, 0)
	}
	if t.Seen[word]&bit != 0 {
		t.Duplicates++
		return
	}
	t.Seen[word] |= bit
	t.Packets++
	if seq < t.highest {
		t.Reordered++
	}
	t.highest = max(t.highest, seq)
	if t.First.IsZero() {
		t.First = now
	} else if gap := now.Sub(t.Last); gap > t.Gap {
		t.Gap, t.GapStart = gap, t.Last
	}
	t.Last = now
}
