package agent

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"re6st/internal/identity"
	"re6st/tunnel"
	"re6st/tunnel/control"
)

// gossip spreads the signed documents. Every exchange carries the version that a node has; who sees a newer one asks
// for it, who sees an older one sends its own, and who gets a newer one passes it to all neighbours at once. So it
// spreads in as many steps as the mesh is wide, with the registry down.
type gossip struct {
	version  uint64
	document string
	asking   map[netip.Prefix]bool   // one exchange with a node at a time
	seen     map[netip.Prefix]uint64 // what a peer said when it offered a tunnel; looked at when that is up
}

const seenMax = 1024

func newGossip() gossip {
	return gossip{asking: make(map[netip.Prefix]bool), seen: make(map[netip.Prefix]uint64)}
}

func (g *gossip) versions() control.Versions { return control.Versions{Network: g.version} }

func (g *gossip) documents() []string {
	if g.document == "" {
		return nil
	}
	return []string{g.document}
}

func (g *gossip) note(p netip.Prefix, v control.Versions) {
	if len(g.seen) >= seenMax {
		clear(g.seen)
	}
	g.seen[p] = v.Network
}

// haveDocument takes a document that the node has verified. The one it came from needs no copy.
func (a *Agent) haveDocument(now time.Time, version uint64, jws string, from netip.Prefix) {
	if version <= a.gossip.version {
		return
	}
	a.gossip.version, a.gossip.document = version, jws
	a.manager.SetVersions(now, a.gossip.versions())
	for _, p := range a.neighbours {
		if p.Prefix != from {
			a.push(a.targetsOf(p), jws)
		}
	}
}

func (a *Agent) push(targets []target, jws string) {
	a.call(func(ctx context.Context) {
		err := firstOf(ctx, targets, func(ctx context.Context, t target) error { return a.transport.PostDocument(ctx, t, jws) })
		if err != nil {
			a.log.Debug("passing a document on", "err", err)
		}
	})
}

// heard compares versions with a node that is at a target.
func (a *Agent) heard(t target, v control.Versions) { a.compare([]target{t}, t.want.prefix, v.Network) }

// greet compares versions with a new neighbour, as it said them in its offer.
func (a *Agent) greet(d *device) {
	if v, ok := a.gossip.seen[d.peer.Prefix]; ok {
		delete(a.gossip.seen, d.peer.Prefix)
		a.compare(a.targetsOf(d.peer), d.peer.Prefix, v)
	}
}

func (a *Agent) compare(targets []target, peer netip.Prefix, theirs uint64) {
	switch {
	case theirs > a.gossip.version && !a.gossip.asking[peer]:
		a.gossip.asking[peer] = true
		a.call(func(ctx context.Context) { a.fetch(ctx, targets, peer) })
	case theirs < a.gossip.version && a.gossip.document != "":
		a.push(targets, a.gossip.document)
	}
}

func (a *Agent) fetch(ctx context.Context, targets []target, peer netip.Prefix) {
	var documents []string
	err := firstOf(ctx, targets, func(ctx context.Context, t target) error {
		var err error
		documents, err = a.transport.Documents(ctx, t)
		return err
	})
	a.box.post(func(time.Time) { delete(a.gossip.asking, peer) })
	if err != nil {
		a.log.Debug("asking for documents", "err", err)
		return
	}
	for _, jws := range documents {
		if err := a.take(jws, peer); err != nil {
			a.log.Warn("refusing a document", "peer", peer, "err", err)
		}
	}
}

// take verifies a document from a node, outside the loop, and spreads it.
func (a *Agent) take(jws string, from netip.Prefix) error {
	if a.config.Documents == nil {
		return nil
	}
	version, err := a.config.Documents.Accept(jws)
	if err != nil {
		return err
	}
	a.box.post(func(now time.Time) { a.haveDocument(now, version, jws, from) })
	return nil
}

// AcceptDocument answers POST /v1/documents.
func (s api) AcceptDocument(_ context.Context, peer identity.Node, jws string) error {
	if err := s.a.take(jws, peer.Prefix); err != nil {
		s.a.log.Warn("refusing a document", "peer", peer.Name, "err", err)
		return control.Refuse(control.Invalid, "not a document of this network, or not signed by it")
	}
	return nil
}

// exchangePeers asks one neighbour whom it knows.
func (a *Agent) exchangePeers() {
	all := make([]tunnel.Peer, 0, len(a.neighbours))
	for _, p := range a.neighbours {
		all = append(all, p)
	}
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, func(x, y tunnel.Peer) int { return x.Prefix.Addr().Compare(y.Prefix.Addr()) })
	p := all[a.config.Rand.IntN(len(all))]
	targets := a.targetsOf(p)
	a.call(func(ctx context.Context) { a.askPeers(ctx, p, targets) })
}

func (a *Agent) askPeers(ctx context.Context, p tunnel.Peer, targets []target) {
	var got control.Peers
	err := firstOf(ctx, targets, func(ctx context.Context, t target) error {
		var err error
		got, err = a.transport.Peers(ctx, t)
		return err
	})
	if err != nil {
		a.log.Debug("asking for peers", "peer", p.Name, "err", err)
		return
	}
	var itself, others []tunnel.Peer
	for _, r := range got.Peers {
		x := tunnel.Peer{Name: r.Name, Prefix: r.Prefix, Endpoints: r.Endpoints}
		if r.Prefix == p.Prefix {
			itself = append(itself, x)
		} else {
			others = append(others, x)
		}
	}
	a.box.post(func(now time.Time) {
		a.manager.LearnPeers(now, itself, false)
		a.manager.LearnPeers(now, others, true)
		a.compare(targets, p.Prefix, got.Versions.Network)
	})
}
