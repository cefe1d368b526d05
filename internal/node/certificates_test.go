package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"re6st/addressing"
	"re6st/babel"
	"re6st/internal/identity"
	"re6st/tunnel/agent"
)

// archive is a node's keeper with neighbours that answer at once, by interface:
// what they have, and how often they were asked.
type archive struct {
	*keeper
	t         *testing.T
	mu        sync.Mutex // guards all below
	neighbour map[int][]identity.Node
	asked     map[int]int
	judged    int // times that Babel judged anew
	looks     int // at the routes
	routes    []babel.Destination
	lost      bool           // nobody answers
	holds     []babel.Update // what Babel judges anew
	log       strings.Builder
}

// Write is the log.
func (a *archive) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log.Write(p)
}

// with looks at what the keeper's loop works on.
func (a *archive) with(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func (a *archive) times() (judged int) {
	a.with(func() { judged = a.judged })
	return judged
}

var testNetworks = []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("2001:db8:42::/48")}

func certified(i int, change ...func(*identity.Node)) identity.Node {
	p := netip.MustParsePrefix(fmt.Sprintf("2001:db8:42:%x::/64", i))
	n := identity.Node{
		Name: fmt.Sprintf("node-%d", i), Prefix: p, Address: addressing.NodeAddress(p), RouterID: addressing.RouterIDOf(p),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour), Raw: []byte{byte(i)},
	}
	for _, f := range change {
		f(&n)
	}
	return n
}

func announces(p string) func(*identity.Node) {
	return func(n *identity.Node) { n.Rights.Announce = append(n.Rights.Announce, netip.MustParsePrefix(p)) }
}

// newArchive has tunnels on the interfaces 7 and 8, and runs until the test ends.
func newArchive(t *testing.T) *archive {
	a := &archive{t: t, neighbour: map[int][]identity.Node{}, asked: map[int]int{}}
	a.keeper = newKeeper(newClaims(testNetworks, netip.Prefix{}), certified(1).RouterID, certificateStore{}, slog.New(slog.NewTextHandler(a, nil)))
	a.claims.Add(certified(1))
	a.fetch = func(_ context.Context, index int, ids []addressing.RouterID) ([]identity.Node, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked[index]++
		if a.lost {
			return nil, errors.New("no answer")
		}
		var out []identity.Node
		for _, n := range a.neighbour[index] {
			if slices.Contains(ids, n.RouterID) {
				out = append(out, n)
			}
		}
		return out, nil
	}
	a.tunnels = func() ([]agent.Tunnel, error) {
		return []agent.Tunnel{{Index: 7, Peer: "seven"}, {Index: 8, Peer: "eight"}, {}}, nil
	}
	a.destinations = func() (out []babel.Destination) {
		a.with(func() { out = a.routes; a.looks++ })
		return out
	}
	a.rejudge = func() {
		var held []babel.Update
		a.with(func() { a.judged++; held = a.holds })
		for _, u := range held {
			a.judge(u)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return a
}

// hears is what Babel asks about an update; wants is the answer to it.
func (a *archive) hears(index int, prefix string, i int, want babel.Verdict) {
	a.t.Helper()
	u := babel.Update{Prefix: netip.MustParsePrefix(prefix), RouterID: babel.RouterID(certified(i).RouterID), Interface: index}
	if got := a.judge(u); got != want {
		a.t.Errorf("%s by node %d over %d: %v, want %v", prefix, i, index, got, want)
	}
}

// later lets the keeper work.
func (a *archive) later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestP18_CertificateIsFetchedFromTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		a.with(func() { a.neighbour[8] = []identity.Node{certified(5, announces("198.51.100.0/24"))} })
		changed := a.claims.Changed()
		a.hears(8, "198.51.100.0/24", 5, babel.Hold)
		a.hears(8, "2001:db8:42:5::/64", 5, babel.Accept) // needs no certificate
		a.later(time.Second)
		a.with(func() {
			if a.asked[8] != 1 || a.asked[7] != 0 || a.judged != 1 {
				t.Errorf("asked %v, judged anew %d times", a.asked, a.judged)
			}
		})
		select {
		case <-changed:
		default:
			t.Error("the change is not told")
		}
		a.hears(8, "198.51.100.0/24", 5, babel.Accept)
		a.hears(7, "198.51.100.0/24", 5, babel.Accept)
		if n, ok := a.claims.ByName("node-5"); !ok || n.RouterID != certified(5).RouterID {
			t.Error("node-5 is not known by name")
		}
		if h := a.health(nil); len(h) != 0 || a.refused() != 0 {
			t.Errorf("refused: %v", h)
		}
	})
}

// A neighbour that cannot show a certificate for what it sends is refused,
// counted, named, and told of once; when the certificate comes all is well.
func TestP18_NeighbourThatCannotProve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		a.hears(8, "198.51.100.0/24", 5, babel.Hold)
		a.later(2 * time.Second)
		for range 10 {
			a.hears(8, "198.51.100.0/24", 5, babel.Refuse)
		}
		a.hears(8, "203.0.113.0/24", 1, babel.Hold) // we have node 1's; is there a newer one?
		a.later(2 * time.Second)
		a.hears(8, "203.0.113.0/24", 1, babel.Refuse)
		a.hears(8, "2001:db8:42:6::/64", 5, babel.Refuse) // the address plan says no
		a.later(2 * time.Second)
		h := a.health(map[int]string{8: "eight"})
		want := "eight announces 198.51.100.0/24 as 2001:0db8:0042:0005, which is refused: it has no certificate of that node to show (and 2 more routes)"
		if len(h) != 1 || h[0].Code != "unproved-route" || h[0].Text != want {
			t.Errorf("health: %v\nwant: %s", h, want)
		}
		if n := a.refused(); n != 14 {
			t.Errorf("%d refused", n)
		}
		a.with(func() {
			if n := strings.Count(a.log.String(), "cannot prove"); n != 1 || !strings.Contains(a.log.String(), "peer=eight") {
				t.Errorf("told %d times:\n%s", n, a.log.String())
			}
		})
		judged := a.times()
		a.with(func() { a.neighbour[7] = []identity.Node{certified(5, announces("198.51.100.0/24"))} }) // asked in its turn
		a.later(time.Minute)
		a.hears(8, "198.51.100.0/24", 5, babel.Accept)
		if a.times() == judged {
			t.Error("Babel does not know of it")
		}
		a.later(refusalTime)
		if h := a.health(nil); len(h) != 0 {
			t.Errorf("still in bad health: %v", h)
		}
		a.with(func() {
			if n := a.asked[7] + a.asked[8]; n > 20 {
				t.Errorf("asked %d times", n)
			}
		})
	})
}

// Names need certificates, too, and may wait for them; what is there is not asked
// for, nor what is not a node's.
func TestCertificatesOfAllNodesAreFetchedSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		a.with(func() {
			for i := 2; i < 1000; i++ {
				n := certified(i)
				a.neighbour[7] = append(a.neighbour[7], n)
				a.routes = append(a.routes, babel.Destination{Prefix: n.Prefix, RouterID: babel.RouterID(n.RouterID), Interface: 7})
			}
			a.routes = append(a.routes,
				babel.Destination{Prefix: certified(1).Prefix, RouterID: babel.RouterID(certified(1).RouterID), Interface: 7},
				babel.Destination{Prefix: netip.MustParsePrefix("198.51.100.0/24"), RouterID: babel.RouterID(certified(1).RouterID), Interface: 7})
		})
		a.later(2 * time.Second)
		if n := a.claims.len(); n < 100 || n > 500 {
			t.Errorf("%d after 2 s", n)
		}
		a.later(time.Minute)
		if n := a.claims.len(); n != 999 {
			t.Errorf("%d certificates in the end", n)
		}
		a.with(func() {
			if a.asked[7] > 40 || a.asked[8] != 0 {
				t.Errorf("asked %v", a.asked)
			}
		})
	})
}

func TestCertificateThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		a.Met(certified(5, announces("198.51.100.0/24"), func(n *identity.Node) { n.NotAfter = time.Now().Add(time.Hour) }))
		a.later(time.Second)
		a.hears(8, "198.51.100.0/24", 5, babel.Accept)
		judged := a.times()
		a.later(time.Hour)
		if n := a.times() - judged; n != 1 {
			t.Errorf("judged anew %d times", n)
		}
		a.hears(8, "198.51.100.0/24", 5, babel.Hold)
		// It was renewed meanwhile, and the neighbour has the new one.
		a.Met(certified(5, announces("198.51.100.0/24"), func(n *identity.Node) { n.Raw = []byte("new") }))
		a.hears(8, "198.51.100.0/24", 5, babel.Accept)
	})
}

// Rights that a newer certificate gives are found, though the older one is valid.
func TestNewerCertificateIsLookedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		a.Met(certified(5))
		newer := certified(5, announces("198.51.100.0/24"), func(n *identity.Node) {
			n.NotBefore, n.Raw = n.NotBefore.Add(time.Minute), []byte("newer")
		})
		a.with(func() { a.neighbour[8] = []identity.Node{newer} })
		a.hears(8, "198.51.100.0/24", 5, babel.Hold)
		a.later(time.Second)
		a.hears(8, "198.51.100.0/24", 5, babel.Accept)
		if der, ok := a.Certificate(certified(5).RouterID); !ok || string(der) != "newer" {
			t.Errorf("others get %q", der)
		}
	})
}

// A default route from a prefix that somebody else announces waits for that one's
// certificate.
func TestSourcePrefixThatIsNotKnownYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		a.Met(certified(5, func(n *identity.Node) { n.Rights.Gateway = true }))
		u := babel.Update{
			Prefix: netip.MustParsePrefix("::/0"), From: netip.MustParsePrefix("2001:db8:1000::/48"),
			RouterID: babel.RouterID(certified(5).RouterID), Interface: 8,
		}
		if v := a.judge(u); v != babel.Hold {
			t.Errorf("before: %v", v)
		}
		a.later(time.Minute)
		judged := a.times()
		a.Met(certified(6, announces("2001:db8:1000::/48")))
		a.later(time.Second)
		if v := a.judge(u); v != babel.Accept || a.times() == judged {
			t.Errorf("after: %v", v)
		}
		a.with(func() {
			if len(a.asked) != 0 {
				t.Errorf("asked %v", a.asked)
			}
		})
	})
}

// A neighbour that makes up router-ids costs little: Babel judges anew twice a
// minute at most, and what it holds is not forgotten.
func TestT12_MadeUpRouterIDsCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		for i := range 1000 {
			a.hears(8, "198.51.100.0/24", 0x1000+i, babel.Hold)
		}
		a.later(10 * time.Minute)
		if n := a.times(); n < 1 || n > 25 {
			t.Errorf("judged anew %d times in 10 minutes", n)
		}
		a.with(func() {
			if n := a.asked[8]; n > 2000 {
				t.Errorf("asked %d times", n)
			}
		})
	})
}

// What Babel holds it does not judge again by itself: it is reminded, so that the
// certificate is looked for as long as somebody announces the route.
func TestHeldRoutesAreNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		a.with(func() { a.lost = true })
		u := babel.Update{Prefix: netip.MustParsePrefix("198.51.100.0/24"), RouterID: babel.RouterID(certified(5).RouterID), Interface: 8}
		a.with(func() { a.holds = []babel.Update{u} })
		a.judge(u)
		a.later(time.Hour)
		a.with(func() { a.lost, a.neighbour[8] = false, []identity.Node{certified(5, announces("198.51.100.0/24"))} })
		a.later(6 * time.Minute)
		a.hears(8, "198.51.100.0/24", 5, babel.Accept)
	})
}

// An idle keeper sleeps, also when a certificate is nowhere to be had.
func TestKeeperDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive(t)
		a.hears(9, "198.51.100.0/24", 5, babel.Hold) // by who is gone
		a.hears(8, "198.51.100.0/24", 6, babel.Hold)
		a.later(10 * time.Minute)
		a.with(func() {
			if a.looks > 200 || a.asked[7]+a.asked[8] > 40 {
				t.Errorf("looked %d times, asked %v", a.looks, a.asked)
			}
		})
	})
}
