package registry

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"

	"re6st/internal/identity"
	"re6st/registry/api"
)

// A door is a way in: it is a property of the connection.
type door uint8

const (
	doorPublic door = 1 << iota // TLS, whoever it is
	doorNode                    // TLS, and a node's certificate
	doorSocket                  // the unix socket
)

const (
	doorsAll = doorPublic | doorNode | doorSocket
	// doorsToken: the secret in the body decides, whoever connects.
	doorsToken = doorPublic | doorNode
)

// A route says which doors lead to it, and how it is served.
type route struct {
	method string
	path   string
	doors  door
	serve  func(huma.API, *Registry, huma.Operation) // nil: huma serves it
}

// routes is all authority that there is. A test compares it with the router.
func routes() []route {
	return []route{
		{http.MethodGet, api.PathHealth, doorsAll, serveHealth},
		{http.MethodGet, api.PathNetwork, doorsAll, serveNetworkDocument},
		{http.MethodPost, api.PathEnrol, doorsToken, serveEnrol},
		{http.MethodPut, api.PathNode, doorNode, serveReport},
		{http.MethodGet, api.PathTokens, doorSocket, serveTokens},
		{http.MethodPost, api.PathTokens, doorSocket, serveCreateToken},
		{http.MethodDelete, api.PathTokens + "/{id}", doorSocket, serveRevokeToken},
		{http.MethodGet, api.PathNodes, doorSocket, serveNodes},
		{http.MethodGet, api.PathNodes + "/find", doorSocket, serveFindNode},
		{http.MethodGet, api.PathParameters, doorSocket, serveNetwork},
		{http.MethodPatch, api.PathParameters, doorSocket, serveSetNetwork},
		{http.MethodGet, "/openapi.json", doorsAll, nil},
		{http.MethodGet, "/openapi.yaml", doorsAll, nil},
		{http.MethodGet, "/openapi-3.0.json", doorsAll, nil},
		{http.MethodGet, "/openapi-3.0.yaml", doorsAll, nil},
	}
}

// answer is what huma writes as JSON.
type answer[T any] struct {
	Body T
}

// question is what huma reads from JSON.
type question[T any] struct {
	Body T
}

type nothing struct{}

// register adapts a method of Registry to huma.
func register[I, O any](a huma.API, o huma.Operation, f func(context.Context, *I) (O, error)) {
	huma.Register(a, o, func(ctx context.Context, in *I) (*answer[O], error) {
		out, err := f(ctx, in)
		if err != nil {
			return nil, err
		}
		return &answer[O]{Body: out}, nil
	})
}

func serveHealth(a huma.API, r *Registry, o huma.Operation) {
	o.OperationID, o.Summary = "health", "Whether the registry works"
	register(a, o, func(ctx context.Context, _ *nothing) (api.Health, error) { return r.Health(ctx) })
}

func serveNetworkDocument(a huma.API, r *Registry, o huma.Operation) {
	o.OperationID, o.Summary = "network-document", "The signed network document"
	register(a, o, func(context.Context, *nothing) (api.NetworkDocument, error) {
		return api.NetworkDocument{Network: r.settings.Load().Document}, nil
	})
}

func serveEnrol(a huma.API, r *Registry, o huma.Operation) {
	o.OperationID, o.Summary = "enrol", "Get a certificate for a token. The same key and token get the same certificate"
	register(a, o, func(ctx context.Context, in *question[api.EnrolRequest]) (api.EnrolResponse, error) {
		return r.Enrol(ctx, visitorOf(ctx).source, in.Body)
	})
}

func serveReport(a huma.API, r *Registry, o huma.Operation) {
	o.OperationID, o.Summary = "report", "What a node says about itself, and what is new for it"
	register(a, o, func(ctx context.Context, in *question[api.Report]) (api.ReportResponse, error) {
		return r.Report(ctx, visitorOf(ctx).node, in.Body)
	})
}

func serveTokens(a huma.API, r *Registry, o huma.Operation) {
	o.OperationID, o.Summary = "list-tokens", "All tokens, without their secrets"
	register(a, o, func(ctx context.Context, _ *nothing) (api.TokenList, error) { return r.Tokens(ctx) })
}

func serveCreateToken(a huma.API, r *Registry, o huma.Operation) {
	o.OperationID, o.Summary = "create-token", "Make a token; its text is never shown again"
	register(a, o, func(ctx context.Context, in *question[api.TokenRequest]) (api.NewToken, error) {
		return r.CreateToken(ctx, in.Body)
	})
}

func serveRevokeToken(a huma.API, r *Registry, o huma.Operation) {
	o.OperationID, o.Summary = "revoke-token", "End a token"
	type which struct {
		ID int64 `path:"id" minimum:"1"`
	}
	register(a, o, func(ctx context.Context, in *which) (api.TokenInfo, error) { return r.RevokeToken(ctx, in.ID) })
}

func serveNodes(a huma.API, r *Registry, o huma.Operation) {
	o.OperationID, o.Summary = "list-nodes", "All nodes"
	register(a, o, func(ctx context.Context, _ *nothing) (api.NodeList, error) { return r.Nodes(ctx) })
}

func serveFindNode(a huma.API, r *Registry, o huma.Operation) {
	o.OperationID, o.Summary = "find-node", "A node by name, serial, prefix or address"
	type which struct {
		Which string `query:"which" required:"true" minLength:"1" maxLength:"100"`
	}
	register(a, o, func(ctx context.Context, in *which) (api.NodeDetail, error) { return r.Node(ctx, in.Which) })
}

func serveNetwork(a huma.API, r *Registry, o huma.Operation) {
	o.OperationID, o.Summary = "network", "The network and its parameters"
	register(a, o, func(ctx context.Context, _ *nothing) (api.NetworkInfo, error) { return r.Network(ctx) })
}

func serveSetNetwork(a huma.API, r *Registry, o huma.Operation) {
	o.OperationID, o.Summary = "set-network", "Change parameters: all that are named, or none"
	register(a, o, func(ctx context.Context, in *question[api.NetworkSet]) (api.NetworkInfo, error) {
		return r.SetNetwork(ctx, in.Body)
	})
}

// A visitor is who is at the other end: from the connection alone.
type visitor struct {
	door   door
	source netip.Addr
	node   identity.Node // with doorNode
}

type visitorKey struct{}

func visitorOf(ctx context.Context) visitor {
	v, _ := ctx.Value(visitorKey{}).(visitor) // the zero visitor passes no door
	return v
}
