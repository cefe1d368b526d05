package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"re6st/internal/identity"
	"re6st/tunnel/control"
)

// authority is what every request calls its host. Who answers is known by certificate, so no name is asked for, and the
// address in a header would only break with zones.
const authority = "re6st:443"

// silence is how long an old connection may take to show any sign of life before a new one is tried.
const silence = 1500 * time.Millisecond

// client calls other nodes. It keeps connections that were used lately, one for each target.
type client struct {
	t      *httpTransport
	http3  *http3.Transport
	tokens quic.TokenStore
	budget *budget

	protocols []protocol // in order of preference; set before the first call

	mu     sync.Mutex // guards the fields below
	pool   *lru[poolKey, *conn]
	worked *lru[poolKey, worked]
	closed bool
}

type poolKey struct {
	addr    netip.AddrPort
	overlay bool
}

func keyOf(to target) poolKey { return poolKey{to.addr, to.overlay} }

func newClient(t *httpTransport) *client {
	const targets = 4096
	return &client{
		t:         t,
		http3:     &http3.Transport{DisableCompression: true, MaxResponseHeaderBytes: t.limits.HeaderBytes},
		tokens:    quic.NewLRUTokenStore(targets, 2),
		budget:    newBudget(t.limits),
		protocols: []protocol{overUDP, overTCP},
		pool:      newLRU[poolKey, *conn](t.limits.IdleConnections),
		worked:    newLRU[poolKey, worked](targets),
	}
}

// request is one call; all calls are idempotent.
type request struct {
	method, path string
	body         []byte
	limit        int // most bytes of the answer
}

// reply is a success, with the connection that carried it.
type reply struct {
	data []byte
	conn *conn
}

// send calls with a message.
func (c *client) send(ctx context.Context, to target, method, path string, message any) (reply, error) {
	body, err := control.Marshal(message)
	if err != nil {
		return reply{}, err
	}
	return c.call(ctx, to, request{method, path, body, control.MaxMessageBytes})
}

// call sends a request over a connection that is there, or else over a new one. A kept connection that turns out to be
// dead is replaced once.
func (c *client) call(ctx context.Context, to target, rq request) (reply, error) {
	if !c.t.enter() {
		return reply{}, calling(to, errStopped)
	}
	defer c.t.leave()
	ctx, cancel := context.WithTimeout(ctx, c.t.limits.DialTime+c.t.limits.RequestTime)
	defer cancel()
	if cn := c.kept(to); cn != nil {
		r, err := c.exchange(ctx, cn, rq, true)
		cn.release()
		_, refused := errors.AsType[*control.Refusal](err)
		if err == nil || refused {
			return r, wrapCall(to, err)
		}
		c.drop(to, cn)
		if ctx.Err() != nil {
			return reply{}, wrapCall(to, err)
		}
	}
	cn, err := c.race(ctx, to)
	if err != nil {
		return reply{}, wrapCall(to, err)
	}
	if !cn.use() {
		return reply{}, calling(to, errSilent)
	}
	defer cn.release()
	c.keep(to, cn)
	r, err := c.exchange(ctx, cn, rq, false)
	if err != nil {
		if _, refused := errors.AsType[*control.Refusal](err); !refused {
			c.drop(to, cn)
		}
		return reply{}, wrapCall(to, err)
	}
	return r, nil
}

func wrapCall(to target, err error) error {
	if err == nil {
		return nil
	}
	return calling(to, err)
}

// exchange is one request and its answer, read to its end within its limit.
func (c *client) exchange(ctx context.Context, cn *conn, rq request, old bool) (reply, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if old {
		mark := cn.wire.mark()
		watch := time.AfterFunc(silence, func() {
			if cn.wire.silentSince(mark) {
				cancel(errSilent)
			}
		})
		defer watch.Stop()
	}
	hr, err := http.NewRequestWithContext(ctx, rq.method, "https://"+authority+rq.path, bytes.NewReader(rq.body))
	if err != nil {
		return reply{}, fmt.Errorf("making the request: %w", err)
	}
	if len(rq.body) == 0 {
		hr.Body, hr.GetBody, hr.ContentLength = nil, nil, 0
	} else {
		hr.Header.Set("Content-Type", "application/json")
	}
	hr.Header.Set("User-Agent", "re6st")
	resp, err := cn.wire.RoundTrip(hr)
	if err != nil {
		return reply{}, causeOf(ctx, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, int64(rq.limit)+1))
	if err != nil {
		return reply{}, causeOf(ctx, err)
	}
	if len(data) > rq.limit {
		return reply{}, fmt.Errorf("the answer is longer than %d bytes", rq.limit)
	}
	// A redirect is no success either: nobody may send us elsewhere.
	if resp.StatusCode != http.StatusOK {
		return reply{}, control.ParseRefusal(resp.StatusCode, data)
	}
	return reply{data: data, conn: cn}, nil
}

var errSilent = errors.New("the connection is dead")

// causeOf says why we gave up, where it was we.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// kept finds a connection that can be used for the target. If somebody else answers there than is wanted now, or the
// certificate has expired since the handshake, the connection is closed.
func (c *client) kept(to target) *conn {
	c.mu.Lock()
	cn, ok := c.pool.get(keyOf(to))
	c.mu.Unlock()
	if !ok {
		return nil
	}
	_, err := identity.PeerOf(&cn.state, c.t.authority, c.t.now())
	if err != nil || !to.want.met(cn.peer) || !cn.use() {
		c.drop(to, cn)
		return nil
	}
	return cn
}

// keep puts a connection into the pool; the one that must leave ends when its users have finished.
func (c *client) keep(to target, cn *conn) {
	c.mu.Lock()
	var out *conn
	evicted := false
	if c.closed {
		out, evicted = cn, true
	} else {
		out, evicted = c.pool.put(keyOf(to), cn)
	}
	c.mu.Unlock()
	if evicted && out != nil {
		out.retire()
	}
}

// drop ends a connection that is no good, and forgets it.
func (c *client) drop(to target, cn *conn) {
	c.mu.Lock()
	if now, ok := c.pool.get(keyOf(to)); ok && now == cn {
		c.pool.remove(keyOf(to))
	}
	c.mu.Unlock()
	cn.retire()
}

// forget closes all connections to a node.
func (c *client) forget(prefix netip.Prefix) {
	c.mu.Lock()
	out := c.pool.removeIf(func(_ poolKey, cn *conn) bool { return cn.peer.Prefix == prefix })
	c.mu.Unlock()
	for _, cn := range out {
		cn.abort()
	}
}

func (c *client) close() {
	c.mu.Lock()
	c.closed = true
	out := c.pool.removeIf(func(poolKey, *conn) bool { return true })
	c.mu.Unlock()
	for _, cn := range out {
		cn.abort()
	}
}
