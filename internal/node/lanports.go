package node

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"re6st/ebpf"
	"re6st/internal/fib"
	"re6st/internal/kernel"
)

// lanPorts are the LANs that have the shortcut's program: what their machines send
// into the mesh, from sources that the edge lets through, is in transit.
//
// One that is an uplink of a gateway as well has none. There the gateway's filter
// judges each packet, by more than its source: what comes from the link and what
// comes from the Internet are told apart by prefixes that come and go, and answers
// from the rest by what the stack remembers.
type lanPorts struct {
	mu      sync.Mutex // guards what follows
	index   map[string]int
	outside []string // uplinks of the gateway
	isTold  bool     // it is known which they are
}

// watch follows the LANs' interfaces.
func (l *lanPorts) watch(ctx context.Context, d *daemon) error {
	names := d.lanPlan.interfaces()
	if len(names) == 0 || d.counting.programs == nil {
		return nil
	}
	return d.eachLink(ctx, func(e kernel.LinkEvent) {
		if slices.Contains(names, e.Link.Name) {
			l.heed(d, e)
		}
	})
}

func (l *lanPorts) heed(d *daemon, e kernel.LinkEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !e.Removed {
		if l.index == nil {
			l.index = map[string]int{}
		}
		l.index[e.Link.Name] = e.Link.Index
		l.putLocked(d, e.Link.Name)
		return
	}
	delete(l.index, e.Link.Name)
	if err := d.counting.programs.Detach(e.Link.Index); err != nil {
		d.log.Warn("the shortcut of a LAN that is gone", "interface", e.Link.Name, "err", err)
	}
}

// outsideChanged is told by the gateway before its filter asks for these
// interfaces: when it returns, all that they bring passes the filter.
func (l *lanPorts) outsideChanged(d *daemon, uplinks []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outside, l.isTold = uplinks, true
	for name := range l.index {
		l.putLocked(d, name)
	}
}

// putLocked puts the program on the LAN, or takes it away. Until a gateway has said
// what is outside, any LAN may be.
func (l *lanPorts) putLocked(d *daemon, name string) {
	index, programs := l.index[name], d.counting.programs
	var err error
	if (d.gateway != nil && !l.isTold) || slices.Contains(l.outside, name) {
		err = programs.Detach(index)
	} else {
		err = programs.Attach(ebpf.Port{Index: index, Kind: fib.Ethernet, Sources: d.ownSources()})
	}
	if err != nil {
		d.log.Warn("packets from a LAN go by the IP stack", "interface", name, "err", err)
	}
}

// ownSources are those that machines of this node's LANs may use. A source of
// another member there is judged by the edge, in the stack.
func (d *daemon) ownSources() []netip.Prefix {
	return append(ownPrefixes(d.member.self), d.origins...)
}
