package node

import (
	"time"

	"re6st/registry/network"
	"re6st/tunnel"
)

// accepter is the documents as the tunnels' agent sees them.
type accepter struct{ documents *documents }

// Accept takes a document from a peer and tells which version is at hand.
func (a accepter) Accept(jws string) (uint64, error) {
	if _, err := a.documents.offer(jws); err != nil {
		return 0, err
	}
	doc, _ := a.documents.current()
	return doc.Version, nil
}

// apply puts the parameters of a newer document into force.
func (d *daemon) apply(doc network.Document) {
	d.agent.SetParameters(d.tunnelParameters(doc.Parameters))
	d.routing.setParameters(doc.Parameters)
	if d.claims.SetNAT64(doc.Parameters.NAT64) {
		d.keeper.changed()
	}
	d.followNAT64(doc.Parameters.NAT64)
	d.agent.SetDocument(doc.Version, d.documents.jws)
}

// tunnelParameters: a flag of the operator's wins over the network's value.
func (d *daemon) tunnelParameters(p network.Parameters) tunnel.Parameters {
	t := tunnel.DefaultParameters()
	t.Tunnels, t.Refresh, t.MinProtocol, t.DemandTunnels = p.Tunnels, time.Duration(p.Refresh), p.MinProtocol, p.DemandTunnels
	if d.options.Tunnels > 0 {
		t.Tunnels = d.options.Tunnels
	}
	if d.options.DemandTunnels >= 0 {
		t.DemandTunnels = d.options.DemandTunnels
	}
	if d.options.MaxIncoming >= 0 {
		t.MaxIncoming = d.options.MaxIncoming
	}
	if d.options.Refresh > 0 {
		t.Refresh = d.options.Refresh
	}
	return t
}
