package e2e

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// Nobody talks to a node's control API without a certificate of the network
// that is valid now. The same request with the node's own, and with one that
// the authority's key renewed, gets through: so it is the certificate that
// decides.
//
//re6st:reduced 2 of 3 kinds (no revoked ones); full in the issue that brings revocation
func TestA15_ForeignAndExpiredCertificatesRefused(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	m := l.Mesh(lab.MeshConfig{Nodes: 2, Tunnels: 1, Refresh: 5 * time.Minute})
	m.Start()
	m.AllPairs(30 * time.Second)
	target, from := m.Nodes[0], m.Nodes[1]
	own, err := tls.LoadX509KeyPair(filepath.Join(from.State, "cert.pem"), filepath.Join(from.State, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	authority := loadCA(t, m.Registry.State)
	now := time.Now()
	foreign := foreignCertificate(t, l, m)
	selfSigned := resign(t, own, nil, now.Add(-time.Hour), now.Add(time.Hour))
	tests := []struct {
		name string
		cert *tls.Certificate
		want bool
	}{
		{"own", &own, true},
		{"renewed by the authority", resign(t, own, authority, now.Add(-time.Hour), now.Add(time.Hour)), true},
		{"expired", resign(t, own, authority, now.Add(-48*time.Hour), now.Add(-24*time.Hour)), false},
		{"not yet valid", resign(t, own, authority, now.Add(24*time.Hour), now.Add(48*time.Hour)), false},
		{"of another network", foreign, false},
		{"signed by itself", selfSigned, false},
		{"none", nil, false},
	}
	for _, protocol := range []string{"h2", "http/1.1"} {
		for _, tt := range tests {
			status, err := request(from.Host, netip.AddrPortFrom(target.Port.V4, lab.ControlPort), protocol, tt.cert, nil)
			switch {
			case tt.want && err != nil && protocol == "h2":
				t.Errorf("%s certificate by %s: %v, want an answer", tt.name, protocol, err)
			case !tt.want && err == nil:
				t.Errorf("%s certificate by %s: answer %d, want a refusal", tt.name, protocol, status)
			}
		}
	}
	// The other network's node is refused as a peer too.
	m.AllPairs(10 * time.Second)
	wantNoPanic(t, m)
	m.WantClean()
}

// foreignCertificate joins a host to a second network.
func foreignCertificate(t *testing.T, l *lab.Lab, m *lab.Mesh) *tls.Certificate {
	t.Helper()
	p := m.Net.Attach(l.Host("foreign"), lab.Dual)
	r := l.Registry(p.Host, lab.Network, p.V4)
	r.Serve()
	n := l.Node(p.Host, p, "otter-foreign")
	if err := n.Join(r.NewToken(1)); err != nil {
		t.Fatal(err)
	}
	r.Stop()
	cert, err := tls.LoadX509KeyPair(filepath.Join(n.State, "cert.pem"), filepath.Join(n.State, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return &cert
}

type ca struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func loadCA(t *testing.T, state string) *ca {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(state, name))
		if err != nil {
			t.Fatal(err)
		}
		if block, _ := pem.Decode(b); block != nil {
			return block.Bytes
		}
		return b
	}
	cert, err := x509.ParseCertificate(read("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	der := read("ca.key")
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return &ca{cert, key}
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		t.Fatalf("reading ca.key: %v", err)
	}
	return &ca{cert, key.(*ecdsa.PrivateKey)}
}

// resign makes the certificate anew with other dates, by the authority or, nil,
// by its own key.
func resign(t *testing.T, c tls.Certificate, by *ca, notBefore, notAfter time.Time) *tls.Certificate {
	t.Helper()
	old, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		t.Fatal(err)
	}
	template := *old
	template.SerialNumber, template.NotBefore, template.NotAfter = serial, notBefore, notAfter
	template.ExtraExtensions = nil
	for _, e := range old.Extensions {
		// Those that Go does not make from the other fields.
		if id := e.Id.String(); id == "1.3.6.1.5.5.7.1.7" || strings.HasPrefix(id, "2.25.") {
			template.ExtraExtensions = append(template.ExtraExtensions, e)
		}
	}
	parent, key := &template, c.PrivateKey.(crypto.Signer)
	if by != nil {
		parent, key = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, c.PrivateKey.(crypto.Signer).Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: c.PrivateKey}
}

// request sends one to a control port and returns the status of the answer,
// whatever it is.
func request(h *lab.Host, to netip.AddrPort, protocol string, cert *tls.Certificate, body []byte) (int, error) {
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}}
	if cert != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	transport := &http.Transport{
		ForceAttemptHTTP2: protocol == "h2",
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			raw, err := h.Conn("tcp", to, 3*time.Second)
			if err != nil {
				return nil, err
			}
			c := tls.Client(raw, config)
			return c, c.HandshakeContext(ctx)
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: lab.Slow(5 * time.Second)}
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequest(method, fmt.Sprintf("https://%v/v1/hello", to), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, nil
}
