package node

import (
	"fmt"
	"sync"

	"re6st/ebpf"
	"re6st/internal/gateway"
)

// translation keeps the prefix translation where the gateway's IPv6 leaves.
type translation struct {
	mu     sync.Mutex
	uplink string
	now    *ebpf.Translator
}

// gatewayUplinks is told where packets leave before any does. It moves the
// translation there.
func (d *daemon) gatewayUplinks(_, v6 string) error {
	o := d.options.Gateway
	if gateway.Way(o.IPv6) != gateway.Translate {
		return nil
	}
	t := &d.translation
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now != nil && t.uplink == v6 {
		return nil
	}
	if err := t.closeLocked(); err != nil {
		d.log.Warn("ending the prefix translation", "uplink", t.uplink, "err", err)
	}
	if v6 == "" {
		return nil // there is no upstream anyway
	}
	var pairs []ebpf.Pair
	for _, n := range d.networks {
		if n.Addr().Is6() && len(pairs) == 0 {
			pairs = append(pairs, ebpf.Pair{Inside: n, Outside: o.Prefix})
		}
	}
	now, err := ebpf.NewTranslator(ebpf.TranslatorConfig{Uplink: v6, Pairs: pairs, Clsact: d.host.Filters(d.instance)})
	if err != nil {
		return fmt.Errorf("translating %v to %v: %w", d.networks, o.Prefix, err)
	}
	t.now, t.uplink = now, v6
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
