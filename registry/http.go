package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"re6st/internal/identity"
	"re6st/registry/api"
)

// socketKey marks the connections of the unix socket.
type socketKey struct{}

// onSocket marks a context as one of the unix socket.
func onSocket(ctx context.Context) context.Context { return context.WithValue(ctx, socketKey{}, true) }

// Handler serves the API to whoever comes by any door.
func (r *Registry) Handler() http.Handler { return r.router() }

func (r *Registry) router() *chi.Mux {
	mux := chi.NewMux()
	mux.NotFound(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, api.NewProblem(http.StatusNotFound, api.CodeNotFound, "there is nothing at this path", ""))
	})
	mux.MethodNotAllowed(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, api.NewProblem(http.StatusMethodNotAllowed, api.CodeMethod, "this path does not take this method", ""))
	})
	mux.Use(r.recoverPanic, r.authorize(mux), limitBody)
	a := newAPI(mux)
	for _, row := range routes() {
		if row.serve != nil {
			row.serve(a, r, huma.Operation{Method: row.method, Path: row.path, MaxBodyBytes: api.BodyBytesMax})
		}
	}
	return mux
}

// ownErrors makes huma answer with our problem documents, once in a process.
var ownErrors = sync.OnceFunc(func() { huma.NewError = newHumaError })

func newAPI(mux chi.Router) huma.API {
	ownErrors()
	c := huma.DefaultConfig("re6st registry", "1")
	c.DocsPath = ""     // the built-in page loads scripts from elsewhere
	c.SchemasPath = ""  // no second copy of what /openapi.json has
	c.CreateHooks = nil // no $schema with an address made from a request's header
	c.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	return humachi.New(mux, c)
}

// newHumaError leaves out the offending value, which may be a secret, and what
// comes from decoders, which may quote it.
func newHumaError(status int, message string, errs ...error) huma.StatusError {
	code := api.CodeInvalid
	switch {
	case status >= http.StatusInternalServerError:
		code, message = api.CodeInternal, "the registry cannot answer this"
	case status == http.StatusNotFound:
		code = api.CodeNotFound
	}
	p := api.NewProblem(status, code, message, "")
	p.Title = http.StatusText(status)
	for _, err := range errs {
		if detail, ok := err.(*huma.ErrorDetail); ok && status < http.StatusInternalServerError {
			p.Errors = append(p.Errors, api.InvalidField{Location: detail.Location, Message: detail.Message})
		}
	}
	return p
}

func writeProblem(w http.ResponseWriter, p *api.Problem) {
	p.Title = http.StatusText(p.Status)
	w.Header().Set("Content-Type", api.ProblemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone: nobody to tell
}

// authorize finds out who comes, and asks the table. What is not in the table
// is denied, should huma or chi ever add a route of their own.
func (r *Registry) authorize(mux *chi.Mux) func(http.Handler) http.Handler {
	doors := map[string]door{}
	for _, row := range routes() {
		doors[row.method+" "+row.path] = row.doors
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			pattern := mux.Find(chi.NewRouteContext(), q.Method, q.URL.Path)
			if pattern == "" { // neither path nor method leads anywhere
				next.ServeHTTP(w, q)
				return
			}
			v, err := r.visit(q)
			if doors[q.Method+" "+pattern]&v.door == 0 {
				writeProblem(w, denied(v, doors[q.Method+" "+pattern], err))
				return
			}
			next.ServeHTTP(w, q.WithContext(context.WithValue(q.Context(), visitorKey{}, v)))
			r.trace("answer-written")
		})
	}
}

// visit tells who is at the other end. err says why it is no node, where it
// showed a certificate.
func (r *Registry) visit(q *http.Request) (visitor, error) {
	if isSocket, _ := q.Context().Value(socketKey{}).(bool); isSocket {
		return visitor{door: doorSocket}, nil
	}
	if q.TLS == nil {
		return visitor{}, nil
	}
	v := visitor{door: doorPublic}
	if remote, err := netip.ParseAddrPort(q.RemoteAddr); err == nil {
		v.source = remote.Addr().Unmap()
	}
	if len(q.TLS.PeerCertificates) == 0 {
		return v, nil
	}
	// Again for each request: a connection may outlive a certificate.
	n, err := identity.PeerOf(q.TLS, r.authority.identity, r.now())
	if err != nil {
		return v, err
	}
	v.door, v.node = doorNode, n
	return v, nil
}

func denied(v visitor, wanted door, err error) *api.Problem {
	if wanted == doorNode && v.door == doorPublic {
		detail := "a node's certificate is needed"
		if err != nil {
			detail = err.Error()
		}
		return api.NewProblem(http.StatusUnauthorized, api.CodeCertificate, detail, "see the certificate's time of validity, and both clocks")
	}
	return api.NewProblem(http.StatusForbidden, api.CodeDenied, "this door does not lead there", "")
}

// limitBody bounds what is read, before huma does: also where no body is wanted.
func limitBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if coding := q.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
			writeProblem(w, api.NewProblem(http.StatusUnsupportedMediaType, api.CodeInvalid, "compressed requests are not taken", ""))
			return
		}
		q.Body = http.MaxBytesReader(w, q.Body, api.BodyBytesMax)
		next.ServeHTTP(w, q)
	})
}

// recoverPanic keeps one bad request from ending the others. It is counted as
// what it is: a fault of ours, in the log with its place, without arguments.
func (r *Registry) recoverPanic(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		defer func() {
			if cause := recover(); cause != nil {
				if cause == http.ErrAbortHandler {
					panic(cause)
				}
				r.log.Error("panic in a handler", "path", q.URL.Path, "err", fmt.Sprint(cause), "at", caller())
				writeProblem(w, api.NewProblem(http.StatusInternalServerError, api.CodeInternal, "the registry cannot answer this", ""))
			}
		}()
		next.ServeHTTP(w, q)
	})
}

// inProcess lets a command of the operator speak to the handler when no server
// runs: one way for both.
type inProcess struct{ handler http.Handler }

// Transport reaches the operator's routes within this process.
func (r *Registry) Transport() http.RoundTripper { return inProcess{r.Handler()} }

// RoundTrip serves one request as one of the unix socket.
func (t inProcess) RoundTrip(q *http.Request) (*http.Response, error) {
	q = q.Clone(onSocket(q.Context()))
	if q.Body == nil {
		q.Body = http.NoBody
	}
	w := &memoryWriter{header: http.Header{}, status: http.StatusOK}
	t.handler.ServeHTTP(w, q)
	return &http.Response{
		StatusCode: w.status, Status: http.StatusText(w.status), Header: w.header, Request: q,
		ProtoMajor: 1, ProtoMinor: 1, Body: io.NopCloser(strings.NewReader(w.body.String())),
	}, nil
}

type memoryWriter struct {
	header http.Header
	status int
	body   strings.Builder
}

func (w *memoryWriter) Header() http.Header         { return w.header }
func (w *memoryWriter) WriteHeader(status int)      { w.status = status }
func (w *memoryWriter) Write(b []byte) (int, error) { return w.body.Write(b) }
