package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

// maxCSRBytes bounds what is parsed before anything is known of the sender. A
// request for a P-256 key has less than 300 bytes.
const maxCSRBytes = 4 << 10

// ErrCSR is a certification request that gets no certificate, whoever sends it.
var ErrCSR = errors.New("certification request refused")

// ParseCSR returns the key for which a certificate is requested. The request
// proves that the sender has the private key, and nothing of it but the public
// key is used: name, prefix and rights come from the token. A request that asks
// for more, by an attribute, is refused rather than answered with less.
func ParseCSR(der []byte) (*ecdsa.PublicKey, error) {
	key, err := parseCSR(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCSR, err)
	}
	return key, nil
}

func parseCSR(der []byte) (*ecdsa.PublicKey, error) {
	if len(der) > maxCSRBytes {
		return nil, fmt.Errorf("%d bytes, at most %d", len(der), maxCSRBytes)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	// The key first: verifying a signature is cheap only for those we allow.
	key, err := checkKey(csr.PublicKey)
	if err != nil {
		return nil, err
	}
	if csr.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return nil, fmt.Errorf("signed with %v, not ECDSA-SHA256", csr.SignatureAlgorithm)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, errors.New("not signed with the key that it carries")
	}
	if err := checkForm(csr); err != nil {
		return nil, err
	}
	return key, nil
}

// checkKey is an allow-list of one. The point was checked to be on the curve
// when it was parsed; P-256 has no point of small order.
func checkKey(public any) (*ecdsa.PublicKey, error) {
	key, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key is %T, not ECDSA P-256", public)
	}
	if key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("the key is on %s, not P-256", key.Curve.Params().Name)
	}
	if _, err := key.ECDH(); err != nil { // the point at infinity, or off the curve
		return nil, errors.New("the key is no point of P-256")
	}
	return key, nil
}

// request is RFC 2986, section 4.1, down to what crypto/x509 does not show.
type request struct {
	Raw        asn1.RawContent
	Version    int
	Subject    asn1.RawValue
	PublicKey  asn1.RawValue
	Attributes []asn1.RawValue `asn1:"tag:0"`
}

// checkForm looks for what the sender should not expect us to obey.
func checkForm(csr *x509.CertificateRequest) error {
	var r request
	if rest, err := asn1.Unmarshal(csr.RawTBSCertificateRequest, &r); err != nil || len(rest) != 0 {
		return errors.New("malformed")
	}
	if r.Version != 0 {
		return fmt.Errorf("version %d", r.Version)
	}
	if len(r.Attributes) != 0 {
		return errors.New("it asks for extensions or other attributes")
	}
	if n := len(csr.Subject.Names); n > 1 || n == 1 && csr.Subject.CommonName == "" {
		return errors.New("its subject is more than a common name")
	}
	if !isPrintable(csr.Subject.CommonName) {
		return errors.New("its common name is not printable ASCII")
	}
	// The signature covers the bytes as sent: other encodings of the same
	// request are not the request.
	key, err := x509.MarshalPKIXPublicKey(csr.PublicKey)
	if err != nil || !bytes.Equal(key, csr.RawSubjectPublicKeyInfo) {
		return errors.New("its key is not in canonical form")
	}
	return nil
}

func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return len(s) <= 64 // ub-common-name, RFC 5280, appendix A.1
}
