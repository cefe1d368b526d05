package speaker

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"re6st/babel"
	"re6st/internal/kernel"
)

// Each bubble also proves that no goroutine stays: synctest.Test fails on those.

// A new tunnel carries routes within a second; when it goes, they go at once.
func TestSpeaker_RoutesComeAndGoWithTheTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b, c := r.host(1, nil), r.host(2, nil), r.host(3, nil)
		r.run(a, b, c)
		r.connect(1, a, b)
		r.connect(2, b, c)
		r.within(time.Second, "the ends of a line know each other", func() bool {
			return a.hasRoute(c.prefix) && c.hasRoute(a.prefix)
		})
		route, _ := a.fib.get(c.prefix)
		want := kernel.Route{Dst: c.prefix, Gateway: b.addr, Ifindex: 1, Table: 326}
		if route != want {
			t.Errorf("route %v, want %v", route, want)
		}
		b.RemoveInterface(2)
		c.RemoveInterface(2)
		r.within(200*time.Millisecond, "the far end is lost", func() bool {
			return !a.hasRoute(c.prefix) && !c.hasRoute(a.prefix) && !c.hasRoute(b.prefix)
		})
		r.end()
		for i, h := range []*host{a, b, c} {
			if h.err != nil {
				t.Errorf("host %d: %v", i, h.err)
			}
			if n := h.fib.size(); n != 0 {
				t.Errorf("host %d: %d routes left: %v", i, n, h.fib.routes)
			}
		}
	})
}

// An orderly stop is told to the neighbours: they do not wait for a timer.
func TestSpeaker_StopRetracts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b := r.host(1, nil), r.host(2, nil)
		r.run(a, b)
		r.connect(1, a, b)
		r.within(time.Second, "route to b", func() bool { return a.hasRoute(b.prefix) })
		b.cancel()
		r.within(drainTime+100*time.Millisecond, "route to b is gone", func() bool { return !a.hasRoute(b.prefix) })
		r.end()
	})
}

// Design, section 3: the seqno is on disk before a packet carries it.
func TestF07_SeqnoIsDurableBeforePackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var h *host
		var reserved []uint16
		h = r.host(1, func(c *Config) {
			c.Engine.Seqno = 100
			c.Reserve = func(next uint16) error {
				for _, tw := range h.twins {
					if n := tw.count(); n > 0 && len(reserved) == 0 {
						t.Errorf("%d packets left before the seqno was reserved", n)
					}
				}
				reserved = append(reserved, next)
				return nil
			}
		})
		r.connect(1, h)
		r.run(h)
		r.within(time.Second, "packets leave", func() bool { return h.twins[1].count() > 0 })
		r.end()
		if len(reserved) != 2 || reserved[0] <= 100 || reserved[1] != 101 {
			t.Errorf("reserved %v, want a block above 100, and 101 at the orderly end", reserved)
		}
	})
}

func TestF07_WithoutSeqnoNothingRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		errDisk := errors.New("disk full")
		h := r.host(1, func(c *Config) { c.Reserve = func(uint16) error { return errDisk } })
		r.connect(1, h)
		r.run(h)
		r.wg.Wait()
		if !errors.Is(h.err, errDisk) {
			t.Errorf("Run: %v, want %v", h.err, errDisk)
		}
		if n := h.twins[1].count(); n != 0 {
			t.Errorf("%d packets left", n)
		}
		r.end()
	})
}

// What the kernel refuses is not announced, and is tried again.
func TestSpeaker_RefusedRouteIsNotAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b, c := r.host(1, nil), r.host(2, nil), r.host(3, nil)
		isRefusing := true
		b.fib.refuse = func(ch kernel.RouteChange) error {
			if isRefusing && ch.Route.Dst == c.prefix && !ch.Delete && ch.Route.Type == kernel.Unicast {
				return syscall.ENOMEM
			}
			return nil
		}
		r.run(a, b, c)
		r.connect(1, a, b)
		r.connect(2, b, c)
		r.within(time.Second, "a knows b, c knows a", func() bool { return a.hasRoute(b.prefix) && c.hasRoute(a.prefix) })
		time.Sleep(5 * time.Second)
		if a.hasRoute(c.prefix) {
			t.Error("b announced what it could not install")
		}
		b.fib.mu.Lock()
		isRefusing = false
		b.fib.mu.Unlock()
		r.within(20*time.Second, "a knows c", func() bool { return a.hasRoute(c.prefix) })
		r.end()
	})
}

// A device that vanishes is noticed by the next packet.
func TestF09_DeviceGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b := r.host(1, nil), r.host(2, nil)
		r.run(a, b)
		r.connect(1, a, b)
		r.within(time.Second, "route to b", func() bool { return a.hasRoute(b.prefix) })
		tw := a.twins[1]
		tw.mu.Lock()
		tw.fail = errGone
		tw.mu.Unlock()
		r.within(5*time.Second, "the interface is given up", func() bool {
			return !a.hasRoute(b.prefix) && len(a.Snapshot().Interfaces) == 0
		})
		r.end()
	})
}

// A device that is down is left alone until it is up.
func TestF09_DeviceDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b := r.host(1, nil), r.host(2, nil)
		r.run(a, b)
		r.connect(1, a, b)
		r.within(time.Second, "route to b", func() bool { return a.hasRoute(b.prefix) })
		tw := a.twins[1]
		set := func(err error) {
			tw.mu.Lock()
			defer tw.mu.Unlock()
			tw.fail = err
		}
		set(syscall.ENETUNREACH)
		r.within(5*time.Second, "the route is lost", func() bool { return !a.hasRoute(b.prefix) })
		time.Sleep(time.Minute)
		set(nil)
		r.within(downWaitMax+2*time.Second, "the route is back", func() bool { return a.hasRoute(b.prefix) })
		r.end()
	})
}

// To beat 6: the loss of carrier is not waited for, nor looked for.
func TestF09_CarrierLostAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b, c := r.host(1, nil), r.host(2, nil), r.host(3, nil)
		r.run(a, b, c)
		r.connect(1, a, b)
		r.connect(2, b, c)
		r.within(time.Second, "the ends know each other", func() bool { return a.hasRoute(c.prefix) && c.hasRoute(a.prefix) })
		first := b.twins[1]
		joined := first.joined.Load()
		b.LinkChanged(1, false)
		b.LinkChanged(9, false) // none of ours
		r.within(100*time.Millisecond, "c has lost a", func() bool { return !c.hasRoute(a.prefix) })
		n := first.count()
		time.Sleep(time.Minute)
		if first.count() != n {
			t.Error("packets were sent without a carrier")
		}
		b.LinkChanged(1, true)
		b.LinkChanged(1, true)
		r.within(2*time.Second, "c has a again", func() bool { return c.hasRoute(a.prefix) })
		if first.joined.Load() == joined {
			t.Error("the group was not joined again")
		}
		r.end()
	})
}

// A table of 20,000 routes that moves does not keep Hellos waiting, nor does an
// Update leave before its route is in the kernel.
func TestSpeaker_LargeTableDoesNotStarveHellos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const routes, perApply = 20000, 30 * time.Millisecond
		r := newRig(t)
		a, b := r.host(1, nil), r.host(2, nil)
		b.fib.delay = perApply
		r.run(a, b)
		r.connect(1, a, b)
		r.within(time.Second, "b knows a", func() bool { return b.hasRoute(a.prefix) })
		b.SetIntervals(1, 100*time.Millisecond, 0)
		for i := range routes {
			a.Originate(netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 1, 0, byte(i >> 8), byte(i)}), 64), netip.Prefix{}, 0)
		}
		r.within(time.Minute, "b has the table", func() bool { return b.fib.size() > routes })
		before, began := b.twins[1].count(), time.Now()
		b.RemoveInterface(2)
		b.LinkChanged(1, true)
		a.LinkChanged(1, false) // and b learns it by itself
		r.within(time.Minute, "b has lost the table", func() bool { return !b.hasRoute(a.prefix) })
		r.within(time.Minute, "the backlog is done", func() bool { return b.fib.unicast() == 0 })
		if n := b.twins[1].count() - before; n < int(time.Since(began)/(200*time.Millisecond)) {
			t.Errorf("%d packets in %v", n, time.Since(began))
		}
		if b.fib.most > routesAtOnce {
			t.Errorf("%d routes in one write", b.fib.most)
		}
		r.end()
	})
}

// Before Run, while it runs, and after: every method may be called by anyone.
func TestSpeaker_MethodsAreSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		h := r.host(1, nil)
		h.cables[1] = &cable{}
		all := func() {
			h.SetExtraCost(1, 10)
			h.SetIntervals(1, time.Second, 0)
			h.Originate(h.prefix, netip.Prefix{}, 1)
			h.Withdraw(h.prefix, netip.Prefix{})
			h.FilterChanged()
			h.Snapshot()
			h.Destinations()
			h.RemoveInterface(2)
		}
		all()
		var wg sync.WaitGroup
		r.run(h)
		for range 8 {
			wg.Go(func() {
				for range 20 {
					all()
				}
			})
		}
		wg.Wait()
		r.end()
		all()
		if err := h.AddInterface(babel.InterfaceConfig{Index: 1, LinkLocal: h.addr}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-h.twins[1].closed:
		default:
			t.Error("the socket of an interface that came too late stays open")
		}
		if err := h.Run(context.Background()); !errors.Is(err, errRunning) {
			t.Errorf("second Run: %v", err)
		}
	})
}

// A socket whose every read fails is given up, not spun on.
func TestSpeaker_BrokenSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		h := r.host(1, func(c *Config) {
			c.listen = func(babel.InterfaceConfig) (socket, error) { return brokenSocket{}, nil }
		})
		r.run(h)
		if err := h.AddInterface(babel.InterfaceConfig{Index: 1, Name: "t", LinkLocal: h.addr}); err != nil {
			t.Fatal(err)
		}
		r.within(5*time.Second, "the interface is given up", func() bool { return len(h.Snapshot().Interfaces) == 0 })
		r.end()
	})
}

type brokenSocket struct{}

func (brokenSocket) recv() ([]datagram, error)     { return nil, syscall.EIO }
func (brokenSocket) send([]byte, netip.Addr) error { return nil }
func (brokenSocket) setBuffer(int) error           { return nil }
func (brokenSocket) rejoin() error                 { return nil }
func (brokenSocket) close() error                  { return nil }

func TestAddInterface_SaysWhatFailed(t *testing.T) {
	s := New(Config{})
	err := s.AddInterface(babel.InterfaceConfig{Index: 99999, Name: "re6st-nosuch0"})
	if err == nil || !strings.Contains(err.Error(), "speaking Babel on re6st-nosuch0") {
		t.Errorf("got %v", err)
	}
}
