package main

import (
	"net/netip"
	"time"

	"re6st/internal/lab"
)

// timers of a daemon; the zero value leaves its defaults.
type timers struct{ Hello time.Duration }

// helloDefault is everyone's (RFC 8966, appendix B).
const helloDefault = 4 * time.Second

// hello is the interval in force.
func (t timers) hello() time.Duration {
	if t.Hello == 0 {
		return helloDefault
	}
	return t.Hello
}

// daemon is a Babel router that can be measured.
type daemon struct{ name string }

var daemons = []daemon{{"ours"}, {"babeld"}, {"bird"}}

func (d daemon) start(h *lab.Host, t timers, announce []netip.Prefix, ifaces ...string) *lab.Proc {
	c := lab.RouterConfig{Interfaces: ifaces, Announce: announce, Hello: t.Hello, Update: 4 * t.Hello}
	return lab.Routers[d.name](h, c).Proc
}
