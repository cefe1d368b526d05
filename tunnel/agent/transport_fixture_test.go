package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"re6st/addressing"
	"re6st/internal/identity"
	"re6st/internal/lab/solo"
	"re6st/tunnel/control"
	"re6st/tunnel/wg"
)

// desk is a service that answers everything and writes down what it was asked.
type desk struct {
	mu      sync.Mutex
	calls   []string // method of service and name of the peer
	psk     wg.Key
	seen    netip.AddrPort
	refusal error
	info    func()
	peers   control.Peers
	docs    []string
	certs   map[addressing.RouterID][]byte
	hop     control.NextHop
	asked   [2]netip.Addr
}

var answererKey = wg.Key{1, 2, 3}

func (d *desk) note(call string, peer identity.Node) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, call+" "+peer.Name)
	return d.refusal
}

func (d *desk) Info(_ context.Context, peer identity.Node, observed netip.AddrPort) (control.NodeInfo, error) {
	err := d.note("Info", peer)
	d.mu.Lock()
	d.seen = observed
	f := d.info
	d.mu.Unlock()
	if f != nil {
		f()
	}
	return control.NodeInfo{Protocol: control.Protocol, Name: "server", Prefix: prefixOf(1), Observed: observed}, err
}

func (d *desk) OfferTunnel(_ context.Context, peer identity.Node, observed netip.AddrPort, _ control.TunnelID, _ control.Offer, psk func(wg.Key) (wg.Key, error)) (control.Answer, error) {
	if err := d.note("OfferTunnel", peer); err != nil {
		return control.Answer{}, err
	}
	k, err := psk(answererKey)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.psk, d.seen = k, observed
	return control.Answer{Protocol: control.Protocol, PublicKey: control.Key(answererKey), Port: 6327, MTU: 1420, Observed: observed}, err
}

func (d *desk) PatchTunnel(_ context.Context, peer identity.Node, _ control.TunnelID, _ control.Patch) error {
	return d.note("PatchTunnel", peer)
}

func (d *desk) DeleteTunnel(_ context.Context, peer identity.Node, _ control.TunnelID) error {
	return d.note("DeleteTunnel", peer)
}

func (d *desk) Peers(_ context.Context, peer identity.Node) (control.Peers, error) {
	err := d.note("Peers", peer)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.peers, err
}

func (d *desk) Documents(_ context.Context, peer identity.Node) ([]string, error) {
	err := d.note("Documents", peer)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.docs, err
}

func (d *desk) AcceptDocument(_ context.Context, peer identity.Node, _ string) error {
	return d.note("AcceptDocument", peer)
}

func (d *desk) Certificates(_ context.Context, peer identity.Node, ids []addressing.RouterID) ([][]byte, error) {
	err := d.note("Certificates", peer)
	d.mu.Lock()
	defer d.mu.Unlock()
	var all [][]byte
	for _, id := range ids {
		if der, ok := d.certs[id]; ok {
			all = append(all, der)
		}
	}
	return all, err
}

func (d *desk) NextHop(_ context.Context, peer identity.Node, to, from netip.Addr) (control.NextHop, error) {
	err := d.note("NextHop", peer)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = [2]netip.Addr{to, from}
	return d.hop, err
}

// set changes what it answers, while it may be asked.
func (d *desk) set(change func(*desk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *desk) lastPSK() wg.Key {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.psk
}

func (d *desk) lastSeen() netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen
}

func (d *desk) taken() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.calls...)
}

// running is a transport that serves.
type running struct {
	*httpTransport
	desk   *desk
	stop   func()
	killed bool // Serve may fail: the sockets were taken from it
}

// start serves until the test ends.
func (m *mesh) start(cert tls.Certificate, change ...func(*transportConfig)) *running {
	m.t.Helper()
	config := transportConfig{Authority: m.authority, Certificate: cert}
	for _, f := range change {
		f(&config)
	}
	r := &running{httpTransport: newTransport(config), desk: new(desk)}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- r.Serve(ctx, r.desk, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		m.t.Fatal(err)
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !r.killed {
			m.t.Errorf("Serve: %v", err)
		}
	})
	m.t.Cleanup(r.stop)
	return r
}

// at is the target of a transport on loopback, anyone welcome.
func (r *running) at() target {
	return target{addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), r.Port())}
}

func (t target) wanting(number byte) target {
	t.want = expectation{prefix: prefixOf(number)}
	return t
}

// serving makes a transport that serves one protocol only, as behind a firewall that drops the other.
func serving(p protocol) func(*transportConfig) {
	return func(c *transportConfig) { c.serve = []protocol{p} }
}

// only makes a transport call over one protocol only.
func (r *running) only(p protocol) { r.client.protocols = []protocol{p} }

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// await polls: the other end of a connection learns of its end a little later.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	solo.Until(t, what, 10*time.Second, ok)
}

func offer() control.Offer {
	return control.Offer{Protocol: control.Protocol, PublicKey: control.Key{9}, Port: 6327, MTU: 1420, Reason: control.Random}
}

func wantRefusal(t testing.TB, err error, code control.Code) {
	t.Helper()
	r, ok := errors.AsType[*control.Refusal](err)
	if !ok || r.Code != code {
		t.Errorf("got error %v, want a refusal with code %q", err, code)
	}
}
