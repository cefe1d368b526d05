package identity

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"re6st/addressing"
	"re6st/registry/network"
)

// maxCertificateBytes is generous: a node's certificate has about 600 bytes, and
// with all the rights that fit in one 3 KiB.
const maxCertificateBytes = 8 << 10

// Authority is the network's CA: the root of every identity. It does not change
// and may be shared.
type Authority struct {
	certificate *x509.Certificate // UnhandledCriticalExtensions is empty: we have handled them
	networks    []netip.Prefix
	pool        *x509.CertPool
}

// NewAuthority reads a CA certificate. Whether it is the right one is not for it
// to know: compare the Pin, or have it from a trusted file.
func NewAuthority(der []byte) (*Authority, error) {
	c, err := parse(der, "the CA")
	if err != nil {
		return nil, err
	}
	r := refusal{"the CA"}
	if !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, r.because(ErrProfile, "it is not a CA")
	}
	if !c.MaxPathLenZero {
		return nil, r.because(ErrProfile, "it allows further CAs")
	}
	if err := c.CheckSignatureFrom(c); err != nil {
		return nil, r.because(ErrProfile, "it is not signed by itself: %v", err)
	}
	networks, err := blocks(c)
	if err != nil {
		return nil, r.because(ErrProfile, "%v", err)
	}
	if networks == nil {
		return nil, r.because(ErrProfile, "it has no IP address blocks")
	}
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return &Authority{c, networks, pool}, nil
}

// Key is the key that signs certificates and documents.
func (a *Authority) Key() *ecdsa.PublicKey { return a.certificate.PublicKey.(*ecdsa.PublicKey) }

// Networks are the prefixes of the network, IPv4 first.
func (a *Authority) Networks() []netip.Prefix { return slices.Clone(a.networks) }

// Raw is the certificate.
func (a *Authority) Raw() []byte { return slices.Clone(a.certificate.Raw) }

// Pin is what a token knows of the CA: the SHA-256 of its public key. The
// certificate around the key may be made anew.
func (a *Authority) Pin() [32]byte { return sha256.Sum256(a.certificate.RawSubjectPublicKeyInfo) }

// Document verifies a network document: signed by the CA, and of its prefixes.
func (a *Authority) Document(jws string) (network.Document, error) {
	d, err := network.Verify(jws, a.Key())
	if err != nil {
		return network.Document{}, err
	}
	for _, p := range slices.Concat(d.Prefixes, d.IPv4) {
		if !a.covers(p) {
			return network.Document{}, fmt.Errorf("verifying network document %d: %w: %v is not of the CA's blocks", d.Version, network.ErrInvalid, p)
		}
	}
	return d, nil
}

func (a *Authority) covers(p netip.Prefix) bool {
	return slices.ContainsFunc(a.networks, func(n netip.Prefix) bool { return addressing.Covers(n, p) })
}

// verify does for any leaf what does not depend on its role.
func (a *Authority) verify(c *x509.Certificate, r refusal, now time.Time) error {
	// First of all the signature: nothing that a foreign certificate says counts.
	if err := c.CheckSignatureFrom(a.certificate); err != nil {
		return r.because(ErrForeign, "its issuer is %.80q", c.Issuer.CommonName)
	}
	if err := valid(a.certificate, refusal{"the CA"}, now); err != nil {
		return err
	}
	if err := valid(c, r, now); err != nil {
		return err
	}
	if c.IsCA {
		return r.because(ErrRole, "it is a CA")
	}
	if c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return r.because(ErrProfile, "its key may not sign")
	}
	return nil
}

// valid says the clock, too: often it is that which is wrong.
func valid(c *x509.Certificate, r refusal, now time.Time) error {
	switch {
	case now.Before(c.NotBefore):
		return r.because(ErrNotYetValid, "it begins at %s, and the clock says %s", stamp(c.NotBefore), stamp(now))
	case now.After(c.NotAfter):
		return r.because(ErrExpired, "it ended at %s, and the clock says %s", stamp(c.NotAfter), stamp(now))
	}
	return nil
}

// chain lets crypto/x509 have the last word, on what we do not look at. It comes
// after our checks, whose reasons are clearer.
func (a *Authority) chain(c *x509.Certificate, r refusal, now time.Time, usages ...x509.ExtKeyUsage) error {
	for _, usage := range usages {
		if !slices.Contains(c.ExtKeyUsage, usage) {
			return r.because(ErrProfile, "it is not for TLS at this end of a connection")
		}
	}
	_, err := c.Verify(x509.VerifyOptions{Roots: a.pool, CurrentTime: now, KeyUsages: usages})
	if err != nil {
		return r.because(ErrProfile, "%v", err)
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
