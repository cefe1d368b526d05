package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"re6st/internal/identity"
	"re6st/registry/api"
	"re6st/registry/store"
)

// peerAgeMax: nodes report every few minutes; one that has been silent for this
// long is probably gone.
const peerAgeMax = 10 * time.Minute

// Report takes what a node says about itself, and tells it what is new. Who it is
// was proved by its certificate. It can be repeated.
func (r *Registry) Report(ctx context.Context, n identity.Node, report api.Report) (api.ReportResponse, error) {
	now := r.now()
	out := api.ReportResponse{ServerTime: now.UTC(), Network: r.settings.Load().Document}
	if err := r.checkHead(ctx, report.Journal); err != nil {
		return api.ReportResponse{}, r.problem(err)
	}
	id, err := r.store.NodeID(ctx, n.Key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		// We signed it and do not know it. The node works on meanwhile.
		r.stop(fmt.Sprintf("node %s has a certificate for %s that the database does not know: the database is an older copy", n.Name, n.Prefix))
	case err != nil:
		return api.ReportResponse{}, r.problem(err)
	default:
		entry := store.NodeReport{
			ID: id, Protocol: report.Protocol, Version: printable(report.Version),
			NetworkVersion: report.NetworkVersion, Tunnels: report.Tunnels, Routes: report.Routes, Seen: now,
		}
		var endpoints []netip.AddrPort
		endpoints, out.Ignored = r.checkEndpoints(report.Endpoints)
		entry.Peer = store.PeerOf(n.Name, n.Prefix, endpoints)
		r.store.PutReport(entry)
	}
	out.Peers, out.Journal = r.peers(now, n.Name), r.head()
	return out, nil
}

// peers is a random sample of nodes that were heard of lately.
func (r *Registry) peers(now time.Time, without string) []api.Peer {
	return r.store.Sample(r.sample, api.PeersMax, now.Add(-peerAgeMax), without)
}

// checkEndpoints keeps those that nodes may be told to dial, each once.
func (r *Registry) checkEndpoints(texts []string) (good []netip.AddrPort, ignored []string) {
	good = []netip.AddrPort{}
	seen := map[netip.AddrPort]bool{}
	for _, text := range texts[:min(len(texts), api.EndpointsMax)] {
		e, err := api.ParseEndpoint(text, r.networks)
		switch {
		case err != nil:
			ignored = append(ignored, fmt.Sprintf("%.64q: %v", text, err))
		case !seen[e]:
			seen[e] = true
			good = append(good, e)
		}
	}
	return good, ignored
}

// checkHead: a head of the journal that once left us, and that we do not know
// now, tells that our database is an older copy. Others than our own say
// nothing.
func (r *Registry) checkHead(ctx context.Context, text string) error {
	if text == "" {
		return nil
	}
	sequence, hash, ok := r.authority.openHead(text)
	if !ok {
		return nil
	}
	known, err := r.store.KnowsHead(ctx, sequence, hash)
	if err == nil && !known {
		r.stop(fmt.Sprintf("a node knows issuance %d of the journal, which the database lacks: the database is an older copy", sequence))
	}
	return err
}

// stop ends issuing, and says so once.
func (r *Registry) stop(reason string) {
	if r.store.Stopped() != "" {
		return
	}
	err := r.store.Stop(reason)
	r.log.Error("issuing is stopped", "reason", reason, "hint", stoppedHint, "err", err)
}

const stoppedHint = "put the newest registry.db or the newest journal into the state directory and start with --replay; then remove issuing.stopped there, if it exists"

// printable keeps what a node says from playing tricks on a terminal.
func printable(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < 0x20 || c > 0x7e {
			b[i] = '?'
		}
	}
	return string(b)
}
