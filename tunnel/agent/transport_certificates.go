package agent

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"

	"re6st/addressing"
	"re6st/tunnel/control"
)

// Both ends of the calls about certificates and next hops.

func (h *handler) getCertificate(ctx context.Context, c caller, r *http.Request, _ []byte) (any, error) {
	id, err := addressing.ParseRouterID(r.PathValue("id"))
	if err != nil {
		return nil, control.Refuse(control.Invalid, "%v", err)
	}
	all, err := h.service.Certificates(ctx, c.peer, []addressing.RouterID{id})
	if err == nil && len(all) == 0 {
		err = control.Refuse(control.Unknown, "no certificate of %v", id)
	}
	return control.Certificates{Certificates: all}, err
}

// postCertificates: what is not at hand is simply not in the answer.
func (h *handler) postCertificates(ctx context.Context, c caller, _ *http.Request, body []byte) (any, error) {
	wanted, err := control.ParseCertificatesWanted(body)
	if err != nil {
		return nil, control.Refuse(control.Invalid, "%v", err)
	}
	all, err := h.service.Certificates(ctx, c.peer, wanted.RouterIDs)
	return control.Certificates{Certificates: all}, err
}

func (h *handler) getNextHop(ctx context.Context, c caller, r *http.Request, _ []byte) (any, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, control.Refuse(control.Invalid, "the query cannot be read")
	}
	to, from, err := control.ParseNextHopQuery(q.Get("to"), q.Get("from"))
	if err != nil {
		return nil, control.Refuse(control.Invalid, "%v", err)
	}
	return h.service.NextHop(ctx, c.peer, to, from)
}

// Certificates is documented at the interface.
func (t *httpTransport) Certificates(ctx context.Context, to target, ids []addressing.RouterID) ([][]byte, error) {
	rq := request{method: http.MethodPost, path: "/v1/certificates", limit: control.MaxCertificatesBytes}
	if len(ids) == 1 {
		rq.method, rq.path = http.MethodGet, "/v1/certificates/"+ids[0].String()
	} else {
		body, err := control.Marshal(control.CertificatesWanted{RouterIDs: ids})
		if err != nil {
			return nil, err
		}
		rq.body = body
	}
	r, err := t.client.call(ctx, to, rq)
	if err != nil {
		return nil, err
	}
	all, err := control.ParseCertificates(r.data)
	if err != nil {
		return nil, calling(to, err)
	}
	return all.Certificates, nil
}

// NextHop is documented at the interface.
func (t *httpTransport) NextHop(ctx context.Context, to target, dst, src netip.Addr) (control.NextHop, error) {
	q := url.Values{"to": {dst.String()}, "from": {src.String()}}
	r, err := t.client.call(ctx, to, request{method: http.MethodGet, path: "/v1/next-hop?" + q.Encode(), limit: control.MaxMessageBytes})
	if err != nil {
		return control.NextHop{}, err
	}
	n, err := control.ParseNextHop(r.data)
	if err != nil {
		return control.NextHop{}, calling(to, err)
	}
	return n, nil
}
