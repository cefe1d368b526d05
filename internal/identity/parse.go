package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"

	"re6st/addressing"
)

// parse reads a certificate and checks its key. The subject is for the error; if
// it is empty, the certificate says it. The object is always new: the
// caller strikes out extensions that we have handled, which must not be seen by
// others.
func parse(der []byte, subject string) (*x509.Certificate, error) {
	r := refusal{subject}
	if subject == "" {
		r.subject = "the peer"
	}
	if len(der) > maxCertificateBytes {
		return nil, r.because(ErrProfile, "it has %d bytes, at most %d", len(der), maxCertificateBytes)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, r.because(ErrProfile, "%v", err)
	}
	if subject == "" {
		r.subject = subjectOf(c)
	}
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, r.because(ErrKey, "")
	}
	return c, nil
}

// subjectOf is safe to print: a stranger's certificate says what he likes.
func subjectOf(c *x509.Certificate) string {
	if name := c.Subject.CommonName; addressing.ValidName(name) {
		return name
	}
	return fmt.Sprintf("%.40q", c.Subject.CommonName)
}

// blocks reads the IP address blocks, nil if there are none, and marks the
// extension as handled. RFC 3779, section 2.2.1: it SHOULD be critical; ours is.
func blocks(c *x509.Certificate) ([]netip.Prefix, error) {
	value, critical, ok := extension(c, addressing.OIDIPBlocks)
	if !ok {
		return nil, nil
	}
	if !critical {
		return nil, errors.New("its IP address blocks are not critical")
	}
	prefixes, err := addressing.ParseIPBlocks(value)
	if err != nil {
		return nil, err
	}
	var unhandled []asn1.ObjectIdentifier
	for _, id := range c.UnhandledCriticalExtensions {
		if !id.Equal(addressing.OIDIPBlocks) {
			unhandled = append(unhandled, id)
		}
	}
	c.UnhandledCriticalExtensions = unhandled
	return prefixes, nil
}

// extension finds one. crypto/x509 refuses a certificate that has it twice.
func extension(c *x509.Certificate, id asn1.ObjectIdentifier) (value []byte, critical, ok bool) {
	for _, e := range c.Extensions {
		if e.Id.Equal(id) {
			return e.Value, e.Critical, true
		}
	}
	return nil, false, false
}

// role reads the role extension; empty if there is none.
func role(c *x509.Certificate) (string, error) {
	value, _, ok := extension(c, addressing.OIDRole)
	if !ok {
		return "", nil
	}
	var s string
	rest, err := asn1.UnmarshalWithParams(value, &s, "utf8")
	if err != nil || len(rest) != 0 || s == "" {
		return "", errors.New("its role cannot be read")
	}
	return s, nil
}
