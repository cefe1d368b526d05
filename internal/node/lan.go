package node

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"re6st/internal/lan"
	"re6st/internal/lan/advert"
	"re6st/internal/status"
	"re6st/tunnel/wg"
)

// meshLookEvery is how often the LANs learn what the mesh offers.
const meshLookEvery = 3 * time.Second

// makeLANs plans the local networks from the flags; a node without has nil.
func (d *daemon) makeLANs() error {
	wishes, err := advert.ParseWishes(d.options.LANs)
	if err != nil {
		return fail(Usage, "--lan is IFACE or IFACE=PREFIX", "--lan: %w", err)
	}
	plan, err := advert.Plan(d.member.self.Prefix, wishes)
	if err != nil {
		return fail(Usage, "see: re6stnode status, prefix", "--lan: %w", err)
	}
	for _, l := range plan {
		if l.Interface == d.options.AddressInterface {
			return fail(Usage, "leave the node's address on lo", "--lan %s: it is the --address-interface as well", l.Interface)
		}
		if strings.HasPrefix(l.Interface, tunnelPrefix) || l.Interface == "lo" {
			return fail(Usage, "name the interface of a local network", "--lan %s: not a local network", l.Interface)
		}
	}
	if len(plan) > 0 {
		d.lans = lan.New(lan.Config{LANs: plan, Host: d.host, Addresses: d.installed, Rand: newRand, Log: d.log})
	}
	return nil
}

// serveLANs runs them, and tells them what the mesh offers.
func (d *daemon) serveLANs(ctx context.Context) error {
	if d.lans == nil {
		<-ctx.Done()
		return nil
	}
	d.lans.SetMesh(d.offered())
	done := make(chan error, 1)
	go func() { done <- d.lans.Run(ctx) }()
	ticker := time.NewTicker(meshLookEvery)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ticker.C:
			d.lans.SetMesh(d.offered())
		}
	}
}

// offered is what the machines of a LAN can have from the mesh now.
func (d *daemon) offered() advert.Mesh {
	doc, _ := d.documents.current()
	m := advert.Mesh{Domain: doc.Domain, MTU: wg.DefaultMTU}
	for _, n := range d.networks {
		if n.Addr().Is6() {
			m.Networks = append(m.Networks, n)
		}
	}
	for _, r := range d.speaker.Destinations() {
		switch {
		case !r.Prefix.Addr().Is6():
		case r.Prefix.Bits() == 0:
			m.Default = m.Default || slices.Contains(m.Networks, r.From)
		case !r.From.IsValid() && !d.isInside(r.Prefix):
			m.Announced = append(m.Announced, r.Prefix)
		}
	}
	return m
}

func (d *daemon) isInside(p netip.Prefix) bool {
	return slices.ContainsFunc(d.networks, func(n netip.Prefix) bool { return n.Bits() <= p.Bits() && n.Contains(p.Addr()) })
}

// lanHealth says what is wrong on the local networks.
func (d *daemon) lanHealth() []status.Health {
	if d.lans == nil {
		return nil
	}
	var list []status.Health
	for _, h := range d.lans.Health() {
		list = append(list, status.Health{Code: h.Code, Text: h.Text})
	}
	return list
}
