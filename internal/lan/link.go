package lan

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"re6st/internal/kernel"
	"re6st/internal/lan/advert"
)

const (
	// queued messages of the link wait for the loop; more are dropped, as a link
	// may.
	queued = 16
	// maxSendFailures in a row end the loop; its interface is then looked at anew.
	maxSendFailures = 5
)

// conn is the socket of one interface.
type conn interface {
	// read waits for a message; the error is net.ErrClosed after close.
	read(b []byte) (n int, from netip.Addr, hopLimit int, err error)
	write(b []byte, to netip.Addr) error
	close() error
}

// link serves one interface as long as it lives.
type link struct {
	lan  advert.LAN
	link kernel.Link
	conn conn
	log  *slog.Logger

	router *advert.Router // owned by run
	failed error          // owned by run: it cannot go on
	ended  func()         // told of the end of run
	posts  chan func(now time.Time)
	gone   chan struct{} // closed by abandon
	over   chan struct{} // closed when run has ended

	mu    sync.Mutex // guards what follows
	known []advert.Other
}

func newLink(lan advert.LAN, k kernel.Link, c conn, r *rand.Rand, log *slog.Logger, ended func()) *link {
	return &link{
		lan: lan, link: k, conn: c, log: log,
		router: advert.New(time.Now(), lan, k.MTU, r),
		posts:  make(chan func(time.Time), queued),
		gone:   make(chan struct{}),
		over:   make(chan struct{}),
		ended:  ended,
	}
}

// post hands a function to the loop.
func (k *link) post(f func(now time.Time)) {
	select {
	case k.posts <- f:
	case <-k.over:
	}
}

func (k *link) setMesh(m advert.Mesh) { k.post(func(now time.Time) { k.router.SetMesh(now, m) }) }
func (k *link) setMTU(mtu int)        { k.post(func(now time.Time) { k.router.SetLinkMTU(now, mtu) }) }

// stop lets the loop say its last word and end.
func (k *link) stop() { k.post(k.router.Stop) }

// abandon ends the loop without a word; once.
func (k *link) abandon() { close(k.gone) }

func (k *link) done() <-chan struct{} { return k.over }

func (k *link) others() []advert.Other {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.known)
}

// run is the loop: the only place that reads the clock.
func (k *link) run() {
	defer k.ended()
	defer close(k.over)
	defer k.read()()
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	for {
		now := time.Now()
		k.router.Advance(now)
		for _, m := range k.router.Output() {
			if err := k.send(m); err != nil {
				if failures++; failures >= maxSendFailures {
					k.failed = err
				}
			} else {
				failures = 0
			}
		}
		k.look(now)
		if k.failed != nil {
			k.log.Warn("serving a LAN fails", "iface", k.link.Name, "err", k.failed)
		}
		if k.router.Done() || k.failed != nil {
			return
		}
		timer.Reset(time.Until(k.router.Deadline(now)))
		select {
		case <-k.gone:
			return
		case f := <-k.posts:
			f(time.Now())
		case <-timer.C:
		}
	}
}

// look keeps for others what the router knows.
func (k *link) look(now time.Time) {
	others := k.router.Others(now)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known = others
}

func (k *link) send(m advert.Message) error {
	b, err := encode(m.Advertisement, hardwareAddr(k.link.Index))
	if err != nil {
		return err
	}
	to := m.To
	if !to.IsValid() {
		to = allNodes
	}
	return k.conn.write(b, to)
}

// read starts the reader; what it returns ends it.
func (k *link) read() (end func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, maxMessageBytes)
		for {
			n, from, hopLimit, err := k.conn.read(b)
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					k.post(func(time.Time) { k.failed = err })
				}
				return
			}
			k.receive(b[:n], from, hopLimit)
		}
	}()
	return func() {
		_ = k.conn.close()
		<-ended
	}
}

// receive hands a valid message to the loop, or drops it where that is busy.
func (k *link) receive(b []byte, from netip.Addr, hopLimit int) {
	f := k.decode(b, from, hopLimit)
	if f == nil {
		return
	}
	select {
	case k.posts <- f:
	default:
	}
}

func (k *link) decode(b []byte, from netip.Addr, hopLimit int) func(time.Time) {
	isSolicitation, heard, err := decode(b, from, hopLimit)
	switch {
	case err != nil:
		k.log.Debug("message on a LAN is not valid", "iface", k.link.Name, "from", from, "err", err)
		return nil
	case isSolicitation:
		return func(now time.Time) { k.router.Solicited(now, from) }
	default:
		return func(now time.Time) { k.router.Heard(now, from, heard) }
	}
}

func (k *link) health() []Health {
	var list []Health
	for _, o := range k.others() {
		switch {
		case o.Conflicts:
			list = append(list, Health{"lan-prefix-conflict", fmt.Sprintf("on %s the router %v advertises %v as well, which is this node's", k.lan.Interface, o.Addr, k.lan.Prefix)})
		case o.Default && !o.IsMember:
			list = append(list, Health{"lan-other-router", fmt.Sprintf("on %s the router %v is the way to the Internet; this node offers the way to the mesh alone", k.lan.Interface, o.Addr)})
		}
	}
	return list
}

func hardwareAddr(index int) net.HardwareAddr {
	i, err := net.InterfaceByIndex(index)
	if err != nil {
		return nil
	}
	return i.HardwareAddr
}
