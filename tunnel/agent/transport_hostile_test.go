package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

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
		server.desk.set(func(d *desk) { d.docs = []string{strings.Repeat("a", 2<<20)} })
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
		server.desk.set(func(d *desk) { d.info = func() { panic("planted") } })
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
		server.desk.set(func(d *desk) { d.refusal = control.Refuse(control.Full, "no room").After(3 * time.Second) })
		_, _, _, err := caller.PutTunnel(deadline(t), server.at(), control.TunnelID{1}, offer())
		wantRefusal(t, err, control.Full)
		if r, ok := errors.AsType[*control.Refusal](err); ok && time.Duration(r.RetryAfter) != 3*time.Second {
			t.Errorf("%s: retry after %v", p, r.RetryAfter)
		}
		server.desk.set(func(d *desk) { d.refusal = errors.New("secret detail") })
		_, _, _, err = caller.PutTunnel(deadline(t), server.at(), control.TunnelID{1}, offer())
		wantRefusal(t, err, control.Internal)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: an internal error left the node: %v", p, err)
		}
	}
}

// T-03: whoever connects and says nothing, or says it slowly, loses the connection.
func TestT03_SlowClients(t *testing.T) {
	m := newMesh(t)
	server := m.start(m.node("a", 1), func(c *transportConfig) {
		c.Limits.HandshakeTime, c.Limits.ReadTime, c.Limits.IdleTime = 2*time.Second, 500*time.Millisecond, time.Second
	})
	wantEOF := func(t *testing.T, c net.Conn) {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(9 * time.Second))
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
		c.SetReadDeadline(time.Now().Add(9 * time.Second))
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
		if took := time.Since(begun); took > 9*time.Second {
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
		conn.SetDeadline(time.Now().Add(20 * time.Second))
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
