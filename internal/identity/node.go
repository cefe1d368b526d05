package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"re6st/addressing"
)

// Node is what a certificate proves of a node.
type Node struct {
	Name     string
	Serial   string   // hexadecimal
	Key      [32]byte // SHA-256 of the public key (SubjectPublicKeyInfo)
	Prefix   netip.Prefix
	IPv4     netip.Prefix // may be invalid: none
	Address  netip.Addr
	RouterID addressing.RouterID
	Rights   addressing.Rights

	NotBefore, NotAfter time.Time

	Raw []byte // the certificate
}

// Node verifies a node's certificate.
func (a *Authority) Node(der []byte, now time.Time) (Node, error) {
	c, err := parse(der, "")
	if err != nil {
		return Node{}, err
	}
	r := refusal{subjectOf(c)}
	if err := a.verify(c, r, now); err != nil {
		return Node{}, err
	}
	if role, err := role(c); err != nil || role != "" {
		return Node{}, r.because(ErrRole, "it is not a node's")
	}
	n := Node{
		Name:      c.Subject.CommonName,
		Serial:    fmt.Sprintf("%032x", c.SerialNumber),
		Key:       sha256.Sum256(c.RawSubjectPublicKeyInfo),
		NotBefore: c.NotBefore,
		NotAfter:  c.NotAfter,
		Raw:       slices.Clone(c.Raw),
	}
	if err := a.prefixes(&n, c, r); err != nil {
		return Node{}, err
	}
	if err := names(n, c, r); err != nil {
		return Node{}, err
	}
	if value, _, ok := extension(c, addressing.OIDRights); ok {
		if n.Rights, err = addressing.ParseRights(value); err != nil {
			return Node{}, r.because(ErrProfile, "%v", err)
		}
	}
	if err := a.chain(c, r, now, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth); err != nil {
		return Node{}, err
	}
	return n, nil
}

// prefixes fills in what the IP address blocks prove.
func (a *Authority) prefixes(n *Node, c *x509.Certificate, r refusal) error {
	prefixes, err := blocks(c)
	if err != nil {
		return r.because(ErrBlocks, "%v", err)
	}
	for _, p := range prefixes {
		if !a.covers(p) {
			return r.because(ErrBlocks, "%v is not of the CA's blocks", p)
		}
		own := &n.Prefix
		if p.Addr().Is4() {
			own = &n.IPv4
		}
		if own.IsValid() {
			return r.because(ErrBlocks, "it has both %v and %v", *own, p)
		}
		*own = p
	}
	if !n.Prefix.IsValid() {
		return r.because(ErrBlocks, "it has no IPv6 prefix")
	}
	n.Address = addressing.NodeAddress(n.Prefix)
	n.RouterID = addressing.RouterIDOf(n.Prefix)
	return nil
}

// names compares what the certificate says of itself with what follows from it:
// two answers to the question whose it is would be one too many.
func names(n Node, c *x509.Certificate, r refusal) error {
	if !addressing.ValidName(n.Name) {
		return r.because(ErrProfile, "its name is not a host name")
	}
	if len(c.IPAddresses) != 1 || !c.IPAddresses[0].Equal(n.Address.AsSlice()) {
		return r.because(ErrProfile, "its address is not %v, which follows from its prefix", n.Address)
	}
	if len(c.DNSNames) != 1 {
		return r.because(ErrProfile, "it has %d DNS names, not one", len(c.DNSNames))
	}
	name, domain, isQualified := strings.Cut(c.DNSNames[0], ".")
	if name != n.Name || isQualified && !addressing.ValidDomain(domain) {
		return r.because(ErrProfile, "its DNS name %.80q does not begin with its name", c.DNSNames[0])
	}
	if len(c.EmailAddresses)+len(c.URIs) != 0 {
		return r.because(ErrProfile, "it has names of other kinds")
	}
	return nil
}
