package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"re6st/addressing"
	"re6st/internal/identity"
	"re6st/tunnel"
	"re6st/tunnel/control"
)

// Certificates is what the node keeps of others' certificates. It is called from several goroutines.
type Certificates interface {
	// Certificate is that of a router-id, if it is at hand.
	Certificate(id addressing.RouterID) (der []byte, ok bool)
	// Met tells of a node that has proved who it is, maybe many times.
	Met(n identity.Node)
}

const (
	certificatesTime = 4 * time.Second
	nextHopTime      = 1200 * time.Millisecond
)

func met(c Certificates) func(identity.Node) {
	if c == nil {
		return nil
	}
	return c.Met
}

// ErrNoTunnel says that there is no tunnel on an interface (any more).
var ErrNoTunnel = errors.New("no tunnel on that interface")

// FetchCertificates asks the peer of the tunnel on an interface for certificates, control.MaxCertificates at most. It
// returns those that are valid and were asked for. No error and fewer than asked for: the peer has no others.
func (a *Agent) FetchCertificates(ctx context.Context, index int, ids []addressing.RouterID) ([]identity.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, certificatesTime)
	defer cancel()
	targets, err := ask(ctx, a.box, func(time.Time) []target {
		if d := a.byIndex[index]; d != nil {
			return a.targetsOf(d.peer)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case targets == nil:
		return nil, ErrNoTunnel
	}
	var got [][]byte
	err = firstOf(ctx, targets, func(ctx context.Context, t target) error {
		var err error
		got, err = a.transport.Certificates(ctx, t, ids)
		return err
	})
	if r, ok := errors.AsType[*control.Refusal](err); ok && r.Code == control.Unknown {
		return nil, nil // it does not have the one
	}
	if err != nil {
		return nil, err
	}
	return a.wanted(got, ids), nil
}

// wanted verifies what came, and drops what is no good: that is said, but it is no reason to drop the rest.
func (a *Agent) wanted(got [][]byte, ids []addressing.RouterID) []identity.Node {
	missing := make(map[addressing.RouterID]bool, len(ids))
	for _, id := range ids {
		missing[id] = true
	}
	var nodes []identity.Node
	for _, der := range got {
		n, err := a.config.Authority.Node(der, a.now())
		if err != nil {
			a.log.Debug("a certificate that a peer sent", "err", err)
			continue
		}
		if missing[n.RouterID] {
			delete(missing, n.RouterID)
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func (a *Agent) now() time.Time {
	if a.config.Now != nil {
		return a.config.Now()
	}
	return time.Now()
}

// Certificates answers GET and POST of /v1/certificates.
func (s api) Certificates(_ context.Context, _ identity.Node, ids []addressing.RouterID) ([][]byte, error) {
	var all [][]byte
	if s.a.config.Certificates == nil {
		return all, nil
	}
	for _, id := range ids[:min(len(ids), control.MaxCertificates)] {
		if der, ok := s.a.config.Certificates.Certificate(id); ok && len(der) <= control.MaxCertificate {
			all = append(all, der)
		}
	}
	return all, nil
}

// NextHopAt asks a node, by its address in the mesh, where a packet goes from it.
func (a *Agent) NextHopAt(ctx context.Context, node netip.Prefix, to, from netip.Addr) (control.NextHop, error) {
	ctx, cancel := context.WithTimeout(ctx, nextHopTime)
	defer cancel()
	address := addressing.NodeAddress(node)
	ports, err := ask(ctx, a.box, func(time.Time) []uint16 { return controlPorts(a.manager.Peers(), node) })
	if err != nil {
		return control.NextHop{}, err
	}
	for _, port := range ports {
		t := target{addr: netip.AddrPortFrom(address, port), overlay: true, want: expectation{prefix: node}}
		var n control.NextHop
		if n, err = a.transport.NextHop(ctx, t, to, from); err == nil {
			return n, nil
		}
		if _, isAnswer := errors.AsType[*control.Refusal](err); isAnswer {
			break
		}
	}
	return control.NextHop{}, fmt.Errorf("asking %v for the next hop: %w", address, err)
}

// controlPortsMax bounds how often one node is asked.
const controlPortsMax = 3

// controlPorts are where a node may have its control API in the mesh: the ports
// that it has on the underlay, as far as they are known, and the usual one, first
// if that is among them. (A translator on the way may show others than there are.)
func controlPorts(known []tunnel.Peer, node netip.Prefix) []uint16 {
	var ports []uint16
	if i := slices.IndexFunc(known, func(p tunnel.Peer) bool { return p.Prefix == node }); i >= 0 {
		for _, e := range known[i].Endpoints {
			if !slices.Contains(ports, e.Port()) {
				ports = append(ports, e.Port())
			}
		}
	}
	if i := slices.Index(ports, control.Port); i >= 0 {
		ports[0], ports[i] = ports[i], ports[0]
		return ports[:min(len(ports), controlPortsMax)]
	}
	return append(ports[:min(len(ports), controlPortsMax-1)], control.Port)
}

// NextHop answers GET /v1/next-hop.
func (s api) NextHop(_ context.Context, _ identity.Node, to, from netip.Addr) (control.NextHop, error) {
	if s.a.config.NextHop == nil {
		return control.NextHop{}, control.Refuse(control.Invalid, "this node does not tell")
	}
	return s.a.config.NextHop(to, from)
}
