package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sys/unix"

	"re6st/internal/identity"
)

// protocol is how a node is reached, by its ALPN name (RFC 9114, section 3.1; RFC 9113, section 3.2).
type protocol string

const (
	overUDP protocol = "h3"
	overTCP protocol = "h2"
)

// conn is one connection to another node, with the identity that its certificate proved.
type conn struct {
	wire     wire
	protocol protocol
	peer     identity.Node
	state    tls.ConnectionState // its exporter belongs to this connection and no other

	mu      sync.Mutex // guards the fields below
	users   int
	retired bool // no new users; closes with the last
}

// wire is what differs between the two protocols.
type wire interface {
	RoundTrip(*http.Request) (*http.Response, error)
	// alive is false when the connection is known to have ended.
	alive() bool
	// rtt is the least round trip that the transport protocol has seen: neither a handshake nor a handler is in it.
	rtt() time.Duration
	// mark and silentSince tell whether anything was heard from the other side since the mark: an old connection
	// whose peer has restarted or moved would otherwise cost the caller its whole deadline.
	mark() uint64
	silentSince(mark uint64) bool
	Close() error
}

// use takes part in the connection, unless it is to end.
func (c *conn) use() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired || !c.wire.alive() {
		return false
	}
	c.users++
	return true
}

func (c *conn) release() {
	c.mu.Lock()
	c.users--
	last := c.retired && c.users == 0
	c.mu.Unlock()
	if last {
		c.wire.Close()
	}
}

// retire lets those who use the connection finish.
func (c *conn) retire() {
	c.mu.Lock()
	c.retired = true
	idle := c.users == 0
	c.mu.Unlock()
	if idle {
		c.wire.Close()
	}
}

// abort does not.
func (c *conn) abort() {
	c.mu.Lock()
	c.retired = true
	c.mu.Unlock()
	c.wire.Close()
}

// quicWire is HTTP/3.
type quicWire struct {
	*http3.ClientConn
	conn *quic.Conn
}

func (w *quicWire) alive() bool        { return w.conn.Context().Err() == nil }
func (w *quicWire) rtt() time.Duration { return w.conn.ConnectionStats().MinRTT }
func (w *quicWire) mark() uint64       { return w.conn.ConnectionStats().PacketsReceived }

func (w *quicWire) silentSince(mark uint64) bool {
	return w.conn.ConnectionStats().PacketsReceived == mark
}

func (w *quicWire) Close() error {
	return w.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
}

// tcpWire is HTTP/2.
type tcpWire struct {
	*http.ClientConn
	conn *net.TCPConn
}

func (w *tcpWire) alive() bool { return w.ClientConn.Err() == nil }

func (w *tcpWire) rtt() time.Duration {
	return time.Duration(w.info().Min_rtt) * time.Microsecond
}

func (w *tcpWire) mark() uint64 { return 0 }

// silentSince needs no mark: what was sent is acknowledged within a round trip, or the other side is not there.
func (w *tcpWire) silentSince(uint64) bool { return w.info().Unacked > 0 }

func (w *tcpWire) info() *unix.TCPInfo {
	info := new(unix.TCPInfo)
	if raw, err := w.conn.SyscallConn(); err == nil {
		_ = onFD(raw, func(fd int) error {
			got, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			if err == nil {
				info = got
			}
			return err
		})
	}
	return info
}

// clientTLS is the identity's configuration with one protocol. What the verification says is kept in refused: the
// protocols wrap it in errors of their own.
func clientTLS(t *httpTransport, to target, alpn protocol) (c *tls.Config, refused *atomic.Pointer[identityError]) {
	refused = new(atomic.Pointer[identityError])
	want := func(n identity.Node) error {
		if !to.want.met(n) {
			return fmt.Errorf("%v is there (%s), not the node of %v", n.Prefix, n.Name, to.want.prefix)
		}
		return nil
	}
	c = withALPN(identity.ClientTLS(t.authority, t.cert, t.now, want), alpn)
	verify := c.VerifyConnection
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		err := verify(cs)
		if err != nil {
			refused.Store(&identityError{err})
		}
		return err
	}
	return c, refused
}

// identityError says that the other end is not who it must be. The other protocol would not change that.
type identityError struct{ err error }

func (e *identityError) Error() string { return "verifying who answers: " + e.err.Error() }
func (e *identityError) Unwrap() error { return e.err }

// dialQUIC makes an HTTP/3 connection from the socket that also serves.
func (c *client) dialQUIC(ctx context.Context, d *door, to target) (*conn, error) {
	config, refused := clientTLS(c.t, to, overUDP)
	settings := quicConfig(c.t.limits, -1)
	settings.TokenStore = c.tokens
	qc, err := d.quic.Dial(ctx, net.UDPAddrFromAddrPort(to.addr), config, settings)
	if err != nil {
		return nil, asIdentityError(err, refused)
	}
	w := &quicWire{conn: qc, ClientConn: c.http3.NewClientConn(qc)}
	return c.newConn(w, overUDP, qc.ConnectionState().TLS)
}

// dialTCP makes an HTTP/2 connection, marked like the door's sockets, or from the node's address in the mesh.
func (c *client) dialTCP(ctx context.Context, d *door, to target) (*conn, error) {
	config, refused := clientTLS(c.t, to, overTCP)
	dialer := net.Dialer{Control: controlOfDial(c.t.config.Mark)}
	if d.overlay {
		dialer = net.Dialer{LocalAddr: &net.TCPAddr{IP: c.t.config.Address.AsSlice()}}
	}
	raw, err := dialer.DialContext(ctx, "tcp", to.addr.String())
	if err != nil {
		return nil, err
	}
	tc := tls.Client(raw, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, asIdentityError(err, refused)
	}
	hc, err := c.http2(tc).NewClientConn(ctx, "https", authority)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return c.newConn(&tcpWire{ClientConn: hc, conn: raw.(*net.TCPConn)}, overTCP, tc.ConnectionState())
}

func asIdentityError(err error, refused *atomic.Pointer[identityError]) error {
	if e := refused.Load(); e != nil {
		return e
	}
	return err
}

func (c *client) newConn(w wire, p protocol, state tls.ConnectionState) (*conn, error) {
	peer, err := identity.PeerOf(&state, c.t.authority, c.t.now())
	if err != nil {
		w.Close()
		return nil, &identityError{err}
	}
	c.t.config.Met(peer)
	return &conn{wire: w, protocol: p, peer: peer, state: state}, nil
}

// http2 is a transport for one connection that exists: nothing of it dials, redirects or asks for a proxy.
func (c *client) http2(tc *tls.Conn) *http.Transport {
	t := &http.Transport{
		DialTLSContext:         func(context.Context, string, string) (net.Conn, error) { return tc, nil },
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return nil, errors.ErrUnsupported },
		DisableCompression:     true,
		MaxResponseHeaderBytes: int64(c.t.limits.HeaderBytes),
		IdleConnTimeout:        c.t.limits.IdleTime,
		Protocols:              new(http.Protocols),
		HTTP2:                  http2Config(c.t.limits),
	}
	t.Protocols.SetHTTP2(true)
	return t
}
