package agent

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"re6st/internal/identity"
	"re6st/internal/lab/solo"
	"re6st/tunnel"
	"re6st/tunnel/control"
	"re6st/tunnel/wg"
	"re6st/tunnel/wg/wgtest"
)

// hostAddress is an address of this machine that is not loopback: what a node may offer.
func hostAddress(t *testing.T) netip.Addr {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && control.IsUsable(netip.AddrPortFrom(p.Addr(), 1), []netip.Prefix{testNetwork}) {
			return p.Addr()
		}
	}
	t.Skip("this machine has no address but loopback")
	return netip.Addr{}
}

type noRouting struct{}

func (noRouting) AddInterface(int, string, int, netip.Addr) error { return nil }
func (noRouting) RemoveInterface(int)                             {}
func (noRouting) SetExtraCost(int, int)                           {}
func (noRouting) Destinations() []Destination                     { return nil }
func (noRouting) Links() map[int]Link                             { return nil }

// Three agents over real sockets, with real certificates: both ends of each tunnel derive the same pre-shared key.
func TestAgentsOverRealSockets(t *testing.T) {
	m := newMesh(t)
	host := hostAddress(t)
	under := wgtest.New()
	var agents []*Agent
	var peers []tunnel.Peer
	for i := range byte(3) {
		cert := m.node(string('a'+rune(i)), i+1)
		self, err := m.authority.Node(cert.Certificate[0], time.Now())
		if err != nil {
			t.Fatal(err)
		}
		port := solo.FreePort(t)
		a := New(Config{
			Authority: m.authority, Certificate: cert, Self: withoutAddress(self), Port: port,
			Backend: under.Backend(host), Routing: noRouting{}, Documents: &fakeDocuments{}, Rand: rand.New(rand.NewPCG(1, uint64(i))),
		})
		a.SetAddresses([]netip.Addr{host}, nil)
		agents = append(agents, a)
		peers = append(peers, tunnel.Peer{Name: self.Name, Prefix: self.Prefix, Endpoints: []netip.AddrPort{netip.AddrPortFrom(host, port)}})
	}
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, len(agents))
	start := time.Now()
	for _, a := range agents {
		a.SetPeers(peers)
		go func() { results <- a.Run(ctx) }()
	}
	await(t, "a full mesh", func() bool {
		for _, a := range agents {
			s, err := a.Snapshot(ctx)
			if err != nil || len(s) != 2 || s[0].State != "up" || s[1].State != "up" {
				return false
			}
		}
		return true
	})
	t.Logf("full mesh of three after %v", time.Since(start))
	agents[0].SetDocument(4, "version 4")
	await(t, "the document everywhere", func() bool {
		return agents[1].config.Documents.(*fakeDocuments).version() == 4 && agents[2].config.Documents.(*fakeDocuments).version() == 4
	})
	for _, d := range under.Devices() {
		if d.Peer().PresharedKey == (wg.Key{}) {
			t.Errorf("%s has no pre-shared key", d.Name())
		}
	}
	stop := time.Now()
	cancel()
	for range agents {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(stop); took > 2*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if n := len(under.Devices()); n != 0 {
		t.Errorf("%d devices are left", n)
	}
}

// withoutAddress keeps the transport from listening in the mesh: there is no such interface here.
func withoutAddress(n identity.Node) identity.Node {
	n.Address = netip.Addr{}
	return n
}
