package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"re6st/registry/api"
)

// listBytesMax bounds a listing: 100,000 nodes are 50 MB.
const listBytesMax = 256 << 20

// The types of requests and answers, for callers that need no more of the API.
type (
	Token          = api.Token
	EnrolRequest   = api.EnrolRequest
	EnrolResponse  = api.EnrolResponse
	Report         = api.Report
	ReportResponse = api.ReportResponse

	TokenRequest = api.TokenRequest
	NewToken     = api.NewToken
	TokenList    = api.TokenList
	TokenInfo    = api.TokenInfo
	NodeList     = api.NodeList
	NodeDetail   = api.NodeDetail
	NodeInfo     = api.NodeInfo
	NetworkInfo  = api.NetworkInfo
	NetworkSet   = api.NetworkSet
)

// ParseToken reads a token's text.
func ParseToken(text string) (Token, error) { return api.ParseToken(text) }

// An Admin speaks for the operator: over the unix socket of a running registry,
// or to the registry's handler within this process.
type Admin struct{ http *http.Client }

// NewAdmin takes the way to the registry.
func NewAdmin(transport http.RoundTripper) *Admin {
	return &Admin{http: &http.Client{Transport: transport, Timeout: time.Minute, CheckRedirect: noRedirect}}
}

// Close ends idle connections.
func (a *Admin) Close() { a.http.CloseIdleConnections() }

// CreateToken makes a token. Its text is in the answer, and never shown again.
func (a *Admin) CreateToken(ctx context.Context, r TokenRequest) (NewToken, error) {
	var out NewToken
	return out, a.do(ctx, "creating a token", http.MethodPost, api.PathTokens, r, &out)
}

// Tokens lists them.
func (a *Admin) Tokens(ctx context.Context) (TokenList, error) {
	var out TokenList
	return out, a.do(ctx, "listing tokens", http.MethodGet, api.PathTokens, nil, &out)
}

// RevokeToken ends a token.
func (a *Admin) RevokeToken(ctx context.Context, id int64) (TokenInfo, error) {
	var out TokenInfo
	return out, a.do(ctx, "revoking token "+strconv.FormatInt(id, 10), http.MethodDelete, api.PathTokens+"/"+strconv.FormatInt(id, 10), nil, &out)
}

// Nodes lists them.
func (a *Admin) Nodes(ctx context.Context) (NodeList, error) {
	var out NodeList
	return out, a.do(ctx, "listing nodes", http.MethodGet, api.PathNodes, nil, &out)
}

// Node finds one by name, serial, prefix or address.
func (a *Admin) Node(ctx context.Context, which string) (NodeDetail, error) {
	var out NodeDetail
	return out, a.do(ctx, "looking for node "+strconv.Quote(which), http.MethodGet, api.PathNodes+"/find?which="+url.QueryEscape(which), nil, &out)
}

// Network tells the network's parameters.
func (a *Admin) Network(ctx context.Context) (NetworkInfo, error) {
	var out NetworkInfo
	return out, a.do(ctx, "reading the network's parameters", http.MethodGet, api.PathParameters, nil, &out)
}

// SetNetwork changes parameters: all that are named, or none.
func (a *Admin) SetNetwork(ctx context.Context, parameters map[string]string) (NetworkInfo, error) {
	var out NetworkInfo
	return out, a.do(ctx, "setting network parameters", http.MethodPatch, api.PathParameters, NetworkSet{Parameters: parameters}, &out)
}

func (a *Admin) do(ctx context.Context, what, method, path string, in, out any) error {
	body, err := encode(in)
	if err != nil {
		return err
	}
	request, err := newRequest(ctx, method, "http://registry"+path, body)
	if err != nil {
		return newError(what, "", err)
	}
	response, err := a.http.Do(request)
	if err != nil {
		e := newError(what, "", err)
		e.Hint = "is the registry running? re6stregistry serve"
		return e
	}
	defer response.Body.Close()
	if err := decode(response, out, listBytesMax); err != nil {
		return newError(what, "", err)
	}
	return nil
}
