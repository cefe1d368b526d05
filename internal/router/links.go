package router

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"

	"re6st/babel"
	"re6st/babel/speaker"
	"re6st/internal/kernel"
)

// links makes the speaker's interfaces follow the kernel's links: they may come
// late, lose their carrier, vanish, come back under another index, get another
// address or MTU.
type links struct {
	host    *kernel.Host
	speaker *speaker.Speaker
	options Options
	log     *slog.Logger
	present map[int]kernel.Link // those that are configured, by index
	active  map[string]babel.InterfaceConfig
	told    map[string]string // what the operator was last told of an interface
}

func newLinks(host *kernel.Host, s *speaker.Speaker, o Options) *links {
	return &links{
		host: host, speaker: s, options: o, log: o.Log,
		present: make(map[int]kernel.Link), active: make(map[string]babel.InterfaceConfig), told: make(map[string]string),
	}
}

// run follows the links until ctx ends.
func (l *links) run(ctx context.Context) error {
	subscription, err := l.host.SubscribeLinks()
	if err != nil {
		return err
	}
	defer subscription.Close()
	for _, i := range l.options.Interfaces {
		l.tell(i.Name, "waiting for the interface to appear")
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-subscription.C:
			l.follow(subscription.Take())
		case <-l.options.Rekey:
			l.rekey()
		}
	}
}

// rekey reads the keys again. Neighbours that have one of the new ones notice
// nothing: with an old and a new key at all for a while, a key is changed
// without loss (RFC 8967, section 5).
func (l *links) rekey() {
	o := l.options
	var err error
	if o.Keys, err = o.ReadKeys(); err == nil {
		err = o.checkKeys()
	}
	if err != nil {
		l.log.Error("the MAC keys stay as they are", "err", err)
		return
	}
	l.options = o
	for _, name := range slices.Sorted(maps.Keys(l.active)) {
		l.speaker.SetKeys(l.active[name].Index, o.Keys, o.AcceptUnsigned)
	}
	l.log.Info("MAC keys were read again", "keys", len(o.Keys))
}

// follow first takes out what is down or gone, at once, and then looks at
// addresses, which takes a listing.
func (l *links) follow(events []kernel.LinkEvent) {
	isTouched := map[int]bool{}
	for _, e := range events {
		index := e.Link.Index
		old, known := l.present[index]
		if known && (e.Removed || old.Name != e.Link.Name) {
			l.stop(old.Name, "the interface is gone")
			delete(l.present, index)
		}
		if e.Removed || !l.isWanted(e.Link.Name) {
			continue
		}
		l.present[index] = e.Link
		if !e.Link.Up {
			l.stop(e.Link.Name, "the interface is down")
			continue
		}
		isTouched[index] = true
	}
	if len(isTouched) == 0 {
		return
	}
	addresses, err := l.host.AllAddresses()
	if err != nil {
		l.log.Warn("looking at the interfaces", "err", err)
		return
	}
	byIndex := map[int][]kernel.Address{}
	for _, a := range addresses {
		if isTouched[a.Index] {
			byIndex[a.Index] = append(byIndex[a.Index], a)
		}
	}
	for _, i := range l.options.Interfaces {
		for index := range isTouched {
			if link := l.present[index]; link.Name == i.Name {
				l.update(i, link, byIndex[index])
			}
		}
	}
}

func (l *links) isWanted(name string) bool {
	return slices.ContainsFunc(l.options.Interfaces, func(i Interface) bool { return i.Name == name })
}

// stop ends speaking on an interface.
func (l *links) stop(name, why string) {
	if config, ok := l.active[name]; ok {
		delete(l.active, name)
		l.speaker.RemoveInterface(config.Index)
	}
	l.tell(name, why)
}

// update speaks on an interface that is up, with what it has now.
func (l *links) update(i Interface, link kernel.Link, addresses []kernel.Address) {
	config, why := l.configure(i, link, addresses)
	if why != "" {
		l.stop(i.Name, why)
		return
	}
	old, isActive := l.active[i.Name]
	if isActive && isSame(old, config) {
		if old.MTU != config.MTU {
			l.speaker.SetMTU(config.Index, config.MTU)
		}
		if old.IPv4 != config.IPv4 {
			l.speaker.SetIPv4(config.Index, config.IPv4)
		}
		l.active[i.Name] = config
		return
	}
	if isActive && old.Index != config.Index {
		l.speaker.RemoveInterface(old.Index)
	}
	if err := l.speaker.AddInterface(config); err != nil {
		// Between the event and now it went away, or lost its address: there will
		// be another event.
		delete(l.active, i.Name)
		l.tell(i.Name, err.Error())
		return
	}
	l.active[i.Name] = config
	l.tell(i.Name, fmt.Sprintf("speaking as %v, %v, MTU %d", config.LinkLocal, config.Kind, config.MTU))
}

// isSame compares what an engine cannot change without starting the link anew.
func isSame(a, b babel.InterfaceConfig) bool {
	return a.Index == b.Index && a.LinkLocal == b.LinkLocal && a.IPv4 == b.IPv4 && a.Kind == b.Kind && slices.Equal(a.Addresses, b.Addresses)
}

// configure says how to speak on an interface, or why not yet.
func (l *links) configure(i Interface, link kernel.Link, addresses []kernel.Address) (babel.InterfaceConfig, string) {
	c := babel.InterfaceConfig{
		Index: link.Index, Name: link.Name, MTU: link.MTU, Kind: i.Kind,
		HelloInterval: l.options.HelloInterval, UpdateInterval: l.options.UpdateInterval, RTT: l.options.RTT,
		Keys: l.options.Keys, AcceptUnsigned: l.options.AcceptUnsigned,
	}
	if !i.HasKind && link.PointToPoint {
		c.Kind = babel.Tunnel
	}
	var isTentative bool
	for _, a := range addresses {
		switch {
		case a.Addr().Is4() && a.Usable && !c.IPv4.IsValid():
			c.IPv4 = a.Addr()
		case a.Addr().Is4():
			if !c.IPv4.IsValid() && !a.Secondary {
				c.IPv4 = a.Addr() // the kernel's order is stable: the oldest
			}
		case !a.Addr().IsLinkLocalUnicast():
		case !a.Usable:
			isTentative = true
		case !c.LinkLocal.IsValid():
			c.LinkLocal = a.Addr()
		default:
			c.Addresses = append(c.Addresses, a.Addr())
		}
	}
	switch {
	case c.LinkLocal.IsValid():
		// The address in use stays as long as it is there: neighbours know us by it.
		if old, ok := l.active[i.Name]; ok && old.Index == c.Index {
			c.LinkLocal, c.Addresses = keep(old.LinkLocal, c.LinkLocal, c.Addresses)
		}
		return c, ""
	case isTentative:
		return c, "waiting for duplicate address detection"
	}
	return c, "waiting for an IPv6 link-local address"
}

// keep prefers the address that was used before, if it is still there.
func keep(used, first netip.Addr, others []netip.Addr) (netip.Addr, []netip.Addr) {
	n := slices.Index(others, used)
	if n < 0 {
		return first, others
	}
	others[n] = first
	slices.SortFunc(others, netip.Addr.Compare)
	return used, others
}

// tell says each thing once.
func (l *links) tell(name, what string) {
	if l.told[name] != what {
		l.told[name] = what
		l.log.Info("interface: "+what, "iface", name)
	}
}
