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
	"re6st/internal/lan/lease"
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
	IPv4      []lease.Network
	Host      Host
	Addresses Addresses
	Store     Store             // where there is IPv4
	Rand      func() *rand.Rand // one for each loop
	Log       *slog.Logger
}

// LAN is all local networks of a node.
type LAN struct {
	config Config
	parts  []*part       // set by New
	ended  chan struct{} // a loop has; of capacity one, as once is enough to look

	mu   sync.Mutex // guards what follows, and the parts' fields that say so
	mesh advert.Mesh
}

// part is one network of one family.
type part struct {
	iface   string
	address netip.Prefix // ours
	open    func(kernel.Link) (service, error)

	link    kernel.Link // where it is served
	service service     // nil: not served; set under LAN.mu
	why     string      // it is not; set under LAN.mu
}

// service is the loop of one network on one interface.
type service interface {
	run()
	setMesh(m advert.Mesh)
	setMTU(mtu int)
	stop()    // after a last word
	abandon() // without; once
	done() <-chan struct{}
	health() []Health
	others() []advert.Other
}

// Health is one thing that an operator should know.
type Health struct{ Code, Text string }

// New makes the LANs; Run serves them.
func New(c Config) *LAN {
	l := &LAN{config: c, ended: make(chan struct{}, 1)}
	for _, n := range c.LANs {
		l.parts = append(l.parts, &part{iface: n.Interface, address: n.Address(), open: func(k kernel.Link) (service, error) {
			s, err := listen(k)
			if err != nil {
				return nil, err
			}
			return newLink(n, k, s, c.Rand(), c.Log, l.tellEnded), nil
		}})
	}
	for _, n := range c.IPv4 {
		l.parts = append(l.parts, &part{iface: n.Interface, address: n.Gateway(), open: func(k kernel.Link) (service, error) {
			s, err := listenDHCP(k, n)
			if err != nil {
				return nil, err
			}
			return newDHCP(n, k, s, c.Store, c.Log, l.tellEnded), nil
		}})
	}
	return l
}

// SetMesh says what the mesh offers to the machines from now on.
func (l *LAN) SetMesh(m advert.Mesh) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mesh = m
	for _, p := range l.parts {
		if p.service != nil {
			p.service.setMesh(m)
		}
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
	for _, p := range l.parts {
		found, why := find(links, p.iface)
		if p.service != nil && (why != "" || p.link.Index != found.Index) {
			l.end(p, links)
		}
		switch {
		case why != "":
			l.note(p, why)
		case p.service != nil:
			again = !l.keep(p, found) || again
		default:
			why = l.begin(p, found)
			again = again || why != ""
			l.note(p, why)
		}
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
func (l *LAN) note(p *part, why string) {
	l.mu.Lock()
	before := p.why
	p.why = why
	l.mu.Unlock()
	switch {
	case why == "":
		l.config.Log.Info("serving a LAN", "iface", p.iface, "address", p.address)
	case before != why:
		l.config.Log.Warn("a LAN is not served", "iface", p.iface, "address", p.address, "why", why)
	}
}

// begin starts serving; it gives the reason where it cannot.
func (l *LAN) begin(p *part, found kernel.Link) (why string) {
	if err := l.config.Addresses.Assign(found, p.address); err != nil {
		return err.Error()
	}
	s, err := p.open(found)
	if err != nil {
		return err.Error()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p.link, p.service = found, s
	go s.run()
	s.setMesh(l.mesh)
	return ""
}

// tellEnded has Run look whose loop has ended.
func (l *LAN) tellEnded() {
	select {
	case l.ended <- struct{}{}:
	default:
	}
}

// keep puts the address back where someone removed it, and heeds a new MTU. An
// interface whose loop has ended by itself is tried again.
func (l *LAN) keep(p *part, found kernel.Link) (ok bool) {
	if err := l.config.Addresses.Assign(found, p.address); err != nil {
		l.config.Log.Warn("keeping the address of a LAN", "iface", found.Name, "err", err)
		return false
	}
	if p.link.MTU != found.MTU {
		p.link.MTU = found.MTU
		p.service.setMTU(found.MTU)
	}
	select {
	case <-p.service.done():
		l.forget(p)
		return false
	default:
		return true
	}
}

// end stops serving an interface that is gone, down, or has another name now: no
// last word can be said on it.
func (l *LAN) end(p *part, links map[int]kernel.Link) {
	p.service.abandon()
	l.forget(p)
	if now, isThere := links[p.link.Index]; isThere {
		l.unassign(p, now)
	}
}

func (l *LAN) unassign(p *part, k kernel.Link) {
	if err := l.config.Addresses.Unassign(k, p.address); err != nil {
		l.config.Log.Warn("removing the address of a LAN", "iface", k.Name, "err", err)
	}
}

func (l *LAN) forget(p *part) {
	<-p.service.done()
	l.mu.Lock()
	defer l.mu.Unlock()
	p.service = nil
}

// stopAll lets all say their last word, side by side, and takes the addresses
// back.
func (l *LAN) stopAll() {
	for _, p := range l.parts {
		if p.service != nil {
			p.service.stop()
		}
	}
	for _, p := range l.parts {
		if p.service != nil {
			l.forget(p)
			l.unassign(p, p.link)
		}
	}
}

// Health says what is wrong with the LANs, in their order.
func (l *LAN) Health() []Health {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []Health
	for _, p := range l.parts {
		if p.why != "" {
			list = append(list, Health{"lan-interface", fmt.Sprintf("the LAN on %s (%v) is not served: %s", p.iface, p.address.Masked(), p.why)})
		}
		if p.service != nil {
			list = append(list, p.service.health()...)
		}
	}
	return list
}

// Members are the prefixes of the mesh that other members advertise on a LAN.
func (l *LAN) Members(iface string) []netip.Prefix {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []netip.Prefix
	for _, p := range l.parts {
		if p.iface != iface || p.service == nil {
			continue
		}
		for _, o := range p.service.others() {
			if o.IsMember {
				all = append(all, o.Prefixes...)
			}
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}
