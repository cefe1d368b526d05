package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"re6st/registry"
	"re6st/registry/client"
)

// served is a real registry on a real port, and its first token.
func served(t *testing.T) (url string, token client.Token) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url = "https://" + public.Addr().String()
	text, err := registry.Init(context.Background(), registry.InitOptions{State: dir, Network: netip.MustParsePrefix("2001:db8:42::/48"), NodePrefix: 64, URLs: []string{url}})
	if err != nil {
		t.Fatal(err)
	}
	if token, err = client.ParseToken(text); err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(context.Background(), registry.Options{State: dir})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, public, socket, func() {}) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, r.Close()); err != nil {
			t.Error(err)
		}
	})
	return url, token
}

func newClient(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestClient_JoinsAndReports is a node's life with the registry. Its first URL is
// dead: the second one is tried, and kept.
func TestClient_JoinsAndReports(t *testing.T) {
	url, token := served(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	urls := []string{"https://127.0.0.1:1", url}
	c := newClient(t, client.Options{URLs: urls, Pin: token.Pin})
	answer, err := c.Enrol(context.Background(), client.EnrolRequest{Secret: token.SecretText(), CSR: csr, Name: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Enrol(context.Background(), client.EnrolRequest{Secret: token.SecretText(), CSR: csr, Name: "alpha"})
	if err != nil || string(again.Certificate) != string(answer.Certificate) {
		t.Errorf("the second time: %v", err)
	}
	certificate := &tls.Certificate{Certificate: [][]byte{answer.Certificate, answer.CA}, PrivateKey: key}
	node := newClient(t, client.Options{URLs: urls, Pin: token.Pin, Certificate: certificate})
	report, err := node.Report(context.Background(), client.Report{Endpoints: []string{"192.0.2.1:6326"}, Protocol: 1, Journal: answer.Journal})
	if err != nil || report.Network != answer.Network || report.Journal != answer.Journal {
		t.Errorf("reporting: %+v, %v", report, err)
	}
	if document, err := c.Network(context.Background()); err != nil || document != answer.Network {
		t.Errorf("the document: %v", err)
	}
	if health, err := c.Health(context.Background()); err != nil || !health.Issuing {
		t.Errorf("health: %+v, %v", health, err)
	}
	// Without a certificate there is nothing to report about.
	if _, err := c.Report(context.Background(), client.Report{Endpoints: []string{}}); !errors.Is(err, client.ErrRefused) {
		t.Errorf("got %v, want ErrRefused", err)
	}
	// The token is used up for others; the client says what to do.
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	csr, _ = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, other)
	_, err = c.Enrol(context.Background(), client.EnrolRequest{Secret: token.SecretText(), CSR: csr})
	var refusal *client.Error
	if !errors.Is(err, client.ErrRefused) || !errors.As(err, &refusal) || refusal.Hint == "" {
		t.Errorf("got %v, want ErrRefused with a hint", err)
	}
}

// A registry whose key is another: the same server, with the pin of another one.
func TestClient_AnotherPinIsRefused(t *testing.T) {
	url, token := served(t)
	token.Pin[0] ^= 1
	_, err := newClient(t, client.Options{URLs: []string{url}, Pin: token.Pin}).Enrol(context.Background(), client.EnrolRequest{Secret: token.SecretText()})
	if !errors.Is(err, client.ErrPin) {
		t.Errorf("got %v, want ErrPin", err)
	}
}

// The certificate is for the hosts of --url alone.
func TestClient_AnotherHostIsRefused(t *testing.T) {
	url, token := served(t)
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, url[len("https://"):])
	}
	_, err := newClient(t, client.Options{URLs: []string{"https://elsewhere.example:8443"}, Pin: token.Pin, Dial: dial}).Network(context.Background())
	var failure *client.Error
	if !errors.As(err, &failure) || failure.Hint == "" || errors.Is(err, client.ErrRefused) {
		t.Errorf("got %v", err)
	}
}
