package wgtest

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"re6st/tunnel/wg"
)

// end is a device in a test, with its key.
type end struct {
	t *testing.T
	*Device
	private wg.Key
}

func create(t *testing.T, b *Backend, name string) end {
	t.Helper()
	private, err := wg.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	d, err := b.Create(wg.Config{Name: name, PrivateKey: private, LinkLocal: netip.MustParseAddr("fe80::1")})
	if err != nil {
		t.Fatal(err)
	}
	return end{t: t, Device: d.(*Device), private: private}
}

func (e end) peer(o end, psk wg.Key, endpoint netip.AddrPort) {
	e.t.Helper()
	if err := e.SetPeer(wg.Peer{PublicKey: o.private.Public(), PresharedKey: psk, Endpoint: endpoint}); err != nil {
		e.t.Fatal(err)
	}
}

func (e end) wantSession(want bool, why string) {
	e.t.Helper()
	s, err := e.Stats()
	if err != nil || s.LastHandshake.IsZero() == want {
		e.t.Errorf("%s: session %v (%v), want %v: %s", e.Name(), !s.LastHandshake.IsZero(), err, want, why)
	}
}

func two(t *testing.T) (*Network, end, end) {
	n := New()
	return n, create(t, n.Backend(netip.MustParseAddr("192.0.2.1")), "re6st-a"), create(t, n.Backend(netip.MustParseAddr("192.0.2.2")), "re6st-b")
}

func TestSessionNeedsBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := two(t)
		psk := wg.Key{7}
		a.peer(b, psk, b.Endpoint())
		a.wantSession(false, "the other end does not know us")
		time.Sleep(3 * time.Second)
		b.peer(a, psk, netip.AddrPort{})
		a.wantSession(true, "both know the keys, one the endpoint")
		b.wantSession(true, "both know the keys, one the endpoint")
		s, _ := b.Stats()
		if !s.LastHandshake.Equal(time.Now()) || s.Endpoint != a.Endpoint() || s.RxBytes == 0 {
			t.Errorf("stats %+v", s)
		}
		if !a.Deliver(100) {
			t.Error("nothing passes")
		}
		if after, _ := b.Stats(); after.RxBytes != s.RxBytes+100 {
			t.Errorf("%d bytes arrived, want 100 more than %d", after.RxBytes, s.RxBytes)
		}
	})
}

func TestNoSession(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(n *Network, a, b end)
	}{
		{"different pre-shared keys", func(_ *Network, a, b end) {
			a.peer(b, wg.Key{1}, b.Endpoint())
			b.peer(a, wg.Key{2}, a.Endpoint())
		}},
		{"no one knows an endpoint", func(_ *Network, a, b end) {
			a.peer(b, wg.Key{}, netip.AddrPort{})
			b.peer(a, wg.Key{}, netip.AddrPort{})
		}},
		{"wrong endpoint", func(_ *Network, a, b end) {
			a.peer(b, wg.Key{}, netip.MustParseAddrPort("192.0.2.9:1"))
			b.peer(a, wg.Key{}, netip.AddrPort{})
		}},
		{"another key", func(_ *Network, a, b end) {
			a.peer(a, wg.Key{}, b.Endpoint())
			b.peer(a, wg.Key{}, a.Endpoint())
		}},
		{"cut", func(n *Network, a, b end) {
			n.Cut(a.Endpoint().Addr(), b.Endpoint().Addr(), true)
			a.peer(b, wg.Key{}, b.Endpoint())
			b.peer(a, wg.Key{}, a.Endpoint())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, a, b := two(t)
			c.set(n, a, b)
			a.wantSession(false, c.name)
			b.wantSession(false, c.name)
			if a.Deliver(1) {
				t.Error("something passes")
			}
			if c.name == "cut" {
				n.Cut(a.Endpoint().Addr(), b.Endpoint().Addr(), false)
				a.wantSession(true, "the cut is mended")
			}
		})
	}
}

func TestContractOfBackend(t *testing.T) {
	n := New()
	backend := n.Backend(netip.MustParseAddr("192.0.2.1"))
	a := create(t, backend, "re6st-a")
	if _, err := backend.Create(a.Config()); !errors.Is(err, wg.ErrNameTaken) {
		t.Errorf("the same name: %v, want ErrNameTaken", err)
	}
	for range 2 {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := a.Stats(); err == nil {
		t.Error("stats of a closed device")
	}
	if err := a.SetPeer(wg.Peer{PublicKey: wg.Key{1}}); err == nil {
		t.Error("peer of a closed device")
	}
	if left := n.Devices(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	backend.Fail(wg.ErrNoPort)
	if _, err := backend.Create(a.Config()); !errors.Is(err, wg.ErrNoPort) {
		t.Errorf("error %v, want the planted one", err)
	}
}
