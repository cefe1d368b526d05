package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"time"

	"re6st/addressing"
)

// Lifetimes. Nodes renew at two thirds of theirs; the CA's certificate can be
// made anew with the same key, which is what tokens and nodes trust.
const (
	caLifetime = 30 * 365 * 24 * time.Hour
	Lifetime   = 90 * 24 * time.Hour

	// Backdate lets a node whose clock is behind use its certificate.
	Backdate = time.Hour
)

// CA is the CA's certificate with its key. It does not change and may be shared
// if the signer may.
type CA struct {
	certificate *x509.Certificate
	networks    []netip.Prefix
	key         crypto.Signer
}

// NewCA makes a key and the CA certificate of a new network.
func NewCA(name string, networks []netip.Prefix, now time.Time) (*CA, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making the CA's key: %w", err)
	}
	der, err := certifyCA(key, name, networks, now)
	if err != nil {
		return nil, nil, fmt.Errorf("making the CA's certificate: %w", err)
	}
	c, err := Load(der, key)
	if err != nil {
		return nil, nil, err
	}
	return c, key, nil
}

// Load puts together what was stored. It refuses a key that is not the
// certificate's, and a certificate that is not of our profile.
func Load(der []byte, key crypto.Signer) (*CA, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("loading the CA's certificate: %w", err)
	}
	public, err := checkKey(c.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("loading the CA's certificate: %w", err)
	}
	if !public.Equal(key.Public()) {
		return nil, errors.New("loading the CA's certificate: it is not for the key beside it")
	}
	if !c.IsCA || !c.MaxPathLenZero {
		return nil, errors.New("loading the CA's certificate: it is not a CA of our profile")
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(addressing.OIDIPBlocks) {
			networks, err := addressing.ParseIPBlocks(e.Value)
			if err != nil {
				return nil, fmt.Errorf("loading the CA's certificate: %w", err)
			}
			return &CA{certificate: c, networks: networks, key: key}, nil
		}
	}
	return nil, errors.New("loading the CA's certificate: it has no IP address blocks")
}

// Raw is the CA's certificate.
func (c *CA) Raw() []byte { return bytes.Clone(c.certificate.Raw) }

// Signer signs the network's documents.
func (c *CA) Signer() crypto.Signer { return c.key }

// NewSerial draws a serial number of 128 bits. RFC 5280, section 4.1.2.2: it
// must be positive and have 20 octets at most. Nobody can foresee it, and no
// counter can be set back by a restored backup.
func NewSerial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	n := new(big.Int).SetBytes(b)
	if n.Sign() == 0 {
		n.SetInt64(1)
	}
	return n, nil
}
