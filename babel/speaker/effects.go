package speaker

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"syscall"
	"time"

	"re6st/babel"
	"re6st/internal/kernel"
)

// backlog is what the engine wants done and is not done yet: a change of a link's
// cost can move 50,000 routes, and while those go to the kernel, Hellos must be
// sent and heard.
type backlog struct {
	routes   []babel.RouteChange
	next     int            // the first of routes that is not in the kernel yet
	held     []babel.Packet // announce some of routes
	expanded []babel.RouteChange
	wanted   []kernel.RouteChange
}

// routesAtOnce is how many routes are written between two looks at the clock and
// the sockets: about 5 ms.
const routesAtOnce = 1000

func (b *backlog) isEmpty() bool { return b.next == len(b.routes) }

// carryOut does what the engine wants, in its order, until it wants nothing or
// routes are left for later.
func (s *Speaker) carryOut() error {
	for {
		out := s.engine.Output()
		isIdle := !out.HasReserve && len(out.Routes)+len(out.Packets)+len(out.Events) == 0
		if isIdle && s.backlog.isEmpty() {
			return nil
		}
		isReserved, err := s.reserve(out)
		if err != nil {
			return err
		}
		s.backlog.add(out.Routes)
		if isReserved {
			s.sendOrHold(out.Packets)
		}
		s.applySome()
		for _, event := range out.Events {
			s.report(event)
			if s.config.Event != nil {
				s.config.Event(event)
			}
		}
		if !s.backlog.isEmpty() {
			return nil
		}
	}
}

// add queues routes. One Output's slice is taken over; a second one is copied.
func (b *backlog) add(routes []babel.RouteChange) {
	if b.isEmpty() {
		b.routes, b.next = routes, 0
		return
	}
	b.routes = append(b.routes, routes...)
}

// sendOrHold sends what may go before the routes of the backlog are in the
// kernel: an Update of a route that is not would make neighbours send us packets
// that we do not forward.
func (s *Speaker) sendOrHold(packets []babel.Packet) {
	if s.backlog.isEmpty() {
		s.sendOnce(packets)
		return
	}
	for i := range packets {
		if packets[i].Announces() {
			s.backlog.held = append(s.backlog.held, packets[i])
		} else {
			s.sendOnce(packets[i : i+1])
		}
	}
}

// applySome writes a part of the backlog, and at its end sends what waited for it.
func (s *Speaker) applySome() {
	b := &s.backlog
	if b.isEmpty() {
		return
	}
	end := min(b.next+routesAtOnce, len(b.routes))
	s.apply(b.routes[b.next:end])
	b.next = end
	if !b.isEmpty() {
		return
	}
	held := b.held
	b.routes, b.next, b.held = nil, 0, nil
	s.sendOnce(held)
}

// reserve: no packet with a seqno leaves before that seqno is reserved on disk.
// At the start that is fatal; later the engine goes on below what is reserved.
func (s *Speaker) reserve(out babel.Output) (bool, error) {
	if !out.HasReserve || s.config.Reserve == nil {
		return true, nil
	}
	err := s.config.Reserve(out.Reserve)
	switch {
	case err == nil:
		s.isFirst = false
		return true, nil
	case s.isFirst:
		return false, errReserve(err)
	}
	s.log.Warn("reserving Babel seqnos", "seqno", out.Reserve, "err", err)
	s.engine.ReserveFailed(time.Now())
	return false, nil
}

// apply brings changes to the forwarding table, and tells the engine of those
// that it refused: what is not installed must not be announced.
func (s *Speaker) apply(changes []babel.RouteChange) {
	if len(changes) == 0 {
		return
	}
	expanded, wanted := s.backlog.expanded[:0], s.backlog.wanted[:0]
	for _, c := range changes {
		expanded = s.halves.expand(expanded, c, func(p netip.Prefix) (babel.Route, bool) {
			return s.engine.Installed(p, netip.Prefix{})
		})
	}
	for _, c := range expanded {
		wanted = append(wanted, kernel.RouteChange{Route: s.kernelRoute(c.Route), Delete: c.Delete})
	}
	s.backlog.expanded, s.backlog.wanted = expanded, wanted
	for i, err := range s.config.FIB.Apply(wanted) {
		if err != nil {
			s.engine.RouteFailed(time.Now(), s.halves.origin(expanded[i].Route), err)
		}
	}
}

func (s *Speaker) kernelRoute(r babel.Route) kernel.Route {
	k := kernel.Route{
		Dst: r.Prefix, Src: r.From, Gateway: r.NextHop, Ifindex: r.Interface,
		Priority: s.config.Priority, Table: s.config.Table, Protocol: s.config.Protocol,
	}
	if r.Unreachable {
		k.Type = kernel.Unreachable
	}
	return k
}

// sendOnce sends packets that are not needed after it.
func (s *Speaker) sendOnce(packets []babel.Packet) {
	s.send(packets)
	for _, p := range packets {
		s.engine.Reuse(p)
	}
}

func (s *Speaker) send(packets []babel.Packet) {
	for i := range packets {
		p := &packets[i]
		port := s.sockets[p.Interface]
		if port == nil || port.isDown {
			continue
		}
		p.Stamp(s.engine.Timestamp(time.Now()))
		err := port.socket.send(p.Data, p.Dst)
		switch {
		case err == nil:
			port.wait = 0
		case isGone(err):
			s.giveUp(time.Now(), port, err)
		case isDown(err):
			s.suspend(time.Now(), port, err)
		default:
			// A full queue, no route yet: Babel survives loss.
			s.log.Debug("sending a Babel packet", "iface", port.name, "err", err)
		}
	}
}

// isDown tells a link that is down: no route leads over it, not even to its own
// neighbours, or our address there is gone (EINVAL: of the packet information) or
// still being tried (EADDRNOTAVAIL).
func isDown(err error) bool {
	return errors.Is(err, syscall.ENETDOWN) || errors.Is(err, syscall.ENETUNREACH) ||
		errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EINVAL)
}

// isGone tells a device that does not exist any more from one that is down or
// busy: sockets stay bound to its index, and every send fails.
func isGone(err error) bool {
	return errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO)
}

// report logs an event, each at the level of what an operator should make of it.
func (s *Speaker) report(event babel.Event) {
	level := slog.LevelDebug
	switch event.Kind {
	case babel.NeighbourUp, babel.NeighbourDown, babel.SeqnoRaised:
		level = slog.LevelInfo
	case babel.RouteUninstalled, babel.PacketRefused:
		level = slog.LevelWarn
	}
	if !s.log.Enabled(context.Background(), level) {
		return
	}
	var attrs []any
	add := func(key string, isSet bool, value any) {
		if isSet {
			attrs = append(attrs, key, value)
		}
	}
	port := s.sockets[event.Interface]
	add("iface", port != nil, port.String())
	add("neighbour", event.Neighbour.IsValid(), event.Neighbour)
	add("prefix", event.Prefix.IsValid(), event.Prefix)
	add("from", event.From.IsValid(), event.From)
	add("router_id", event.RouterID != babel.RouterID{}, event.RouterID)
	add("seqno", event.Seqno != 0, event.Seqno)
	add("err", event.Text != "", event.Text)
	s.log.Log(context.Background(), level, "Babel: "+event.Kind.String(), attrs...)
}
