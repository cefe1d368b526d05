package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"re6st/ebpf"
	"re6st/internal/gateway"
	"re6st/internal/status"
)

// translation keeps the prefix translation where the gateway's IPv6 leaves.
type translation struct {
	mu     sync.Mutex
	uplink string
	now    *ebpf.Translator
}

func (o GatewayOptions) isTranslated() bool { return o.On && gateway.Way(o.IPv6) == gateway.Translate }

// pairs of prefixes to be translated: the network's, and those the operator maps.
func (d *daemon) pairs() []ebpf.Pair {
	inside, _ := d.network6()
	all := []ebpf.Pair{{Inside: inside, Outside: d.options.Gateway.Prefix}}
	for _, m := range d.options.Gateway.Maps {
		all = append(all, ebpf.Pair{Inside: m[0], Outside: m[1]})
	}
	return all
}

// translatedOutside and translationHoles are what the gateway's filter knows of the
// translation: who asks for what it leaves out is told so.
func (d *daemon) translatedOutside() []netip.Prefix {
	var all []netip.Prefix
	if d.options.Gateway.isTranslated() {
		for _, p := range d.pairs() {
			all = append(all, p.Outside)
		}
	}
	return all
}

func (d *daemon) translationHoles() []gateway.Hole {
	var all []gateway.Hole
	if d.options.Gateway.isTranslated() {
		for _, h := range ebpf.Holes(d.pairs()) {
			all = append(all, gateway.Hole(h))
		}
	}
	return all
}

// checkTranslated refuses what can never be translated.
func (d *daemon) checkTranslated() error {
	if !d.options.Gateway.isTranslated() {
		return nil
	}
	if _, ok := d.network6(); !ok {
		return fail(Usage, "leave out --gateway-ipv6 translate", "the network has no IPv6 prefix")
	}
	pairs := d.pairs()
	if err := ebpf.CheckPairs(pairs); err != nil {
		return fail(Usage, "if the network's own prefix is routed here use --gateway-ipv6 routed; masquerade always works", "translating prefixes: %w", err)
	}
	for _, p := range pairs {
		if p.Outside.Bits() > p.Inside.Bits() {
			return fail(Usage, fmt.Sprintf("have a /%d routed to this host, or use --gateway-ipv6 masquerade", p.Inside.Bits()),
				"translating prefixes: %v is smaller than %v: not every address would have a counterpart", p.Outside, p.Inside)
		}
	}
	if err := ebpf.Supported(); err != nil {
		return fail(Failed, "use --gateway-ipv6 masquerade, or give the daemon what it lacks", "--gateway-ipv6 translate: %w", err)
	}
	return nil
}

func (d *daemon) network6() (netip.Prefix, bool) {
	for _, n := range d.networks {
		if n.Addr().Is6() {
			return n, true
		}
	}
	return netip.Prefix{}, false
}

// gatewayUplinks is told where packets leave before any does. It moves the
// translation there; one that is no longer in place it makes anew.
func (d *daemon) gatewayUplinks(_, v6 string) error {
	if !d.options.Gateway.isTranslated() {
		return nil
	}
	t := &d.translation
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now != nil && t.uplink == v6 {
		err := t.now.Check()
		if err == nil {
			return nil
		}
		d.log.Warn("putting the prefix translation back", "err", err)
	}
	if err := t.closeLocked(); err != nil {
		d.log.Warn("ending the prefix translation", "uplink", t.uplink, "err", err)
	}
	if v6 == "" {
		return nil // there is no upstream anyway
	}
	pairs := d.pairs()
	for _, p := range pairs {
		if err := refuseOwnAddress(v6, p.Outside); err != nil {
			return err
		}
	}
	now, err := ebpf.NewTranslator(ebpf.TranslatorConfig{Uplink: v6, Pairs: pairs, Clsact: d.host.Filters(d.instance)})
	if err != nil {
		return err
	}
	d.log.Info("translating prefixes", "pairs", pairs, "uplink", v6, "by", now.Method())
	t.now, t.uplink = now, v6
	return nil
}

// refuseOwnAddress: every address of the outside prefix stands for one of the
// mesh, so that a host with one of them on its uplink would hear nothing any more.
// It is also the sign of a prefix that is on the link and not routed here.
func refuseOwnAddress(uplink string, outside netip.Prefix) error {
	link, err := net.InterfaceByName(uplink)
	if err != nil {
		return fmt.Errorf("finding the uplink %s: %w", uplink, err)
	}
	addrs, err := link.Addrs()
	if err != nil {
		return fmt.Errorf("listing the addresses of %s: %w", uplink, err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && outside.Contains(p.Addr()) {
			return fmt.Errorf("the outside prefix %v has this host's own address %v in it: it must be a prefix that the upstream routes to this host, and that nothing else uses", outside, p.Addr())
		}
	}
	return nil
}

func (t *translation) closeLocked() error {
	if t.now == nil {
		return nil
	}
	err := t.now.Close()
	t.now, t.uplink = nil, ""
	return err
}

// endTranslation is the last thing a gateway does: until it is closed, packets
// still leave.
func (d *daemon) endTranslation() error {
	t := &d.translation
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closeLocked()
}

// checkTranslation puts the programs' absence into words.
func (d *daemon) checkTranslation() error {
	t := &d.translation
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now == nil {
		return nil
	}
	return t.now.Check()
}

// viewTranslation is nil where nothing is translated.
func (d *daemon) viewTranslation() (*status.Translation, error) {
	t := &d.translation
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now == nil {
		return nil, nil
	}
	view := &status.Translation{Uplink: t.uplink, Method: t.now.Method()}
	for _, p := range t.now.Pairs() {
		view.Pairs = append(view.Pairs, status.TranslationPair{Inside: p.Inside.String(), Outside: p.Outside.String()})
	}
	n, err := t.now.Counters()
	view.Out, view.In = status.TranslationCounters(n.Egress), status.TranslationCounters(n.Ingress)
	return view, errors.Join(err, t.now.Check())
}
