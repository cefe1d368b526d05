package agent

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"re6st/tunnel/control"
)

// T-06: what was recorded on the wire has no effect when it is sent again, over either protocol.
func TestT06_ReplayOfARecordedSession(t *testing.T) {
	m := newMesh(t)
	server, caller := m.start(m.node("a", 1)), m.start(m.node("b", 2))
	put := func(to target) {
		t.Helper()
		if _, _, _, err := caller.PutTunnel(deadline(t), to, control.TunnelID{1}, offer()); err != nil {
			t.Fatal(err)
		}
	}

	tap, recorded := tapTCP(t, server.at().addr)
	caller.only(overTCP)
	put(target{addr: tap})
	caller.Forget(prefixOf(1))
	c, err := net.Dial("tcp", server.at().addr.String())
	if err != nil {
		t.Fatal(err)
	}
	c.Write(recorded())
	c.SetReadDeadline(time.Now().Add(2 * time.Second))
	io.Copy(io.Discard, c)
	c.Close()

	udpTap, datagrams := tapUDP(t, server.at().addr)
	caller.only(overUDP)
	put(target{addr: udpTap})
	caller.Forget(prefixOf(1))
	u, err := net.Dial("udp", server.at().addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, d := range datagrams() {
		u.Write(d)
	}
	u.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	io.Copy(io.Discard, u)

	if calls := server.desk.taken(); len(calls) != 2 {
		t.Errorf("the service was asked %v; two calls were made", calls)
	}
}

// tapTCP passes one connection through and records what the caller sends.
func tapTCP(t *testing.T, to netip.AddrPort) (netip.AddrPort, func() []byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var sent bytes.Buffer
	var all sync.WaitGroup
	all.Go(func() {
		from, err := l.Accept()
		if err != nil {
			return
		}
		on, err := net.Dial("tcp", to.String())
		if err != nil {
			return
		}
		all.Go(func() { io.Copy(from, on); from.Close() })
		io.Copy(io.MultiWriter(on, writerFunc(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return sent.Write(b)
		})), from)
		on.Close()
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return l.Addr().(*net.TCPAddr).AddrPort(), func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return bytes.Clone(sent.Bytes())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// tapUDP is the same for datagrams.
func tapUDP(t *testing.T, to netip.AddrPort) (netip.AddrPort, func() [][]byte) {
	t.Helper()
	l, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	on, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var sent [][]byte
	var from netip.AddrPort
	var all sync.WaitGroup
	all.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, a, err := l.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			mu.Lock()
			from = a
			sent = append(sent, bytes.Clone(buf[:n]))
			mu.Unlock()
			on.Write(buf[:n])
		}
	})
	all.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, err := on.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			a := from
			mu.Unlock()
			l.WriteToUDPAddrPort(buf[:n], a)
		}
	})
	t.Cleanup(func() { l.Close(); on.Close(); all.Wait() })
	return l.LocalAddr().(*net.UDPAddr).AddrPort(), func() [][]byte {
		mu.Lock()
		defer mu.Unlock()
		return append([][]byte(nil), sent...)
	}
}

// T-14: until an address has shown that it can be reached, no more goes there than came from there.
func TestT14_NoAmplificationOverUDP(t *testing.T) {
	m := newMesh(t)
	server, caller := m.start(m.node("a", 1)), m.start(m.node("b", 2))
	tap, datagrams := tapUDP(t, server.at().addr)
	caller.only(overUDP)
	if _, err := caller.Peers(deadline(t), target{addr: tap}); err != nil {
		t.Fatal(err)
	}
	initial := datagrams()[0]
	unknownVersion := bytes.Clone(initial)
	copy(unknownVersion[1:5], "\x1a\x2a\x3a\x4a")
	short := bytes.Repeat([]byte{0x41}, 1200)
	for name, question := range map[string][]byte{
		"Initial": initial, "unknown version": unknownVersion, "unknown connection": short,
		"small": []byte("hello"), "zeros": make([]byte, 1200), "long header": append([]byte{0xff}, make([]byte, 60)...),
	} {
		c, err := net.Dial("udp", server.at().addr.String())
		if err != nil {
			t.Fatal(err)
		}
		c.Write(question)
		got, buf := 0, make([]byte, 4096)
		if name == "Initial" { // the one that is answered
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			got, _ = c.Read(buf)
		}
		c.SetReadDeadline(time.Now().Add(400 * time.Millisecond))
		for {
			n, err := c.Read(buf)
			if err != nil {
				break
			}
			got += n
		}
		c.Close()
		if got > len(question) {
			t.Errorf("%s: %d bytes in answer to %d", name, got, len(question))
		}
		if name == "Initial" && got == 0 {
			t.Error("an Initial without a token got no Retry")
		}
	}
}
