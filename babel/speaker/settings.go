package speaker

import (
	"net/netip"
	"time"

	"re6st/babel"
	"re6st/babel/mac"
)

// set changes an interface in the engine, and what it will be when its link was
// down and comes back.
func (s *Speaker) set(index int, keep func(*babel.InterfaceConfig), tell func(now time.Time)) {
	s.input(func(now time.Time) {
		if p := s.sockets[index]; p != nil {
			keep(&p.config)
		}
		tell(now)
	})
}

// SetExtraCost adds to the cost of an interface.
func (s *Speaker) SetExtraCost(index int, cost uint16) {
	s.set(index, func(c *babel.InterfaceConfig) { c.ExtraCost = cost },
		func(now time.Time) { s.engine.SetExtraCost(now, index, cost) })
}

// SetIntervals changes an interface's Hello and Update intervals. Zero: default.
func (s *Speaker) SetIntervals(index int, hello, update time.Duration) {
	s.set(index, func(c *babel.InterfaceConfig) { c.HelloInterval, c.UpdateInterval = hello, update },
		func(now time.Time) { s.engine.SetIntervals(now, index, hello, update) })
}

// SetMTU changes the size of the packets that are sent by an interface.
func (s *Speaker) SetMTU(index, mtu int) {
	s.set(index, func(c *babel.InterfaceConfig) { c.MTU = mtu },
		func(now time.Time) { s.engine.SetMTU(now, index, mtu) })
}

// SetIPv4 changes our IPv4 address on an interface; zero: none.
func (s *Speaker) SetIPv4(index int, addr netip.Addr) {
	s.set(index, func(c *babel.InterfaceConfig) { c.IPv4 = addr },
		func(now time.Time) { s.engine.SetIPv4(now, index, addr) })
}

// SetKeys changes the MAC keys of an interface; none turn the MAC off. Neighbours
// that have one of them stay.
func (s *Speaker) SetKeys(index int, keys []mac.Key, acceptUnsigned bool) {
	s.set(index, func(c *babel.InterfaceConfig) { c.Keys, c.AcceptUnsigned = keys, acceptUnsigned },
		func(now time.Time) { s.engine.SetKeys(now, index, keys, acceptUnsigned) })
}
