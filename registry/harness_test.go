package registry

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"re6st/internal/identity"
	"re6st/registry/api"
	"re6st/registry/ca"
)

var testSource = netip.MustParseAddr("192.0.2.7")

// newState makes a network in a fresh directory. Its URL names 127.0.0.1, so
// that the server's certificate fits whatever port it gets.
func newState(tb testing.TB, change func(*InitOptions)) (dir string, token api.Token) {
	tb.Helper()
	dir = filepath.Join(tb.TempDir(), "state")
	o := InitOptions{State: dir, Network: netip.MustParsePrefix("2001:db8:42::/48"), NodePrefix: 64, Domain: "mesh", URLs: []string{"https://127.0.0.1:8443"}}
	if change != nil {
		change(&o)
	}
	text, err := Init(context.Background(), o)
	if err != nil {
		tb.Fatalf("init: %v", err)
	}
	token, err = api.ParseToken(text)
	if err != nil {
		tb.Fatalf("init gave a token that cannot be read: %v", err)
	}
	return dir, token
}

func openRegistry(tb testing.TB, o Options) *Registry {
	tb.Helper()
	r, err := Open(context.Background(), o)
	if err != nil {
		tb.Fatalf("opening the registry: %v", err)
	}
	return r
}

// newRegistry is an open registry in a fresh directory, and its first token.
func newRegistry(tb testing.TB) (*Registry, api.Token) {
	tb.Helper()
	dir, token := newState(tb, nil)
	r := openRegistry(tb, Options{State: dir})
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Errorf("closing the registry: %v", err)
		}
	})
	return r, token
}

func (r *Registry) mustToken(tb testing.TB, t api.TokenRequest) api.Token {
	tb.Helper()
	if t.Uses == 0 {
		t.Uses = 1
	}
	if t.TTLSeconds == 0 {
		t.TTLSeconds = 3600
	}
	made, err := r.CreateToken(context.Background(), t)
	if err != nil {
		tb.Fatalf("creating a token: %v", err)
	}
	token, err := api.ParseToken(made.Token)
	if err != nil {
		tb.Fatalf("reading the token: %v", err)
	}
	return token
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func newCSR(tb testing.TB, key *ecdsa.PrivateKey) []byte {
	tb.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "me"}}, key)
	if err != nil {
		tb.Fatal(err)
	}
	return csr
}

// wantCode fails unless the error is a problem with the code.
func wantCode(tb testing.TB, err error, code api.Code) {
	tb.Helper()
	var p *api.Problem
	if !errors.As(err, &p) || p.Code != code {
		tb.Fatalf("got %v, want problem %q", err, code)
	}
}

// nodeOf verifies a certificate as a node would.
func (r *Registry) nodeOf(tb testing.TB, der []byte) identity.Node {
	tb.Helper()
	n, err := r.authority.identity.Node(der, r.now())
	if err != nil {
		tb.Fatalf("the certificate does not verify: %v", err)
	}
	return n
}

// A server is a registry that serves on a real port and a real socket.
type server struct {
	*Registry
	url    string
	socket *http.Client
	stop   func()
}

func serve(tb testing.TB, r *Registry) *server {
	tb.Helper()
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "re6st") // t.TempDir can be too long for a socket
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	local, err := net.Listen("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() { done <- r.Serve(ctx, public, local, func() { close(ready) }) }()
	<-ready
	s := &server{Registry: r, url: "https://" + public.Addr().String(), socket: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}}
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("serving: %v", err)
		}
		done <- nil
	}
	tb.Cleanup(func() { s.socket.CloseIdleConnections(); s.stop() })
	return s
}

// browser is an HTTP client that knows the pin.
func browser(tb testing.TB, pin [32]byte, certificate *tls.Certificate) *http.Client {
	tb.Helper()
	t := &http.Transport{TLSClientConfig: identity.RegistryTLS(pin, "127.0.0.1", certificate, time.Now), ForceAttemptHTTP2: true, DisableCompression: true}
	tb.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: 30 * time.Second}
}

// call sends JSON and reads JSON: into out, or a problem as the error.
func call(c *http.Client, method, url string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	var reader io.Reader
	if in != nil {
		reader = bytes.NewReader(body)
	}
	q, err := http.NewRequest(method, url, reader)
	if err != nil {
		return err
	}
	if in != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	response, err := c.Do(q)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		p := new(api.Problem)
		if response.Header.Get("Content-Type") != api.ProblemType {
			return errors.New("not a problem document: " + string(text))
		}
		if err := json.Unmarshal(text, p); err != nil {
			return err
		}
		return p
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

func decodeKey(tb testing.TB, text []byte) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ca.DecodeKey(text)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}
