package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"re6st/addressing"
	"re6st/babel"
	"re6st/babel/wire"
	"re6st/internal/identity"
	"re6st/tunnel/agent"
)

// A row is a line of Babel routers, each with tunnels to the one before (index 1)
// and the one after (index 2). Some have no filter: they believe all that they
// hear, and say what they like.
type row struct {
	t  *testing.T
	mu sync.Mutex // guards the engines: the keepers' loops call them, too
	is []*member
}

type member struct {
	*babel.Engine
	row       *row
	i         int
	self      identity.Node
	keeper    *keeper         // nil: it has no filter
	certs     []identity.Node // what it has to show, if it has no keeper
	installed map[string]int  // prefix to interface
	links     map[int]*member // by interface
	ends      map[int]netip.Addr
}

const (
	toBefore = 1
	toAfter  = 2
)

func newRow(t *testing.T, size int, isHonest func(i int) bool, certify func(i int) identity.Node) *row {
	r := &row{t: t}
	for i := range size {
		m := &member{row: r, i: i, self: certify(i), installed: map[string]int{}, links: map[int]*member{}, ends: map[int]netip.Addr{}}
		c := babel.Config{RouterID: babel.RouterID(m.self.RouterID), Rand: rand.New(rand.NewPCG(uint64(i), 1))}
		if isHonest(i) {
			m.keeper = newKeeper(newClaims(testNetworks, netip.Prefix{}), m.self.RouterID, certificateStore{}, slog.New(slog.DiscardHandler))
			m.keeper.claims.Add(m.self)
			c.Import = m.keeper.judge
		}
		m.Engine = babel.New(c)
		r.is = append(r.is, m)
	}
	for i := 1; i < size; i++ {
		a, b := r.is[i-1], r.is[i]
		a.links[toAfter], b.links[toBefore] = b, a
		a.ends[toAfter], b.ends[toBefore] = addressing.LinkLocal(a.self.RouterID), addressing.LinkLocal(b.self.RouterID)
	}
	return r
}

// run starts the routers and the keepers, until the test ends.
func (r *row) run() {
	now := time.Now()
	for _, m := range r.is {
		for index, address := range m.ends {
			m.InterfaceUp(now, babel.InterfaceConfig{Index: index, Name: fmt.Sprint(index), LinkLocal: address, MTU: 1280, Kind: babel.Tunnel})
		}
		m.Originate(now, m.self.Prefix, netip.Prefix{}, 0)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	var tasks sync.WaitGroup
	r.t.Cleanup(func() {
		cancel()
		tasks.Wait()
	})
	for _, m := range r.is {
		if m.keeper != nil {
			m.connect()
			tasks.Go(func() { _ = m.keeper.run(ctx) })
		}
	}
	tasks.Go(func() {
		for ctx.Err() == nil {
			r.step(time.Now())
			time.Sleep(20 * time.Millisecond) // virtual
		}
	})
}

// connect joins the keeper with its router, as the daemon does.
func (m *member) connect() {
	m.keeper.fetch = func(_ context.Context, index int, ids []addressing.RouterID) ([]identity.Node, error) {
		peer := m.links[index]
		if peer == nil {
			return nil, errors.New("no such tunnel")
		}
		return peer.show(ids), nil
	}
	m.keeper.tunnels = func() (all []agent.Tunnel, err error) {
		for index, peer := range m.links {
			all = append(all, agent.Tunnel{Index: index, Peer: peer.self.Name})
		}
		return all, nil
	}
	m.keeper.destinations = func() []babel.Destination {
		m.row.mu.Lock()
		defer m.row.mu.Unlock()
		return m.Destinations()
	}
	m.keeper.rejudge = func() {
		m.row.mu.Lock()
		defer m.row.mu.Unlock()
		m.FilterChanged(time.Now())
	}
}

// show gives the certificates that a neighbour asks for.
func (m *member) show(ids []addressing.RouterID) (out []identity.Node) {
	for _, id := range ids {
		if m.keeper != nil {
			if n, ok := m.keeper.claims.Owner(id); ok {
				out = append(out, n)
			}
			continue
		}
		if i := slices.IndexFunc(m.certs, func(n identity.Node) bool { return n.RouterID == id }); i >= 0 {
			out = append(out, m.certs[i])
		}
	}
	return out
}

func (r *row) step(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.is {
		m.Advance(now)
	}
	for busy := true; busy; {
		busy = false
		for _, m := range r.is {
			out := m.Output()
			for _, c := range out.Routes {
				if c.Delete || c.Unreachable {
					delete(m.installed, c.Prefix.String())
				} else {
					m.installed[c.Prefix.String()] = c.Interface
				}
			}
			for _, p := range out.Packets {
				busy = true
				p.Stamp(m.Timestamp(now))
				peer, back := m.links[p.Interface], toBefore+toAfter-p.Interface
				peer.Receive(now, back, netip.AddrPortFrom(m.ends[p.Interface], wire.Port), p.Dst, p.Data)
			}
		}
	}
}

// wants waits until a member has a route to a prefix, over that interface; zero:
// none.
func (r *row) wants(i int, prefix string, index int, within time.Duration) {
	r.t.Helper()
	var got int
	for range int(within / time.Second) {
		r.mu.Lock()
		got = r.is[i].installed[prefix]
		r.mu.Unlock()
		if got == index {
			return
		}
		time.Sleep(time.Second)
		synctest.Wait()
	}
	r.t.Errorf("%s reaches %s over %d, want %d within %v", r.is[i].self.Name, prefix, got, index, within)
}

// P18: nobody uses what the originator's certificate does not list, though
// another believes it and passes it on; what the certificate lists is used as long
// as it is valid, and again when it was renewed.
func TestP18_ImpostorAndBeliever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const evil, good, four = "203.0.113.0/24", "198.51.100.0/24", "10.42.4.0/24"
		start := time.Now()
		certify := func(i int) identity.Node {
			return certified(i+1, func(n *identity.Node) {
				if i == 3 {
					n.IPv4, n.NotAfter = netip.MustParsePrefix(four), start.Add(time.Hour)
					announces(good)(n)
				}
			})
		}
		const impostor, believer, honest, owner = 0, 1, 2, 3
		r := newRow(t, 4, func(i int) bool { return i >= honest }, certify)
		for i := range r.is {
			r.is[believer].certs = append(r.is[believer].certs, certify(i))
		}
		r.is[impostor].Originate(start, netip.MustParsePrefix(evil), netip.Prefix{}, 0)
		r.is[impostor].Originate(start, netip.MustParsePrefix(good), netip.Prefix{}, 0) // it is another's
		r.is[owner].Originate(start, netip.MustParsePrefix(good), netip.Prefix{}, 0)
		r.is[owner].Originate(start, netip.MustParsePrefix(four), netip.Prefix{}, 0)
		r.run()

		r.wants(believer, evil, toBefore, time.Minute) // the fault is there
		r.wants(believer, good, toBefore, time.Minute)
		r.wants(honest, good, toAfter, time.Minute)
		r.wants(honest, four, toAfter, time.Minute)
		r.wants(owner, certify(impostor).Prefix.String(), toBefore, time.Minute)
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		for _, i := range []int{honest, owner} {
			r.wants(i, evil, 0, time.Second)
		}
		r.wants(honest, good, toAfter, time.Second)
		h := r.is[honest].keeper.health(map[int]string{toBefore: "the believer", toAfter: "the owner"})
		if want := "the believer announces "; len(h) != 1 || h[0].Text[:len(want)] != want {
			t.Errorf("health of the honest one: %v", h)
		}
		if h := r.is[owner].keeper.health(nil); len(h) != 0 {
			t.Errorf("health of the owner: %v", h)
		}

		time.Sleep(time.Until(start.Add(time.Hour)))
		r.wants(honest, good, 0, 10*time.Second)
		r.wants(honest, four, 0, 10*time.Second)
		renewed := certify(owner)
		renewed.NotBefore, renewed.NotAfter, renewed.Raw = start.Add(time.Hour), start.Add(1000*time.Hour), []byte("renewed")
		r.is[owner].keeper.Met(renewed)
		r.wants(honest, good, toAfter, 11*time.Minute)
		r.wants(honest, four, toAfter, time.Minute)
		r.wants(honest, evil, 0, time.Second)
	})
}
