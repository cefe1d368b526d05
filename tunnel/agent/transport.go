package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"re6st/internal/identity"
	"re6st/tunnel/control"
	"re6st/tunnel/wg"
)

// transportConfig says who we are and where we listen.
type transportConfig struct {
	Authority   *identity.Authority
	Certificate tls.Certificate
	Now         func() time.Time // the time by which certificates are judged; nil: time.Now
	Port        uint16           // of the control API; 0: any free one
	Mark        uint32           // of the sockets towards the underlay; 0: none (tests without privileges)
	Address     netip.Addr       // ours in the mesh; zero: no door there
	// Met is told of each node that has proved who it is, maybe many times; nil: nobody cares.
	Met    func(identity.Node)
	Log    *slog.Logger
	Limits transportLimits

	serve []protocol // nil: both
}

// httpTransport is the control API between nodes over HTTP/3 and HTTP/2, both ends of it. Its sockets serve and call:
// the UDP port from which we call is the one at which we are called, which opens NATs for both.
type httpTransport struct {
	authority *identity.Authority
	cert      tls.Certificate
	now       func() time.Time
	config    transportConfig
	limits    transportLimits
	log       *slog.Logger

	gate   *gate
	quota  *quota
	guests *guests
	client *client

	carried atomic.Pointer[[]netip.Prefix] // nil: nobody told

	mu      sync.Mutex     // guards the fields below
	doors   []*door        // nil until Listen: [0] towards the underlay, [1] in the mesh if we have an address
	port    uint16         // the port that was bound
	stopped bool           // nothing new begins
	running sync.WaitGroup // everything that was begun: handlers, calls, dials
}

var _ transport = (*httpTransport)(nil)

var errStopped = errors.New("the control API is stopped")

func newTransport(c transportConfig) *httpTransport {
	t := &httpTransport{
		authority: c.Authority, cert: c.Certificate, now: c.Now, config: c, limits: c.Limits.withDefaults(), log: c.Log,
	}
	if t.now == nil {
		t.now = time.Now
	}
	if t.config.Met == nil {
		t.config.Met = func(identity.Node) {}
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.gate, t.quota, t.guests = newGate(t.limits), newQuota(t.limits), newGuests(t.limits.PeerConnections)
	t.client = newClient(t)
	return t
}

// Listen opens the sockets. Calls work from here on. Serve does it if it was not done; whoever listens must serve or
// Close.
func (t *httpTransport) Listen(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return errStopped
	}
	if t.doors != nil {
		return nil
	}
	outer, inner, port, err := openPairs(ctx, t.config.Port, t.config.Mark, t.config.Address)
	if err != nil {
		return err
	}
	t.port = port
	t.doors = []*door{newDoor(t, outer, false)}
	if inner != nil {
		t.doors = append(t.doors, newDoor(t, inner, true))
	}
	return nil
}

// Port is the one that Listen bound.
func (t *httpTransport) Port() uint16 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.port
}

// Serve is documented at the interface.
func (t *httpTransport) Serve(ctx context.Context, s service, ready func()) error {
	if err := t.Listen(ctx); err != nil {
		return err
	}
	defer t.Close()
	var doors sync.WaitGroup
	defer doors.Wait()
	errs := make(chan error, 2*len(t.doors))
	for _, d := range t.doors {
		if err := d.open(s, &doors, errs); err != nil {
			t.closeDoors()
			return err
		}
	}
	if ready != nil {
		ready()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-errs:
	}
	t.stop()
	t.closeDoors()
	return err
}

// Close ends all that Serve and the calls have begun, and waits for it.
func (t *httpTransport) Close() {
	t.stop()
	t.client.close()
	t.closeDoors()
	t.running.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range t.doors {
		d.release()
	}
}

func (t *httpTransport) stop() {
	t.mu.Lock()
	t.stopped = true
	t.mu.Unlock()
}

func (t *httpTransport) closeDoors() {
	t.mu.Lock()
	doors := t.doors
	t.mu.Unlock()
	for _, d := range doors {
		d.close()
	}
}

// enter counts something that Close has to wait for; it is false once the transport is stopped.
func (t *httpTransport) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return false
	}
	t.running.Add(1)
	return true
}

func (t *httpTransport) leave() { t.running.Done() }

// door is the one through which a target is called.
func (t *httpTransport) door(overlay bool) (*door, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.stopped:
		return nil, errStopped
	case t.doors == nil:
		return nil, errors.New("the control API is not listening yet")
	case !overlay:
		return t.doors[0], nil
	case len(t.doors) < 2:
		return nil, errors.New("this node has no address in the mesh")
	}
	return t.doors[1], nil
}

func (t *httpTransport) serves(p protocol) bool {
	return t.config.serve == nil || slices.Contains(t.config.serve, p)
}

// networks are the prefixes that the mesh carries: its own, until others are told.
func (t *httpTransport) networks() []netip.Prefix {
	if told := t.carried.Load(); told != nil {
		return *told
	}
	return t.authority.Networks()
}

// SetNetworks tells them.
func (t *httpTransport) SetNetworks(networks []netip.Prefix) {
	own := slices.Clone(networks)
	t.carried.Store(&own)
}

// Node asks who is there.
func (t *httpTransport) Node(ctx context.Context, to target) (control.NodeInfo, identity.Node, time.Duration, error) {
	r, err := t.client.call(ctx, to, request{method: http.MethodGet, path: "/v1/node", limit: control.MaxMessageBytes})
	if err != nil {
		return control.NodeInfo{}, identity.Node{}, 0, err
	}
	info, err := control.ParseNodeInfo(r.data, t.networks())
	if err != nil {
		return control.NodeInfo{}, identity.Node{}, 0, calling(to, err)
	}
	return info, r.conn.peer, r.conn.wire.rtt(), nil
}

// PutTunnel offers a tunnel.
func (t *httpTransport) PutTunnel(ctx context.Context, to target, id control.TunnelID, o control.Offer) (control.Answer, identity.Node, wg.Key, error) {
	fail := func(err error) (control.Answer, identity.Node, wg.Key, error) {
		return control.Answer{}, identity.Node{}, wg.Key{}, err
	}
	r, err := t.client.send(ctx, to, http.MethodPut, tunnelPath(id), o)
	if err != nil {
		return fail(err)
	}
	a, err := control.ParseAnswer(r.data, t.networks())
	if err != nil {
		return fail(calling(to, err))
	}
	psk, err := exportPSK(&r.conn.state, id, wg.Key(o.PublicKey), wg.Key(a.PublicKey))
	if err != nil {
		return fail(calling(to, err))
	}
	return a, r.conn.peer, psk, nil
}

// Patch changes a tunnel at the other end.
func (t *httpTransport) Patch(ctx context.Context, to target, id control.TunnelID, p control.Patch) error {
	_, err := t.client.send(ctx, to, http.MethodPatch, tunnelPath(id), p)
	return err
}

// Delete closes a tunnel at the other end.
func (t *httpTransport) Delete(ctx context.Context, to target, id control.TunnelID) error {
	_, err := t.client.call(ctx, to, request{method: http.MethodDelete, path: tunnelPath(id), limit: control.MaxMessageBytes})
	return err
}

// Peers asks for a sample of the nodes that the other one knows.
func (t *httpTransport) Peers(ctx context.Context, to target) (control.Peers, error) {
	r, err := t.client.call(ctx, to, request{method: http.MethodGet, path: "/v1/peers", limit: control.MaxPeersBytes})
	if err != nil {
		return control.Peers{}, err
	}
	p, err := control.ParsePeers(r.data, t.networks())
	if err != nil {
		return control.Peers{}, calling(to, err)
	}
	return p, nil
}

// Documents asks for the signed documents that the other one has.
func (t *httpTransport) Documents(ctx context.Context, to target) ([]string, error) {
	r, err := t.client.call(ctx, to, request{method: http.MethodGet, path: "/v1/documents", limit: control.MaxListBytes})
	if err != nil {
		return nil, err
	}
	list, err := control.ParseDocumentList(r.data)
	if err != nil {
		return nil, calling(to, err)
	}
	return list.Documents, nil
}

// PostDocument passes a document on.
func (t *httpTransport) PostDocument(ctx context.Context, to target, jws string) error {
	_, err := t.client.send(ctx, to, http.MethodPost, "/v1/documents", control.DocumentList{Documents: []string{jws}})
	return err
}

// Forget closes the connections with a node, in both directions.
func (t *httpTransport) Forget(prefix netip.Prefix) {
	t.client.forget(prefix)
	t.guests.expel(prefix)
}

func tunnelPath(id control.TunnelID) string { return "/v1/tunnels/" + id.String() }

func calling(to target, err error) error { return fmt.Errorf("calling %v: %w", to.addr, err) }
