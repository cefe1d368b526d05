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

// checkTranslated refuses what can never translate the network.
func (d *daemon) checkTranslated() error {
	o := d.options.Gateway
	if !o.isTranslated() {
		return nil
	}
	inside, ok := d.network6()
	switch {
	case !ok:
		return fail(Usage, "leave out --gateway-ipv6 translate", "the network has no IPv6 prefix")
	case inside.Bits() > 64 || o.Prefix.Bits() > 64:
		return fail(Usage, "use --gateway-ipv6 masquerade", "translating %v to %v: no prefix longer than /64 can be translated (RFC 6296)", inside, o.Prefix)
	case inside.Overlaps(o.Prefix):
		return fail(Usage, "if the network's own prefix is routed here, use --gateway-ipv6 routed", "--gateway-prefix %v overlaps the network's prefix %v", o.Prefix, inside)
	case o.Prefix.Bits() > inside.Bits():
		return fail(Usage, fmt.Sprintf("have a /%d routed to this host, or use --gateway-ipv6 masquerade", inside.Bits()),
			"--gateway-prefix %v is smaller than the network's prefix %v: not every node would have an address", o.Prefix, inside)
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
	o := d.options.Gateway
	if !o.isTranslated() {
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
	inside, _ := d.network6()
	if err := refuseOwnAddress(v6, o.Prefix); err != nil {
		return err
	}
	now, err := ebpf.NewTranslator(ebpf.TranslatorConfig{
		Uplink: v6, Pairs: []ebpf.Pair{{Inside: inside, Outside: o.Prefix}}, Clsact: d.host.Filters(d.instance),
	})
	if err != nil {
		return fmt.Errorf("translating %v to %v: %w", inside, o.Prefix, err)
	}
	d.log.Info("translating prefixes", "inside", inside, "outside", o.Prefix, "uplink", v6, "by", now.Method())
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
			return fmt.Errorf("--gateway-prefix %v has this host's own address %v in it: it must be a prefix that the upstream routes to this host, and that nothing else uses", outside, p.Addr())
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
	pair := t.now.Pairs()[0]
	view := &status.Translation{Inside: pair.Inside.String(), Outside: pair.Outside.String(), Uplink: t.uplink, Method: t.now.Method()}
	n, err := t.now.Counters()
	view.Out, view.In = status.TranslationCounters(n.Egress), status.TranslationCounters(n.Ingress)
	return view, errors.Join(err, t.now.Check())
}
