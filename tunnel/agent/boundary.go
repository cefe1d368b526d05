package agent

import (
	"context"
	"net/netip"
	"time"

	"re6st/addressing"
	"re6st/internal/identity"
	"re6st/tunnel/control"
	"re6st/tunnel/wg"
)

// The two halves of this package meet here: the loop (agent*.go) decides, the transport (transport*.go) speaks HTTP.
// The loop calls a transport, the transport's server calls the loop through a service. Both pass values of
// tunnel/control that were parsed and validated; a request that the other node refused is a *control.Refusal
// (errors.As), anything else went wrong on the way.

// target is a peer to call: where, and who is expected there.
type target struct {
	addr netip.AddrPort
	want expectation
	// overlay: addr is the node's address in the mesh; the call goes out unmarked, through the tunnels.
	// Otherwise addr is an endpoint of the underlay and the socket carries the mark.
	overlay bool
}

// expectation says who must answer. Its zero value accepts any node with a valid certificate of this mesh.
type expectation struct {
	prefix netip.Prefix // the node's IPv6 prefix, which is for life; zero: anyone
}

// met tells whether a verified peer is the expected one.
func (e expectation) met(n identity.Node) bool {
	return !e.prefix.IsValid() || e.prefix == n.Prefix
}

// transport calls other nodes. Every method may block until ctx ends, and is called from many goroutines at once.
// A connection is kept for a while, so that a probe and the offer after it share one handshake.
type transport interface {
	// Node asks who is there (GET /v1/node). rtt is that of an exchange over a warm connection (the least of a few),
	// not the time of the handshake.
	Node(ctx context.Context, t target) (info control.NodeInfo, peer identity.Node, rtt time.Duration, err error)

	// PutTunnel offers a tunnel. psk comes from the exporter of the very TLS session that carried the answer, with
	// context pskContext(id, offer's key, answer's key).
	PutTunnel(ctx context.Context, t target, id control.TunnelID, o control.Offer) (a control.Answer, peer identity.Node, psk wg.Key, err error)

	Patch(ctx context.Context, t target, id control.TunnelID, p control.Patch) error
	Delete(ctx context.Context, t target, id control.TunnelID) error
	Peers(ctx context.Context, t target) (control.Peers, error)
	Documents(ctx context.Context, t target) ([]string, error)
	PostDocument(ctx context.Context, t target, jws string) error

	// Certificates asks for the certificates of some nodes, control.MaxCertificates at most. What comes back is not
	// verified, and may be of others.
	Certificates(ctx context.Context, t target, ids []addressing.RouterID) ([][]byte, error)

	// NextHop asks where a packet goes from there.
	NextHop(ctx context.Context, t target, to, from netip.Addr) (control.NextHop, error)

	// Serve answers requests with s until ctx ends, and then closes all connections. ready is called once when the
	// sockets are open. It returns early only with what makes serving impossible (a port in use).
	Serve(ctx context.Context, s service, ready func()) error

	// Forget closes the connections with a peer: it was revoked, or its tunnel is dead.
	Forget(prefix netip.Prefix)

	// SetNetworks tells which prefixes the mesh carries: nothing in them is an endpoint.
	SetNetworks(networks []netip.Prefix)
}

// service is what the transport's server calls. peer is the verified identity of the caller; observed is where it
// called from, and zero if it called through the mesh. Each method is bounded by ctx and may be called from many
// goroutines at once. An error that is a *control.Refusal goes out as it is, with its status; any other one as
// control.Internal, without its text.
type service interface {
	Info(ctx context.Context, peer identity.Node, observed netip.AddrPort) (control.NodeInfo, error)

	// OfferTunnel decides on an offer. psk derives the pre-shared key of the session that carries the request, once
	// our public key is known; it may be called from another goroutine until OfferTunnel returns.
	OfferTunnel(ctx context.Context, peer identity.Node, observed netip.AddrPort, id control.TunnelID, o control.Offer, psk func(answerer wg.Key) (wg.Key, error)) (control.Answer, error)

	PatchTunnel(ctx context.Context, peer identity.Node, id control.TunnelID, p control.Patch) error
	DeleteTunnel(ctx context.Context, peer identity.Node, id control.TunnelID) error
	Peers(ctx context.Context, peer identity.Node) (control.Peers, error)
	Documents(ctx context.Context, peer identity.Node) ([]string, error)

	// AcceptDocument takes a document whose signature is not yet verified. An older one than ours is no error.
	AcceptDocument(ctx context.Context, peer identity.Node, jws string) error

	// Certificates gives those that are at hand, control.MaxCertificates at most.
	Certificates(ctx context.Context, peer identity.Node, ids []addressing.RouterID) ([][]byte, error)
	NextHop(ctx context.Context, peer identity.Node, to, from netip.Addr) (control.NextHop, error)
}

// PSKLabel is the label of the TLS exporter (RFC 8446, section 7.5) from which both ends of a tunnel take the
// pre-shared key of WireGuard.
const PSKLabel = "EXPORTER-re6st-wireguard-psk"

// pskContext is the exporter's context: a key serves one tunnel with one pair of keys.
func pskContext(id control.TunnelID, offerer, answerer wg.Key) []byte {
	c := make([]byte, 0, len(id)+len(offerer)+len(answerer))
	c = append(c, id[:]...)
	c = append(c, offerer[:]...)
	return append(c, answerer[:]...)
}
