package node

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"re6st/internal/kernel"
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
		err := lan.CheckLeases(b)
		if err == nil {
			leases = b
		}
		return err
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
			m.Default = m.Default || d.ways.has(way{netip.PrefixFrom(netip.IPv6Unspecified(), 0), n})
		}
	}
	nat64 := doc.Parameters.NAT64
	// Also NAT64's: beside another router's default it needs a route of its own.
	for _, p := range slices.Concat(d.origins, d.announced()) {
		if p.Addr().Is6() {
			m.Announced = append(m.Announced, p)
		}
	}
	if nat64.IsValid() && d.ways.leadsTo(nat64) {
		m.NAT64 = nat64
	}
	for _, a := range d.nameServers() {
		if a.Is4() {
			m.DNS4 = append(m.DNS4, a)
		} else {
			m.DNS = append(m.DNS, a)
		}
	}
	m.Resolves = d.dns != nil && len(d.dns.plan.forward) > 0
	return m
}

// A way is a route to a destination for one source.
type way struct{ to, from netip.Prefix }

// ways are the default routes and those to NAT64 that lead out of the mesh, by
// this node or another.
type ways struct {
	mu  sync.Mutex // guards all
	all map[way]int
}

// note is called by Babel's loop for each batch of routes.
func (w *ways) note(changes []kernel.RouteChange) {
	for _, c := range changes {
		if r := c.Route; r.Src.IsValid() {
			w.mark(way{r.Dst, r.Src}, routed, !c.Delete && r.Type == kernel.Unicast)
		}
	}
}

// Who leads there.
const (
	routed = 1 << iota
	ourselves
)

func (w *ways) set(k way, on bool) { w.mark(k, ourselves, on) }

func (w *ways) mark(k way, who int, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[way]int{}
	}
	if on {
		w.all[k] |= who
	} else if w.all[k] &^= who; w.all[k] == 0 {
		delete(w.all, k)
	}
}

func (w *ways) has(k way) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all[k] != 0
}

func (w *ways) leadsTo(p netip.Prefix) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.all {
		if k.to == p {
			return true
		}
	}
	return false
}

// isInside: the prefix is of the network.
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
