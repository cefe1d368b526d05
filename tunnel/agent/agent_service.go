package agent

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"re6st/internal/identity"
	"re6st/tunnel"
	"re6st/tunnel/control"
	"re6st/tunnel/wg"
)

// api is the agent as its transport's service: each request becomes an input of the machine.
type api struct{ a *Agent }

var _ service = api{}

const peersSample = 64

func peerOf(n identity.Node) tunnel.Peer { return tunnel.Peer{Name: n.Name, Prefix: n.Prefix} }

// Info answers GET /v1/node.
func (s api) Info(ctx context.Context, _ identity.Node, observed netip.AddrPort) (control.NodeInfo, error) {
	info, err := ask(ctx, s.a.box, func(now time.Time) control.NodeInfo {
		incoming, room := s.a.manager.Load()
		return control.NodeInfo{
			Protocol: control.Protocol, Name: s.a.config.Self.Name, Prefix: s.a.config.Self.Prefix,
			Endpoints: s.a.endpoints, Observed: observed, Versions: s.a.gossip.versions(),
			Incoming: incoming, Room: room, Uptime: control.Seconds(now.Sub(s.a.started)),
			NoTransit: s.a.noTransit,
		}
	})
	return info, refusal(err)
}

// OfferTunnel answers PUT /v1/tunnels/{id}.
func (s api) OfferTunnel(ctx context.Context, peer identity.Node, observed netip.AddrPort, id control.TunnelID, o control.Offer, psk func(answerer wg.Key) (wg.Key, error)) (control.Answer, error) {
	c := &offerCall{peer: peer, psk: psk, result: make(chan offerResult, 1)}
	defer c.leave()
	s.a.box.post(func(now time.Time) {
		n := s.a.callID()
		s.a.pending[n] = c
		s.a.gossip.note(peer.Prefix, o.Versions)
		s.a.manager.Offered(now, n, peerOf(peer), observed, id, o)
	})
	select {
	case r := <-c.result:
		return r.answer, r.err
	case <-ctx.Done():
		return control.Answer{}, ctx.Err()
	case <-s.a.box.done:
		return control.Answer{}, refusal(errNotRunning)
	}
}

// PatchTunnel answers PATCH /v1/tunnels/{id}.
func (s api) PatchTunnel(ctx context.Context, peer identity.Node, id control.TunnelID, p control.Patch) error {
	return s.a.onTunnel(ctx, peer, id, func(now time.Time, from tunnel.PeerID) {
		s.a.manager.Patched(now, from, id, p)
		s.a.compare(s.a.targetsOf(s.a.neighbours[from]), peer.Prefix, p.Versions.Network)
	})
}

// DeleteTunnel answers DELETE /v1/tunnels/{id}. That it is not there is no error: the caller wants it so.
func (s api) DeleteTunnel(ctx context.Context, peer identity.Node, id control.TunnelID) error {
	err := s.a.onTunnel(ctx, peer, id, func(now time.Time, from tunnel.PeerID) { s.a.manager.Deleted(now, from, id) })
	if r, ok := errors.AsType[*control.Refusal](err); ok && r.Code == control.Unknown {
		return nil
	}
	return err
}

func (a *Agent) onTunnel(ctx context.Context, peer identity.Node, id control.TunnelID, f func(time.Time, tunnel.PeerID)) error {
	found, err := ask(ctx, a.box, func(now time.Time) bool {
		from := peerOf(peer).ID()
		if !a.manager.Has(from, id) {
			return false
		}
		f(now, from)
		return true
	})
	switch {
	case err != nil:
		return refusal(err)
	case !found:
		return control.Refuse(control.Unknown, "no tunnel %s with you", id)
	}
	return nil
}

// Peers answers GET /v1/peers with a random sample of those that can be called, and with the answerer itself.
func (s api) Peers(ctx context.Context, peer identity.Node) (control.Peers, error) {
	p, err := ask(ctx, s.a.box, func(time.Time) control.Peers { return s.a.sample(peer.Prefix) })
	return p, refusal(err)
}

func (a *Agent) sample(asker netip.Prefix) control.Peers {
	known := a.manager.Peers()
	a.config.Rand.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	out := make([]control.PeerRecord, 0, peersSample+1)
	if len(a.endpoints) > 0 {
		out = append(out, control.PeerRecord{Name: a.config.Self.Name, Prefix: a.config.Self.Prefix, Endpoints: a.endpoints})
	}
	for _, p := range known {
		if len(p.Endpoints) > 0 && p.Prefix != asker && len(out) < cap(out) {
			out = append(out, control.PeerRecord{Name: p.Name, Prefix: p.Prefix, Endpoints: p.Endpoints})
		}
	}
	return control.Peers{Peers: out, Versions: a.gossip.versions()}
}

// Documents answers GET /v1/documents.
func (s api) Documents(ctx context.Context, _ identity.Node) ([]string, error) {
	d, err := ask(ctx, s.a.box, func(time.Time) []string { return s.a.gossip.documents() })
	return d, refusal(err)
}

// refusal turns the loop's end into something that the caller understands.
func refusal(err error) error {
	if errors.Is(err, errNotRunning) {
		return control.Refuse(control.Closing, "the node is stopping")
	}
	return err
}
