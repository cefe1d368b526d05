package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// messageMax is the longest question that is read; a longer one is cut off, and
// answered as what it is then: malformed.
const messageMax = 4097

// serveUDP answers until the socket is closed.
func (s *Server) serveUDP(ctx context.Context, conn *net.UDPConn) error {
	var waiting sync.WaitGroup // for others; bounded by Server.asking
	defer waiting.Wait()
	buffer := make([]byte, messageMax)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		switch {
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			continue // an ICMP error for an earlier answer: of no concern here
		}
		source := from.Addr().Unmap()
		if from.Port() == 0 || !s.limits.allow(time.Now(), source, s.config.IsOurs(source)) {
			continue
		}
		reply, wait := s.answer(buffer[:n], source, false)
		if wait == nil {
			send(conn, reply, from)
			continue
		}
		waiting.Go(func() { send(conn, wait(ctx), from) })
	}
}

// send drops what cannot be sent: the client asks again.
func send(conn *net.UDPConn, reply *dns.Msg, to netip.AddrPort) {
	if reply == nil {
		return
	}
	if out, err := reply.Pack(); err == nil {
		_, _ = conn.WriteToUDPAddrPort(out, to)
	}
}
