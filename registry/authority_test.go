package registry

import (
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"net/http"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"re6st/registry/api"
)

func TestT19_EveryRouteHasARow(t *testing.T) {
	r, _ := newRegistry(t)
	rows := map[string]bool{}
	for _, row := range routes() {
		rows[row.method+" "+row.path] = true
		if row.doors == 0 {
			t.Errorf("%s %s has no door", row.method, row.path)
		}
	}
	var served []string
	err := chi.Walk(r.router(), func(method, path string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		served = append(served, method+" "+path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(served)
	for _, s := range served {
		if !rows[s] {
			t.Errorf("%s is served and has no row", s)
		}
		delete(rows, s)
	}
	for s := range rows {
		t.Errorf("%s has a row and is not served", s)
	}
}

// A route that somebody adds past the table is denied by every door.
func TestT19_WhatIsNotInTheTableIsDenied(t *testing.T) {
	r, token := newRegistry(t)
	mux := chi.NewMux()
	mux.Use(r.authorize(mux))
	mux.Get("/v1/forgotten", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	q, _ := http.NewRequest(http.MethodGet, "http://registry/v1/forgotten", nil)
	response, err := inProcess{mux}.RoundTrip(q)
	if err != nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("the operator's own door gets %v, %v; want 403", response, err)
	}
	_ = token
}

// credentials are the kinds of visitors.
type credential struct {
	name string
	door door // which it opens; 0: not even a handshake
	http *http.Client
	url  string
	mark func(*http.Request)
}

func tlsCertificate(der, ca []byte, key *ecdsa.PrivateKey) *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{der, ca}, PrivateKey: key}
}

func allCredentials(t *testing.T, s *server, token api.Token) []credential {
	t.Helper()
	key := newKey(t)
	mine, err := enrol(s.Registry, token.SecretText(), newCSR(t, key), "mine")
	if err != nil {
		t.Fatal(err)
	}
	foreign, foreignToken := newRegistry(t)
	theirs, err := enrol(foreign, foreignToken.SecretText(), newCSR(t, key), "mine")
	if err != nil {
		t.Fatal(err)
	}
	pin := token.Pin
	claims := func(q *http.Request) {
		for _, h := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "True-Client-Ip", "X-Client-Ip", "X-Forwarded-Host"} {
			q.Header.Set(h, "127.0.0.1")
		}
		q.Header.Set("X-Forwarded-Proto", "unix")
		q.Header.Set("X-Http-Method-Override", "GET")
		q.Header.Set("X-Client-Cert", "mine")
		q.Header.Set("Authorization", "Bearer "+string(token.SecretText()))
	}
	return []credential{
		{name: "nobody", door: doorPublic, http: browser(t, pin, nil), url: s.url},
		{name: "a claim in headers", door: doorPublic, http: browser(t, pin, nil), url: s.url, mark: claims},
		{name: "a node", door: doorNode, http: browser(t, pin, tlsCertificate(mine.Certificate, mine.CA, key)), url: s.url},
		{name: "a node with claims in headers", door: doorNode, http: browser(t, pin, tlsCertificate(mine.Certificate, mine.CA, key)), url: s.url, mark: claims},
		{name: "a node of another network", http: browser(t, pin, tlsCertificate(theirs.Certificate, theirs.CA, key)), url: s.url},
		{name: "the operator", door: doorSocket, http: s.socket, url: "http://registry"},
	}
}

// TestT19_Matrix tries all routes with all credentials; what is denied must
// be denied by the door, not by luck in the handler.
func TestT19_Matrix(t *testing.T) {
	r, token := newRegistry(t)
	s := serve(t, r)
	for _, c := range allCredentials(t, s, token) {
		for _, row := range routes() {
			q, err := http.NewRequest(row.method, c.url+strings.ReplaceAll(row.path, "{id}", "99"), strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Content-Type", "application/json")
			if c.mark != nil {
				c.mark(q)
			}
			response, err := c.http.Do(q)
			if c.door == 0 {
				if err == nil {
					t.Errorf("%s, %s %s: status %d, want no handshake", c.name, row.method, row.path, response.StatusCode)
					response.Body.Close()
				}
				continue
			}
			if err != nil {
				t.Errorf("%s, %s %s: %v", c.name, row.method, row.path, err)
				continue
			}
			response.Body.Close()
			isDenied := response.StatusCode == http.StatusForbidden || response.StatusCode == http.StatusUnauthorized
			if isAllowed := row.doors&c.door != 0; isAllowed == isDenied {
				t.Errorf("%s, %s %s: status %d, want allowed %t", c.name, row.method, row.path, response.StatusCode, isAllowed)
			}
		}
	}
}

// Own and foreign objects: a report is about the certificate's node alone, since
// no argument says about whom it is.
func TestT19_AReportIsAboutOneself(t *testing.T) {
	r, _ := newRegistry(t)
	s := serve(t, r)
	token := r.mustToken(t, api.TokenRequest{Uses: 2})
	var clients []*http.Client
	for _, name := range []string{"one", "two"} {
		key := newKey(t)
		answer, err := enrol(r, token.SecretText(), newCSR(t, key), name)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, browser(t, token.Pin, tlsCertificate(answer.Certificate, answer.CA, key)))
	}
	for i, endpoint := range []string{"192.0.2.1:6326", "192.0.2.2:6326"} {
		if err := call(clients[i], http.MethodPut, s.url+api.PathNode, api.Report{Endpoints: []string{endpoint}, Protocol: 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	var out api.ReportResponse
	if err := call(clients[0], http.MethodPut, s.url+api.PathNode, api.Report{Endpoints: []string{"192.0.2.1:6326"}, Protocol: 1}, &out); err != nil {
		t.Fatal(err)
	}
	if len(out.Peers) != 1 || out.Peers[0].Name != "two" || out.Peers[0].Endpoints[0].String() != "192.0.2.2:6326" {
		t.Errorf("got peers %+v, want two alone, with its own endpoint", out.Peers)
	}
	if err := out.Peers[0].Check(); err != nil {
		t.Error(err)
	}
	// A name of another in the body is an unknown property, and refused.
	err := call(clients[0], http.MethodPut, s.url+api.PathNode, map[string]any{"endpoints": []string{}, "protocol": 1, "name": "two"}, nil)
	wantCode(t, err, api.CodeInvalid)
}

func TestA15_AnExpiredCertificateIsRefused(t *testing.T) {
	clock := time.Now()
	dir, token := newState(t, nil)
	r := openRegistry(t, Options{State: dir, Now: func() time.Time { return clock }})
	t.Cleanup(func() { r.Close() })
	key := newKey(t)
	answer, err := enrol(r, token.SecretText(), newCSR(t, key), "")
	if err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(91 * 24 * time.Hour)
	s := serve(t, r)
	later := browser(t, token.Pin, tlsCertificate(answer.Certificate, answer.CA, key))
	later.Transport.(*http.Transport).TLSClientConfig.VerifyConnection = nil // its own clock is not what is tested
	err = call(later, http.MethodPut, s.url+api.PathNode, api.Report{Endpoints: []string{}}, nil)
	var p *api.Problem
	if err == nil || errors.As(err, &p) {
		t.Errorf("got %v, want the connection to end", err) // by an alert, or sooner
	}
}
