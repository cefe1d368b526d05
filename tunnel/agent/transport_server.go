package agent

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"re6st/internal/identity"
)

// door is one pair of sockets with the servers behind it. Its QUIC transport is also that of our own calls.
type door struct {
	t       *httpTransport
	overlay bool
	pair    *pair
	quic    *quic.Transport
	ctx     context.Context // ends when the door closes
	cancel  context.CancelFunc

	mu       sync.Mutex // guards the fields below
	closed   bool
	listener *quic.Listener
	http3    *http3.Server
	http2    *http.Server
}

func newDoor(t *httpTransport, p *pair, overlay bool) *door {
	d := &door{t: t, overlay: overlay, pair: p}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.quic = &quic.Transport{
		Conn:               p.udp,
		ConnectionIDLength: 8,
		StatelessResetKey:  resetKey(t.cert),
		// An address proves by a Retry that it can be reached before anything longer than the question goes there
		// (RFC 9000, section 8.1.2; reliability.md T-14). Who called before has a token and saves the round trip.
		VerifySourceAddress: func(net.Addr) bool { return true },
		ConnContext:         d.admitQUIC,
	}
	return d
}

// resetKey is the same after a restart, so that a peer's old connection learns at once that we know it no more (RFC 9000,
// section 10.3), and is known to nobody else.
func resetKey(cert tls.Certificate) *quic.StatelessResetKey {
	secret, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil // a key that is kept elsewhere: peers wait for their timeout instead
	}
	raw, err := hkdf.Key(sha256.New, secret, nil, "re6st stateless reset", len(quic.StatelessResetKey{}))
	if err != nil {
		return nil
	}
	key := quic.StatelessResetKey(raw)
	return &key
}

var errNotAdmitted = errors.New("too many connections")

func (d *door) admitQUIC(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	from, ok := info.RemoteAddr.(*net.UDPAddr)
	if !ok {
		return nil, errNotAdmitted
	}
	release, ok := d.t.gate.admit(time.Now(), from.AddrPort().Addr())
	if !ok {
		return nil, errNotAdmitted
	}
	context.AfterFunc(ctx, release) // the context ends with the connection, or with a handshake that fails
	return ctx, nil
}

// open starts the servers of both protocols. What ends one of them goes to errs.
func (d *door) open(s service, wg *sync.WaitGroup, errs chan<- error) error {
	h := newHandler(d.t, s, d.overlay)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errStopped
	}
	if d.t.serves(overUDP) {
		l, err := d.quic.Listen(serverTLS(d.t, overUDP), quicConfig(d.t.limits, d.t.limits.Streams))
		if err != nil {
			return fmt.Errorf("listening for HTTP/3: %w", err)
		}
		d.listener = l
		d.http3 = &http3.Server{
			Handler: h, MaxHeaderBytes: d.t.limits.HeaderBytes, IdleTimeout: d.t.limits.IdleTime,
			Logger: slog.New(slog.DiscardHandler),
		}
		wg.Go(func() { errs <- d.serveHTTP3(l, wg) })
	}
	if d.t.serves(overTCP) {
		d.http2 = newHTTP2Server(d.t, h)
		tcp := &gatedListener{Listener: d.pair.tcp, gate: d.t.gate}
		wg.Go(func() { errs <- d.http2.Serve(tls.NewListener(tcp, serverTLS(d.t, overTCP))) })
	} else {
		d.pair.tcp.Close()
	}
	return nil
}

// serveHTTP3 accepts connections itself rather than by http3.Server.ServeListener: the identity is known here, and the
// connections end before the server does.
func (d *door) serveHTTP3(l *quic.Listener, wg *sync.WaitGroup) error {
	for {
		c, err := l.Accept(context.Background())
		if err != nil {
			return fmt.Errorf("accepting HTTP/3 connections: %w", err)
		}
		wg.Go(func() {
			closeConn := func() { c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "") }
			defer closeConn()
			state := c.ConnectionState().TLS
			peer, err := identity.PeerOf(&state, d.t.authority, d.t.now())
			if err != nil || !d.t.enter() {
				return
			}
			defer d.t.leave()
			defer d.t.guests.enter(peer.Prefix, closeConn)()
			defer context.AfterFunc(d.ctx, closeConn)()
			d.http3.ServeQUICConn(c)
		})
	}
}

// close ends the servers and their connections; the sockets stay until release.
func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	d.cancel()
	if d.listener != nil {
		d.listener.Close()
	}
	if d.http2 != nil {
		d.http2.Close()
	}
	d.pair.tcp.Close()
}

// release gives the port back.
func (d *door) release() {
	d.quic.Close()
	d.pair.close()
}

// serverTLS is the identity's configuration with one protocol, which must have been negotiated: no ALPN would be HTTP/1.
func serverTLS(t *httpTransport, alpn protocol) *tls.Config {
	return withALPN(identity.ServerTLS(t.authority, t.cert, t.now), alpn)
}

func withALPN(c *tls.Config, alpn protocol) *tls.Config {
	verify := c.VerifyConnection
	c.NextProtos = []string{string(alpn)}
	c.SessionTicketsDisabled = true
	c.ClientSessionCache = nil
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if cs.NegotiatedProtocol != string(alpn) {
			return fmt.Errorf("protocol %q: want %q", cs.NegotiatedProtocol, alpn)
		}
		return verify(cs)
	}
	return c
}

// quicConfig is for messages of a few kilobytes. Packets of 1200 bytes pass every IPv6 path, also inside a tunnel, so
// nothing is searched for.
func quicConfig(l transportLimits, streams int) *quic.Config {
	return &quic.Config{
		Versions:                       []quic.Version{quic.Version1},
		HandshakeIdleTimeout:           l.HandshakeTime,
		MaxIdleTimeout:                 l.IdleTime,
		InitialStreamReceiveWindow:     64 << 10,
		MaxStreamReceiveWindow:         256 << 10,
		InitialConnectionReceiveWindow: 128 << 10,
		MaxConnectionReceiveWindow:     512 << 10,
		MaxIncomingStreams:             int64(streams),
		MaxIncomingUniStreams:          3, // control, QPACK encoder and decoder (RFC 9114, section 6.2)
		InitialPacketSize:              1200,
		DisablePathMTUDiscovery:        true,
		Allow0RTT:                      false,
	}
}

func newHTTP2Server(t *httpTransport, h http.Handler) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: t.limits.HandshakeTime, // bounds the TLS handshake too
		ReadTimeout:       t.limits.ReadTime,
		WriteTimeout:      t.limits.WriteTime,
		IdleTimeout:       t.limits.IdleTime,
		MaxHeaderBytes:    t.limits.HeaderBytes,
		Protocols:         new(http.Protocols),
		HTTP2:             http2Config(t.limits),
		ConnState:         trackHTTP2(t),
		ErrorLog:          slog.NewLogLogger(t.log.Handler(), slog.LevelDebug), // strangers' failed handshakes
	}
	s.Protocols.SetHTTP2(true)
	return s
}

func http2Config(l transportLimits) *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          l.Streams,
		MaxDecoderHeaderTableSize:     4 << 10,
		MaxReadFrameSize:              16 << 10,
		MaxReceiveBufferPerConnection: 256 << 10,
		MaxReceiveBufferPerStream:     128 << 10,
		SendPingTimeout:               l.IdleTime / 2,
		PingTimeout:                   l.ReadTime,
		WriteByteTimeout:              l.WriteTime,
	}
}

// trackHTTP2 notes the connections of each node from their handshake to their end.
func trackHTTP2(t *httpTransport) func(net.Conn, http.ConnState) {
	var open sync.Map // net.Conn to its leave func()
	return func(c net.Conn, s http.ConnState) {
		switch s {
		case http.StateActive, http.StateIdle:
			if _, known := open.Load(c); known {
				return
			}
			tc, ok := c.(*tls.Conn)
			if !ok {
				return
			}
			state := tc.ConnectionState()
			if peer, err := identity.PeerOf(&state, t.authority, t.now()); err == nil {
				open.Store(c, t.guests.enter(peer.Prefix, func() { c.Close() }))
			}
		case http.StateClosed, http.StateHijacked:
			if leave, known := open.LoadAndDelete(c); known {
				leave.(func())()
			}
		}
	}
}

// gatedListener closes at once what the gate does not admit.
type gatedListener struct {
	net.Listener
	gate *gate
}

func (l *gatedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if from, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
			if release, ok := l.gate.admit(time.Now(), from.Addr()); ok {
				return &gatedConn{Conn: c, release: release}, nil
			}
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.SetLinger(0) // no TIME_WAIT for a flood
		}
		c.Close()
	}
}

type gatedConn struct {
	net.Conn
	release func()
}

func (c *gatedConn) Close() error {
	c.release()
	return c.Conn.Close()
}
