package server

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits on TCP (RFC 7766, section 6): a connection may be idle for a little
// while, and one client gets a part of them at most.
const (
	connectionsMax       = 64
	connectionsPerSource = 8
	questionsMax         = 128
	idleTimeout          = 5 * time.Second
	lengthBytes          = 2
)

// connections counts those that are open.
type connections struct {
	mu       sync.Mutex
	all      int
	bySource map[netip.Addr]int
}

func (c *connections) enter(source netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= connectionsMax || c.bySource[source] >= connectionsPerSource {
		return false
	}
	c.all++
	c.bySource[source]++
	return true
}

func (c *connections) leave(source netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.bySource[source]--; c.bySource[source] == 0 {
		delete(c.bySource, source)
	}
}

// serveTCP answers until the listener is closed.
func (s *Server) serveTCP(ctx context.Context, listener *net.TCPListener) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	open := connections{bySource: make(map[netip.Addr]int)}
	for {
		conn, err := listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			// Out of descriptors, perhaps: what waits is not to be asked for at once.
			pause(ctx, time.Second)
			continue
		}
		from, _ := netip.AddrFromSlice(conn.RemoteAddr().(*net.TCPAddr).IP)
		from = from.Unmap()
		group := sourceOf(from)
		if !open.enter(group) {
			conn.Close()
			continue
		}
		serving.Go(func() {
			defer open.leave(group)
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			s.converse(ctx, conn, from)
		})
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// converse answers the questions of one connection, one after the other.
func (s *Server) converse(ctx context.Context, conn net.Conn, from netip.Addr) {
	buffer := make([]byte, messageMax)
	for range questionsMax {
		message, err := readMessage(conn, buffer)
		if err != nil || !s.limits.allow(time.Now(), from, s.config.IsOurs(from)) {
			return
		}
		reply, wait := s.answer(message, from, true)
		if wait != nil {
			reply = wait(ctx)
		}
		if reply == nil {
			return
		}
		out, err := reply.PackBuffer(make([]byte, len(buffer)))
		if err != nil {
			return
		}
		framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)
		_ = conn.SetWriteDeadline(time.Now().Add(idleTimeout))
		if _, err := conn.Write(framed); err != nil {
			return
		}
	}
}

var errLong = errors.New("the message is longer than a question can be")

// readMessage reads one message with its length before it (RFC 1035, section
// 4.2.2).
func readMessage(conn net.Conn, buffer []byte) ([]byte, error) {
	_ = conn.SetReadDeadline(time.Now().Add(idleTimeout))
	var length [lengthBytes]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > len(buffer) {
		return nil, errLong
	}
	_, err := io.ReadFull(conn, buffer[:n])
	return buffer[:n], err
}
