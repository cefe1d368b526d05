package registry

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"re6st/addressing"
	"re6st/registry/api"
	"re6st/registry/ca"
	"re6st/registry/store"
)

// issueTimeout bounds a transaction and its journal. It does not end with the
// request: half of an issuance helps nobody, and a whole one the retry.
const issueTimeout = 20 * time.Second

// Enrol gives a certificate to the holder of a token. It can be repeated: the
// same key with the same token gets the same certificate, also when the token
// is used up or has expired by less than a day. Where it fails, the token has
// lost no use.
func (r *Registry) Enrol(ctx context.Context, source netip.Addr, request api.EnrolRequest) (api.EnrolResponse, error) {
	r.trace("request-read")
	now, from := r.now(), sourceOf(source)
	if !r.failures.allows(from, now) {
		return api.EnrolResponse{}, errTooMany()
	}
	claim, key, err := r.readClaim(request)
	if err != nil {
		return api.EnrolResponse{}, err
	}
	r.trace("request-checked")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), issueTimeout)
	defer cancel()
	// Bad tokens are answered from here, whatever is bad about them: they take
	// the same one query, and never wait for the writer.
	err = r.store.MayEnrol(ctx, now, claim)
	r.trace("token-looked-up")
	if err == nil {
		return r.enrol(ctx, now, claim, key)
	}
	if errors.Is(err, store.ErrToken) {
		r.failures.fail(from, now)
		r.log.Info("enrolment refused: bad token", "source", source)
	}
	return api.EnrolResponse{}, r.problem(err)
}

// readClaim checks all that can be checked without the database.
func (r *Registry) readClaim(request api.EnrolRequest) (store.Claim, *ecdsa.PublicKey, error) {
	none := func(err error) (store.Claim, *ecdsa.PublicKey, error) { return store.Claim{}, nil, err }
	key, err := ca.ParseCSR(request.CSR)
	if err != nil {
		return none(errCSR(err))
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return none(errCSR(err))
	}
	claim := store.Claim{Key: sha256.Sum256(spki), Name: request.Name}
	if claim.Key == r.authority.identity.Pin() {
		return none(errCSR(errors.New("the key is the CA's")))
	}
	if claim.Name != "" {
		if err := api.CheckName(claim.Name); err != nil {
			return none(errName(err))
		}
	}
	// A malformed secret is an unknown one: no other answer for it.
	if claim.Secret, err = request.Secret.Parse(); err != nil {
		claim.Secret = newSecret()
	}
	return claim, key, nil
}

func (r *Registry) enrol(ctx context.Context, now time.Time, claim store.Claim, key *ecdsa.PublicKey) (api.EnrolResponse, error) {
	issued, err := r.store.Issue(ctx, now, claim, func(g store.Grant) (store.Prepared, error) {
		return r.prepare(now, g, key)
	})
	if err != nil {
		return api.EnrolResponse{}, r.problem(err)
	}
	der, err := r.authority.signNode(issued.TBS)
	if err != nil {
		return api.EnrolResponse{}, r.problem(err)
	}
	r.trace("signed")
	if err := r.store.Record(ctx, issued.Sequence); err != nil {
		return api.EnrolResponse{}, r.problem(err)
	}
	r.trace("recorded")
	n, err := r.authority.identity.Node(der, now)
	if err != nil {
		return api.EnrolResponse{}, r.problem(fmt.Errorf("checking the certificate: %w", err))
	}
	r.trace("answer-made")
	r.log.Info("node enrolled", "name", n.Name, "prefix", n.Prefix, "ipv4", ipv4Text(n.IPv4), "repeated", issued.Repeated)
	if issued.IPv4Exhausted {
		r.log.Warn("no IPv4 subnet is left: the node has none", "name", n.Name)
	}
	return api.EnrolResponse{
		Certificate: der,
		CA:          r.authority.ca.Raw(),
		Network:     r.settings.Load().Document,
		Peers:       r.peers(now, n.Name),
		Journal:     r.head(),

		IPv4Exhausted: issued.IPv4Exhausted,
	}, nil
}

func ipv4Text(p netip.Prefix) string {
	if !p.IsValid() {
		return "none"
	}
	return p.String()
}

// prepare makes the bytes to be signed. Of the request it knows the key alone.
func (r *Registry) prepare(now time.Time, g store.Grant, key *ecdsa.PublicKey) (store.Prepared, error) {
	serial, err := ca.NewSerial()
	if err != nil {
		return store.Prepared{}, err
	}
	n := ca.Node{
		Name: g.Name, Domain: r.settings.Load().Domain, Prefix: g.Prefix, IPv4: g.IPv4, Key: key, Serial: serial,
		Rights: addressing.Rights{Announce: g.Announce, Gateway: g.Gateway},
	}
	n.NotBefore, n.NotAfter = ca.Validity(now)
	p := store.Prepared{NotBefore: n.NotBefore, NotAfter: n.NotAfter}
	serial.FillBytes(p.Serial[:])
	p.TBS, err = r.authority.ca.PrepareNode(n)
	return p, err
}

// head is the end of the journal, sealed.
func (r *Registry) head() string {
	sequence, hash := r.store.Head()
	if sequence == 0 {
		return ""
	}
	return r.authority.sealHead(sequence, hash)
}
