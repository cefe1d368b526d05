package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"re6st/internal/identity"
	"re6st/tunnel/control"
	"re6st/tunnel/wg"
)

// FuzzT13_Requests sends anything at all as an authenticated node. Whatever comes back is JSON with a status that is
// meant, and nothing that does not parse reaches the service.
func FuzzT13_Requests(f *testing.F) {
	good, _ := control.Marshal(offer())
	id := control.TunnelID{1}.String()
	for _, s := range []struct {
		method, path string
		body         []byte
	}{
		{"GET", "/v1/node", nil},
		{"PUT", "/v1/tunnels/" + id, good},
		{"PUT", "/v1/tunnels/" + id[:31], good},
		{"PUT", "/v1/tunnels/" + id + "/x", good},
		{"PATCH", "/v1/tunnels/" + id, []byte(`{"draining":true}`)},
		{"DELETE", "/v1/tunnels/" + id, nil},
		{"DELETE", "/v1/tunnels/" + id, []byte("a body where none belongs")},
		{"GET", "/v1/peers", nil},
		{"POST", "/v1/documents", []byte(`{"documents":["a.b.c"]}`)},
		{"POST", "/v1/documents", []byte(`{"documents":[1]}`)},
		{"GET", "/v1/certificates/2001:0db8:0042:0001", nil},
		{"GET", "/v1/certificates/2001:0db8:0042:0002", nil},
		{"GET", "/v1/certificates/x", nil},
		{"POST", "/v1/certificates", []byte(`{"router_ids":["2001:0db8:0042:0001","2001:0db8:0042:0001"]}`)},
		{"POST", "/v1/certificates", []byte(`{"router_ids":["0000:0000:0000:0000"]}`)},
		{"GET", "/v1/next-hop?to=2001:db8::1&from=2001:db8:42:1::1", nil},
		{"GET", "/v1/next-hop?to=ff02::1&from=::", nil},
		{"GET", "/v1/next-hop?to=%zz;from=", nil},
		{"PUT", "/v1/tunnels/%2e%2e", good},
		{"CONNECT", "/v1/node", nil},
		{"HEAD", "/v1/node", nil},
	} {
		f.Add(s.method, s.path, s.body)
	}
	m := newMesh(f)
	leaf, err := x509.ParseCertificate(m.node("b", 2).Certificate[0])
	if err != nil {
		f.Fatal(err)
	}
	state := &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, PeerCertificates: []*x509.Certificate{leaf}}
	t := newTransport(transportConfig{
		Authority: m.authority, Certificate: m.node("a", 1), Limits: transportLimits{PeerRequests: 1e9, PeerBurst: 1e9},
	})
	h := newHandler(t, fussy{new(desk)}, false)
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		r, err := http.NewRequest(method, "https://re6st"+path, bytes.NewReader(body))
		if err != nil {
			return // no server would have read that either
		}
		r.ProtoMajor, r.TLS, r.RemoteAddr = 2, state, "192.0.2.1:1"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s: status %d with %q", method, path, w.Code, w.Body)
		}
		if w.Code == http.StatusInternalServerError || w.Code/100 == 3 {
			t.Errorf("%s %s: status %d: %s", method, path, w.Code, w.Body)
		}
	})
}

// fussy is a desk that derives no keys: the state above has no session.
type fussy struct{ *desk }

func (d fussy) OfferTunnel(context.Context, identity.Node, netip.AddrPort, control.TunnelID, control.Offer, func(wg.Key) (wg.Key, error)) (control.Answer, error) {
	return control.Answer{Protocol: control.Protocol, PublicKey: control.Key(answererKey), MTU: 1420}, nil
}

// FuzzT13_Answers reads anything at all as what another node answered.
func FuzzT13_Answers(f *testing.F) {
	f.Add(200, []byte(`{"protocol":1}`))
	f.Add(429, []byte(`{"code":"busy","text":"x","retry_after":1}`))
	f.Add(307, []byte(``))
	f.Fuzz(func(t *testing.T, status int, data []byte) {
		if r := control.ParseRefusal(status, data); r == nil || r.Status() < 400 {
			t.Errorf("status %d, %q: %v", status, data, r)
		}
		if a, err := control.ParseAnswer(data, nil); err == nil && a.PublicKey == (control.Key{}) {
			t.Errorf("%q: an answer without a key", data)
		}
	})
}
