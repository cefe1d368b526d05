package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// The load that is measured comes from this program itself, started again on the
// hosts: "load serve" once on each, "load tcp" and "load udp" for each measurement.
const (
	tcpPort = 7001
	udpPort = 7002
)

// transferred is what the receiver of a TCP connection says at its end.
type transferred struct {
	Bytes   int64   `json:"bytes"` // of all of it
	Mbit    float64 `json:"mbit"`  // after the warm-up
	Sending float64 `json:"sending_cpu_s"`
}

// counted is what became of a train of packets.
type counted struct {
	Sent     int64   `json:"sent"`
	Received int64   `json:"received"`
	Seconds  float64 `json:"seconds"`    // of sending
	Arriving float64 `json:"arriving_s"` // from the first to the last
}

// lost is the share that did not arrive, or not at the rate.
func (c counted) lost() float64 {
	if c.Sent == 0 {
		return 1
	}
	// Queues take in whole trains, and what is late by then would be lost in a longer
	// one.
	if c.Arriving > 1.03*c.Seconds+0.005 {
		return max(1-c.Seconds/c.Arriving, 1-float64(c.Received)/float64(c.Sent))
	}
	return 1 - float64(c.Received)/float64(c.Sent)
}

// runLoad is the program that the hosts run.
func runLoad(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serveLoad()
	case len(args) == 4 && args[0] == "tcp":
		return clientOf(args, func(to netip.Addr, length time.Duration, warm int) (any, error) {
			return sendTCP(to, length, time.Duration(warm)*time.Millisecond)
		})
	case len(args) == 4 && args[0] == "udp":
		return clientOf(args, func(to netip.Addr, length time.Duration, rate int) (any, error) {
			return sendUDP(to, length, rate)
		})
	}
	return fmt.Errorf("load %q: want serve, tcp ADDR DURATION WARM-MS or udp ADDR DURATION RATE", args)
}

func clientOf(args []string, run func(netip.Addr, time.Duration, int) (any, error)) error {
	to, err := netip.ParseAddr(args[1])
	if err != nil {
		return err
	}
	length, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	out, err := run(to, length, n)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// serveLoad takes whatever comes, until it is killed.
func serveLoad() error {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", tcpPort))
	if err != nil {
		return err
	}
	c, err := net.ListenUDP("udp", &net.UDPAddr{Port: udpPort})
	if err != nil {
		return err
	}
	if err := bigBuffer(c); err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				sinkTCP(conn)
			}()
		}
	}()
	return countUDP(c)
}

// bigBuffer: what the receiver is too late for is not the tunnel's loss.
func bigBuffer(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	})
	return errors.Join(err, set)
}

// sinkTCP reads the warm-up first, as 8 bytes of milliseconds, then the load.
func sinkTCP(conn net.Conn) {
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return
	}
	warm := time.Duration(binary.BigEndian.Uint64(head[:])) * time.Millisecond
	buf := make([]byte, 256<<10)
	var out transferred
	var early int64
	begun := time.Now()
	var from, last time.Time
	for {
		n, err := conn.Read(buf)
		now := time.Now()
		out.Bytes += int64(n)
		if n > 0 {
			last = now
		}
		if from.IsZero() && now.Sub(begun) >= warm {
			from, early = now, out.Bytes
		}
		if err != nil {
			break
		}
	}
	if s := last.Sub(from).Seconds(); s > 0 && !from.IsZero() {
		out.Mbit = float64(out.Bytes-early) * 8 / 1e6 / s
	}
	_ = json.NewEncoder(conn).Encode(out) // who asked may be gone
}

// sendTCP sends for so long after the warm-up, as fast as it can.
func sendTCP(to netip.Addr, length, warm time.Duration) (transferred, error) {
	var out transferred
	c, err := net.DialTimeout("tcp", netip.AddrPortFrom(to, tcpPort).String(), 5*time.Second)
	if err != nil {
		return out, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(length + warm + 20*time.Second)); err != nil {
		return out, err
	}
	var head [8]byte
	binary.BigEndian.PutUint64(head[:], uint64(warm.Milliseconds()))
	if _, err := c.Write(head[:]); err != nil {
		return out, err
	}
	buf := make([]byte, 256<<10)
	for begun := time.Now(); time.Since(begun) < warm+length; {
		if _, err := c.Write(buf); err != nil {
			return out, err
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return out, err
	}
	if err := json.NewDecoder(c).Decode(&out); err != nil {
		return out, fmt.Errorf("asking how much arrived: %w", err)
	}
	out.Sending = ownCPU()
	return out, nil
}

// ownCPU is what this process has used.
func ownCPU() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// A packet is the number of its train, and, in a question, this as the next word. It
// is padded to packetSize with its headers.
const (
	question   = 0x7175657374696f6e
	packetSize = 64
)

// payloadSize is what fits: 16 bytes in IPv6, 36 in IPv4.
func payloadSize(to netip.Addr) int {
	const udp, ip4, ip6 = 8, 20, 40
	if to.Is4() {
		return packetSize - udp - ip4
	}
	return packetSize - udp - ip6
}

// countUDP counts the packets of the train that came last, and answers questions.
func countUDP(c *net.UDPConn) error {
	p := ipv6.NewPacketConn(c)
	batch := make([]ipv6.Message, 64)
	for i := range batch {
		batch[i].Buffers = [][]byte{make([]byte, 128)}
	}
	var train, count uint64
	var first, last time.Time
	for {
		n, err := p.ReadBatch(batch, 0)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, m := range batch[:n] {
			if m.N < 16 {
				continue
			}
			b := m.Buffers[0]
			if binary.BigEndian.Uint64(b[8:]) == question {
				answer := counted{}
				if binary.BigEndian.Uint64(b) == train {
					answer.Received, answer.Arriving = int64(count), last.Sub(first).Seconds()
				}
				text, _ := json.Marshal(answer) // a struct of numbers
				_, _ = c.WriteTo(text, m.Addr)  // the question is repeated
				continue
			}
			if id := binary.BigEndian.Uint64(b); id != train {
				train, count, first = id, 0, now
			}
			last = now
			count++
		}
	}
}

// tick is how often the sender sends what is due: at 100,000 packets a second bursts
// of ten.
const tick = 100 * time.Microsecond

// sendUDP sends small packets at a rate and asks how many came.
func sendUDP(to netip.Addr, length time.Duration, rate int) (counted, error) {
	runtime.LockOSThread()
	// The kernel's default of 50 µs would make the bursts half as long again.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	var out counted
	conn, err := net.Dial("udp", netip.AddrPortFrom(to, udpPort).String())
	if err != nil {
		return out, err
	}
	defer conn.Close()
	c := conn.(*net.UDPConn)
	p := ipv6.NewPacketConn(c)
	payload := make([]byte, payloadSize(to))
	binary.BigEndian.PutUint64(payload, uint64(time.Now().UnixNano()))
	batch := make([]ipv6.Message, 64)
	for i := range batch {
		batch[i].Buffers = [][]byte{payload}
	}
	begun := time.Now()
	for {
		elapsed := time.Since(begun)
		if elapsed >= length {
			break
		}
		due := int64(float64(rate)*elapsed.Seconds()) - out.Sent
		if due <= 0 {
			_ = unix.Nanosleep(&unix.Timespec{Nsec: int64(tick)}, nil) // an early end only sends sooner
			continue
		}
		n, err := p.WriteBatch(batch[:min(due, int64(len(batch)))], 0)
		out.Sent += int64(max(n, 0))
		if errors.Is(err, unix.ENOBUFS) {
			continue // the queue of the interface is full: not sent, not lost
		}
		if err != nil {
			return out, err
		}
	}
	out.Seconds = time.Since(begun).Seconds()
	seen, err := ask(c, payload)
	out.Received, out.Arriving = seen.Received, seen.Arriving
	return out, err
}

// ask repeats the question until there is an answer: it may be lost like any packet.
func ask(c *net.UDPConn, payload []byte) (seen counted, err error) {
	<-time.After(40 * time.Millisecond) // what is in flight must arrive first
	answer := make([]byte, 256)
	for range 20 {
		binary.BigEndian.PutUint64(payload[8:], question)
		if _, err := c.Write(payload); err != nil {
			return seen, err
		}
		if err := c.SetReadDeadline(time.Now().Add(150 * time.Millisecond)); err != nil {
			return seen, err
		}
		if n, err := c.Read(answer); err == nil {
			return seen, json.Unmarshal(answer[:n], &seen)
		}
	}
	return seen, errors.New("asking how many packets came: no answer")
}
