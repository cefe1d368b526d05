package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
)

var oidECDSAWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2} // RFC 5758, section 3.2

// prepare lets crypto/x509 build a certificate and takes the bytes to be signed
// out of it. CreateCertificate wants a signer whose key is the issuer's: it gets
// a throw-away key in a copy of the issuer, as the issuer's key appears in a
// certificate only by its identifier, which the copy keeps. So the CA's key is
// not used before the bytes are stored.
func (c *CA) prepare(template *x509.Certificate, public *ecdsa.PublicKey) ([]byte, error) {
	if err := c.checkTemplate(template, public); err != nil {
		return nil, err
	}
	throwAway, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	issuer := *c.certificate
	issuer.PublicKey = throwAway.Public()
	der, err := x509.CreateCertificate(nil, template, &issuer, public, throwAway)
	if err != nil {
		return nil, err
	}
	unsigned, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return unsigned.RawTBSCertificate, nil
}

func (c *CA) checkTemplate(template *x509.Certificate, public *ecdsa.PublicKey) error {
	if public == nil {
		return errors.New("no key")
	}
	if _, err := checkKey(public); err != nil {
		return err
	}
	if public.Equal(c.key.Public()) {
		return errors.New("the key is the CA's own")
	}
	if s := template.SerialNumber; s == nil || s.Sign() <= 0 || s.BitLen() > 128 {
		return errors.New("the serial number does not have 1 to 128 bits")
	}
	if !template.NotBefore.Before(template.NotAfter) || template.NotAfter.After(c.certificate.NotAfter) {
		return errors.New("the time of validity is empty, or longer than the CA's")
	}
	return nil
}

// certificate is RFC 5280, section 4.1.
type certificate struct {
	TBS       asn1.RawValue
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

// Sign signs bytes that Prepare* made, byte for byte as x509.CreateCertificate
// would have, and always with the same result. It refuses bytes of another CA,
// and those that would make one.
func (c *CA) Sign(tbs []byte) ([]byte, error) {
	digest := sha256.Sum256(tbs)
	signature, err := c.key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	der, err := asn1.Marshal(certificate{
		TBS:       asn1.RawValue{FullBytes: tbs},
		Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256},
		Signature: asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
	})
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	// Also against bits that flipped in the database or in the signer.
	if err := c.check(der, tbs); err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	return der, nil
}

// check reads the new certificate as a stranger would. Nothing that fails leaves
// this package.
func (c *CA) check(der, tbs []byte) error {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	if !bytes.Equal(leaf.RawTBSCertificate, tbs) {
		return errors.New("bytes follow what is to be signed")
	}
	if leaf.IsCA || leaf.KeyUsage&x509.KeyUsageCertSign != 0 {
		return errors.New("it would be a CA")
	}
	if !bytes.Equal(leaf.RawIssuer, c.certificate.RawSubject) {
		return errors.New("it is of another issuer")
	}
	if err := leaf.CheckSignatureFrom(c.certificate); err != nil {
		return err
	}
	return nil
}
