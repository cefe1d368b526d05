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

	"re6st/internal/fib"
)

// fibGroups tell of what decides where packets in transit go. Of addresses those of
// IPv4 alone: with one the kernel takes routes that name it, and tells no one.
var fibGroups = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
	unix.RTNLGRP_IPV4_NETCONF,
}

// fibResync is how often everything is read again although nothing was lost: a
// kernel that forgets to tell of something is found out.
const fibResync = 60 * time.Second

// FollowFIB tells of the table, first of all that there is and then of each change
// within milliseconds, until ctx ends (then it returns nil). Where events were lost
// it tells of everything again. The events are to be applied in their order; the
// first is a fib.Snapshot. Its own sockets make it independent of Watch.
func FollowFIB(ctx context.Context, table uint32, log *slog.Logger, tell func(...fib.Event)) error {
	requests, err := openSocket()
	if err != nil {
		return err
	}
	defer requests.close()
	events, err := openEvents(fibGroups)
	if err != nil {
		return err
	}
	defer events.close()
	stop := context.AfterFunc(ctx, events.wake)
	defer stop()
	f := &fibFollower{host: &Host{socket: requests}, table: table, tell: tell}
	return f.run(ctx, events, log)
}

type fibFollower struct {
	host  *Host // for its listings
	table uint32
	tell  func(...fib.Event)

	routes map[fib.RouteKey]fibKnown
	locals map[netip.Prefix]bool
	up     map[int]bool
	raw    map[int]bool // tunnels
	// filtered are the links on which reverse paths are looked at.
	filtered reversePathFilters
	due      fibDue
	events   []fib.Event // collected since the last tell
}

// fibKnown is what is known of a route beyond its key.
type fibKnown struct {
	iface int
	many  bool // several next hops: an event may be about one of them
}

// fibDue is what has to be listed again.
type fibDue struct{ all, locals, rules bool }

func (f *fibFollower) run(ctx context.Context, events *eventSocket, log *slog.Logger) error {
	f.due.all = true
	next := time.Now()
	for {
		wasAll := f.due.all
		if err := f.settle(); err != nil {
			return fmt.Errorf("following the kernel's routes: %w", err)
		}
		switch {
		case f.due.all:
			next = time.Now().Add(repairPause) // too much is changing to be listed
		case wasAll:
			next = time.Now().Add(fibResync)
		}
		if err := events.waitUntil(next); err != nil {
			return fmt.Errorf("following the kernel's routes: %w", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		err := events.collect(f.heed)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ENOBUFS):
			f.due.all = true
		case errors.Is(err, errMessage):
			log.Warn("reading a netlink event", "err", err)
			f.due.all = true
		case err != nil:
			return fmt.Errorf("following the kernel's routes: %w", err)
		}
	}
}

// settle lists what is due and tells all that is new.
func (f *fibFollower) settle() error {
	due := f.due
	f.due = fibDue{}
	var err error
	switch {
	case due.all:
		var s fib.Snapshot
		if s, err = f.snapshot(); err == nil {
			f.events = []fib.Event{s}
		}
	default:
		if due.locals {
			err = f.relist()
		}
		if due.rules && err == nil {
			var rules []fib.Rule
			if rules, err = f.rules(); err == nil {
				f.events = append(f.events, fib.RulesChanged{Rules: rules})
			}
		}
	}
	switch {
	case errors.Is(err, errInterrupted), errors.Is(err, unix.ENOBUFS):
		f.due.all = true
		f.events = []fib.Event{fib.Snapshot{}} // meanwhile the stack decides
	case err != nil:
		return err
	}
	if len(f.events) > 0 {
		f.tell(f.events...)
		f.events = nil
	}
	return nil
}

func (f *fibFollower) snapshot() (s fib.Snapshot, err error) {
	if s.Links, err = f.links(); err != nil {
		return s, err
	}
	f.routes = map[fib.RouteKey]fibKnown{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		some, err := f.listed(family)
		if err != nil {
			return s, err
		}
		s.Routes = append(s.Routes, some...)
	}
	if s.Rules, err = f.rules(); err != nil {
		return s, err
	}
	all, err := f.listLocals()
	f.locals = all
	for p := range all {
		s.Locals = append(s.Locals, fib.Local{Prefix: p})
	}
	return s, err
}

// listed are the routes of a family. Of several with one key none is ordinary.
func (f *fibFollower) listed(family uint8) (all []fib.Route, err error) {
	places := map[fib.RouteKey]int{}
	reset := func() { all = nil; clear(places) }
	err = f.eachRoute(family, f.table, reset, func(r fib.Route, many bool) {
		if i, isThere := places[r.RouteKey]; isThere {
			all[i].Ordinary = false
			f.routes[r.RouteKey] = fibKnown{r.Interface, true}
			return
		}
		places[r.RouteKey] = len(all)
		all = append(all, r)
		f.routes[r.RouteKey] = fibKnown{r.Interface, many}
	})
	return all, err
}

func (f *fibFollower) eachRoute(family uint8, table uint32, reset func(), do func(r fib.Route, many bool)) error {
	fixed := make([]byte, rtmsgLen)
	fixed[0] = family
	request := newMessage(unix.RTM_GETROUTE, 0, fixed...).attrUint32(unix.RTA_TABLE, table)
	err := f.host.socket.dump(request, reset, func(kind uint16, body []byte) error {
		if kind != unix.RTM_NEWROUTE {
			return nil
		}
		r, of, many, isRoute, err := fibRoute(body)
		if err == nil && isRoute && of == table {
			do(r, many)
		}
		return err
	})
	if isAbsent(err) {
		return nil
	}
	return err
}

func (f *fibFollower) listLocals() (map[netip.Prefix]bool, error) {
	all := map[netip.Prefix]bool{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		some := map[netip.Prefix]bool{}
		err := f.eachRoute(family, unix.RT_TABLE_LOCAL, func() { clear(some) }, func(r fib.Route, _ bool) { some[r.Dst] = true })
		if err != nil {
			return nil, fmt.Errorf("listing local addresses: %w", err)
		}
		for p := range some {
			all[p] = true
		}
	}
	return all, nil
}

// relist tells what is different in the local table. The kernel tells of what goes
// from it in IPv6 alone.
func (f *fibFollower) relist() error {
	now, err := f.listLocals()
	if err != nil {
		return err
	}
	for p := range now {
		if !f.locals[p] {
			f.events = append(f.events, fib.LocalAdded{Local: fib.Local{Prefix: p}})
		}
	}
	for p := range f.locals {
		if !now[p] {
			f.events = append(f.events, fib.LocalRemoved{Local: fib.Local{Prefix: p}})
		}
	}
	f.locals = now
	return nil
}

func (f *fibFollower) links() (all []fib.Link, err error) {
	request := newMessage(unix.RTM_GETLINK, 0, make([]byte, ifinfomsgLen)...)
	err = f.host.socket.dump(request, func() { all = nil }, func(kind uint16, body []byte) error {
		if kind != unix.RTM_NEWLINK {
			return nil
		}
		l, err := fibLink(body)
		all = append(all, l)
		return err
	})
	f.up, f.raw = map[int]bool{}, map[int]bool{}
	for _, l := range all {
		f.up[l.Index], f.raw[l.Index] = l.Up, l.Kind == fib.Raw
	}
	return all, err
}

func (f *fibFollower) rules() (all []fib.Rule, err error) {
	if f.filtered, err = f.host.reversePathFilters(); err != nil {
		return nil, err
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		var some []fib.Rule
		fixed := make([]byte, ruleHeaderLen)
		fixed[0] = family
		err := f.host.socket.dump(newMessage(unix.RTM_GETRULE, 0, fixed...), func() { some = nil }, func(kind uint16, body []byte) error {
			if kind != unix.RTM_NEWRULE {
				return nil
			}
			r, concerns, err := fibRule(body, f.table)
			if concerns {
				some = append(some, r)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("listing rules: %w", err)
		}
		all = append(all, some...)
	}
	return f.filtered.judge(all, f.routes, f.raw), nil
}

func (f *fibFollower) heed(h header, body []byte) error {
	switch h.kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return f.heedLink(h.kind == unix.RTM_DELLINK, body)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return f.heedRoute(h, body)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE, unix.RTM_NEWNETCONF:
		f.due.rules = true
	case unix.RTM_NEWADDR:
		f.due.locals = true
	case unix.RTM_DELADDR:
		f.due.all = true // with routes that name it as their source
	}
	return nil
}

func (f *fibFollower) heedLink(removed bool, body []byte) error {
	if len(body) > 0 && body[0] != unix.AF_UNSPEC {
		return nil // see Host.heedLink
	}
	l, err := fibLink(body)
	if err != nil {
		return err
	}
	if removed {
		f.events = append(f.events, fib.LinkRemoved{Index: l.Index})
	} else {
		f.events = append(f.events, fib.LinkChanged{Link: l})
	}
	f.raw[l.Index] = l.Kind == fib.Raw && !removed
	wasUp := f.up[l.Index]
	if f.up[l.Index] = l.Up && !removed; wasUp && !f.up[l.Index] {
		for k, r := range f.routes { // package fib does the same
			if r.iface == l.Index {
				delete(f.routes, k)
			}
		}
	}
	f.due.locals = f.due.locals || wasUp != f.up[l.Index]
	if removed {
		delete(f.up, l.Index)
	}
	return nil
}

func (f *fibFollower) heedRoute(h header, body []byte) error {
	r, table, many, isRoute, err := fibRoute(body)
	if err != nil || !isRoute {
		return err
	}
	if table == unix.RT_TABLE_LOCAL {
		f.due.locals = true
	}
	if table != f.table {
		return nil
	}
	known, isKnown := f.routes[r.RouteKey]
	isReplaced := h.flags&unix.NLM_F_REPLACE != 0
	// Where one of several goes or comes, the event does not say what is left.
	if f.due.all = f.due.all || known.many || (isKnown && h.kind == unix.RTM_NEWROUTE && !isReplaced); f.due.all {
		return nil
	}
	if h.kind == unix.RTM_DELROUTE {
		delete(f.routes, r.RouteKey)
		f.events = append(f.events, fib.RouteRemoved{RouteKey: r.RouteKey})
		return nil
	}
	f.routes[r.RouteKey] = fibKnown{r.Interface, many}
	f.due.rules = f.due.rules || f.filtered[r.Interface] && f.raw[r.Interface]
	f.events = append(f.events, fib.RouteAdded{Route: r})
	return nil
}
