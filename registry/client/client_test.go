package client

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"re6st/registry/api"
)

var canary = api.Secret{1, 2, 3, 4, 5, 6, 7, 8}.Text()

// impostor answers TLS with a certificate of its own making, and keeps all that
// reaches it through TLS.
type impostor struct {
	url   string
	mu    sync.Mutex
	plain bytes.Buffer
	wire  bytes.Buffer
}

func newImpostor(t *testing.T) *impostor {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := &impostor{url: "https://" + l.Addr().String()}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { i.serve(c, tls.Certificate{Certificate: [][]byte{der, der}, PrivateKey: key}) })
		}
	})
	t.Cleanup(func() { l.Close(); wait.Wait() })
	return i
}

func (i *impostor) serve(c net.Conn, certificate tls.Certificate) {
	defer c.Close()
	wire := recorder{Conn: c, to: func(b []byte) { i.mu.Lock(); i.wire.Write(b); i.mu.Unlock() }}
	conn := tls.Server(wire, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}})
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	plain, _ := io.ReadAll(conn)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.plain.Write(plain)
}

type recorder struct {
	net.Conn
	to func([]byte)
}

func (r recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.to(b[:n])
	return n, err
}

func mustNew(t *testing.T, urls ...string) *Client {
	t.Helper()
	c, err := New(Options{URLs: urls, Pin: [32]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestEnrol_AnImpostorGetsNotOneByteOfTheRequest(t *testing.T) {
	i := newImpostor(t)
	_, err := mustNew(t, i.url).Enrol(context.Background(), api.EnrolRequest{Secret: canary, CSR: []byte("csr")})
	var failure *Error
	if !errors.Is(err, ErrPin) || !errors.As(err, &failure) || failure.Hint == "" {
		t.Errorf("got %v, want ErrPin with a hint", err)
	}
	if strings.Contains(err.Error(), string(canary)) {
		t.Error("the error has the secret")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.wire.Len() == 0 {
		t.Fatal("the impostor was not asked at all")
	}
	if i.plain.Len() != 0 || bytes.Contains(i.wire.Bytes(), []byte(canary)) {
		t.Errorf("the impostor got %d bytes: %.40q", i.plain.Len(), i.plain.Bytes())
	}
}

// A wrong key tells more than a closed port, in whatever order they are tried.
func TestEnrol_TheMostTellingErrorIsGiven(t *testing.T) {
	i := newImpostor(t)
	closed := closedURL(t)
	for _, urls := range [][]string{{closed, i.url}, {i.url, closed}} {
		if _, err := mustNew(t, urls...).Enrol(context.Background(), api.EnrolRequest{}); !errors.Is(err, ErrPin) {
			t.Errorf("got %v, want ErrPin", err)
		}
	}
}

func closedURL(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "https://" + l.Addr().String()
}

func TestEnrol_Unreachable(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, url := range map[string]string{
		"a closed port":            closedURL(t),
		"a server without TLS":     strings.Replace(plain.URL, "http:", "https:", 1),
		"a server that is silent":  "https://" + silent.Addr().String(),
		"a name that has no entry": "https://registry.invalid:8443",
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		_, err := mustNew(t, url).Enrol(ctx, api.EnrolRequest{Secret: canary})
		cancel()
		var failure *Error
		if !errors.Is(err, ErrUnreachable) || !errors.As(err, &failure) || failure.Hint == "" || !strings.Contains(err.Error(), url) {
			t.Errorf("%s: got %v, want ErrUnreachable with the URL and a hint", name, err)
		}
	}
}

func TestNew_DialIsUsed(t *testing.T) {
	refused := errors.New("the marked socket was asked")
	c, err := New(Options{URLs: []string{"https://registry.example:8443"}, Pin: [32]byte{1}, Dial: func(_ context.Context, network, addr string) (net.Conn, error) {
		if network != "tcp" || addr != "registry.example:8443" {
			t.Errorf("dialling %s %s", network, addr)
		}
		return nil, refused
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Network(context.Background()); !errors.Is(err, refused) || !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

func TestNew_Refuses(t *testing.T) {
	for name, o := range map[string]Options{
		"no URL":  {Pin: [32]byte{1}},
		"no pin":  {URLs: []string{"https://a"}},
		"http":    {URLs: []string{"http://a"}, Pin: [32]byte{1}},
		"a path":  {URLs: []string{"https://a/b"}, Pin: [32]byte{1}},
		"no host": {URLs: []string{"https://:1"}, Pin: [32]byte{1}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: is taken", name)
		}
	}
}

// handler answers an Admin, which has no TLS in the way.
type handler func() (status int, kind, body string)

func (h handler) RoundTrip(q *http.Request) (*http.Response, error) {
	status, kind, body := h()
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body)), Request: q}, nil
}

func TestAnswersAreSorted(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		kind   string
		body   string
		want   error
		text   string
	}{
		"a refusal":            {403, api.ProblemType, `{"detail":"no","code":"token-refused"}`, ErrRefused, "no"},
		"too many":             {429, api.ProblemType, `{"detail":"slow","code":"too-many-requests"}`, ErrUnreachable, "slow"},
		"stopped":              {503, api.ProblemType, `{"detail":"stopped","code":"issuing-stopped"}`, ErrUnreachable, "stopped"},
		"another's error page": {404, "text/html", "<html>", ErrUnreachable, "not one of a re6st registry"},
		"another's page":       {200, "text/html", "<html>", ErrUnreachable, "not one of a re6st registry"},
		"a redirect":           {302, "", "", ErrUnreachable, "not one of a re6st registry"},
		"half an answer":       {200, "application/json", `{"tokens":[`, ErrUnreachable, "not one of a re6st registry"},
		"half a problem":       {500, api.ProblemType, `{"det`, ErrUnreachable, "not one of a re6st registry"},
	} {
		_, err := NewAdmin(handler(func() (int, string, string) { return test.status, test.kind, test.body })).Tokens(context.Background())
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: got %v, want %v with %q", name, err, test.want, test.text)
		}
	}
	// An answer without end is cut off.
	response := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(strings.Repeat(" ", 100)))}
	if err := decode(response, nil, 99); !errors.Is(err, errAnswer) {
		t.Errorf("got %v", err)
	}
}

func TestMain(m *testing.M) {
	os.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // nothing here may go through it
	os.Exit(m.Run())
}

func FuzzDecode(f *testing.F) {
	f.Add(200, "application/json", []byte(`{"certificate":"AA==","peers":[{"endpoints":["1.2.3.4:5"]}]}`))
	f.Add(403, api.ProblemType, []byte(`{"status":1,"code":"x","errors":[{}]}`))
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		var out api.EnrolResponse
		response := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(bytes.NewReader(body))}
		if err := decode(response, &out, answerBytesMax); err != nil {
			_ = newError("x", "https://a", err).Error()
		}
	})
}
