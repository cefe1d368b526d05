package agent

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"re6st/tunnel"
	"re6st/tunnel/control"
	"re6st/tunnel/wg"
	"re6st/tunnel/wg/wgtest"
)

func TestN14_SixAgentsMeshInMemoryAndLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 6)
		w.startAll()
		t.Logf("full mesh after %v", w.wantMesh(5*time.Second, w.nodes...))
		devices := w.under.Devices()
		if len(devices) != 30 {
			t.Errorf("%d devices, want one for each end of 15 tunnels", len(devices))
		}
		for _, d := range devices {
			if c := d.Config(); !strings.HasPrefix(c.Name, "re6st-") || len(c.Name) != 14 || !strings.HasPrefix(c.Alias, "re6st test to n") {
				t.Errorf("name %q, alias %q", c.Name, c.Alias)
			}
			if d.Peer().PresharedKey == (wg.Key{}) {
				t.Errorf("%s has no pre-shared key", d.Name())
			}
		}
		time.Sleep(3 * time.Minute)
		w.wantMesh(time.Minute, w.nodes...)
		if took := w.nodes[0].stop(); took > 2*time.Second {
			t.Errorf("the stop took %v", took)
		}
		w.nodes[0].result = nil
		time.Sleep(time.Second)
		for _, v := range w.nodes[1:] {
			if v.hasUp(w.nodes[0]) {
				t.Errorf("%s was not told of the stop", v.id.Name)
			}
		}
		w.stopAll()
	})
}

func TestA21_DeadIPv4AndGoodIPv6Endpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		dead := netip.MustParseAddr("203.0.113.9")
		good := netip.MustParseAddr("2001:db8:ffff::1")
		w.nodes[1].addrs = []netip.Addr{w.nodes[1].addrs[0], dead, good}
		w.nodes[1].told = []netip.Addr{dead, good}
		w.deaf[dead] = true
		w.nodes[1].backend = w.under.Backend(good)
		w.nodes[1].start()
		w.nodes[0].start(1)
		took := w.wantMesh(3*time.Second, w.nodes...)
		t.Logf("tunnel after %v", took)
		w.stopAll()
	})
}

func TestDocumentReachesEveryNodeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 6)
		w.startAll()
		w.wantMesh(5*time.Second, w.nodes...)
		w.nodes[3].SetDocument(7, "version 7")
		w.eventually("the document everywhere", time.Second, func() bool {
			for i, v := range w.nodes {
				if i != 3 && v.papers.version() != 7 {
					return false
				}
			}
			return true
		})
		w.nodes[0].SetDocument(5, "version 5")
		time.Sleep(time.Minute)
		for i, v := range w.nodes {
			if i != 3 && v.papers.version() != 7 {
				t.Errorf("%s has version %d", v.id.Name, v.papers.version())
			}
		}
		w.stopAll()
	})
}

func TestDocumentReachesANodeThatWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		w.nodes[0].start(1)
		w.nodes[1].start(0)
		w.nodes[0].SetDocument(3, "version 3")
		w.wantMesh(5*time.Second, w.nodes[0], w.nodes[1])
		w.nodes[2].start(0)
		w.eventually("the document on the newcomer", 10*time.Second, func() bool { return w.nodes[2].papers.version() == 3 })
		w.stopAll()
	})
}

func TestSeedOfUnknownIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		w.nodes[1].start(2)
		w.nodes[2].start()
		w.nodes[0].startWith(func(c *Config) {
			c.Seeds = []netip.AddrPort{netip.AddrPortFrom(w.nodes[1].addrs[0], control.Port)}
		})
		t.Logf("mesh by one address after %v", w.wantMesh(30*time.Second, w.nodes...))
		w.stopAll()
	})
}

// The answer to an offer is lost: the same offer again, the same tunnel, and both sides use the keys of the second.
func TestLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		w.loseNext = 1
		second := netip.MustParseAddr("198.18.7.1")
		w.nodes[1].addrs = append(w.nodes[1].addrs, second)
		w.nodes[1].told = append(w.nodes[1].told, second)
		w.nodes[1].start()
		w.nodes[0].start(1)
		w.wantMesh(10*time.Second, w.nodes...)
		if d := w.under.Devices(); len(d) != 2 || d[0].Peer().PresharedKey != d[1].Peer().PresharedKey {
			t.Errorf("%d devices", len(d))
		}
		w.stopAll()
	})
}

func TestPairsWithoutUnderlayAreRelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		w.cut[[2]int{0, 1}] = true
		w.under.Cut(w.nodes[0].addrs[0], w.nodes[1].addrs[0], true)
		w.startAll()
		w.wantMesh(5*time.Second, w.nodes[0], w.nodes[2])
		w.wantMesh(5*time.Second, w.nodes[1], w.nodes[2])
		w.eventually("a route over the relay", 5*time.Second, func() bool { return w.nodes[0].routing.reaches(w.nodes[1]) })
		time.Sleep(30 * time.Minute)
		if n := len(w.under.Devices()); n > 6 {
			t.Errorf("%d devices pile up", n)
		}
		w.mu.Lock()
		before := w.offers
		w.mu.Unlock()
		time.Sleep(time.Hour)
		w.mu.Lock()
		if n := w.offers - before; n > 10 {
			t.Errorf("%d offers in an hour between nodes that cannot talk", n)
		}
		w.mu.Unlock()
		w.stopAll()
	})
}

// An interface that somebody removed is the end of its tunnel; another one comes.
func TestVanishedInterfaceIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		w.startAll()
		w.wantMesh(5*time.Second, w.nodes...)
		for _, d := range w.under.Devices() {
			if d.Endpoint().Addr() == w.nodes[0].addrs[0] {
				_ = d.Close()
			}
		}
		time.Sleep(6 * time.Second)
		w.wantMesh(10*time.Second, w.nodes...)
		if n := len(w.under.Devices()); n != 2 {
			t.Errorf("%d devices, want 2", n)
		}
		w.stopAll()
	})
}

func TestBackendThatFailsIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		w.nodes[0].backend.Fail(errors.New("out of descriptors"))
		w.startAll()
		time.Sleep(5 * time.Second)
		if len(w.nodes[0].tunnels()) > 0 && w.nodes[0].hasUp(w.nodes[1]) {
			t.Fatal("a tunnel without a device")
		}
		w.nodes[0].backend.Fail(nil)
		w.wantMesh(time.Minute, w.nodes...)
		w.stopAll()
	})
}

// One identity asks and asks, each time for another tunnel, and never finishes a handshake.
func TestT15_HostileOffersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 4)
		w.nodes[0].start(1, 2)
		w.nodes[1].start()
		w.nodes[2].start()
		synctest.Wait()
		hostile := &fakeTransport{v: w.nodes[3]}
		most, refused := 0, 0
		for i := range 1000 {
			key, err := wg.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, _, _, err = hostile.PutTunnel(ctx, target{addr: netip.AddrPortFrom(w.nodes[0].addrs[0], control.Port)}, control.TunnelID{1, byte(i >> 8), byte(i)}, control.Offer{
				Protocol: 1, PublicKey: control.Key(key.Public()), Port: 1, MTU: 1420, Reason: control.Random,
			})
			cancel()
			if err != nil {
				refused++
			}
			most = max(most, len(w.under.Devices()))
		}
		if most > 8 || refused < 900 {
			t.Errorf("%d devices at most, %d of 1000 offers refused", most, refused)
		}
		w.wantMesh(30*time.Second, w.nodes[:3]...)
		time.Sleep(time.Minute)
		if n := len(w.under.Devices()); n != 6 {
			t.Errorf("%d devices a minute after the attack, want 6", n)
		}
		w.stopAll()
	})
}

func TestRefusedPortIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Config{Backend: wgtest.New().Backend(netip.MustParseAddr("198.18.0.1")), transport: refusing{}})
		if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("error %v", err)
		}
		if _, err := a.Snapshot(t.Context()); !errors.Is(err, errNotRunning) {
			t.Errorf("snapshot of an agent that stopped: %v", err)
		}
	})
}

type refusing struct{ transport }

func (refusing) Serve(context.Context, service, func()) error { return errors.New("port 6326 in use") }

func TestParametersApplyLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 5)
		few := tunnel.DefaultParameters()
		few.Tunnels, few.MaxIncoming = 1, 0
		for i, v := range w.nodes {
			if i == 0 {
				v.startWith(func(c *Config) { c.Parameters = few }, 1, 2, 3, 4)
			} else {
				v.start()
			}
		}
		time.Sleep(20 * time.Second)
		few.Tunnels, few.MaxIncoming = 10, 30
		w.nodes[0].SetParameters(few)
		w.wantMesh(30*time.Second, w.nodes...)
		w.stopAll()
	})
}

// The peer drains: the routing leaves the tunnel, and if the peer never closes it, we do.
func TestPeerDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		w.startAll()
		w.wantMesh(5*time.Second, w.nodes...)
		x := w.nodes[1].tunnels()[0]
		id, err := control.ParseTunnelID(x.ID)
		if err != nil {
			t.Fatal(err)
		}
		peer, stranger := &fakeTransport{v: w.nodes[0]}, &fakeTransport{v: w.settle(7)}
		at := target{addr: netip.AddrPortFrom(w.nodes[1].addrs[0], control.Port)}
		err = stranger.Patch(t.Context(), at, id, control.Patch{Draining: true})
		if r, ok := errors.AsType[*control.Refusal](err); !ok || r.Code != control.Unknown {
			t.Errorf("a stranger drains: %v", err)
		}
		if err := stranger.Delete(t.Context(), at, id); err != nil || !w.nodes[1].hasUp(w.nodes[0]) {
			t.Errorf("a stranger deletes: %v", err)
		}
		if err := peer.Patch(t.Context(), at, id, control.Patch{Draining: true}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := w.nodes[1].routing.extraCost(x.Index); got == 0 {
			t.Error("a tunnel that drains costs no more than before")
		}
		w.eventually("end of the tunnel", 30*time.Second, func() bool {
			s := w.nodes[1].tunnels()
			return len(s) == 0 || s[0].ID != x.ID
		})
		w.wantMesh(time.Minute, w.nodes...)
		w.stopAll()
	})
}

// What the routing cannot use, or has lost, is no tunnel.
func TestRoutingRefusesOrLosesALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		w.nodes[1].start(0)
		w.nodes[0].start()
		w.nodes[0].routing.fail(errors.New("no such interface"))
		time.Sleep(5 * time.Second)
		if w.nodes[0].hasUp(w.nodes[1]) {
			t.Error("a tunnel that the routing refused is up")
		}
		w.nodes[0].routing.fail(nil)
		w.wantMesh(2*time.Minute, w.nodes...)
		before := w.nodes[0].tunnels()[0]
		w.nodes[0].LinkLost(before.Index)
		w.eventually("another tunnel", 30*time.Second, func() bool {
			s := w.nodes[0].tunnels()
			return len(s) == 1 && s[0].ID != before.ID && s[0].State == "up"
		})
		w.stopAll()
	})
}

func TestForgottenPeerIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		w.startAll()
		w.wantMesh(5*time.Second, w.nodes...)
		if p, err := w.nodes[0].Peers(t.Context()); err != nil || len(p) != 1 || p[0].Name != "n1" {
			t.Errorf("%v, %v", p, err)
		}
		w.nodes[0].ForgetPeer(w.nodes[1].id.Prefix)
		synctest.Wait()
		if s := w.nodes[0].tunnels(); len(s) != 0 {
			t.Errorf("%+v", s)
		}
		w.stopAll()
	})
}

// An answer without a key is none: nothing is up at either end, and nothing is left.
func TestSessionWithoutKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1)
		w.nodes[0].start()
		synctest.Wait()
		stranger := w.settle(7)
		_, err := api{w.nodes[0].Agent}.OfferTunnel(t.Context(), stranger.id, netip.AddrPort{}, control.TunnelID{1}, control.Offer{
			Protocol: 1, PublicKey: control.Key{1}, Port: 1, MTU: 1420, Reason: control.Random,
		}, func(wg.Key) (wg.Key, error) { return wg.Key{}, errors.New("no exporter") })
		if r, ok := errors.AsType[*control.Refusal](err); !ok || r.Code != control.Internal {
			t.Errorf("error %v", err)
		}
		synctest.Wait()
		if s := w.nodes[0].tunnels(); len(s) != 0 {
			t.Errorf("%+v", s)
		}
		w.stopAll()
	})
}

func TestUnsignedDocumentIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		w.startAll()
		w.wantMesh(5*time.Second, w.nodes...)
		at := target{addr: netip.AddrPortFrom(w.nodes[0].addrs[0], control.Port)}
		err := (&fakeTransport{v: w.nodes[1]}).PostDocument(t.Context(), at, "rubbish")
		if r, ok := errors.AsType[*control.Refusal](err); !ok || r.Code != control.Invalid {
			t.Errorf("error %v", err)
		}
		w.stopAll()
	})
}
