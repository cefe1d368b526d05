package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"strconv"
	"time"

	"re6st/internal/identity"
	"re6st/tunnel/control"
	"re6st/tunnel/wg"
)

// A signed document and the JSON around it.
const maxDocumentRequest = control.MaxDocumentBytes + 1<<10

// caller is what the handlers know about a request beside its bytes.
type caller struct {
	peer     identity.Node
	observed netip.AddrPort
	tls      *tls.ConnectionState
}

// handler is the control API over either protocol, behind one door.
type handler struct {
	t       *httpTransport
	service service
	overlay bool // the door on the address in the mesh: where a call comes from says nothing about the underlay
	mux     *http.ServeMux
}

// route is one call of the API. Nothing else is answered (reliability.md T-18): an unknown path or method is refused
// after the same checks.
type route struct {
	pattern string
	body    int // most bytes of the request's body
	serve   func(h *handler, ctx context.Context, c caller, r *http.Request, body []byte) (any, error)
}

// routes have all the same authority: any node with a valid certificate of the mesh, for itself.
var routes = []route{
	{"GET /v1/node", 0, (*handler).getNode},
	{"PUT /v1/tunnels/{id}", control.MaxMessageBytes, (*handler).putTunnel},
	{"PATCH /v1/tunnels/{id}", control.MaxMessageBytes, (*handler).patchTunnel},
	{"DELETE /v1/tunnels/{id}", 0, (*handler).deleteTunnel},
	{"GET /v1/peers", 0, (*handler).getPeers},
	{"GET /v1/documents", 0, (*handler).getDocuments},
	{"POST /v1/documents", maxDocumentRequest, (*handler).postDocument},
	{"GET /v1/certificates/{id}", 0, (*handler).getCertificate},
	{"POST /v1/certificates", control.MaxMessageBytes, (*handler).postCertificates},
	{"GET /v1/next-hop", 0, (*handler).getNextHop},
}

func newHandler(t *httpTransport, s service, overlay bool) *handler {
	h := &handler{t: t, service: s, overlay: overlay, mux: http.NewServeMux()}
	for _, r := range routes {
		h.mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) { h.serve(w, req, r) })
	}
	h.mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) { h.serve(w, req, route{serve: (*handler).noRoute}) })
	return h
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.t.enter() {
		refuse(w, 0, control.Refuse(control.Closing, "the node is about to stop"))
		return
	}
	defer h.t.leave()
	defer func() {
		if p := recover(); p != nil {
			// No request may end the process; but each such line is a bug.
			h.t.log.Error("answering a request", "method", r.Method, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			refuse(w, 0, control.Refuse(control.Internal, "internal error"))
		}
	}()
	// The mux would answer an untidy path by a redirect before anybody is identified.
	if r.Method == http.MethodConnect || r.URL.Path != path.Clean(r.URL.Path) {
		h.serve(w, r, route{serve: (*handler).noRoute})
		return
	}
	h.mux.ServeHTTP(w, r)
}

// serve does for every call what comes before its own part: who is it, may it ask now, what did it send, in bounded time.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, rt route) {
	now := h.t.now()
	c, err := h.identify(r, now)
	if err != nil {
		refuse(w, 0, err)
		return
	}
	if wait, ok := h.t.quota.allow(time.Now(), c.peer.Prefix); !ok {
		refuse(w, 0, control.Refuse(control.Busy, "too many requests").After(wait))
		return
	}
	deadlines := http.NewResponseController(w)
	deadlines.SetReadDeadline(time.Now().Add(h.t.limits.ReadTime))
	deadlines.SetWriteDeadline(time.Now().Add(h.t.limits.WriteTime))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(rt.body)))
	if err != nil {
		refuse(w, bodyStatus(err), control.Refuse(control.Invalid, "the request's body is too large or did not arrive"))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.t.limits.RequestTime)
	defer cancel()
	answer, err := rt.serve(h, ctx, c, r, body)
	if err != nil {
		refuse(w, 0, h.refusalOf(err, r, c))
		return
	}
	respond(w, http.StatusOK, answer)
}

// identify takes the peer from its certificate, never from its address. HTTP/1 cannot get here by our own ALPN.
func (h *handler) identify(r *http.Request, now time.Time) (caller, error) {
	if r.TLS == nil || r.ProtoMajor < 2 {
		return caller{}, control.Refuse(control.Denied, "mutual TLS over HTTP/2 or HTTP/3 is needed")
	}
	peer, err := identity.PeerOf(r.TLS, h.t.authority, now)
	if err != nil {
		return caller{}, control.Refuse(control.Denied, "the certificate is not valid: %v", err)
	}
	h.t.config.Met(peer)
	c := caller{peer: peer, tls: r.TLS}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		h.t.gate.prove(time.Now(), from.Addr())
		if !h.overlay {
			c.observed = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		}
	}
	return c, nil
}

// refusalOf keeps the text of our own faults at home.
func (h *handler) refusalOf(err error, r *http.Request, c caller) *control.Refusal {
	if refusal, ok := errors.AsType[*control.Refusal](err); ok {
		return refusal
	}
	level := slog.LevelWarn
	if errors.Is(err, context.Canceled) {
		level = slog.LevelDebug // the caller has gone, or we are about to
	}
	h.t.log.Log(r.Context(), level, "answering a request", "method", r.Method, "path", r.URL.Path, "peer", c.peer.Name, "err", err)
	if errors.Is(err, context.DeadlineExceeded) {
		return control.Refuse(control.Busy, "the answer took too long")
	}
	return control.Refuse(control.Internal, "internal error")
}

func (h *handler) noRoute(context.Context, caller, *http.Request, []byte) (any, error) {
	return nil, control.Refuse(control.Invalid, "there is no such call")
}

func (h *handler) getNode(ctx context.Context, c caller, _ *http.Request, _ []byte) (any, error) {
	return h.service.Info(ctx, c.peer, c.observed)
}

func (h *handler) putTunnel(ctx context.Context, c caller, r *http.Request, body []byte) (any, error) {
	id, err := tunnelID(r)
	if err != nil {
		return nil, err
	}
	o, err := control.ParseOffer(body, h.t.networks())
	if err != nil {
		return nil, control.Refuse(control.Invalid, "%v", err)
	}
	// The exporter of the connection that carries this request, and no other: connections are reused.
	psk := func(answerer wg.Key) (wg.Key, error) { return exportPSK(c.tls, id, wg.Key(o.PublicKey), answerer) }
	return h.service.OfferTunnel(ctx, c.peer, c.observed, id, o, psk)
}

func (h *handler) patchTunnel(ctx context.Context, c caller, r *http.Request, body []byte) (any, error) {
	id, err := tunnelID(r)
	if err != nil {
		return nil, err
	}
	p, err := control.ParsePatch(body)
	if err != nil {
		return nil, control.Refuse(control.Invalid, "%v", err)
	}
	return struct{}{}, h.service.PatchTunnel(ctx, c.peer, id, p)
}

func (h *handler) deleteTunnel(ctx context.Context, c caller, r *http.Request, _ []byte) (any, error) {
	id, err := tunnelID(r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, h.service.DeleteTunnel(ctx, c.peer, id)
}

func (h *handler) getPeers(ctx context.Context, c caller, _ *http.Request, _ []byte) (any, error) {
	return h.service.Peers(ctx, c.peer)
}

func (h *handler) getDocuments(ctx context.Context, c caller, _ *http.Request, _ []byte) (any, error) {
	documents, err := h.service.Documents(ctx, c.peer)
	return control.DocumentList{Documents: documents}, err
}

// postDocument takes the documents in turn; the first that is refused ends it. Each is idempotent.
func (h *handler) postDocument(ctx context.Context, c caller, _ *http.Request, body []byte) (any, error) {
	list, err := control.ParseDocumentList(body)
	if err != nil {
		return nil, control.Refuse(control.Invalid, "%v", err)
	}
	for _, jws := range list.Documents {
		if err := h.service.AcceptDocument(ctx, c.peer, jws); err != nil {
			return nil, err
		}
	}
	return struct{}{}, nil
}

func tunnelID(r *http.Request) (control.TunnelID, error) {
	id, err := control.ParseTunnelID(r.PathValue("id"))
	if err != nil {
		return control.TunnelID{}, control.Refuse(control.Invalid, "%v", err)
	}
	return id, nil
}

func bodyStatus(err error) int {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusRequestTimeout
}

// refuse answers with a refusal; status 0 takes the one of its code.
func refuse(w http.ResponseWriter, status int, err error) {
	refusal, ok := errors.AsType[*control.Refusal](err)
	if !ok {
		refusal = control.Refuse(control.Internal, "internal error")
	}
	if len(refusal.Text) > control.MaxTextBytes {
		c := *refusal
		c.Text = c.Text[:control.MaxTextBytes-3] + "..."
		refusal = &c
	}
	if status == 0 {
		status = refusal.Status()
	}
	if wait := time.Duration(refusal.RetryAfter); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	}
	respond(w, status, refusal)
}

func respond(w http.ResponseWriter, status int, message any) {
	data, err := control.Marshal(message)
	if err != nil {
		slog.Error("answering a request", "err", err)
		status, data = http.StatusInternalServerError, []byte("{}")
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(data)
}
