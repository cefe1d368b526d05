package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"re6st/internal/identity"
	"re6st/registry/api"
)

const (
	// attemptTimeout bounds one attempt at one URL, from dialling to the end of
	// the answer.
	attemptTimeout = 20 * time.Second
	// dialTimeout leaves time for the next URL where a packet filter is silent.
	dialTimeout = 5 * time.Second
	// answerBytesMax bounds an answer of the registry: 50 peers with 16
	// endpoints each are about 60 KB.
	answerBytesMax = 1 << 20
	// headerBytesMax bounds its header.
	headerBytesMax = 16 << 10
)

// Options say which registry, and how to reach it.
type Options struct {
	URLs []string
	// Pin is the SHA-256 of the CA's SubjectPublicKeyInfo. Authority, where it
	// is at hand, gives it too.
	Pin       [32]byte
	Authority *identity.Authority
	// Certificate is the node's own; nil before it has one.
	Certificate *tls.Certificate
	// Dial replaces the plain dialler: a marked socket towards the underlay.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Now is the clock for certificates; nil: the system's.
	Now func() time.Time
}

// A Client is safe for use by several goroutines.
type Client struct {
	servers []server
	first   atomic.Int64 // index of the server that answered last
}

type server struct {
	url  string
	http *http.Client
}

// New makes a client. It connects to nothing yet.
func New(o Options) (*Client, error) {
	if len(o.URLs) == 0 {
		return nil, errors.New("no URL of a registry is known")
	}
	if o.Authority != nil {
		o.Pin = o.Authority.Pin()
	}
	if o.Pin == [32]byte{} {
		return nil, errors.New("no pin of the registry's CA is known")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	c := new(Client)
	for _, text := range o.URLs {
		if err := api.CheckURL(text); err != nil {
			return nil, err
		}
		u, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("registry URL %q: %w", text, err)
		}
		c.servers = append(c.servers, server{url: text, http: newHTTP(o, u.Hostname())})
	}
	return c, nil
}

func newHTTP(o Options, host string) *http.Client {
	transport := &http.Transport{
		Proxy: nil, // a proxy from the environment is not the underlay that we chose
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			return o.Dial(ctx, network, addr)
		},
		TLSClientConfig:        identity.RegistryTLS(o.Pin, host, o.Certificate, o.Now),
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           1,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: headerBytesMax,
	}
	return &http.Client{Transport: transport, CheckRedirect: noRedirect}
}

// noRedirect: what is sent is for the registry, not for where it points.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Close ends idle connections.
func (c *Client) Close() {
	for _, s := range c.servers {
		s.http.CloseIdleConnections()
	}
}

// Enrol asks for a certificate. It may be repeated with the same key and token:
// the answer has the same certificate.
func (c *Client) Enrol(ctx context.Context, r api.EnrolRequest) (api.EnrolResponse, error) {
	var out api.EnrolResponse
	return out, c.do(ctx, "enrolling with", http.MethodPost, api.PathEnrol, r, &out)
}

// Report tells the registry about this node, and gives what is new there.
func (c *Client) Report(ctx context.Context, r api.Report) (api.ReportResponse, error) {
	var out api.ReportResponse
	return out, c.do(ctx, "reporting to", http.MethodPut, api.PathNode, r, &out)
}

// Network gets the signed network document.
func (c *Client) Network(ctx context.Context) (string, error) {
	var out api.NetworkDocument
	err := c.do(ctx, "asking", http.MethodGet, api.PathNetwork, nil, &out)
	return out.Network, err
}

// Health asks how the registry is.
func (c *Client) Health(ctx context.Context) (api.Health, error) {
	var out api.Health
	return out, c.do(ctx, "asking", http.MethodGet, api.PathHealth, nil, &out)
}

// do tries the URLs, beginning with the one that answered last. The error that
// it gives in the end is the most telling one, not the last one.
func (c *Client) do(ctx context.Context, what, method, path string, in, out any) error {
	body, err := encode(in)
	if err != nil {
		return err
	}
	var worst *Error
	first := int(c.first.Load())
	for i := range c.servers {
		at := (first + i) % len(c.servers)
		failure := c.servers[at].do(ctx, what, method, path, body, out)
		if failure == nil {
			c.first.Store(int64(at))
			return nil
		}
		if failure.isFinal() || ctx.Err() != nil {
			return failure
		}
		worst = moreTelling(worst, failure)
	}
	return worst
}

func (s server) do(ctx context.Context, what, method, path string, body []byte, out any) *Error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	failed := func(err error) *Error { return newError(what+" "+s.url, s.url, err) }
	request, err := newRequest(ctx, method, s.url+path, body)
	if err != nil {
		return failed(err)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return failed(err)
	}
	defer response.Body.Close()
	if err := decode(response, out, answerBytesMax); err != nil {
		return failed(err)
	}
	return nil
}

func encode(in any) ([]byte, error) {
	if in == nil {
		return nil, nil
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	return body, nil
}

func newRequest(ctx context.Context, method, target string, body []byte) (*http.Request, error) {
	var reader io.Reader // nil: no body at all, where there is none
	if body != nil {
		reader = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, method, target, reader)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json, "+api.ProblemType)
	request.Header.Set("User-Agent", "re6st")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, nil
}

// decode reads an answer: what was asked for into out, or a problem as an error.
func decode(response *http.Response, out any, limit int64) error {
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if int64(len(body)) > limit {
		return fmt.Errorf("%w: longer than %d bytes", errAnswer, limit)
	}
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if response.StatusCode >= 400 {
		return decodeProblem(response.StatusCode, kind, body)
	}
	if response.StatusCode == http.StatusNoContent && out == nil {
		return nil
	}
	if response.StatusCode/100 != 2 || kind != "application/json" {
		return fmt.Errorf("%w: status %d, %.80q", errAnswer, response.StatusCode, kind)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	return nil
}

func decodeProblem(status int, kind string, body []byte) error {
	p := new(api.Problem)
	if kind != api.ProblemType || json.Unmarshal(body, p) != nil {
		return fmt.Errorf("%w: status %d", errAnswer, status)
	}
	p.Status = status
	return p
}
