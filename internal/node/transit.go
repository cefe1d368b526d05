package node

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"re6st/babel"
	"re6st/internal/gateway"
	"re6st/internal/status"
)

const (
	// trialAgain is how soon a host is tried again that was found not to forward:
	// the operator may be at it.
	trialAgain = 30 * time.Second
	// trialAfter is how long rules must have been left alone before the host is
	// tried again for their sake, and trialPause how long at least between two
	// trials while all is well.
	trialAfter = 3 * time.Second
	trialPause = 30 * time.Second
	// watchPatience is how long the watcher of the rules may take to begin.
	watchPatience = 200 * time.Millisecond
)

// transit is whether this node carries packets of others: a node that would lose
// them announces only what is its own.
type transit struct {
	// carries6 and carries4 say what Babel may announce. They are false until it
	// is known that packets get through. Apart from the rest, because Babel asks for
	// each announcement.
	carries6, carries4 atomic.Bool

	mu       sync.Mutex // guards what follows
	isKnown  bool       // a trial was made, or none is possible
	blocked  gateway.Blocked
	culprits []string
}

func (t *transit) get() (gateway.Blocked, []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.blocked, t.culprits
}

// set says whether anything changed.
func (t *transit) set(b gateway.Blocked, culprits []string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := !t.isKnown || t.blocked != b
	t.isKnown, t.blocked, t.culprits = true, b, culprits
	t.carries6.Store(!b.IPv6)
	t.carries4.Store(!b.IPv4)
	return changed
}

// export lets Babel announce the ways through this node, unless it carries
// nothing, or it is not known yet whether it can.
func (d *daemon) export(a babel.Announcement) (add uint16, ok bool) {
	switch {
	case a.Own:
		return 0, true
	case d.options.NoTransit:
		return 0, false
	case a.Prefix.Addr().Is4():
		return 0, d.transit.carries4.Load()
	}
	return 0, d.transit.carries6.Load()
}

// watchTransit keeps others' packets out where the operator wants that, and
// else finds out whether they get through.
func (d *daemon) watchTransit(ctx context.Context) error {
	if d.options.NoTransit {
		if err := gateway.Barrier(ctx, d.instance, d.log); err != nil && ctx.Err() == nil {
			d.log.Info("no way leads through this node; what others send through it anyway is carried, as the kernel has no nftables", "err", err)
		}
		<-ctx.Done()
		return nil
	}
	changed := make(chan struct{}, 1)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	watcher.Go(func() {
		gateway.WatchRules(ctx, d.log, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	})
	// First watch, then try: no change is missed, and none is taken for one.
	first := time.NewTimer(watchPatience)
	defer first.Stop()
	select {
	case <-changed:
	case <-first.C: // a kernel without nftables
	case <-ctx.Done():
		return nil
	}
	for {
		isBlocked := d.tryTransit()
		last := time.Now()
		pause := time.NewTimer(trialAgain)
		if !isBlocked {
			pause.Stop()
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				pause.Stop()
				return nil
			case <-changed:
				wait := trialAfter
				if !isBlocked {
					wait = max(wait, time.Until(last.Add(trialPause)))
				}
				pause.Reset(wait)
			case <-pause.C:
				waiting = false
			}
		}
	}
}

// tryTransit makes a trial, and tells Babel and the gateway what came out.
func (d *daemon) tryTransit() (isBlocked bool) {
	hasIPv4 := slices.ContainsFunc(d.networks, func(p netip.Prefix) bool { return p.Addr().Is4() })
	blocked, err := gateway.Forwards(gateway.Trial{Prefix: d.member.self.Prefix, Table: d.options.Table, IPv4: hasIPv4})
	if err != nil {
		d.log.Debug("it is not known whether a firewall stops what this node carries", "err", err)
	}
	var culprits []string
	if blocked.Any() {
		culprits = gateway.Culprits(d.instance)
	}
	before, _ := d.transit.get()
	if !d.transit.set(blocked, culprits) {
		return blocked.Any()
	}
	d.agent.SetNoTransit(blocked.IPv6)
	for _, h := range d.transitHealth() {
		d.log.Warn(h.Text, "code", h.Code)
	}
	if before.Any() && !blocked.Any() {
		d.log.Info("the firewall lets through what this node carries")
	}
	d.speaker.FilterChanged()
	if d.gateway != nil {
		why := func(isBlocked bool) string {
			if isBlocked {
				return "another's firewall stops what this host forwards"
			}
			return ""
		}
		d.gateway.SetBlocked(why(blocked.IPv4), why(blocked.IPv6))
	}
	return blocked.Any()
}

// transitHealth says what a firewall stops, and what to do.
func (d *daemon) transitHealth() []status.Health {
	blocked, culprits := d.transit.get()
	where := ""
	if len(culprits) > 0 {
		where = " (nftables: " + strings.Join(culprits, "; ") + ")"
	}
	var list []status.Health
	forward := func(family, tool string) {
		list = append(list, status.Health{
			Code: "firewall-forward-" + strings.ToLower(family),
			Text: "a firewall on this host stops " + family + " packets that it should forward" + where +
				": no way leads through this node until it lets them pass, for example by: " + tool + " -I FORWARD -i re6st-+ -j ACCEPT; " + tool + " -I FORWARD -o re6st-+ -j ACCEPT",
		})
	}
	if blocked.IPv6 {
		forward("IPv6", "ip6tables")
	}
	if blocked.IPv4 {
		forward("IPv4", "iptables")
	}
	if blocked.Babel {
		list = append(list, status.Health{
			Code: "firewall-babel",
			Text: "a firewall on this host stops the routing protocol: let UDP 6696 in on the tunnels, for example by: ip6tables -I INPUT -i re6st-+ -p udp --dport 6696 -j ACCEPT",
		})
	}
	return list
}
