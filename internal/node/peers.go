package node

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"re6st/registry/api"
	"re6st/tunnel"
	"re6st/tunnel/control"
)

const (
	// peersKept bounds the cache on disk: enough to find the mesh, whoever died.
	peersKept = 500
	// keepPeersEvery is how old the cache may be after a crash.
	keepPeersEvery = time.Minute
	// lookAgainEvery finds addresses that came or went without a link's doing so.
	lookAgainEvery = 15 * time.Second
)

// loadPeers reads the cache. An entry that makes no sense is left out.
func (s *state) loadPeers(networks []netip.Prefix) []tunnel.Peer {
	var records []api.Peer
	s.load(peersFile, func(data []byte) error { return json.Unmarshal(data, &records) })
	return usablePeers(records, networks)
}

func usablePeers(records []api.Peer, networks []netip.Prefix) []tunnel.Peer {
	peers := make([]tunnel.Peer, 0, len(records))
	for _, r := range records {
		if r.Check() != nil {
			continue
		}
		r.Endpoints = slices.DeleteFunc(r.Endpoints, func(e netip.AddrPort) bool { return api.CheckEndpoint(e, networks) != nil })
		peers = append(peers, tunnel.Peer{Name: r.Name, Prefix: r.Prefix, Endpoints: r.Endpoints})
	}
	return peers
}

func peerRecord(p tunnel.Peer) api.Peer {
	return api.Peer{Name: p.Name, Address: p.Address(), Prefix: p.Prefix, RouterID: p.ID().String(), Endpoints: p.Endpoints}
}

// keepPeers writes the cache now and then, and once more at the end.
func (d *daemon) keepPeers(ctx context.Context) error {
	ticker := time.NewTicker(keepPeersEvery)
	defer ticker.Stop()
	var last []byte
	first := time.After(lookAgainEvery) // a young node may die soon
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-first:
		case <-ticker.C:
		}
		last = d.savePeers(last)
		if ended {
			return nil
		}
	}
}

func (d *daemon) savePeers(last []byte) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	peers, err := d.agent.Peers(ctx)
	if err != nil || len(peers) == 0 {
		return last // an empty cache would be worse than an old one
	}
	records := make([]api.Peer, 0, len(peers))
	for _, p := range peers[:min(len(peers), peersKept)] {
		records = append(records, peerRecord(p))
	}
	data, err := json.Marshal(records)
	if err == nil && !bytes.Equal(data, last) {
		err = d.state.write(peersFile, data, 0o644)
	}
	if err != nil {
		d.log.Error("keeping the peers that are known", "err", err)
		return last
	}
	return data
}

// watchAddresses keeps the agent informed of where this node is.
func (d *daemon) watchAddresses(ctx context.Context) error {
	links, err := d.host.SubscribeLinks()
	if err != nil {
		return err
	}
	defer links.Close()
	ticker := time.NewTicker(lookAgainEvery)
	defer ticker.Stop()
	for {
		links.Take()
		var addresses []netip.Addr
		for _, e := range ownEndpoints(nil, d.options.Port, d.carried()) {
			addresses = append(addresses, e.Addr())
		}
		d.agent.SetAddresses(addresses, outsideOf(d.options.Endpoints, d.carried()))
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-links.C:
		case <-d.addressesDue:
		}
	}
}

// makeDirectory sets up the node's side of the registry's directory.
func (d *daemon) makeDirectory() {
	d.directory = &directory{send: d.client.Report, content: d.reportContent, learned: d.learn, rand: newRand(), log: d.log}
}

func (d *daemon) reportContent() api.Report {
	r := api.Report{Protocol: control.Protocol}
	for _, e := range ownEndpoints(d.options.Endpoints, d.options.Port, d.carried()) {
		r.Endpoints = append(r.Endpoints, e.String())
	}
	doc, _ := d.documents.current()
	r.NetworkVersion = doc.Version
	return r
}

// learn takes what the registry answers.
func (d *daemon) learn(answer api.ReportResponse) {
	if _, err := d.documents.offer(answer.Network); err != nil {
		d.log.Warn("the registry's network document", "err", err)
	}
	d.agent.SetPeers(usablePeers(answer.Peers, d.carried()))
}
