package speaker

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"time"

	"re6st/babel"
	"re6st/internal/kernel"
)

// carryOut does what the engine wants, in its order, until it wants nothing.
func (s *Speaker) carryOut() error {
	for {
		out := s.engine.Output()
		if !out.HasReserve && len(out.Routes)+len(out.Packets)+len(out.Events) == 0 {
			return nil
		}
		isReserved, err := s.reserve(out)
		if err != nil {
			return err
		}
		s.apply(out.Routes)
		if isReserved {
			s.send(out.Packets)
		}
		for _, event := range out.Events {
			s.report(event)
			if s.config.Event != nil {
				s.config.Event(event)
			}
		}
	}
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

// apply brings the changes to the forwarding table, and tells the engine of
// those that it refused: what is not installed must not be announced.
func (s *Speaker) apply(changes []babel.RouteChange) {
	if len(changes) == 0 {
		return
	}
	wanted := make([]kernel.RouteChange, len(changes))
	for i, c := range changes {
		wanted[i] = kernel.RouteChange{Route: s.kernelRoute(c.Route), Delete: c.Delete}
	}
	answers := s.config.FIB.Apply(wanted)
	for i, c := range changes {
		if i >= len(answers) {
			break
		}
		if answers[i] != nil {
			s.engine.RouteFailed(time.Now(), c.Route, answers[i])
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

func (s *Speaker) send(packets []babel.Packet) {
	for i := range packets {
		p := &packets[i]
		port := s.sockets[p.Interface]
		if port == nil {
			continue
		}
		p.Stamp(s.engine.Timestamp(time.Now()))
		err := port.socket.send(p.Data, p.Dst)
		switch {
		case err == nil:
			port.isDown = false
		case isGone(err):
			// The device went away before anyone told us.
			s.log.Info("Babel interface is gone", "iface", port.name, "err", err)
			s.closePort(p.Interface)
			s.engine.InterfaceDown(time.Now(), p.Interface)
		case isDown(err):
			s.suspend(p.Interface, port, err)
		default:
			// A full queue, no route yet: Babel survives loss.
			s.log.Debug("sending a Babel packet", "iface", port.name, "err", err)
		}
	}
}

// downWait is between two looks at a link that is down.
const downWait = 500 * time.Millisecond

// suspend takes a link that is down out of the engine, and tries again until it
// is up or removed.
func (s *Speaker) suspend(index int, p *port, err error) {
	if !p.isDown {
		s.log.Info("Babel interface is down", "iface", p.name, "err", err)
	}
	p.isDown = true
	s.engine.InterfaceDown(time.Now(), index)
	time.AfterFunc(downWait, func() {
		s.input(func(now time.Time) {
			if s.sockets[index] == p {
				s.engine.InterfaceUp(now, p.config)
			}
		})
	})
}

// isDown tells a link that is down: no route leads over it, not even to its own
// neighbours.
func isDown(err error) bool {
	return errors.Is(err, syscall.ENETDOWN) || errors.Is(err, syscall.ENETUNREACH)
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
