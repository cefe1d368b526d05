package lan

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/ndp"

	"re6st/internal/kernel"
	"re6st/internal/lan/advert"
)

// wire is the socket of a link in memory.
type wire struct {
	in     chan []byte
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex // guards what follows
	out  []written
	fail error // of writing
}

type written struct {
	to netip.Addr
	at time.Time
	m  *ndp.RouterAdvertisement
}

func newWire() *wire { return &wire{in: make(chan []byte), closed: make(chan struct{})} }

func (w *wire) read(b []byte) (int, netip.Addr, int, error) {
	select {
	case m := <-w.in:
		return copy(b, m), neighbor, hopLimitNDP, nil
	case <-w.closed:
		return 0, netip.Addr{}, 0, net.ErrClosed
	}
}

func (w *wire) write(b []byte, to netip.Addr) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	m, err := ndp.ParseMessage(b)
	if err != nil {
		return err
	}
	w.out = append(w.out, written{to, time.Now(), m.(*ndp.RouterAdvertisement)})
	return nil
}

func (w *wire) close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

func (w *wire) take() []written {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.out
	w.out = nil
	return out
}

func testLink(w *wire) *link {
	lan := advert.LAN{Interface: "eth0", Prefix: netip.MustParsePrefix("2001:db8:42:10::/64")}
	k := newLink(lan, kernel.Link{Index: 1, Name: "eth0", MTU: 1500, Up: true}, w, rand.New(rand.NewPCG(1, 2)), slog.New(slog.DiscardHandler), func() {})
	go k.run()
	return k
}

// The loop sends when the machine says so, answers who asks, and ends with a
// last word within the time that a stop may take.
func TestLinkLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		k := testLink(w)
		k.setMesh(advert.Mesh{Networks: []netip.Prefix{netip.MustParsePrefix("2001:db8:42::/48")}, Default: true})
		time.Sleep(time.Second) // virtual
		first := w.take()
		if len(first) != 1 || first[0].to != allNodes || first[0].m.RouterLifetime != 30*time.Minute {
			t.Fatalf("in the first second: %+v", first)
		}
		rs, err := ndp.MarshalMessage(&ndp.RouterSolicitation{})
		if err != nil {
			t.Fatal(err)
		}
		w.in <- rs
		w.in <- []byte("nonsense")
		time.Sleep(time.Second)
		if answers := w.take(); len(answers) != 1 || answers[0].to != neighbor {
			t.Errorf("one who asked was answered %+v", answers)
		}
		time.Sleep(time.Hour)
		if n := len(w.take()); n < 6 || n > 20 {
			t.Errorf("%d messages in an hour", n)
		}
		asked := time.Now()
		k.stop()
		<-k.done()
		last := w.take()
		if len(last) != 1 || last[0].m.RouterLifetime != 0 || time.Since(asked) > 3*time.Second {
			t.Errorf("the last word after %v: %+v", time.Since(asked), last)
		}
		k.stop() // after the end: nothing to wait for
		k.setMTU(1400)
	})
}

// A loop that cannot send ends, and one that is abandoned says nothing.
func TestLinkLoopEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		w.fail = errors.New("no buffer space")
		k := testLink(w)
		<-k.done()

		w = newWire()
		k = testLink(w)
		time.Sleep(time.Second)
		w.take()
		k.abandon()
		<-k.done()
		if out := w.take(); len(out) != 0 {
			t.Errorf("abandoned, it said %+v", out)
		}
	})
}
