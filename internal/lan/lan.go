package lan

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"re6st/internal/kernel"
	"re6st/internal/lan/advert"
)

// Host is what the LANs need of the kernel; internal/kernel has it.
type Host interface {
	SubscribeLinks() (*kernel.LinkSubscription, error)
}

// Addresses gives and takes addresses of interfaces; kernel.Installed does.
type Addresses interface {
	Assign(kernel.Link, netip.Prefix) error
	Unassign(kernel.Link, netip.Prefix) error
}

// Config is what New needs.
type Config struct {
	LANs      []advert.LAN
	Host      Host
	Addresses Addresses
	Rand      func() *rand.Rand // one for each loop
	Log       *slog.Logger
}

// LAN is all local networks of a node.
type LAN struct {
	config Config
	open   func(kernel.Link) (conn, error) // listen, but in tests
	ended  chan struct{}                   // a loop has; of capacity one, as once is enough to look

	mu      sync.Mutex // guards what follows
	mesh    advert.Mesh
	serving map[string]*link // by the name of the interface
	absent  map[string]string
}

// Health is one thing that an operator should know.
type Health struct{ Code, Text string }

// New makes the LANs; Run serves them.
func New(c Config) *LAN {
	return &LAN{config: c, open: listen, ended: make(chan struct{}, 1), serving: map[string]*link{}, absent: map[string]string{}}
}

// SetMesh says what the mesh offers to the machines from now on.
func (l *LAN) SetMesh(m advert.Mesh) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mesh = m
	for _, k := range l.serving {
		k.setMesh(m)
	}
}

// retryAfter is when an interface that could not be served is tried again: an
// address that is still being looked for on the link is there by then.
const retryAfter = 2 * time.Second

// Run serves the LANs until ctx ends; then it tells their machines that it is
// over.
func (l *LAN) Run(ctx context.Context) error {
	sub, err := l.config.Host.SubscribeLinks()
	if err != nil {
		return fmt.Errorf("watching the interfaces of the LANs: %w", err)
	}
	defer sub.Close()
	links := map[int]kernel.Link{}
	retry := time.NewTimer(retryAfter)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			l.stopAll()
			return nil
		case <-sub.C:
			for _, e := range sub.Take() {
				if e.Removed {
					delete(links, e.Link.Index)
				} else {
					links[e.Link.Index] = e.Link
				}
			}
		case <-l.ended:
			retry.Reset(retryAfter)
			continue
		case <-retry.C:
		}
		if l.sync(links) {
			retry.Reset(retryAfter)
		}
	}
}

// sync serves what is there and only that; it says whether something is to be
// tried again.
func (l *LAN) sync(links map[int]kernel.Link) (again bool) {
	for _, lan := range l.config.LANs {
		found, why := find(links, lan.Interface)
		l.mu.Lock()
		now := l.serving[lan.Interface]
		l.mu.Unlock()
		if now != nil && (why != "" || now.link.Index != found.Index) {
			l.end(now, links)
			now = nil
		}
		switch {
		case why != "":
		case now != nil:
			again = !l.keep(now, found) || again
			continue
		default:
			why = l.begin(lan, found)
			again = again || why != ""
		}
		l.note(lan, why)
	}
	return again
}

func find(links map[int]kernel.Link, name string) (kernel.Link, string) {
	for _, k := range links {
		switch {
		case k.Name != name:
		case k.Loopback:
			return k, "is the loopback"
		case !k.Up:
			return k, "is down, or has no carrier"
		default:
			return k, ""
		}
	}
	return kernel.Link{}, "is not there"
}

// note keeps and logs why a LAN is not served; "" that it is.
func (l *LAN) note(lan advert.LAN, why string) {
	l.mu.Lock()
	before, wasKnown := l.absent[lan.Interface]
	if why == "" {
		delete(l.absent, lan.Interface)
	} else {
		l.absent[lan.Interface] = why
	}
	l.mu.Unlock()
	switch {
	case why == "":
		l.config.Log.Info("serving a LAN", "iface", lan.Interface, "prefix", lan.Prefix)
	case !wasKnown || before != why:
		l.config.Log.Warn("a LAN is not served", "iface", lan.Interface, "prefix", lan.Prefix, "why", why)
	}
}

// begin starts serving; it gives the reason where it cannot.
func (l *LAN) begin(lan advert.LAN, found kernel.Link) (why string) {
	if err := l.config.Addresses.Assign(found, lan.Address()); err != nil {
		return err.Error()
	}
	c, err := l.open(found)
	if err != nil {
		return err.Error()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := newLink(lan, found, c, l.mesh, l.config.Rand(), l.config.Log, l.tellEnded)
	l.serving[lan.Interface] = k
	go k.run()
	return ""
}

func (l *LAN) tellEnded() {
	select {
	case l.ended <- struct{}{}:
	default:
	}
}

// keep puts the address back where someone removed it, and heeds a new MTU. An
// interface whose loop has ended by itself is tried again.
func (l *LAN) keep(k *link, found kernel.Link) (ok bool) {
	if err := l.config.Addresses.Assign(found, k.lan.Address()); err != nil {
		l.config.Log.Warn("keeping the address of a LAN", "iface", found.Name, "err", err)
		return false
	}
	k.setMTU(found.MTU)
	select {
	case <-k.done:
		l.forget(k)
		return false
	default:
		return true
	}
}

// end stops serving an interface that is gone, down, or has another name now: no
// last word can be said on it.
func (l *LAN) end(k *link, links map[int]kernel.Link) {
	k.abandon()
	l.forget(k)
	if now, isThere := links[k.link.Index]; isThere {
		if err := l.config.Addresses.Unassign(now, k.lan.Address()); err != nil {
			l.config.Log.Warn("removing the address of a LAN", "iface", now.Name, "err", err)
		}
	}
}

func (l *LAN) forget(k *link) {
	<-k.done
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.serving, k.lan.Interface)
}

// stopAll lets all links say their last word, side by side, and takes the
// addresses back.
func (l *LAN) stopAll() {
	l.mu.Lock()
	all := make([]*link, 0, len(l.serving))
	for _, k := range l.serving {
		all = append(all, k)
	}
	l.mu.Unlock()
	for _, k := range all {
		k.stop()
	}
	for _, k := range all {
		l.forget(k)
		if err := l.config.Addresses.Unassign(k.link, k.lan.Address()); err != nil {
			l.config.Log.Warn("removing the address of a LAN", "iface", k.link.Name, "err", err)
		}
	}
}

// Health says what is wrong with the LANs, in their order.
func (l *LAN) Health() []Health {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []Health
	for _, lan := range l.config.LANs {
		if why := l.absent[lan.Interface]; why != "" {
			list = append(list, Health{"lan-interface", fmt.Sprintf("the LAN on %s (%v) is not served: %s", lan.Interface, lan.Prefix, why)})
		}
		if k := l.serving[lan.Interface]; k != nil {
			list = append(list, k.health()...)
		}
	}
	return list
}

// Members are the prefixes of the mesh that other members advertise on a LAN.
func (l *LAN) Members(iface string) []netip.Prefix {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.serving[iface]
	if k == nil {
		return nil
	}
	var all []netip.Prefix
	for _, o := range k.otherRouters() {
		if o.IsMember {
			all = append(all, o.Prefixes...)
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}
