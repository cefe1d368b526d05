package node

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"re6st/internal/lan"
	"re6st/internal/lan/advert"
	"re6st/internal/lan/lease"
	"re6st/internal/status"
	"re6st/tunnel/wg"
)

// meshLookEvery is how often the LANs learn what the mesh offers.
const meshLookEvery = 3 * time.Second

// lanPlan is what the flags ask for, out of what the node has.
type lanPlan struct {
	six  []advert.LAN
	four []lease.Network
}

// openLANs plans the local networks from the flags, before anything is changed.
func (d *daemon) openLANs() (func(), error) {
	p, self := &d.lanPlan, d.member.self
	var err error
	p.six, err = planLANs("lan", d.options.LANs, func(w []advert.Wish) ([]advert.LAN, error) { return advert.Plan(self.Prefix, w) })
	if err == nil {
		p.four, err = planLANs("lan-ipv4", d.options.LANsIPv4, func(w []advert.Wish) ([]lease.Network, error) { return lease.Plan(self.IPv4, w) })
	}
	if err != nil {
		return nil, err
	}
	for _, name := range p.interfaces() {
		if name == d.options.AddressInterface || name == "lo" || strings.HasPrefix(name, tunnelPrefix) {
			return nil, fail(Usage, "name the interface of a local network, and leave the node's address on lo", "interface %s cannot be that of a LAN", name)
		}
	}
	return func() {}, nil
}

// interfaces lists those of all networks, each once.
func (p lanPlan) interfaces() []string {
	var names []string
	for _, l := range p.six {
		names = append(names, l.Interface)
	}
	for _, n := range p.four {
		names = append(names, n.Interface)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// makeLANs makes them; a node without has nil.
func (d *daemon) makeLANs() {
	if len(d.lanPlan.interfaces()) > 0 {
		d.lans = lan.New(lan.Config{
			LANs: d.lanPlan.six, IPv4: d.lanPlan.four, Host: d.host, Addresses: d.installed, Store: leaseStore{d.state}, Rand: newRand, Log: d.log,
		})
	}
}

func planLANs[T any](flag string, texts []string, plan func([]advert.Wish) ([]T, error)) ([]T, error) {
	wishes, err := advert.ParseWishes(texts)
	if err != nil {
		return nil, fail(Usage, "want IFACE or IFACE=PREFIX", "--%s: %w", flag, err)
	}
	all, err := plan(wishes)
	if err != nil {
		return nil, fail(Usage, "what this node has: re6stnode status", "--%s: %w", flag, err)
	}
	return all, nil
}

// leaseStore keeps the leases of each network in the state directory.
type leaseStore struct{ state *state }

func leaseFile(iface string) string { return "dhcp-" + iface + ".json" }

// Load sets a damaged file aside: machines find their addresses again by their
// names.
func (s leaseStore) Load(iface string) (leases []byte) {
	s.state.load(leaseFile(iface), func(b []byte) error {
		leases = b
		return lan.CheckLeases(b)
	})
	return leases
}

func (s leaseStore) Save(iface string, leases []byte) error {
	return s.state.write(leaseFile(iface), leases, 0o600)
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
	for _, a := range d.nameServers() {
		if a.Is6() {
			m.DNS = append(m.DNS, a)
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
