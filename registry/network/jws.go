package network

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// mediaType is in the protected header. The CA's key signs more than one kind of
// document: without it one could be passed off as another (RFC 8725, section 3.11).
const mediaType = "re6st-network+jws"

// What Verify answers. Compare with errors.Is.
var (
	ErrSignature = errors.New("not signed by the network's CA")
	ErrInvalid   = errors.New("invalid network document")
)

// Sign validates a document and signs it. The same document and key give the
// same text, as long as the signer signs deterministically without randomness
// (RFC 6979), which *ecdsa.PrivateKey does.
func Sign(d Document, key crypto.Signer) (string, error) {
	d.Issued = d.Issued.UTC()
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("signing network document %d: %w: %w", d.Version, ErrInvalid, err)
	}
	payload, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("signing network document %d: %w", d.Version, err)
	}
	text, err := signCompact(payload, key)
	if err != nil {
		return "", fmt.Errorf("signing network document %d: %w", d.Version, err)
	}
	if len(text) > maxJWSBytes {
		return "", fmt.Errorf("signing network document %d: %d bytes, at most %d", d.Version, len(text), maxJWSBytes)
	}
	return text, nil
}

func signCompact(payload []byte, key crypto.Signer) (string, error) {
	if public, ok := key.Public().(*ecdsa.PublicKey); !ok || public.Curve != elliptic.P256() {
		return "", errors.New("key is not P-256")
	}
	options := (&jose.SignerOptions{}).WithType(mediaType)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: opaque{key}}, options)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// opaque lets go-jose sign with any crypto.Signer, and without randomness.
type opaque struct{ key crypto.Signer }

func (opaque) Public() *jose.JSONWebKey { return nil } // no key in the header: the reader has it

func (opaque) Algs() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.ES256}
}

// SignPayload writes R and S as RFC 7518, section 3.4, does: 32 bytes each.
func (o opaque) SignPayload(payload []byte, _ jose.SignatureAlgorithm) ([]byte, error) {
	digest := sha256.Sum256(payload)
	der, err := o.key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var signature struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &signature); err != nil || len(rest) != 0 {
		return nil, errors.New("signer returned no ECDSA signature")
	}
	for _, n := range []*big.Int{signature.R, signature.S} {
		if n.Sign() <= 0 || n.BitLen() > 256 {
			return nil, errors.New("signer returned no P-256 signature")
		}
	}
	raw := make([]byte, 64)
	signature.R.FillBytes(raw[:32])
	signature.S.FillBytes(raw[32:])
	return raw, nil
}

// Verify reads a document that the CA signed.
func Verify(text string, ca *ecdsa.PublicKey) (Document, error) {
	payload, err := verifyCompact(text, ca)
	if err != nil {
		return Document{}, fmt.Errorf("verifying network document: %w", err)
	}
	// Absent parameters have their defaults: an older registry does not know them.
	d := Document{Parameters: Defaults()}
	if err := json.Unmarshal(payload, &d); err != nil {
		return Document{}, fmt.Errorf("verifying network document: %w: %w", ErrInvalid, err)
	}
	if err := d.Validate(); err != nil {
		return Document{}, fmt.Errorf("verifying network document %d: %w: %w", d.Version, ErrInvalid, err)
	}
	return d, nil
}

// isCanonical refuses other spellings of the same bytes: decoders skip newlines
// and do not look at the last character's unused bits. What is compared by its
// hash, or passed from peer to peer, must have one text.
func isCanonical(text string) bool {
	for part := range strings.SplitSeq(text, ".") {
		b, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || base64.RawURLEncoding.EncodeToString(b) != part {
			return false
		}
	}
	return true
}

func verifyCompact(text string, ca *ecdsa.PublicKey) ([]byte, error) {
	if len(text) > maxJWSBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrInvalid, len(text), maxJWSBytes)
	}
	if ca == nil || ca.Curve != elliptic.P256() {
		return nil, errors.New("the CA's key is not P-256")
	}
	if !isCanonical(text) {
		return nil, fmt.Errorf("%w: not in canonical base64url", ErrInvalid)
	}
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(signed.Signatures) != 1 {
		return nil, fmt.Errorf("%w: %d signatures", ErrInvalid, len(signed.Signatures))
	}
	if typ := signed.Signatures[0].Protected.ExtraHeaders[jose.HeaderType]; typ != mediaType {
		return nil, fmt.Errorf("%w: type %.40q", ErrInvalid, fmt.Sprint(typ))
	}
	payload, err := signed.Verify(ca)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return payload, nil
}
