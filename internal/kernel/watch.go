package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	resyncInterval = 60 * time.Second
	// repairPause bounds how fast we fight with a program that keeps removing.
	repairPause = 50 * time.Millisecond
	// dirtyMax is where a full listing becomes cheaper than single repairs.
	dirtyMax = 1024
)

// dirt is what events say may no longer be as wanted.
type dirt struct {
	all       bool
	routes    map[routeKey]bool
	rules     bool
	addresses bool
	onLink    bool
	sysctls   bool
	carrier   bool // one was lost: others may be, see carriers
}

func (d *dirt) any() bool {
	return d.all || len(d.routes) > 0 || d.rules || d.addresses || d.onLink || d.sysctls
}

func (d *dirt) route(k routeKey) {
	if d.routes == nil {
		d.routes = make(map[routeKey]bool)
	}
	d.routes[k] = true
	d.all = d.all || len(d.routes) > dirtyMax
}

// Watch keeps routes, rules, address and sysctls as wanted and tells subscribers
// of links, until ctx ends (then it returns nil). It acts on events within
// milliseconds, compares everything each minute, and at once when the kernel
// says that events were lost. Where the kernel tells late it asks: see carriers.
// One Watch runs at a time.
func (h *Host) Watch(ctx context.Context, log *slog.Logger) error {
	stop := context.AfterFunc(ctx, h.events.wake)
	defer stop()
	d := &dirt{all: true}
	var resync time.Time
	var late carriers
	for {
		if d.all {
			resync = time.Now().Add(resyncInterval)
		}
		if d.carrier {
			late.lost(time.Now())
		}
		if d.any() && h.repair(d, log) {
			pause(ctx, repairPause)
		}
		if err := h.events.waitUntil(late.before(resync)); err != nil {
			return fmt.Errorf("watching the kernel's tables: %w", err)
		}
		// After waitUntil: or the wake-up could come before it and be lost.
		if ctx.Err() != nil {
			return nil
		}
		d = &dirt{}
		err := h.events.collect(func(hd header, body []byte) error { return h.heed(d, hd, body) })
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			d.all = !time.Now().Before(resync)
		case errors.Is(err, unix.ENOBUFS):
			d.all = true
		case errors.Is(err, errMessage):
			log.Warn("reading a netlink event", "err", err)
			d.all = true
		case err != nil:
			return fmt.Errorf("watching the kernel's tables: %w", err)
		}
		if late.isDue(time.Now()) {
			h.askCarriers(d, log)
		}
	}
}

// Watch is Host.Watch.
func (i *Installed) Watch(ctx context.Context, log *slog.Logger) error {
	return i.host.Watch(ctx, log)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// heed notes what an event may have spoilt.
func (h *Host) heed(d *dirt, hd header, body []byte) error {
	switch hd.kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return h.heedLink(d, hd.kind == unix.RTM_DELLINK, body)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if hd.port == h.socket.port {
			return nil // our own doing
		}
		return h.heedRoute(d, hd.kind == unix.RTM_DELROUTE, body)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		d.rules = d.rules || hd.port != h.socket.port
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return h.heedAddress(d, hd.kind == unix.RTM_DELADDR, body)
	case newNetconfKind:
		d.sysctls = true
	}
	return nil
}

func (h *Host) heedLink(d *dirt, removed bool, body []byte) error {
	// A bridge tells of its ports with family AF_BRIDGE, and their removal from
	// it with RTM_DELLINK: that is not the end of the link.
	if len(body) > 0 && body[0] != unix.AF_UNSPEC {
		return nil
	}
	l, err := parseLink(body)
	if err != nil {
		return err
	}
	isSetUp := native.Uint32(body[8:])&unix.IFF_UP != 0
	d.carrier = d.carrier || isSetUp && !l.Up && !removed && h.subscribers.isUp(l.Index)
	h.noteLink(d, LinkEvent{Link: l, Removed: removed})
	return nil
}

// noteLink tells the subscribers what a link is now, and notes what follows.
func (h *Host) noteLink(d *dirt, e LinkEvent) {
	l := e.Link
	if !h.subscribers.tell(e) {
		return
	}
	d.sysctls = d.sysctls || !isOurLink(l.Name) // a new one may heed advertisements
	d.onLink = d.onLink || !isOurLink(l.Name)   // IPv4 routes go with their link without an event
	if i := h.installed.get(); i != nil && i.plan.Interface == l.Name {
		d.addresses = true
	}
	// IPv4 routes go with their link without an event, and come back with no one.
	// While it is down nothing can be put back.
	d.all = d.all || (l.Up && h.uses(l.Index))
}

// heedAddress: with the node's address the kernel takes the preferred source out
// of the routes that name it, and tells no one.
func (h *Host) heedAddress(d *dirt, removed bool, body []byte) error {
	a, err := parseAddress(body)
	if err != nil {
		return err
	}
	h.subscribers.tellAddress(a.Index)
	i := h.installed.get()
	d.onLink = d.onLink || (i != nil && i.concerns(netip.PrefixFrom(a.Addr(), a.Addr().BitLen())))
	d.all = d.all || (removed && i != nil && (a.Addr() == i.plan.Address || a.Addr() == i.plan.Address4))
	return nil
}

// uses says whether a wanted route goes by the link.
func (h *Host) uses(index int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wanted.usesLink(index)
}

func (h *Host) heedRoute(d *dirt, removed bool, body []byte) error {
	f, err := parseRoute(body)
	if err != nil {
		return err
	}
	if f.cloned {
		return nil
	}
	i := h.installed.get()
	if f.Table == tableMain && i != nil && i.concerns(f.Dst) {
		d.onLink = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	want, wanted := h.wanted.get(f.key())
	switch {
	// That an earlier version has gone, with its link, is as it should be.
	case wanted && removed == (f.Route == want && !f.many):
		d.route(f.key())
	case !wanted && !removed && i != nil && i.plan.marks().hasStray(f):
		d.route(f.key())
	}
	return nil
}

// hasStray: it bears our marks, and we do not know it. In the main table only a
// priority of our own is mark enough.
func (m marks) hasStray(f foundRoute) bool {
	return m.has(f) && (m.table != tableMain || m.priority != 0)
}
