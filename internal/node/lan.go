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

// makeLANs plans the local networks from the flags; a node without has nil.
func (d *daemon) makeLANs() error {
	six, err := planLANs("lan", d.options.LANs, func(w []advert.Wish) ([]advert.LAN, error) { return advert.Plan(d.member.self.Prefix, w) })
	if err != nil {
		return err
	}
	four, err := planLANs("lan-ipv4", d.options.LANsIPv4, func(w []advert.Wish) ([]lease.Network, error) { return lease.Plan(d.member.self.IPv4, w) })
	if err != nil || len(six)+len(four) == 0 {
		return err
	}
	for _, name := range lanInterfaces(six, four) {
		if name == d.options.AddressInterface || name == "lo" || strings.HasPrefix(name, tunnelPrefix) {
			return fail(Usage, "name the interface of a local network, and leave the node's address on lo", "interface %s cannot be that of a LAN", name)
		}
	}
	d.lans = lan.New(lan.Config{
		LANs: six, IPv4: four, Host: d.host, Addresses: d.installed, Store: leaseStore{d.state}, Rand: newRand, Log: d.log,
	})
	return nil
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

func lanInterfaces(six []advert.LAN, four []lease.Network) []string {
	var names []string
	for _, l := range six {
		names = append(names, l.Interface)
	}
	for _, n := range four {
		names = append(names, n.Interface)
	}
	return names
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
