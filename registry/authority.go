package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"re6st/internal/identity"
	"re6st/registry/ca"
)

// authority is the CA, and what is derived from its key.
type authority struct {
	ca       *ca.CA
	identity *identity.Authority
	headKey  [32]byte

	mu     sync.Mutex
	server *tls.Certificate // the registry's own; made anew in time
}

func newAuthority(der []byte, key *ecdsa.PrivateKey) (*authority, error) {
	c, err := ca.Load(der, key)
	if err != nil {
		return nil, err
	}
	id, err := identity.NewAuthority(der)
	if err != nil {
		return nil, err
	}
	secret, err := key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("reading the CA's key: %w", err)
	}
	a := &authority{ca: c, identity: id}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("re6st journal head"))
	mac.Sum(a.headKey[:0])
	return a, nil
}

// genesis begins the journal's chain: a journal of another network does not fit.
func (a *authority) genesis() [32]byte {
	pin := a.identity.Pin()
	return sha256.Sum256(append([]byte("re6st journal\x00"), pin[:]...))
}

// signNode signs what the store keeps. The same bytes give the same certificate.
func (a *authority) signNode(tbs []byte) ([]byte, error) {
	der, err := a.ca.Sign(tbs)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return der, nil
}

// certificate is the registry's own for TLS, made anew at two thirds of its
// life. Its key never touches the disk: nobody pins it, only the CA's.
func (a *authority) certificate(urls []string, now time.Time) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil && now.Before(renewAt(a.server.Leaf)) {
		return a.server, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the server's key: %w", err)
	}
	serial, err := ca.NewSerial()
	if err != nil {
		return nil, err
	}
	s := ca.Server{URLs: urls, Key: &key.PublicKey, Serial: serial}
	s.NotBefore, s.NotAfter = ca.Validity(now)
	tbs, err := a.ca.PrepareServer(s)
	if err != nil {
		return nil, fmt.Errorf("making the server's certificate: %w", err)
	}
	der, err := a.ca.Sign(tbs)
	if err != nil {
		return nil, fmt.Errorf("making the server's certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making the server's certificate: %w", err)
	}
	// The CA goes along: who enrols knows its pin alone.
	a.server = &tls.Certificate{Certificate: [][]byte{der, a.ca.Raw()}, PrivateKey: key, Leaf: leaf}
	return a.server, nil
}

func renewAt(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 3 * 2)
}

// headMACBytes is what is kept of the MAC of a head: 2^128 tries to forge one.
const headMACBytes = 16

// sealHead writes a head of the journal so that only we can have written it.
// Nodes carry heads around without looking inside; without the MAC any of
// them could stop all issuing by inventing one.
func (a *authority) sealHead(sequence uint64, hash [32]byte) string {
	b := binary.BigEndian.AppendUint64(nil, sequence)
	b = append(b, hash[:]...)
	return base64.RawURLEncoding.EncodeToString(append(b, a.headMAC(b)...))
}

// openHead reads what sealHead wrote; false for anything else.
func (a *authority) openHead(text string) (sequence uint64, hash [32]byte, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != 8+32+headMACBytes {
		return 0, hash, false
	}
	body, mac := b[:40], b[40:]
	if !hmac.Equal(mac, a.headMAC(body)) {
		return 0, hash, false
	}
	copy(hash[:], body[8:])
	return binary.BigEndian.Uint64(body), hash, true
}

func (a *authority) headMAC(body []byte) []byte {
	mac := hmac.New(sha256.New, a.headKey[:])
	mac.Write(body)
	return mac.Sum(nil)[:headMACBytes]
}
