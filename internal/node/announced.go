package node

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"re6st/addressing"
	"re6st/internal/kernel"
	"re6st/internal/status"
)

// announceAll and announceNone are words that stand for prefixes.
const (
	announceAll  = "all"
	announceNone = "none"
)

// chooseOrigins reads --announce: which of the prefixes that the certificate
// lists this node announces.
func chooseOrigins(words []string, listed []netip.Prefix) ([]netip.Prefix, error) {
	const hint = "the certificate's prefixes are in: re6stregistry node show; for others join again with a token of: re6stregistry token create --announce PREFIX"
	switch {
	case len(words) == 0, len(words) == 1 && words[0] == announceAll:
		return slices.Clone(listed), nil
	case len(words) == 1 && words[0] == announceNone:
		return nil, nil
	}
	var all []netip.Prefix
	for _, word := range words {
		p, err := netip.ParsePrefix(word)
		switch {
		case err != nil:
			return nil, fail(Usage, "for example --announce 198.51.100.0/24", "--announce %q: want a prefix, or all or none alone", word)
		case addressing.CheckPrefix(p) != nil:
			return nil, fail(Usage, "did you mean "+p.Masked().String()+"?", "--announce %s: bits are set beyond its length", p)
		case !slices.Contains(listed, p):
			return nil, stateError(hint, "--announce %s: the certificate of this node does not list it (it lists %s)", p, listOf(listed))
		case !slices.Contains(all, p):
			all = append(all, p)
		}
	}
	return all, nil
}

func listOf(prefixes []netip.Prefix) string {
	if len(prefixes) == 0 {
		return "none"
	}
	var words []string
	for _, p := range prefixes {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

// beside is what Babel has selected from others beyond the network's own
// prefixes. The routes that go to the kernel tell it.
type beside struct {
	networks []netip.Prefix
	changed  chan struct{} // capacity 1: the set is not as it was

	mu  sync.Mutex
	set map[netip.Prefix]struct{}
}

func newBeside(networks []netip.Prefix) *beside {
	return &beside{networks: networks, changed: make(chan struct{}, 1), set: map[netip.Prefix]struct{}{}}
}

// note is called by Babel's loop, for each batch of routes: it does not wait.
func (b *beside) note(changes []kernel.RouteChange) {
	isChanged := false
	for _, c := range changes {
		if !b.isBeside(c.Route) {
			continue
		}
		b.mu.Lock()
		_, was := b.set[c.Route.Dst]
		if c.Delete {
			delete(b.set, c.Route.Dst)
		} else {
			b.set[c.Route.Dst] = struct{}{}
		}
		b.mu.Unlock()
		isChanged = isChanged || was == c.Delete
	}
	if !isChanged {
		return
	}
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// isBeside: no default route, of which each source has one, and not inside NET.
func (b *beside) isBeside(r kernel.Route) bool {
	return r.Dst.Bits() > 0 && !r.Src.IsValid() &&
		!slices.ContainsFunc(b.networks, func(n netip.Prefix) bool { return n.Contains(r.Dst.Addr()) })
}

// mesh is the network's first prefix of IPv6.
func (b *beside) mesh() netip.Prefix {
	for _, n := range b.networks {
		if n.Addr().Is6() {
			return n
		}
	}
	return netip.Prefix{}
}

// list is sorted.
func (b *beside) list() []netip.Prefix {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]netip.Prefix, 0, len(b.set))
	for p := range b.set {
		all = append(all, p)
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return all
}

// announced are the prefixes beyond NET that Babel has selected from others.
func (d *daemon) announced() []netip.Prefix { return d.beside.list() }

// carried are all prefixes that the mesh carries, NET first: no endpoint lies in
// one of them, or tunnels would run inside tunnels.
func (d *daemon) carried() []netip.Prefix {
	return slices.Concat(d.networks, d.origins, d.announced())
}

// followAnnounced brings what others announce to the kernel's rules and to the
// tunnels.
func (d *daemon) followAnnounced(ctx context.Context) error {
	warned := false
	for {
		d.originateCovered()
		all := d.announced()
		if err := d.installed.SetAnnounced(all); err != nil {
			d.log.Warn("preparing the kernel for announced prefixes", "err", err)
		}
		if len(all) > kernel.AnnouncedMax && !warned {
			warned = true
			d.log.Warn("more prefixes are announced than have rules: the last ones are reached from addresses of the mesh alone", "announced", len(all), "rules", kernel.AnnouncedMax)
		}
		d.agent.SetCarried(d.carried())
		d.addressesDue.nudge()
		select {
		case <-ctx.Done():
			return nil
		case <-d.beside.changed:
		case <-d.installed.OriginsChanged():
		}
	}
}

// originateCovered announces those of the prefixes into which the host has a way
// now. One task alone calls it.
func (d *daemon) originateCovered() {
	now := d.installed.Origins()
	for _, p := range now {
		if !slices.Contains(d.originated, p) {
			d.log.Info("announcing a prefix", "prefix", p)
			d.speaker.Originate(p, netip.Prefix{}, 0)
		}
	}
	for _, p := range d.originated {
		if !slices.Contains(now, p) {
			d.log.Warn("announcing a prefix no more: this host has no route into it, and no address", "prefix", p)
			d.speaker.Withdraw(p, netip.Prefix{})
		}
	}
	d.originated = now
}

// announcedHealth tells of prefixes that wait for a route of the host.
func (d *daemon) announcedHealth() (list []status.Health) {
	now := d.installed.Origins()
	for _, p := range d.origins {
		if !slices.Contains(now, p) {
			list = append(list, status.Health{
				Code: "announced_unrouted",
				Text: p.String() + " is not announced: this host has neither a route into it, beside the default, nor an address (leave it out with --announce, or bring its interface up)",
			})
		}
	}
	return list
}

// nudge is a channel of capacity 1 that says: look again.
type nudge chan struct{}

func (n nudge) nudge() {
	select {
	case n <- struct{}{}:
	default:
	}
}
