package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"re6st/tunnel/control"
)

var protocols = []protocol{overUDP, overTCP}

func TestBothProtocolsCarryEveryCall(t *testing.T) {
	for _, p := range protocols {
		t.Run(string(p), func(t *testing.T) {
			m := newMesh(t)
			server, caller := m.start(m.node("a", 1)), m.start(m.node("b", 2))
			caller.only(p)
			server.desk.set(func(d *desk) { d.peers = control.Peers{Peers: []control.PeerRecord{{Name: "c", Prefix: prefixOf(3)}}} })
			server.desk.set(func(d *desk) { d.docs = []string{"a.b.c"} })
			ctx, to := deadline(t), server.at().wanting(1)

			info, peer, rtt, err := caller.Node(ctx, to)
			if err != nil {
				t.Fatal(err)
			}
			if info.Name != "server" || peer.Name != "a" || peer.Prefix != prefixOf(1) {
				t.Errorf("answered: %v by %v", info, peer)
			}
			if rtt <= 0 || rtt > 10*time.Second {
				t.Errorf("round trip on loopback: %v", rtt)
			}
			if got := server.desk.lastSeen().Addr(); got != netip.MustParseAddr("127.0.0.1") {
				t.Errorf("the server saw us at %v", got)
			}

			id := control.TunnelID{1}
			answer, peer, psk, err := caller.PutTunnel(ctx, to, id, offer())
			if err != nil {
				t.Fatal(err)
			}
			if answer.PublicKey != control.Key(answererKey) || peer.Prefix != prefixOf(1) {
				t.Errorf("answer %v by %v", answer, peer)
			}
			if psk != server.desk.lastPSK() || psk.IsZero() {
				t.Error("the two ends derived different pre-shared keys")
			}

			if err := caller.Patch(ctx, to, id, control.Patch{Draining: true}); err != nil {
				t.Error(err)
			}
			if err := caller.Delete(ctx, to, id); err != nil {
				t.Error(err)
			}
			peers, err := caller.Peers(ctx, to)
			if err != nil || len(peers.Peers) != 1 {
				t.Errorf("peers %v, %v", peers, err)
			}
			docs, err := caller.Documents(ctx, to)
			if err != nil || !cmp.Equal(docs, server.desk.docs) {
				t.Errorf("documents %v, %v", docs, err)
			}
			if err := caller.PostDocument(ctx, to, "a.b.c"); err != nil {
				t.Error(err)
			}
			want := []string{"Info b", "OfferTunnel b", "PatchTunnel b", "DeleteTunnel b", "Peers b", "Documents b", "AcceptDocument b"}
			if diff := cmp.Diff(want, server.desk.taken()); diff != "" {
				t.Errorf("calls at the server (-want +got):\n%s", diff)
			}
			if n := caller.client.pool.len(); n != 1 {
				t.Errorf("%d connections for seven calls to one node", n)
			}
		})
	}
}

func TestSessionIsHybridAndNotResumed(t *testing.T) {
	for _, p := range protocols {
		t.Run(string(p), func(t *testing.T) {
			m := newMesh(t)
			server, caller := m.start(m.node("a", 1)), m.start(m.node("b", 2))
			caller.only(p)
			for range 2 {
				if _, _, _, err := caller.Node(deadline(t), server.at()); err != nil {
					t.Fatal(err)
				}
				cn := caller.kept(t, server)
				if cn.state.CurveID != tls.X25519MLKEM768 {
					t.Errorf("key exchange %v, want X25519MLKEM768", cn.state.CurveID)
				}
				if cn.state.DidResume || cn.state.Version != tls.VersionTLS13 {
					t.Errorf("resumed %v, version %x", cn.state.DidResume, cn.state.Version)
				}
				caller.Forget(prefixOf(1))
			}
		})
	}
}

// kept is the pooled connection to a server.
func (r *running) kept(t testing.TB, to *running) *conn {
	t.Helper()
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	cn, ok := r.client.pool.get(keyOf(to.at()))
	if !ok {
		t.Fatal("no connection is kept")
	}
	return cn
}

// The exporter belongs to one connection (RFC 8446, section 7.5): both ends must take the one that carried the request,
// although connections are reused and others exist beside.
func TestPSKBelongsToTheConnectionTheTunnelAndTheKeys(t *testing.T) {
	for _, p := range protocols {
		t.Run(string(p), func(t *testing.T) {
			m := newMesh(t)
			server, caller := m.start(m.node("a", 1)), m.start(m.node("b", 2))
			caller.only(p)
			seen := make(map[[32]byte]string)
			put := func(name string, id control.TunnelID, o control.Offer) {
				t.Helper()
				_, _, psk, err := caller.PutTunnel(deadline(t), server.at(), id, o)
				if err != nil {
					t.Fatal(err)
				}
				if psk != server.desk.lastPSK() {
					t.Errorf("%s: the ends differ", name)
				}
				if before, ok := seen[psk]; ok {
					t.Errorf("%s: the same pre-shared key as %s", name, before)
				}
				seen[psk] = name
			}
			other := offer()
			other.PublicKey = control.Key{8}
			put("first", control.TunnelID{1}, offer())
			put("another tunnel", control.TunnelID{2}, offer())
			put("another key", control.TunnelID{1}, other)
			caller.Forget(prefixOf(1))
			put("another connection", control.TunnelID{1}, offer())
		})
	}
}

func TestUDPBlockedFallsBackToTCPAndRemembers(t *testing.T) {
	m := newMesh(t)
	server, caller := m.start(m.node("a", 1), serving(overTCP)), m.start(m.node("b", 2))
	if _, _, _, err := caller.Node(deadline(t), server.at()); err != nil {
		t.Fatal(err)
	}
	if cn := caller.kept(t, server); cn.protocol != overTCP {
		t.Errorf("reached over %s", cn.protocol)
	}
	if got := caller.client.order(server.at()); got[0] != overTCP {
		t.Errorf("next time it begins with %s", got[0])
	}
	caller.Forget(prefixOf(1))
	if _, _, _, err := caller.Node(deadline(t), server.at()); err != nil {
		t.Fatal(err)
	}
}

func TestTCPBlockedUsesUDP(t *testing.T) {
	m := newMesh(t)
	server, caller := m.start(m.node("a", 1), serving(overUDP)), m.start(m.node("b", 2))
	if _, _, _, err := caller.Node(deadline(t), server.at()); err != nil {
		t.Fatal(err)
	}
	if cn := caller.kept(t, server); cn.protocol != overUDP {
		t.Errorf("reached over %s", cn.protocol)
	}
}

func TestNobodyThere(t *testing.T) {
	m := newMesh(t)
	caller := m.start(m.node("b", 2), func(c *transportConfig) { c.Limits.DialTime = time.Second })
	gone := m.start(m.node("a", 1))
	to := gone.at()
	gone.stop()
	for i := range triesBeforeBackoff {
		if _, _, _, err := caller.Node(deadline(t), to); err == nil {
			t.Fatalf("try %d got an answer", i)
		}
	}
	_, _, _, err := caller.Node(deadline(t), to)
	if err == nil || !strings.Contains(err.Error(), "next try in") {
		t.Errorf("after %d failures: %v", triesBeforeBackoff, err)
	}
}

func TestOverlayDoorIsOnTheSamePort(t *testing.T) {
	inside := func(c *transportConfig) { c.Address = netip.MustParseAddr("::1") }
	for _, p := range protocols {
		t.Run(string(p), func(t *testing.T) {
			m := newMesh(t)
			server, caller := m.start(m.node("a", 1), inside), m.start(m.node("b", 2), inside)
			caller.only(p)
			to := target{addr: netip.AddrPortFrom(netip.MustParseAddr("::1"), server.Port()), overlay: true}
			if _, _, _, err := caller.Node(deadline(t), to); err != nil {
				t.Fatal(err)
			}
			if server.desk.lastSeen().IsValid() {
				t.Errorf("a call through the mesh was observed at %v", server.desk.lastSeen())
			}
			// From the socket on the specific address: the caller's source is its address in the mesh.
			if _, _, _, err := caller.Node(deadline(t), server.at()); err != nil {
				t.Fatal(err)
			}
			if !server.desk.lastSeen().Addr().Is4() {
				t.Errorf("a call over the underlay was observed at %v", server.desk.lastSeen())
			}
			if p == overUDP && server.desk.lastSeen().Port() != caller.Port() {
				t.Errorf("called from port %d, serving on %d", server.desk.lastSeen().Port(), caller.Port())
			}
		})
	}
}

func TestEndpointInsideTheMeshIsNotDialled(t *testing.T) {
	m := newMesh(t)
	caller := m.start(m.node("b", 2))
	to := target{addr: netip.AddrPortFrom(prefixOf(1).Addr().Next(), 6326)}
	_, _, _, err := caller.Node(deadline(t), to)
	if err == nil || !strings.Contains(err.Error(), "inside the mesh") {
		t.Errorf("got %v", err)
	}
}

func TestEndpointInAnAnnouncedPrefixIsNotDialled(t *testing.T) {
	m := newMesh(t)
	caller := m.start(m.node("b", 2))
	caller.SetNetworks(append(m.authority.Networks(), netip.MustParsePrefix("198.51.100.0/24")))
	_, _, _, err := caller.Node(deadline(t), target{addr: netip.MustParseAddrPort("198.51.100.7:6326")})
	if err == nil || !strings.Contains(err.Error(), "inside the mesh") {
		t.Errorf("got %v", err)
	}
}

func TestCallBeforeListeningAndAfterStopping(t *testing.T) {
	m := newMesh(t)
	early := newTransport(transportConfig{Authority: m.authority, Certificate: m.node("b", 2)})
	to := target{addr: netip.MustParseAddrPort("127.0.0.1:1")}
	if _, _, _, err := early.Node(deadline(t), to); err == nil {
		t.Error("called without a socket")
	}
	early.Close()
	if _, _, _, err := early.Node(deadline(t), to); !errors.Is(err, errStopped) {
		t.Errorf("after Close: %v", err)
	}
	if err := early.Serve(context.Background(), new(desk), nil); !errors.Is(err, errStopped) {
		t.Errorf("Serve after Close: %v", err)
	}
}

// A node that restarts forgets its sessions. Who still holds a connection must not wait for its deadline.
func TestServerRestartIsNoticed(t *testing.T) {
	for _, p := range protocols {
		t.Run(string(p), func(t *testing.T) {
			m := newMesh(t)
			cert := m.node("a", 1)
			server, caller := m.start(cert), m.start(m.node("b", 2))
			caller.only(p)
			if _, _, _, err := caller.Node(deadline(t), server.at()); err != nil {
				t.Fatal(err)
			}
			// As after a SIGKILL: the sockets go first, so no CONNECTION_CLOSE is sent.
			if p == overUDP {
				server.killed = true
				server.doors[0].quic.Close()
			}
			server.stop()
			again := m.start(cert, func(c *transportConfig) { c.Port = server.Port() })
			begun := time.Now()
			if _, _, _, err := caller.Node(deadline(t), again.at()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took > 2*silence {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestForgetClosesBothDirections(t *testing.T) {
	for _, p := range protocols {
		t.Run(string(p), func(t *testing.T) {
			m := newMesh(t)
			server, caller := m.start(m.node("a", 1)), m.start(m.node("b", 2))
			caller.only(p)
			if _, _, _, err := caller.Node(deadline(t), server.at()); err != nil {
				t.Fatal(err)
			}
			cn := caller.kept(t, server)
			server.Forget(prefixOf(2))
			await(t, "the caller's connection to end", func() bool { return !cn.wire.alive() })
			if _, _, _, err := caller.Node(deadline(t), server.at()); err != nil {
				t.Errorf("a forgotten node may come back: %v", err)
			}
		})
	}
}

func TestPoolIsBounded(t *testing.T) {
	m := newMesh(t)
	caller := m.start(m.node("b", 2), func(c *transportConfig) { c.Limits.IdleConnections = 2 })
	var conns []*conn
	for i := range byte(4) {
		server := m.start(m.node("a", 10+i))
		if _, _, _, err := caller.Node(deadline(t), server.at()); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, caller.kept(t, server))
	}
	if n := caller.client.pool.len(); n != 2 {
		t.Errorf("%d connections are kept", n)
	}
	for i, cn := range conns {
		if want := i >= 2; cn.wire.alive() != want {
			t.Errorf("connection %d open: %v, want %v", i, !want, want)
		}
	}
}

func TestProxyEnvironmentIsIgnored(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("ALL_PROXY", "http://127.0.0.1:1")
	m := newMesh(t)
	server, caller := m.start(m.node("a", 1)), m.start(m.node("b", 2))
	caller.only(overTCP)
	if _, _, _, err := caller.Node(deadline(t), server.at()); err != nil {
		t.Fatal(err)
	}
}
