package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"re6st/addressing"
	"re6st/internal/identity"
	"re6st/tunnel"
	"re6st/tunnel/control"
	"re6st/tunnel/wg"
	"re6st/tunnel/wg/wgtest"
)

// town is a few agents in one bubble of virtual time: transports, devices and routing are in-memory twins, the agents are
// real.
type town struct {
	t     *testing.T
	under *wgtest.Network
	nodes []*villager

	mu       sync.Mutex // guards what follows: the transports read it
	deaf     map[netip.Addr]bool
	cut      map[[2]int]bool
	loseNext int // answers to offers that get lost
	offers   int
	keys     map[*wgtest.Device]wg.Key
}

type villager struct {
	*Agent
	town     *town
	index    int
	id       identity.Node
	backend  *wgtest.Backend
	addrs    []netip.Addr // where it listens
	told     []netip.Addr // what it tells others
	routing  *fakeRouting
	papers   *fakeDocuments
	stopping context.CancelFunc
	result   chan error

	mu      sync.Mutex
	service service // nil while it does not run
}

func newTown(t *testing.T, n int) *town {
	w := &town{t: t, under: wgtest.New(), deaf: make(map[netip.Addr]bool), cut: make(map[[2]int]bool), keys: make(map[*wgtest.Device]wg.Key)}
	for i := range n {
		w.nodes = append(w.nodes, w.settle(i))
	}
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() { // what keepalives do
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				for _, d := range w.under.Devices() {
					d.Deliver(32)
				}
			}
		}
	}()
	return w
}

func (w *town) settle(i int) *villager {
	prefix := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0x42, 0, byte(i + 1)}), 64)
	addr := netip.AddrFrom4([4]byte{198, 18, 0, byte(i)})
	v := &villager{
		town: w, index: i, backend: w.under.Backend(addr), addrs: []netip.Addr{addr}, told: []netip.Addr{addr},
		id: identity.Node{
			Name: fmt.Sprintf("n%d", i), Prefix: prefix, Address: addressing.NodeAddress(prefix),
			RouterID: addressing.RouterIDOf(prefix),
		},
	}
	return v
}

// start runs an agent that knows some others.
func (v *villager) start(knows ...int) { v.startWith(func(*Config) {}, knows...) }

func (v *villager) startWith(change func(*Config), knows ...int) {
	v.routing = &fakeRouting{v: v, links: make(map[int]bool)}
	v.papers = &fakeDocuments{}
	c := Config{
		Self: v.id, Backend: v.backend, Routing: v.routing, Documents: v.papers, Port: control.Port,
		Rand: rand.New(rand.NewPCG(uint64(v.index), 7)), transport: &fakeTransport{v: v},
		Alias: func(peer string) string { return "re6st test to " + peer },
	}
	change(&c)
	v.Agent = New(c)
	v.papers.agent = v.Agent
	v.SetAddresses(v.told, nil)
	var peers []tunnel.Peer
	for _, k := range knows {
		o := v.town.nodes[k]
		p := tunnel.Peer{Name: o.id.Name, Prefix: o.id.Prefix}
		for _, a := range o.told {
			p.Endpoints = append(p.Endpoints, netip.AddrPortFrom(a, control.Port))
		}
		peers = append(peers, p)
	}
	v.SetPeers(peers)
	ctx, cancel := context.WithCancel(context.Background())
	v.stopping, v.result = cancel, make(chan error, 1)
	go func() { v.result <- v.Run(ctx) }()
}

// stop ends an agent and returns how long that took.
func (v *villager) stop() time.Duration {
	v.town.t.Helper()
	start := time.Now()
	v.stopping()
	if err := <-v.result; err != nil {
		v.town.t.Errorf("%s: %v", v.id.Name, err)
	}
	return time.Since(start)
}

func (w *town) startAll() {
	all := make([]int, len(w.nodes))
	for i := range all {
		all[i] = i
	}
	for _, v := range w.nodes {
		v.start(all...)
	}
}

// stopAll also looks for what is left behind.
func (w *town) stopAll() {
	w.t.Helper()
	for _, v := range w.nodes {
		if v.Agent != nil && v.result != nil {
			v.stop()
		}
	}
	if d := w.under.Devices(); len(d) > 0 {
		w.t.Errorf("%d devices are left behind", len(d))
	}
}

func (v *villager) tunnels() []Tunnel {
	s, err := v.Snapshot(context.Background())
	if err != nil {
		v.town.t.Fatalf("%s: %v", v.id.Name, err)
	}
	return s
}

func (v *villager) hasUp(o *villager) bool {
	return slices.ContainsFunc(v.tunnels(), func(t Tunnel) bool {
		return t.State == "up" && t.PeerAddress == o.id.Address.String()
	})
}

// wantMesh waits until each pair of the given nodes has a tunnel at both ends.
func (w *town) wantMesh(within time.Duration, nodes ...*villager) time.Duration {
	w.t.Helper()
	return w.eventually("a full mesh", within, func() bool {
		for _, a := range nodes {
			for _, b := range nodes {
				if a != b && !a.hasUp(b) {
					return false
				}
			}
		}
		return true
	})
}

func (w *town) eventually(what string, within time.Duration, ok func() bool) time.Duration {
	w.t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > within {
			for _, v := range w.nodes {
				if v.Agent != nil {
					w.t.Logf("%s: %+v", v.id.Name, v.tunnels())
				}
			}
			w.t.Fatalf("no %s after %v", what, within)
		}
		time.Sleep(50 * time.Millisecond) // virtual
		synctest.Wait()
	}
	return time.Since(start)
}

// fakeTransport carries calls between the agents of a town.
type fakeTransport struct{ v *villager }

var errUnreachable = errors.New("unreachable")

const oneWay = 5 * time.Millisecond

func nap(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reach finds who is called, and how it sees the caller.
func (f *fakeTransport) reach(ctx context.Context, t target) (*villager, service, netip.AddrPort, error) {
	for _, o := range f.v.town.nodes {
		observed := netip.AddrPortFrom(f.v.addrs[0], control.Port)
		switch {
		case t.overlay && o.id.Address == t.addr.Addr():
			observed = netip.AddrPort{}
			if !f.v.routing.reaches(o) {
				return nil, nil, observed, nap2(ctx)
			}
		case !t.overlay && slices.Contains(o.addrs, t.addr.Addr()):
			f.v.town.mu.Lock()
			lost := f.v.town.deaf[t.addr.Addr()] || f.v.town.cut[[2]int{f.v.index, o.index}] || f.v.town.cut[[2]int{o.index, f.v.index}]
			f.v.town.mu.Unlock()
			if lost {
				return nil, nil, observed, nap2(ctx)
			}
		default:
			continue
		}
		o.mu.Lock()
		s := o.service
		o.mu.Unlock()
		if s == nil {
			return nil, nil, observed, nap2(ctx)
		}
		if !t.want.met(o.id) {
			return nil, nil, observed, errors.New("somebody else answers")
		}
		return o, s, observed, nap(ctx, 2*oneWay)
	}
	return nil, nil, netip.AddrPort{}, nap2(ctx)
}

// nap2 is a call into the void.
func nap2(ctx context.Context) error {
	if err := nap(ctx, 4*time.Second); err != nil {
		return err
	}
	return errUnreachable
}

func (f *fakeTransport) Node(ctx context.Context, t target) (control.NodeInfo, identity.Node, time.Duration, error) {
	o, s, observed, err := f.reach(ctx, t)
	if err != nil {
		return control.NodeInfo{}, identity.Node{}, 0, err
	}
	info, err := s.Info(ctx, f.v.id, observed)
	return info, o.id, 2 * oneWay, err
}

func (f *fakeTransport) PutTunnel(ctx context.Context, t target, id control.TunnelID, offer control.Offer) (control.Answer, identity.Node, wg.Key, error) {
	o, s, observed, err := f.reach(ctx, t)
	if err != nil {
		return control.Answer{}, identity.Node{}, wg.Key{}, err
	}
	session := [32]byte{byte(f.v.index), byte(o.index), byte(time.Now().UnixNano()), byte(time.Now().UnixNano() >> 20)}
	psk := func(answerer wg.Key) (wg.Key, error) {
		return sha256.Sum256(append(session[:], pskContext(id, wg.Key(offer.PublicKey), answerer)...)), nil
	}
	a, err := s.OfferTunnel(ctx, f.v.id, observed, id, offer, psk)
	if err != nil {
		return control.Answer{}, identity.Node{}, wg.Key{}, err
	}
	f.v.town.mu.Lock()
	f.v.town.offers++
	lost := f.v.town.loseNext > 0
	f.v.town.loseNext = max(0, f.v.town.loseNext-1)
	f.v.town.mu.Unlock()
	if lost {
		return control.Answer{}, identity.Node{}, wg.Key{}, nap2(ctx)
	}
	if err := nap(ctx, oneWay); err != nil {
		return control.Answer{}, identity.Node{}, wg.Key{}, err
	}
	key, err := psk(wg.Key(a.PublicKey))
	return a, o.id, key, err
}

func (f *fakeTransport) Patch(ctx context.Context, t target, id control.TunnelID, p control.Patch) error {
	_, s, _, err := f.reach(ctx, t)
	if err != nil {
		return err
	}
	return s.PatchTunnel(ctx, f.v.id, id, p)
}

func (f *fakeTransport) Delete(ctx context.Context, t target, id control.TunnelID) error {
	_, s, _, err := f.reach(ctx, t)
	if err != nil {
		return err
	}
	return s.DeleteTunnel(ctx, f.v.id, id)
}

func (f *fakeTransport) Peers(ctx context.Context, t target) (control.Peers, error) {
	_, s, _, err := f.reach(ctx, t)
	if err != nil {
		return control.Peers{}, err
	}
	return s.Peers(ctx, f.v.id)
}

func (f *fakeTransport) Documents(ctx context.Context, t target) ([]string, error) {
	_, s, _, err := f.reach(ctx, t)
	if err != nil {
		return nil, err
	}
	return s.Documents(ctx, f.v.id)
}

func (f *fakeTransport) PostDocument(ctx context.Context, t target, jws string) error {
	_, s, _, err := f.reach(ctx, t)
	if err != nil {
		return err
	}
	return s.AcceptDocument(ctx, f.v.id, jws)
}

func (f *fakeTransport) Certificates(ctx context.Context, t target, ids []addressing.RouterID) ([][]byte, error) {
	_, s, _, err := f.reach(ctx, t)
	if err != nil {
		return nil, err
	}
	return s.Certificates(ctx, f.v.id, ids)
}

func (f *fakeTransport) NextHop(ctx context.Context, t target, to, from netip.Addr) (control.NextHop, error) {
	_, s, _, err := f.reach(ctx, t)
	if err != nil {
		return control.NextHop{}, err
	}
	return s.NextHop(ctx, f.v.id, to, from)
}

func (f *fakeTransport) Serve(ctx context.Context, s service, ready func()) error {
	f.v.mu.Lock()
	f.v.service = s
	f.v.mu.Unlock()
	ready()
	<-ctx.Done()
	f.v.mu.Lock()
	f.v.service = nil
	f.v.mu.Unlock()
	return nil
}

func (f *fakeTransport) Forget(netip.Prefix)        {}
func (f *fakeTransport) SetNetworks([]netip.Prefix) {}

// fakeRouting knows the exact ways over the tunnels that both ends attached.
type fakeRouting struct {
	v     *villager
	mu    sync.Mutex
	links map[int]bool // by interface index
	extra map[int]int

	failure error
}

func (r *fakeRouting) AddInterface(index int, name string, mtu int, linkLocal netip.Addr) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		return r.failure
	}
	if r.links[index] || name == "" || mtu < control.MinMTU || linkLocal != addressing.LinkLocal(r.v.id.RouterID) {
		return fmt.Errorf("interface %d %q, MTU %d, %v", index, name, mtu, linkLocal)
	}
	r.links[index] = true
	return nil
}

func (r *fakeRouting) RemoveInterface(index int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.links, index)
}

func (r *fakeRouting) SetExtraCost(index, cost int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.extra == nil {
		r.extra = make(map[int]int)
	}
	r.extra[index] = cost
}

func (r *fakeRouting) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = err
}

func (r *fakeRouting) extraCost(index int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.extra[index]
}

func (r *fakeRouting) has(index int) bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.links[index]
}

func (r *fakeRouting) Links() map[int]Link { return nil }

// hop is a link from one villager to another over an interface.
type hop struct {
	to    *villager
	index int
}

func (w *town) hops(v *villager) []hop {
	devices := w.under.Devices()
	owner := make(map[wg.Key]*wgtest.Device, len(devices))
	for _, d := range devices {
		owner[w.publicKey(d)] = d
	}
	var out []hop
	for _, d := range devices {
		e := owner[d.Peer().PublicKey]
		if w.at(d.Endpoint().Addr()) != v || e == nil || !v.routing.has(d.Index()) {
			continue
		}
		if o := w.at(e.Endpoint().Addr()); o.routing.has(e.Index()) {
			out = append(out, hop{o, d.Index()})
		}
	}
	return out
}

func (w *town) at(a netip.Addr) *villager {
	for _, v := range w.nodes {
		if slices.Contains(v.addrs, a) {
			return v
		}
	}
	return nil
}

// publicKey saves the multiplication.
func (w *town) publicKey(d *wgtest.Device) wg.Key {
	w.mu.Lock()
	defer w.mu.Unlock()
	k, ok := w.keys[d]
	if !ok {
		k = d.Config().PrivateKey.Public()
		w.keys[d] = k
	}
	return k
}

func (r *fakeRouting) Destinations() []Destination {
	type place struct {
		v    *villager
		via  int
		dist int
	}
	seen := map[*villager]bool{r.v: true}
	var out []Destination
	queue := []place{{r.v, 0, 0}}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		for _, h := range r.v.town.hops(p.v) {
			if seen[h.to] {
				continue
			}
			seen[h.to] = true
			n := place{h.to, p.via, p.dist + 1}
			if p.v == r.v {
				n.via = h.index
			}
			queue = append(queue, n)
			out = append(out, Destination{Prefix: h.to.id.Prefix, RouterID: h.to.id.RouterID, Metric: 44 * n.dist, Interface: n.via, Alternate: tunnel.Unreachable})
		}
	}
	return out
}

func (r *fakeRouting) reaches(o *villager) bool {
	if r == nil {
		return false
	}
	return slices.ContainsFunc(r.Destinations(), func(d Destination) bool { return d.Prefix == o.id.Prefix })
}

// fakeDocuments takes "version N".
type fakeDocuments struct {
	agent *Agent
	mu    sync.Mutex
	now   uint64
	asked int
}

func (d *fakeDocuments) Accept(jws string) (uint64, error) {
	var v uint64
	if _, err := fmt.Sscanf(jws, "version %d", &v); err != nil {
		return 0, errors.New("not signed")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	d.now = max(d.now, v)
	return v, nil
}

func (d *fakeDocuments) version() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}
