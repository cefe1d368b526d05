package node

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"re6st/addressing"
	"re6st/babel"
	"re6st/internal/status"
	"re6st/tunnel"
	"re6st/tunnel/agent"
)

// viewTimeout bounds what one question of the operator may wait for a loop.
const viewTimeout = 2 * time.Second

// stateUp is the state of a tunnel that carries.
const stateUp = "up"

// views are the documents that the local socket answers. Each loop is asked for
// its own part.
func (d *daemon) views() status.Documents {
	return status.Documents{
		"status":  func() (any, error) { return d.viewStatus() },
		"tunnels": func() (any, error) { return d.viewTunnels() },
		"routes":  func() (any, error) { return d.viewRoutes() },
		"peers":   func() (any, error) { return d.viewPeers() },
		"traffic": func() (any, error) { return d.viewTraffic() },
	}
}

func (d *daemon) tunnels() ([]agent.Tunnel, error) {
	ctx, cancel := context.WithTimeout(context.Background(), viewTimeout)
	defer cancel()
	return d.agent.Snapshot(ctx)
}

func (d *daemon) peers() ([]tunnel.Peer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), viewTimeout)
	defer cancel()
	return d.agent.Peers(ctx)
}

func (d *daemon) viewStatus() (status.Node, error) {
	tunnels, err := d.tunnels()
	if err != nil {
		return status.Node{}, err
	}
	babelState := d.speaker.Snapshot()
	doc, _ := d.documents.current()
	self := d.member.self
	n := status.Node{
		SchemaVersion: status.SchemaVersion,
		Name:          self.Name, Address: self.Address.String(), Prefix: self.Prefix.String(), RouterID: self.RouterID.String(),
		Registry:       d.viewRegistry(),
		NetworkVersion: doc.Version,
		Backend:        d.backend.Kind(),
		Tunnels:        countUp(tunnels),
		Routes:         countInstalled(babelState.Routes),
		Seqno:          babelState.Seqno,
		Certificate:    status.Validity{Serial: self.Serial, NotBefore: self.NotBefore.UTC(), NotAfter: self.NotAfter.UTC()},
		Certificates:   d.claims.len(),
		RefusedRoutes:  d.keeper.refused(),
		Started:        d.started.UTC(),
	}
	for _, p := range d.networks {
		n.Networks = append(n.Networks, p.String())
	}
	n.Shortcut = d.viewShortcut()
	n.Gateway, n.Relayed, n.EdgeDropped = d.viewGateway(), d.viewRelayed(), d.edgeDropped()
	n.UnderlayDropped = d.underlayDropped()
	n.Announces, n.Announced = texts(d.installed.Origins()), texts(d.announced())
	if self.IPv4.IsValid() {
		n.IPv4, n.IPv4Address = self.IPv4.String(), address4(self).String()
	}
	n.Health = slices.Concat(
		health(n, time.Now()),
		d.ipv4Health(),
		d.announcedHealth(),
		d.transitHealth(),
		d.lanHealth(),
		d.edgeHealth(),
		d.shortcutHealth(),
		d.namesHealth(),
		d.nat64Health(),
	)
	n.Health = append(n.Health, d.keeper.health(peerNames(tunnels))...)
	return n, nil
}

func texts(prefixes []netip.Prefix) []string {
	all := make([]string, 0, len(prefixes))
	for _, p := range prefixes {
		all = append(all, p.String())
	}
	return all
}

func (d *daemon) viewRegistry() status.Registry {
	r := status.Registry{URLs: d.member.registry.URLs}
	at, err := d.directory.contact()
	if !at.IsZero() {
		at = at.UTC()
		r.LastContact, r.Reachable = &at, err == nil
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func countUp(tunnels []agent.Tunnel) (n int) {
	for _, t := range tunnels {
		if t.State == stateUp {
			n++
		}
	}
	return n
}

func countInstalled(routes []babel.RouteState) (n int) {
	for _, r := range routes {
		if r.Installed {
			n++
		}
	}
	return n
}

// health says what an operator should look at.
func health(n status.Node, now time.Time) []status.Health {
	list := []status.Health{}
	add := func(code, text string) { list = append(list, status.Health{Code: code, Text: text}) }
	if n.Registry.Error != "" {
		add("registry-unreachable", "the registry does not answer; the mesh goes on without it: "+n.Registry.Error)
	}
	if n.Tunnels == 0 {
		add("no-tunnels", "no tunnel is up: this node reaches nobody (see: re6stnode tunnels, re6stnode peers)")
	}
	gatewayHealth(n.Gateway, add)
	lifetime := n.Certificate.NotAfter.Sub(n.Certificate.NotBefore)
	if left := n.Certificate.NotAfter.Sub(now); left < lifetime/10 {
		add("certificate-expires", "the certificate ends at "+n.Certificate.NotAfter.Format(time.RFC3339))
	}
	return list
}

func (d *daemon) viewTunnels() (status.Tunnels, error) {
	tunnels, err := d.tunnels()
	if err != nil {
		return status.Tunnels{}, err
	}
	doc := status.Tunnels{SchemaVersion: status.SchemaVersion, Tunnels: []status.Tunnel{}}
	for _, t := range tunnels {
		doc.Tunnels = append(doc.Tunnels, status.Tunnel{
			ID: t.ID, Peer: t.Peer, PeerAddress: t.PeerAddress, Interface: t.Interface, Backend: t.Backend, Direction: t.Direction,
			State: t.State, Reason: t.Reason, Transport: t.Transport, Endpoint: t.Endpoint, RTTms: t.RTTms, Loss: t.Loss, Cost: t.Cost,
			MTU: t.MTU, RoutesVia: t.RoutesVia, RxBytes: t.RxBytes, TxBytes: t.TxBytes, Since: t.Since,
		})
	}
	return doc, nil
}

func (d *daemon) viewRoutes() (status.Routes, error) {
	interfaces := map[int]string{}
	babelState := d.speaker.Snapshot()
	for _, i := range babelState.Interfaces {
		interfaces[i.Index] = i.Name
	}
	doc := status.Routes{SchemaVersion: status.SchemaVersion, Table: int(d.options.Table), Routes: []status.Route{}}
	for _, r := range babelState.Routes {
		if r.Own {
			continue
		}
		route := status.Route{
			Prefix: r.Prefix.String(), RouterID: addressing.RouterID(r.RouterID).String(), Owner: d.ownerName(addressing.RouterID(r.RouterID)),
			Metric: int(r.Metric), Seqno: r.Seqno, Via: r.NextHop.String(), Interface: interfaces[r.Interface],
			Installed: r.Installed, Feasible: r.Feasible,
		}
		if r.From.IsValid() {
			route.From = r.From.String()
		}
		doc.Routes = append(doc.Routes, route)
	}
	return doc, nil
}

// ownerName is the name of a router-id, where its certificate is at hand.
func (d *daemon) ownerName(id addressing.RouterID) string {
	n, _ := d.claims.Owner(id)
	return n.Name
}

// peerNames are those of the tunnels' peers, by interface.
func peerNames(tunnels []agent.Tunnel) map[int]string {
	names := map[int]string{}
	for _, t := range tunnels {
		names[t.Index] = t.Peer
	}
	return names
}

func (d *daemon) viewPeers() (status.Peers, error) {
	peers, err := d.peers()
	if err != nil {
		return status.Peers{}, err
	}
	tunnels, err := d.tunnels()
	if err != nil {
		return status.Peers{}, err
	}
	states := map[string]string{}
	for _, t := range tunnels {
		states[t.PeerAddress] = t.State
	}
	reachable := map[netip.Prefix]bool{}
	for _, r := range d.speaker.Snapshot().Routes {
		if r.Installed {
			reachable[r.Prefix] = true
		}
	}
	doc := status.Peers{SchemaVersion: status.SchemaVersion, Peers: []status.Peer{}}
	for _, p := range peers {
		peer := status.Peer{
			Name: cmp.Or(d.ownerName(p.ID()), p.Name), Address: p.Address().String(), Prefix: p.Prefix.String(), RouterID: p.ID().String(),
			Endpoints: []string{}, Tunnel: states[p.Address().String()], Reachable: reachable[p.Prefix], NoTransit: p.NoTransit,
		}
		for _, e := range p.Endpoints {
			peer.Endpoints = append(peer.Endpoints, e.String())
		}
		doc.Peers = append(doc.Peers, peer)
	}
	slices.SortFunc(doc.Peers, func(a, b status.Peer) int { return cmp.Compare(a.Name, b.Name) })
	return doc, nil
}
