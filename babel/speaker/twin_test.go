package speaker

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"re6st/babel"
	"re6st/babel/wire"
	"re6st/internal/kernel"
)

// A cable is the in-memory twin of a link: a socket at each end.
type cable struct {
	mu    sync.Mutex
	ends  []*twin
	delay time.Duration
	isCut bool
}

type twin struct {
	cable  *cable
	addr   netip.Addr
	in     chan datagram
	closed chan struct{}
	once   sync.Once
	joined atomic.Int32

	mu   sync.Mutex
	fail error // of send
	sent [][]byte
}

func (t *twin) recv() ([]datagram, error) {
	select {
	case d := <-t.in:
		d.at = time.Now()
		return []datagram{d}, nil
	case <-t.closed:
		return nil, net.ErrClosed
	}
}

func (t *twin) setBuffer(int) error { return nil }

func (t *twin) rejoin() error {
	t.joined.Add(1)
	return nil
}

func (t *twin) send(b []byte, dst netip.Addr) error {
	t.mu.Lock()
	t.sent = append(t.sent, b)
	err := t.fail
	t.mu.Unlock()
	if err != nil {
		return err
	}
	c := t.cable
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.ends {
		if e == t || c.isCut || !dst.IsMulticast() && dst != e.addr {
			continue
		}
		d := datagram{src: netip.AddrPortFrom(t.addr, wire.Port), dst: dst, data: append([]byte(nil), b...)}
		time.AfterFunc(c.delay, func() {
			select {
			case e.in <- d:
			default: // as a full buffer does
			}
		})
	}
	return nil
}

func (t *twin) close() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}

func (t *twin) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sent)
}

// table is the twin of the kernel's forwarding table.
type table struct {
	mu     sync.Mutex
	routes map[netip.Prefix]kernel.Route
	refuse func(kernel.RouteChange) error
	log    []string
	delay  time.Duration // that a write takes
	most   int           // changes in one write
}

func newTable() *table { return &table{routes: map[netip.Prefix]kernel.Route{}} }

func (f *table) Apply(changes []kernel.RouteChange) []error {
	time.Sleep(f.delay)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.most = max(f.most, len(changes))
	answers := make([]error, len(changes))
	for i, c := range changes {
		if f.refuse != nil {
			if answers[i] = f.refuse(c); answers[i] != nil {
				continue
			}
		}
		f.log = append(f.log, c.String())
		if c.Delete {
			delete(f.routes, c.Route.Dst)
		} else {
			f.routes[c.Route.Dst] = c.Route
		}
	}
	return answers
}

func (f *table) get(p netip.Prefix) (kernel.Route, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.routes[p]
	return r, ok
}

func (f *table) unicast() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.routes {
		if r.Type == kernel.Unicast {
			n++
		}
	}
	return n
}

func (f *table) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.routes)
}

// rig is some speakers and the cables between them.
type rig struct {
	*testing.T
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
}

type host struct {
	*Speaker
	fib    *table
	prefix netip.Prefix
	addr   netip.Addr
	cables map[int]*cable
	twins  map[int]*twin
	err    error
	cancel context.CancelFunc
}

func newRig(t *testing.T) *rig {
	ctx, stop := context.WithCancel(context.Background())
	return &rig{T: t, ctx: ctx, stop: stop}
}

func (r *rig) host(i byte, change func(*Config)) *host {
	h := &host{
		fib:    newTable(),
		prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0x42, 0, i}), 64),
		addr:   netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: i}),
		cables: map[int]*cable{}, twins: map[int]*twin{},
	}
	config := Config{
		Engine: babel.Config{RouterID: babel.RouterID{7: i}, Rand: rand.New(rand.NewPCG(uint64(i), 0))},
		FIB:    h.fib,
		Table:  326,
		listen: func(c babel.InterfaceConfig) (socket, error) {
			t := &twin{cable: h.cables[c.Index], addr: h.addr, in: make(chan datagram, 1000), closed: make(chan struct{})}
			t.cable.mu.Lock()
			t.cable.ends = append(t.cable.ends, t)
			t.cable.mu.Unlock()
			h.twins[c.Index] = t
			return t, nil
		},
	}
	if change != nil {
		change(&config)
	}
	h.Speaker = New(config)
	return h
}

func (r *rig) run(hosts ...*host) {
	for _, h := range hosts {
		ctx, cancel := context.WithCancel(r.ctx)
		h.cancel = cancel
		r.wg.Go(func() { h.err = h.Run(ctx) })
		h.Originate(h.prefix, netip.Prefix{}, 0)
	}
}

func (r *rig) end() {
	r.stop()
	r.wg.Wait()
}

func (r *rig) connect(index int, hosts ...*host) *cable {
	r.Helper()
	c := &cable{delay: 2 * time.Millisecond}
	for _, h := range hosts {
		h.cables[index] = c
		if err := h.AddInterface(babel.InterfaceConfig{Index: index, Name: "t", LinkLocal: h.addr, Kind: babel.Tunnel, MTU: 1420}); err != nil {
			r.Fatal(err)
		}
	}
	return c
}

// within lets virtual time pass until the condition holds.
func (r *rig) within(d time.Duration, what string, cond func() bool) {
	r.Helper()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		synctest.Wait()
		if cond() {
			return
		}
		if time.Since(begin) > d {
			r.Fatalf("%s: not within %v", what, d)
		}
	}
}

func (h *host) hasRoute(p netip.Prefix) bool {
	r, ok := h.fib.get(p)
	return ok && r.Type == kernel.Unicast
}

var errGone error = syscall.ENODEV
