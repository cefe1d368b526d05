package registry

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"re6st/internal/identity"
	"re6st/registry/api"
)

// send sends bytes as they are.
func send(t *testing.T, c *http.Client, method, url, kind string, body []byte, header ...string) (*http.Response, string) {
	t.Helper()
	q, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", kind)
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	response, err := c.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

const secretCanary = "c2VjcmV0LWNhbmFyeS0xMjM0NTY3OA"

func TestT03_BadRequestsAreProblemsWithoutTheirValues(t *testing.T) {
	r, token := newRegistry(t)
	s := serve(t, r)
	c := browser(t, token.Pin, nil)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write(make([]byte, 10<<20))
	w.Close()
	enrol := s.url + api.PathEnrol
	for _, test := range []struct {
		name, method, url, kind string
		body                    []byte
		header                  []string
		status                  int
	}{
		{"no such path", "GET", s.url + "/v2/" + secretCanary, "", nil, nil, 404},
		{"a path beside the API", "GET", s.url + "/../../etc/passwd", "", nil, nil, 404},
		{"a method that the path has not", "DELETE", enrol, "", nil, nil, 405},
		{"a method of its own", "FROB", enrol, "", nil, nil, 405},
		{"too large", "POST", enrol, "application/json", bytes.Repeat([]byte(" "), api.BodyBytesMax+1), nil, 413},
		{"a bomb", "POST", enrol, "application/json", zipped.Bytes(), []string{"Content-Encoding", "gzip"}, 415},
		{"no body", "POST", enrol, "application/json", nil, nil, 400},
		{"no JSON", "POST", enrol, "application/json", []byte(secretCanary), nil, 400},
		{"another format", "POST", enrol, "application/cbor", []byte{0xa0}, nil, 415},
		{"too deep", "POST", enrol, "application/json", []byte(strings.Repeat("[", 30_000)), nil, 400},
		{"an unknown member", "POST", enrol, "application/json", []byte(`{"secret":"` + secretCanary + `","csr":"","isAdmin":true}`), nil, 422},
		{"a secret that is too long", "POST", enrol, "application/json", []byte(`{"secret":"` + secretCanary + secretCanary + secretCanary + `","csr":""}`), nil, 422},
		{"a secret that is a list", "POST", enrol, "application/json", []byte(`{"secret":["` + secretCanary + `"],"csr":""}`), nil, 422},
		{"a request that is not base64", "POST", enrol, "application/json", []byte(`{"secret":"` + secretCanary + `","csr":"*` + secretCanary + `"}`), nil, 422},
		{"a name that is a number", "POST", enrol, "application/json", []byte(`{"secret":"` + secretCanary + `","csr":"","name":7}`), nil, 422},
		{"a node's route without certificate", "PUT", s.url + api.PathNode, "application/json", []byte(`{}`), nil, 401},
		{"an operator's route", "POST", s.url + api.PathTokens, "application/json", []byte(`{}`), nil, 403},
	} {
		response, text := send(t, c, test.method, test.url, test.kind, test.body, test.header...)
		var p api.Problem
		if response.StatusCode != test.status || response.Header.Get("Content-Type") != api.ProblemType || json.Unmarshal([]byte(text), &p) != nil || p.Code == "" || p.Status != test.status {
			t.Errorf("%s: %d %s %s, want problem %d", test.name, response.StatusCode, response.Header.Get("Content-Type"), text, test.status)
		}
		if strings.Contains(text, secretCanary) || strings.Contains(fmt.Sprint(response.Header), secretCanary) {
			t.Errorf("%s: the answer has the value: %s", test.name, text)
		}
		if strings.Contains(text, "$schema") || strings.Contains(fmt.Sprint(response.Header), "describedby") {
			t.Errorf("%s: the answer has an address from the request's host: %s", test.name, text)
		}
	}
	wantCounts(t, r, 0, 0)
}

func TestT03_SlowAndLargeHeadersEnd(t *testing.T) {
	r, token := newRegistry(t)
	s := serve(t, r)
	c := browser(t, token.Pin, nil)
	q, err := http.NewRequest(http.MethodGet, s.url+api.PathHealth, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("X-Large", strings.Repeat("a", 40<<10))
	// HTTP/2 ends the connection, HTTP/1.1 answers 431.
	if response, err := c.Do(q); err == nil {
		response.Body.Close()
		if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("40 KiB of headers: status %d", response.StatusCode)
		}
	}
	server := r.newServer(nil)
	for name, got := range map[string][2]time.Duration{
		"header": {server.ReadHeaderTimeout, 5 * time.Second}, "read": {server.ReadTimeout, 15 * time.Second},
		"write": {server.WriteTimeout, 30 * time.Second}, "idle": {server.IdleTimeout, 60 * time.Second},
	} {
		if got[0] != got[1] {
			t.Errorf("%s timeout is %v, want %v", name, got[0], got[1])
		}
	}
}

func TestT03_ConnectionsAreLimited(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newLimiter(inner)
	l.maxPerSource = 3
	accepted := make(chan net.Conn, 16)
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	})
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	var servers []net.Conn
	for range 3 {
		dial()
		servers = append(servers, <-accepted)
	}
	refused := dial()
	if _, err := refused.Read(make([]byte, 1)); err == nil {
		t.Error("a fourth connection of one source is not closed")
	}
	servers[0].Close()
	servers[0].Close() // twice frees one place
	dial()
	<-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("closing twice freed two places")
	}
	inner.Close()
	wait.Wait()
}

// TLS 1.2 and old are not spoken, and no ticket is given.
func TestServe_SpeaksOnlyTLS13(t *testing.T) {
	r, token := newRegistry(t)
	s := serve(t, r)
	config := identity.RegistryTLS(token.Pin, "127.0.0.1", nil, time.Now)
	config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if c, err := tls.Dial("tcp", strings.TrimPrefix(s.url, "https://"), config); err == nil {
		c.Close()
		t.Error("TLS 1.2 is spoken")
	}
}

func TestServe_TheDescriptionIsServed(t *testing.T) {
	r, token := newRegistry(t)
	s := serve(t, r)
	_, text := send(t, browser(t, token.Pin, nil), "GET", s.url+"/openapi.json", "", nil)
	var description struct {
		OpenAPI string
		Paths   map[string]any
	}
	if err := json.Unmarshal([]byte(text), &description); err != nil || description.OpenAPI != "3.1.0" {
		t.Fatalf("%v, version %q", err, description.OpenAPI)
	}
	for _, row := range routes() {
		if row.serve != nil && description.Paths[row.path] == nil {
			t.Errorf("%s is not described", row.path)
		}
	}
}

// T-28: a whole life at the lowest log level, and no secret in the log.
func TestT28_NoSecretInTheLog(t *testing.T) {
	var mu sync.Mutex
	var out strings.Builder
	dir, token := newState(t, nil)
	r := openRegistry(t, Options{State: dir, Log: slog.New(slog.NewTextHandler(lockedWriter{&mu, &out}, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	t.Cleanup(func() { r.Close() })
	s := serve(t, r)
	second := r.mustToken(t, api.TokenRequest{Uses: 2})
	c := browser(t, token.Pin, nil)
	for _, tok := range []api.Token{token, token, second} {
		_ = call(c, http.MethodPost, s.url+api.PathEnrol, api.EnrolRequest{Secret: tok.SecretText(), CSR: newCSR(t, newKey(t))}, nil)
	}
	_ = call(c, http.MethodPost, s.url+api.PathEnrol, map[string]any{"secret": token.SecretText(), "csr": 7}, nil)
	key, err := r.authority.ca.Signer().(interface{ Bytes() ([]byte, error) }).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(out.String(), "node enrolled") {
		t.Error("nothing is logged")
	}
	for _, secret := range [][]byte{token.Secret[:], second.Secret[:], key} {
		for _, canary := range []string{string(secret), hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret)} {
			if strings.Contains(out.String(), canary) {
				t.Error("a secret is in the log")
			}
		}
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestReport_EndpointsAreChecked(t *testing.T) {
	r, token := newRegistry(t)
	key := newKey(t)
	answer, err := enrol(r, token.SecretText(), newCSR(t, key), "a")
	if err != nil {
		t.Fatal(err)
	}
	n := r.nodeOf(t, answer.Certificate)
	out, err := r.Report(context.Background(), n, api.Report{
		Endpoints: []string{"192.0.2.1:6326", "127.0.0.1:1", n.Address.String() + ":1", "[" + n.Address.String() + "]:6326", "192.0.2.1:6326", "nonsense"},
		Protocol:  1, Version: "1\x1b[2J",
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Ignored) != 4 || len(out.Peers) != 0 {
		t.Errorf("got %+v", out)
	}
	shown, err := r.Node(context.Background(), "a")
	if err != nil || len(shown.Node.Endpoints) != 1 || shown.Node.Version != "1?[2J" {
		t.Errorf("got %+v, %v", shown.Node, err)
	}
	peers := r.peers(time.Now(), "b")
	if len(peers) != 1 || peers[0].Endpoints[0] != netip.MustParseAddrPort("192.0.2.1:6326") {
		t.Errorf("got %+v", peers)
	}
	if peers := r.peers(time.Now().Add(peerAgeMax+time.Minute), "b"); len(peers) != 0 {
		t.Errorf("a node that was not heard of for long is given: %+v", peers)
	}
}

// T-24: what a node knows and the database does not stops issuing; what a node
// makes up does not.
func TestT24_AHeadThatTheDatabaseLacksStopsIssuing(t *testing.T) {
	r, token := newRegistry(t)
	answer, err := enrol(r, token.SecretText(), newCSR(t, newKey(t)), "a")
	if err != nil {
		t.Fatal(err)
	}
	n := r.nodeOf(t, answer.Certificate)
	forged := []byte(answer.Journal)
	forged[3] ^= 1
	for _, head := range []string{"", answer.Journal, string(forged), "x", strings.Repeat("A", 75)} {
		if _, err := r.Report(context.Background(), n, api.Report{Journal: head}); err != nil {
			t.Fatal(err)
		}
		if reason := r.store.Stopped(); reason != "" {
			t.Fatalf("head %q stops issuing: %s", head, reason)
		}
	}
	future := r.authority.sealHead(2, [32]byte{1})
	out, err := r.Report(context.Background(), n, api.Report{Journal: future})
	if err != nil || out.Network == "" {
		t.Errorf("the node is not served meanwhile: %v", err)
	}
	second := r.mustToken(t, api.TokenRequest{})
	_, err = enrol(r, second.SecretText(), newCSR(t, newKey(t)), "")
	wantCode(t, err, api.CodeStopped)
	if h, _ := r.Health(context.Background()); h.Issuing || strings.Contains(h.Reason, "journal") {
		t.Errorf("health says %+v", h)
	}
}

func TestSetNetwork_TheVersionRisesOnlyAtAChange(t *testing.T) {
	r, _ := newRegistry(t)
	set := func(values map[string]string) (api.NetworkInfo, error) {
		return r.SetNetwork(context.Background(), api.NetworkSet{Parameters: values})
	}
	for _, step := range []struct {
		values  map[string]string
		version uint64
	}{
		{map[string]string{"tunnels": "10"}, 1}, // as it is
		{map[string]string{"tunnels": "11"}, 2},
		{map[string]string{"tunnels": "11", "refresh": "5m"}, 2},
		// Each alone would be refused: active may not be longer than idle.
		{map[string]string{"hello_active": "10s", "hello_idle": "20s"}, 3},
		{map[string]string{"hello_active": "100ms", "hello_idle": "200ms"}, 4},
	} {
		info, err := set(step.values)
		if err != nil || info.Version != step.version {
			t.Errorf("%v: version %d, %v; want %d", step.values, info.Version, err, step.version)
		}
		doc, err := r.authority.identity.Document(r.settings.Load().Document)
		if err != nil || doc.Version != step.version {
			t.Errorf("%v: document %d, %v", step.values, doc.Version, err)
		}
	}
	for _, values := range []map[string]string{{"tunnels": "0"}, {"x": "1"}, {"tunnels": "12", "refresh": "never"}} {
		_, err := set(values)
		wantCode(t, err, api.CodeInvalid)
	}
	if r.settings.Load().Version != 4 {
		t.Error("a refused change has changed the version")
	}
}

func TestServe_RenewsItsOwnCertificate(t *testing.T) {
	r, token := newRegistry(t)
	now := time.Now()
	first, err := r.authority.certificate([]string{"https://127.0.0.1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	soon, _ := r.authority.certificate([]string{"https://127.0.0.1"}, now.Add(50*24*time.Hour))
	later, err := r.authority.certificate([]string{"https://127.0.0.1"}, now.Add(61*24*time.Hour))
	if err != nil || soon != first || later == first {
		t.Errorf("made anew early %t, late %t, %v; want false, true", soon != first, later != first, err)
	}
	if err := r.authority.identity.Registry(later.Certificate[0], "127.0.0.1", now.Add(100*24*time.Hour)); err != nil {
		t.Error(err)
	}
	_ = token
}
