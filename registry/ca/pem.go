package ca

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// The types of RFC 7468.
const (
	keyType         = "PRIVATE KEY"
	certificateType = "CERTIFICATE"
)

// EncodeKey writes a private key as PEM.
func EncodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: der}), nil
}

// DecodeKey reads what EncodeKey writes.
func DecodeKey(text []byte) (*ecdsa.PrivateKey, error) {
	der, err := decode(text, keyType)
	if err != nil {
		return nil, fmt.Errorf("decoding a key: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("decoding a key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("decoding a key: it is %T, not ECDSA P-256", parsed)
	}
	if _, err := checkKey(&key.PublicKey); err != nil {
		return nil, fmt.Errorf("decoding a key: %w", err)
	}
	return key, nil
}

// EncodeCertificate writes a certificate as PEM.
func EncodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: der})
}

// DecodeCertificate reads what EncodeCertificate writes, without a look inside.
func DecodeCertificate(text []byte) ([]byte, error) {
	der, err := decode(text, certificateType)
	if err != nil {
		return nil, fmt.Errorf("decoding a certificate: %w", err)
	}
	return der, nil
}

// decode wants exactly one block: of two, the reader would have to guess.
func decode(text []byte, wanted string) ([]byte, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != wanted {
		return nil, fmt.Errorf("not a PEM block of type %s", wanted)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("more than one PEM block")
	}
	return block.Bytes, nil
}
