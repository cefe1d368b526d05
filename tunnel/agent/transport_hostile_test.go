package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"re6st/tunnel/control"
)

func TestA15_CertificatesThatAreRefused(t *testing.T) {
	for _, p := range protocols {
		m := newMesh(t)
		server, good := m.start(m.node("a", 1)), m.start(m.node("b", 2))
		good.only(p)
		for name, cert := range m.spoiled() {
			t.Run(string(p)+"/"+name, func(t *testing.T) {
				bad := m.start(cert)
				bad.only(p)
				if _, _, _, err := bad.Node(deadline(t), server.at()); err == nil {
					t.Error("the server took it")
				}
				_, _, _, err := good.Node(deadline(t), bad.at())
				if _, ok := errors.AsType[*identityError](err); !ok {
					t.Errorf("the caller got %v, want an error of identity", err)
				}
				if calls := append(server.desk.taken(), bad.desk.taken()...); len(calls) > 0 {
					t.Errorf("calls got through: %v", calls)
				}
			})
		}
	}
}

func TestAnotherNodeThanWanted(t *testing.T) {
	for _, p := range protocols {
		t.Run(string(p), func(t *testing.T) {
			m := newMesh(t)
			server, caller := m.start(m.node("a", 1)), m.start(m.node("b", 2))
			caller.only(p)
			_, _, _, err := caller.Node(deadline(t), server.at().wanting(7))
			if _, ok := errors.AsType[*identityError](err); !ok {
				t.Errorf("got %v", err)
			}
			if len(server.desk.taken()) != 0 {
				t.Error("the wrong node was asked all the same")
			}
			// A kept connection is held to the same: it ends when somebody else is wanted there.
			if _, _, _, err := caller.Node(deadline(t), server.at().wanting(1)); err != nil {
				t.Fatal(err)
			}
			cn := caller.kept(t, server)
			if _, _, _, err := caller.Node(deadline(t), server.at().wanting(7)); err == nil {
				t.Error("the kept connection served another expectation")
			}
			if cn.wire.alive() {
				t.Error("the connection to the wrong node is still open")
			}
		})
	}
}

// The certificate is judged at each request, not only at the handshake: a connection does not outlive it.
func TestA15_CertificateExpiresDuringAConnection(t *testing.T) {
	var late atomic.Bool
	now := func() time.Time {
		if late.Load() {
			return time.Now().AddDate(0, 0, 100)
		}
		return time.Now()
	}
	for _, p := range protocols {
		t.Run(string(p), func(t *testing.T) {
			late.Store(false)
			m := newMesh(t)
			server := m.start(m.node("a", 1), func(c *transportConfig) { c.Now = now })
			caller := m.start(m.node("b", 2))
			caller.only(p)
			if _, _, _, err := caller.Node(deadline(t), server.at()); err != nil {
				t.Fatal(err)
			}
			late.Store(true)
			_, _, _, err := caller.Node(deadline(t), server.at())
			wantRefusal(t, err, control.Denied)
		})
	}
}

// T-18: only what is in the table of routes is answered.
func TestT18_UnknownCallsAreRefused(t *testing.T) {
	calls := []struct{ method, path string }{
		{"GET", "/"},
		{"GET", "/v1"},
		{"GET", "/v2/node"},
		{"POST", "/v1/node"},
		{"PUT", "/v1/node"},
		{"GET", "/v1/tunnels"},
		{"GET", "/v1/tunnels/" + strings.Repeat("01", 16)},
		{"POST", "/v1/tunnels/x"},
		{"TRACE", "/v1/node"},
		{"OPTIONS", "*"},
		{"BREW", "/v1/node"},
		{"GET", "/v1/../v1/node"},
		{"GET", "//v1/node"},
		{"DELETE", "/v1/documents"},
		{"GET", "/v1/node/"},
		{"GET", "/debug/pprof/"},
	}
	for _, p := range protocols {
		m := newMesh(t)
		server, caller := m.start(m.node("a", 1)), m.start(m.node("b", 2))
		caller.only(p)
		for _, c := range calls {
			_, err := caller.client.call(deadline(t), server.at(), request{method: c.method, path: c.path, limit: 1 << 10})
			if err == nil {
				t.Errorf("%s: %s %s was answered", p, c.method, c.path)
			}
		}
		if got := server.desk.taken(); len(got) != 0 {
			t.Errorf("%s: reached the service: %v", p, got)
		}
	}
}

func TestT03_OversizedAndMalformedBodies(t *testing.T) {
	id := control.TunnelID{1}
	bodies := map[string]string{
		"empty": "", "no JSON": "{", "array": "[]", "two": "{}{}", "deep": strings.Repeat("[", 10_000),
		"wrong types": `{"protocol":"1"}`, "large": `{"protocol":1,"x":"` + strings.Repeat("x", control.MaxMessageBytes) + `"}`,
		"huge": strings.Repeat("x", 1<<20),
	}
	for _, p := range protocols {
		m := newMesh(t)
		server, caller := m.start(m.node("a", 1)), m.start(m.node("b", 2))
		caller.only(p)
		for name, body := range bodies {
			_, err := caller.client.call(deadline(t), server.at(), request{"PUT", tunnelPath(id), []byte(body), 1 << 10})
			if _, refused := errors.AsType[*control.Refusal](err); !refused && name != "huge" {
				t.Errorf("%s, %s: %v", p, name, err)
			}
			if err == nil {
				t.Errorf("%s, %s: was accepted", p, name)
			}
		}
		if err := caller.PostDocument(deadline(t), server.at(), strings.Repeat("a", control.MaxDocumentBytes)); err != nil {
			t.Errorf("%s: a document of the largest size: %v", p, err)
		}
		if err := caller.PostDocument(deadline(t), server.at(), strings.Repeat("a", control.MaxDocumentBytes+1)); err == nil {
			t.Errorf("%s: a document beyond the largest size was accepted", p)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	for _, p := range protocols {
		m := newMesh(t)
		server, caller := m.start(m.node("a", 1)), m.start(m.node("b", 2))
		caller.only(p)
		server.desk.docs = []string{strings.Repeat("a", 2<<20)}
		if _, err := caller.Documents(deadline(t), server.at()); err == nil || !strings.Contains(err.Error(), "longer than") {
			t.Errorf("%s: an answer of 2 MiB: %v", p, err)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	if r := control.ParseRefusal(http.StatusTemporaryRedirect, nil); r == nil {
		t.Fatal("a redirect is a success")
	}
	m := newMesh(t)
	caller := m.start(m.node("b", 2))
	var asked atomic.Int32
	redirect := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Location", "/v1/node")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	other := newTransport(transportConfig{Authority: m.authority, Certificate: m.node("a", 1)})
	srv := newHTTP2Server(other, redirect)
	l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS(other, overTCP))
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close(); other.Close() })
	caller.only(overTCP)
	to := target{addr: l.Addr().(*net.TCPAddr).AddrPort()}
	if _, _, _, err := caller.Node(deadline(t), to); err == nil {
		t.Error("a redirect was taken for an answer")
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestPanicOfTheServiceIsAnAnswer(t *testing.T) {
	for _, p := range protocols {
		m := newMesh(t)
		server, caller := m.start(m.node("a", 1)), m.start(m.node("b", 2))
		caller.only(p)
		server.desk.info = func() { panic("planted") }
		_, _, _, err := caller.Node(deadline(t), server.at())
		wantRefusal(t, err, control.Internal)
		if strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: what went wrong inside left the node: %v", p, err)
		}
		if _, err := caller.Peers(deadline(t), server.at()); err != nil {
			t.Errorf("%s: after a panic: %v", p, err)
		}
	}
}

func TestRefusalsArriveAsTheyWere(t *testing.T) {
	for _, p := range protocols {
		m := newMesh(t)
		server, caller := m.start(m.node("a", 1)), m.start(m.node("b", 2))
		caller.only(p)
		server.desk.refusal = control.Refuse(control.Full, "no room").After(3 * time.Second)
		_, _, _, err := caller.PutTunnel(deadline(t), server.at(), control.TunnelID{1}, offer())
		wantRefusal(t, err, control.Full)
		if r, ok := errors.AsType[*control.Refusal](err); ok && time.Duration(r.RetryAfter) != 3*time.Second {
			t.Errorf("%s: retry after %v", p, r.RetryAfter)
		}
		server.desk.mu.Lock()
		server.desk.refusal = errors.New("secret detail")
		server.desk.mu.Unlock()
		_, _, _, err = caller.PutTunnel(deadline(t), server.at(), control.TunnelID{1}, offer())
		wantRefusal(t, err, control.Internal)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: an internal error left the node: %v", p, err)
		}
	}
}

func TestT16_RequestsOfOneNodeAreLimited(t *testing.T) {
	m := newMesh(t)
	server := m.start(m.node("a", 1), func(c *transportConfig) { c.Limits.PeerRequests, c.Limits.PeerBurst = 0.1, 5 })
	noisy, quiet := m.start(m.node("b", 2)), m.start(m.node("c", 3))
	for range 5 {
		if _, err := noisy.Peers(deadline(t), server.at()); err != nil {
			t.Fatal(err)
		}
	}
	_, err := noisy.Peers(deadline(t), server.at())
	wantRefusal(t, err, control.Busy)
	if _, err := quiet.Peers(deadline(t), server.at()); err != nil {
		t.Errorf("another node pays for it: %v", err)
	}
}

func TestT03_ConnectionsOfOneNodeAreLimited(t *testing.T) {
	for _, p := range protocols {
		t.Run(string(p), func(t *testing.T) {
			m := newMesh(t)
			server := m.start(m.node("a", 1), func(c *transportConfig) { c.Limits.PeerConnections = 2 })
			cert := m.node("b", 2)
			var conns []*conn
			for range 4 {
				caller := m.start(cert)
				caller.only(p)
				if _, err := caller.Peers(deadline(t), server.at()); err != nil {
					t.Fatal(err)
				}
				conns = append(conns, caller.kept(t, server))
			}
			await(t, "the two oldest to be closed", func() bool { return !conns[0].wire.alive() && !conns[1].wire.alive() })
			if !conns[2].wire.alive() || !conns[3].wire.alive() {
				t.Error("one of the two newest was closed")
			}
		})
	}
}

// T-03: whoever connects and says nothing, or says it slowly, loses the connection.
func TestT03_SlowClients(t *testing.T) {
	m := newMesh(t)
	server := m.start(m.node("a", 1), func(c *transportConfig) {
		c.Limits.HandshakeTime, c.Limits.ReadTime, c.Limits.IdleTime = 300*time.Millisecond, 300*time.Millisecond, 600*time.Millisecond
	})
	wantEOF := func(t *testing.T, c net.Conn) {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			t.Error("the connection is still open")
		}
	}
	t.Run("silent before the handshake", func(t *testing.T) {
		c, err := net.Dial("tcp", server.at().addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		wantEOF(t, c)
	})
	dial := func(t *testing.T) *tls.Conn {
		t.Helper()
		other := newTransport(transportConfig{Authority: m.authority, Certificate: m.node("b", 2)})
		config, _ := clientTLS(other, target{}, overTCP)
		c, err := tls.Dial("tcp", server.at().addr.String(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	t.Run("silent after the handshake", func(t *testing.T) {
		c := dial(t)
		io.WriteString(c, http2.ClientPreface) // without it, net/http gives up after 10 s
		http2.NewFramer(c, c).WriteSettings()
		wantEOF(t, c)
	})
	t.Run("a body that does not come", func(t *testing.T) {
		c := dial(t)
		io.WriteString(c, http2.ClientPreface)
		f := http2.NewFramer(c, c)
		f.WriteSettings()
		var block bytes.Buffer
		e := hpack.NewEncoder(&block)
		for _, h := range [][2]string{{":method", "PUT"}, {":path", "/v1/tunnels/" + strings.Repeat("01", 16)}, {":scheme", "https"}, {":authority", "re6st"}} {
			e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
		}
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				if isTimeout(err) {
					t.Error("no answer to a request whose body does not come")
				}
				return
			}
			if h := frame.Header(); h.StreamID == 1 && (h.Type == http2.FrameHeaders || h.Type == http2.FrameRSTStream) {
				return
			}
		}
	})
	t.Run("a body that does not come over HTTP/3", func(t *testing.T) {
		caller := m.start(m.node("c", 3))
		caller.only(overUDP)
		if _, err := caller.Peers(deadline(t), server.at()); err != nil {
			t.Fatal(err)
		}
		stuck, _ := io.Pipe()
		rq, _ := http.NewRequestWithContext(deadline(t), "PUT", "https://re6st/v1/tunnels/"+strings.Repeat("01", 16), stuck)
		begun := time.Now()
		resp, err := caller.kept(t, server).wire.RoundTrip(rq)
		if err == nil {
			resp.Body.Close()
		}
		stuck.Close()
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
	if calls := server.desk.taken(); len(calls) != 1 {
		t.Errorf("the service was asked: %v", calls)
	}
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func TestStrangersProtocolsAreRefused(t *testing.T) {
	m := newMesh(t)
	server := m.start(m.node("a", 1))
	cert := m.node("b", 2)
	attempt := func(change func(*tls.Config)) error {
		c := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}
		change(c)
		conn, err := tls.Dial("tcp", server.at().addr.String(), c)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(conn, "GET /v1/node HTTP/1.1\r\nHost: x\r\n\r\n")
		answer, err := io.ReadAll(conn)
		if bytes.Contains(answer, []byte("200")) {
			return nil
		}
		return errors.Join(errors.New("refused"), err)
	}
	for name, change := range map[string]func(*tls.Config){
		"no ALPN":        func(c *tls.Config) { c.NextProtos = nil },
		"HTTP/1.1":       func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} },
		"HTTP/3 on TCP":  func(c *tls.Config) { c.NextProtos = []string{"h3"} },
		"TLS 1.2":        func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
		"no certificate": func(c *tls.Config) { c.Certificates = nil },
	} {
		if err := attempt(change); err == nil {
			t.Errorf("%s: got an answer", name)
		}
	}
	if calls := server.desk.taken(); len(calls) != 0 {
		t.Errorf("calls got through: %v", calls)
	}
}

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

func TestT16_HandshakeFloodLeavesRoomForKnownSources(t *testing.T) {
	g := newGate(transportLimits{
		Connections: 1000, SourceConnections: 100, Handshakes: 1, KnownHandshakes: 10, SourceHandshakes: 100, Sources: 300,
	})
	now := time.Unix(1_000_000, 0)
	friend := netip.MustParseAddr("192.0.2.1")
	g.prove(now, friend)
	admitted := 0
	for i := range 200 {
		if release, ok := g.admit(now, netip.AddrFrom4([4]byte{10, byte(i), 0, 1})); ok {
			admitted++
			release()
		}
	}
	if admitted > 3 {
		t.Errorf("%d of 200 strangers were admitted at once", admitted)
	}
	release, ok := g.admit(now, friend)
	if !ok {
		t.Fatal("a known source was shut out by strangers")
	}
	release()
	release() // twice is once
	if g.open != 0 {
		t.Errorf("%d connections counted as open", g.open)
	}
	if n := g.sources.len(); n > 300 {
		t.Errorf("%d sources are remembered", n)
	}
}

func TestT16_LimitsBySource(t *testing.T) {
	g := newGate(transportLimits{
		Connections: 5, SourceConnections: 3, Handshakes: 1000, KnownHandshakes: 1, SourceHandshakes: 1000, Sources: 10,
	})
	now := time.Unix(1_000_000, 0)
	count := func(addr string, n int) (ok int) {
		for range n {
			if _, admitted := g.admit(now, netip.MustParseAddr(addr)); admitted {
				ok++
			}
		}
		return ok
	}
	if got := count("2001:db8::1", 2) + count("2001:db8:0:ff::1", 2); got != 3 {
		t.Errorf("one /56 has %d connections, want 3", got)
	}
	if got := count("::ffff:192.0.2.1", 2) + count("192.0.2.200", 2); got != 2 {
		t.Errorf("the rest has %d connections, want 2: 5 are all there are", got)
	}
}

func TestT03_GateClosesWhatItDoesNotAdmit(t *testing.T) {
	m := newMesh(t)
	server := m.start(m.node("a", 1), func(c *transportConfig) {
		c.Limits.SourceConnections, c.Limits.HandshakeTime = 4, time.Second
	})
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	closed := 0
	for range 8 {
		c, err := net.Dial("tcp", server.at().addr.String())
		if err != nil {
			closed++ // reset before Dial has returned
			continue
		}
		open = append(open, c)
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err != nil && !isTimeout(err) {
			closed++
		}
	}
	if closed != 4 {
		t.Errorf("%d of 8 connections were closed at once, want 4", closed)
	}
	// They count until they are closed, which the handshake's time does.
	caller := m.start(m.node("b", 2))
	await(t, "a place to be free again", func() bool {
		_, err := caller.Peers(deadline(t), server.at())
		return err == nil
	})
}

func TestT14_BudgetOfDials(t *testing.T) {
	l := defaultTransportLimits
	l.Dials, l.DialBurst = 1, 10
	b := newBudget(l)
	now := time.Unix(1_000_000, 0)
	victim := target{addr: netip.MustParseAddrPort("192.0.2.1:6326")}
	dials := 0
	for s := range 3600 {
		at := now.Add(time.Duration(s) * time.Second)
		if b.allow(at, victim, nil) == nil {
			dials++
			b.failed(at, victim)
		}
	}
	if dials > 130 {
		t.Errorf("%d dials of a silent address in an hour", dials)
	}
	b.succeeded(victim)
	if err := b.allow(now.Add(2*time.Hour), victim, nil); err != nil {
		t.Errorf("after a success: %v", err)
	}
	all := 0
	for i := range 100 {
		to := target{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1)}
		if b.allow(now.Add(3*time.Hour), to, nil) == nil {
			all++
		}
	}
	if all > 10 {
		t.Errorf("%d dials at once", all)
	}
	if err := b.allow(now.Add(3*time.Hour), target{addr: victim.addr, overlay: true}, nil); err != nil {
		t.Errorf("a target in the mesh: %v", err)
	}
}

func TestPortInUse(t *testing.T) {
	wantPortError := func(t *testing.T, err error, network string) {
		t.Helper()
		e, ok := errors.AsType[*PortError](err)
		if !ok || e.Network != network {
			t.Fatalf("got %v, want a PortError of %s", err, network)
		}
		if !strings.Contains(e.Error(), "--port") || !strings.Contains(e.Error(), "address already in use") {
			t.Errorf("the message does not help: %v", e)
		}
	}
	m := newMesh(t)
	serve := func(port uint16) error {
		return newTransport(transportConfig{
			Authority: m.authority, Certificate: m.node("b", 2), Port: port, Address: netip.IPv6Loopback(),
		}).Serve(context.Background(), new(desk), nil)
	}
	t.Run("by another of us", func(t *testing.T) {
		first := m.start(m.node("a", 1), func(c *transportConfig) { c.Address = netip.IPv6Loopback() })
		wantPortError(t, serve(first.Port()), "udp")
	})
	t.Run("by a TCP server", func(t *testing.T) {
		l, err := net.Listen("tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		wantPortError(t, serve(uint16(l.Addr().(*net.TCPAddr).Port)), "tcp")
	})
	t.Run("by a UDP socket on one address", func(t *testing.T) {
		l, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		wantPortError(t, serve(uint16(l.LocalAddr().(*net.UDPAddr).Port)), "udp")
	})
}

// A session cannot be resumed and nothing can be sent ahead of the handshake, even if the client would like to.
func TestNoEarlyData(t *testing.T) {
	m := newMesh(t)
	server := m.start(m.node("a", 1))
	other := newTransport(transportConfig{Authority: m.authority, Certificate: m.node("b", 2)})
	config, _ := clientTLS(other, target{}, overUDP)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	config.SessionTicketsDisabled = false
	for range 2 {
		c, err := quic.DialAddrEarly(deadline(t), server.at().addr.String(), config, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-c.HandshakeComplete()
		if s := c.ConnectionState(); s.Used0RTT || s.TLS.DidResume {
			t.Errorf("0-RTT %v, resumed %v", s.Used0RTT, s.TLS.DidResume)
		}
		c.CloseWithError(0, "")
	}
}

// The sockets towards the underlay carry the mark, those in the mesh must not: marked packets never enter the mesh.
func TestSocketsAreMarkedTowardsTheUnderlayOnly(t *testing.T) {
	const mark = 0x6e36
	m := newMesh(t)
	tr := newTransport(transportConfig{Authority: m.authority, Certificate: m.node("a", 1), Mark: mark, Address: netip.IPv6Loopback()})
	t.Cleanup(tr.Close)
	if err := tr.Listen(t.Context()); errors.Is(err, unix.EPERM) {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("marks need CAP_NET_ADMIN: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{mark, 0} {
		p := tr.doors[i].pair
		for name, c := range map[string]syscall.Conn{"udp": p.udp, "tcp": p.tcp} {
			raw, err := c.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if err := onFD(raw, func(fd int) error {
				got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK)
				if got != want {
					t.Errorf("door %d, %s: mark %#x, want %#x", i, name, got, want)
				}
				return err
			}); err != nil {
				t.Error(err)
			}
		}
	}
}
