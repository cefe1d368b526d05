package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"
)

// ends are the two results of one handshake.
type ends struct {
	client, server tls.ConnectionState
	clientErr      error
	serverErr      error
}

// shake runs a real handshake over loopback, and one byte each way: in TLS 1.3
// the client's handshake ends before the server has seen its certificate.
func shake(t *testing.T, client, server *tls.Config) ends {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var e ends
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := l.Accept()
		if err != nil {
			e.serverErr = err
			return
		}
		c := tls.Server(raw, server)
		defer c.Close()
		e.serverErr = exchange(ctx, c, true)
		e.server = c.ConnectionState()
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, client)
	defer c.Close()
	e.clientErr = exchange(ctx, c, false)
	e.client = c.ConnectionState()
	if e.clientErr != nil {
		c.Close()
	}
	<-done
	return e
}

func exchange(ctx context.Context, c *tls.Conn, writesFirst bool) error {
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	b := []byte{'x'}
	if writesFirst {
		if _, err := c.Write(b); err != nil {
			return err
		}
		_, err := c.Read(b)
		return err
	}
	if _, err := c.Read(b); err != nil {
		return err
	}
	_, err := c.Write(b)
	return err
}

func TestNodesTalk(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("node-a", "2001:db8:42:a::/64"), w.node("node-b", "2001:db8:42:b::/64")
	wanted := ""
	e := shake(t, ClientTLS(w.authority, a, clock, func(n Node) error {
		wanted = n.Name
		return nil
	}), ServerTLS(w.authority, b, clock))
	if err := errors.Join(e.clientErr, e.serverErr); err != nil {
		t.Fatal(err)
	}
	if wanted != "node-b" {
		t.Errorf("the client was asked whether it wants %q", wanted)
	}
	for name, cs := range map[string]*tls.ConnectionState{"node-b": &e.client, "node-a": &e.server} {
		if n, err := PeerOf(cs, w.authority, epoch); err != nil || n.Name != name {
			t.Errorf("the peer is %q, %v, want %s", n.Name, err, name)
		}
		if cs.Version != tls.VersionTLS13 || cs.DidResume {
			t.Errorf("version %x, resumed %v", cs.Version, cs.DidResume)
		}
		// A connection outlives a certificate: whoever keeps one asks again.
		if _, err := PeerOf(cs, w.authority, epoch.AddDate(1, 0, 0)); !errors.Is(err, ErrExpired) {
			t.Errorf("a year later: %v", err)
		}
	}
}

// A15: unknown, expired and foreign certificates are refused by whoever is shown
// them, at both ends, in real handshakes.
func TestA15_HandshakesRefused(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	good := w.node("node-a", "2001:db8:42:a::/64")
	expired := nodeTemplate(t, "node-b", "2001:db8:42:b::/64")
	expired.NotAfter = epoch.Add(-time.Minute)
	outside := nodeTemplate(t, "node-b", "2001:db8:43:b::/64")
	mixed := w.node("node-b", "2001:db8:42:b::/64")
	mixed.Certificate = [][]byte{mixed.Certificate[0], good.Certificate[0]}
	clientOnly := nodeTemplate(t, "node-b", "2001:db8:42:b::/64")
	clientOnly.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	strange := newKey(t)
	unknown := tls.Certificate{PrivateKey: strange, Certificate: [][]byte{
		sign(t, nodeTemplate(t, "node-b", "2001:db8:42:b::/64"), nodeTemplate(t, "node-b", "2001:db8:42:b::/64"), &strange.PublicKey, strange),
	}}
	for _, test := range []struct {
		name  string
		shown tls.Certificate
		want  error
	}{
		{"another node", w.node("node-b", "2001:db8:42:b::/64"), nil},
		{"what follows the leaf does not count", mixed, nil},
		{"unknown", unknown, ErrForeign},
		{"foreign", other.node("node-b", "2001:db8:42:b::/64"), ErrForeign},
		{"expired", w.leaf(expired), ErrExpired},
		{"outside the network", w.leaf(outside), ErrBlocks},
		{"the registry's", w.leaf(registryTemplate(t)), ErrRole},
		{"for a client only", w.leaf(clientOnly), ErrProfile},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := shake(t, ClientTLS(w.authority, test.shown, clock, nil), ServerTLS(w.authority, good, clock))
			if !errors.Is(e.serverErr, test.want) || (e.clientErr != nil) != (test.want != nil) {
				t.Errorf("shown by the client: server %v, client %v, want %v", e.serverErr, e.clientErr, test.want)
			}
			e = shake(t, ClientTLS(w.authority, good, clock, nil), ServerTLS(w.authority, test.shown, clock))
			if !errors.Is(e.clientErr, test.want) || (e.serverErr != nil) != (test.want != nil) {
				t.Errorf("shown by the server: client %v, server %v, want %v", e.clientErr, e.serverErr, test.want)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		e := shake(t, ClientTLS(w.authority, tls.Certificate{}, clock, nil), ServerTLS(w.authority, good, clock))
		if e.serverErr == nil || e.clientErr == nil {
			t.Errorf("server %v, client %v", e.serverErr, e.clientErr)
		}
	})
	t.Run("the certificate of another with one's own key", func(t *testing.T) {
		stolen := w.node("node-b", "2001:db8:42:b::/64")
		stolen.PrivateKey = newKey(t)
		e := shake(t, ClientTLS(w.authority, stolen, clock, nil), ServerTLS(w.authority, good, clock))
		if e.serverErr == nil {
			t.Error("the server believed it")
		}
		e = shake(t, ClientTLS(w.authority, good, clock, nil), ServerTLS(w.authority, stolen, clock))
		if e.clientErr == nil {
			t.Error("the client believed it")
		}
	})
}

func TestClientWantsAnother(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("node-a", "2001:db8:42:a::/64"), w.node("node-b", "2001:db8:42:b::/64")
	errOther := errors.New("another node answers")
	e := shake(t, ClientTLS(w.authority, a, clock, func(n Node) error {
		if n.Name != "node-c" {
			return fmt.Errorf("%w: %s", errOther, n.Name)
		}
		return nil
	}), ServerTLS(w.authority, b, clock))
	if !errors.Is(e.clientErr, errOther) || e.serverErr == nil {
		t.Errorf("client %v, server %v", e.clientErr, e.serverErr)
	}
}

func TestOldTLSRefused(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("node-a", "2001:db8:42:a::/64"), w.node("node-b", "2001:db8:42:b::/64")
	old := ClientTLS(w.authority, a, clock, nil)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if e := shake(t, old, ServerTLS(w.authority, b, clock)); e.clientErr == nil || e.serverErr == nil {
		t.Errorf("server: %v, %v", e.clientErr, e.serverErr)
	}
	old = ServerTLS(w.authority, b, clock)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if e := shake(t, ClientTLS(w.authority, a, clock, nil), old); e.clientErr == nil || e.serverErr == nil {
		t.Errorf("client: %v, %v", e.clientErr, e.serverErr)
	}
}

// T-08: sessions are not resumed, although the client would like to.
func TestT08_NoResumption(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("node-a", "2001:db8:42:a::/64"), w.node("node-b", "2001:db8:42:b::/64")
	client := ClientTLS(w.authority, a, clock, nil)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	client.ServerName = "node-b.mesh"
	server := ServerTLS(w.authority, b, clock)
	for i := range 3 {
		e := shake(t, client, server)
		if err := errors.Join(e.clientErr, e.serverErr); err != nil || e.client.DidResume || e.server.DidResume {
			t.Errorf("connection %d: resumed %v and %v, %v", i, e.client.DidResume, e.server.DidResume, err)
		}
	}
	// Positive control: with tickets on, the same pair does resume, and our end
	// refuses that.
	server.SessionTicketsDisabled = false
	server.VerifyConnection = nil
	refused := false
	for range 3 {
		client.SessionTicketsDisabled = false
		if e := shake(t, client, server); errors.Is(e.clientErr, ErrResumed) {
			refused = true
		}
	}
	if !refused {
		t.Error("no session was resumed and refused: the test shows nothing")
	}
}

func TestPeerOfRefuses(t *testing.T) {
	w := newWorld(t)
	leaf, err := x509.ParseCertificate(w.node("node-a", "2001:db8:42:a::/64").Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		cs   *tls.ConnectionState
		want error
	}{
		{"no connection", nil, ErrNoCertificate},
		{"no certificate", &tls.ConnectionState{}, ErrNoCertificate},
		{"resumed", &tls.ConnectionState{DidResume: true, PeerCertificates: []*x509.Certificate{leaf}}, ErrResumed},
		{"good", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}, nil},
	} {
		if _, err := PeerOf(test.cs, w.authority, epoch); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

func TestRegistryTLS(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	registry := w.leaf(registryTemplate(t))
	alone := registry
	alone.Certificate = registry.Certificate[:1]
	fake := other.leaf(registryTemplate(t))
	fake.Certificate = [][]byte{fake.Certificate[0], w.authority.Raw()} // with the right CA behind it
	late := registry
	late.Certificate = [][]byte{registry.Certificate[0], other.authority.Raw(), other.authority.Raw(), other.authority.Raw(), w.authority.Raw()}
	expired := registryTemplate(t)
	expired.NotAfter = epoch.Add(-time.Minute)
	for _, test := range []struct {
		name   string
		host   string
		server tls.Certificate
		want   error
	}{
		{"by name", "registry.example", registry, nil},
		{"by address", "192.0.2.1", registry, nil},
		{"another host", "other.example", registry, ErrHost},
		{"another CA", "registry.example", other.leaf(registryTemplate(t)), ErrPin},
		{"without its CA", "registry.example", alone, ErrPin},
		{"the CA too far behind", "registry.example", late, ErrPin},
		{"signed by another CA", "registry.example", fake, ErrForeign},
		{"expired", "registry.example", w.leaf(expired), ErrExpired},
		{"a node", "2001:db8:42:8::1", w.node("node-b", "2001:db8:42:8::/64"), ErrRole},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := shake(t, RegistryTLS(w.authority.Pin(), test.host, nil, clock), RegistryServerTLS(w.authority, test.server, clock))
			if !errors.Is(e.clientErr, test.want) {
				t.Errorf("client %v, server %v, want %v", e.clientErr, e.serverErr, test.want)
			}
			if _, err := PeerOf(&e.server, w.authority, epoch); test.want == nil && !errors.Is(err, ErrNoCertificate) {
				t.Errorf("the server knows its client: %v", err)
			}
		})
	}
}

// The registry's door lets in who shows nothing, or a node's certificate.
func TestA15_RegistryDoor(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	server := RegistryServerTLS(w.authority, w.leaf(registryTemplate(t)), clock)
	expired := nodeTemplate(t, "node-b", "2001:db8:42:b::/64")
	expired.NotAfter = epoch.Add(-time.Minute)
	for _, test := range []struct {
		name  string
		shown tls.Certificate
		want  error
	}{
		{"a node", w.node("node-b", "2001:db8:42:b::/64"), nil},
		{"expired", w.leaf(expired), ErrExpired},
		{"foreign", other.node("node-b", "2001:db8:42:b::/64"), ErrForeign},
		{"the registry itself", w.leaf(registryTemplate(t)), ErrRole},
	} {
		e := shake(t, RegistryTLS(w.authority.Pin(), "registry.example", &test.shown, clock), server)
		if !errors.Is(e.serverErr, test.want) || (e.clientErr != nil) != (test.want != nil) {
			t.Errorf("%s: server %v, client %v, want %v", test.name, e.serverErr, e.clientErr, test.want)
		}
		if n, err := PeerOf(&e.server, w.authority, epoch); test.want == nil && (err != nil || n.Name != "node-b") {
			t.Errorf("%s: the client is %q, %v", test.name, n.Name, err)
		}
	}
}

func TestPinnedAuthority(t *testing.T) {
	w := newWorld(t)
	if _, err := PinnedAuthority(nil, w.authority.Pin()); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("no chain: %v", err)
	}
	// The leaf itself is no CA, whatever its pin.
	leaf := w.authority.certificate
	if _, err := PinnedAuthority([]*x509.Certificate{leaf}, w.authority.Pin()); !errors.Is(err, ErrPin) {
		t.Errorf("the CA as the leaf: %v", err)
	}
}
