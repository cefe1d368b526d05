package wg

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
)

// Key is a Curve25519 key or a pre-shared key. It does not print itself: whether
// it is a secret one cannot tell from looking at it.
type Key [32]byte

// NewKey makes a private key from the system's randomness.
func NewKey() (Key, error) {
	var k Key
	if _, err := rand.Read(k[:]); err != nil {
		return Key{}, fmt.Errorf("making a WireGuard key: %w", err)
	}
	// Clamped as RFC 7748, section 5 says, so that what wg shows is what we hold.
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k, nil
}

// ParseKey reads the base64 form, the one that wg shows.
func ParseKey(s string) (Key, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(Key{}) {
		return Key{}, fmt.Errorf("WireGuard key: not 32 bytes in base64")
	}
	return Key(b), nil
}

// Public is the public key of a private one.
func (k Key) Public() Key {
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic("wg: X25519 takes every 32 bytes: " + err.Error())
	}
	return Key(private.PublicKey().Bytes())
}

// IsZero says that there is no key.
func (k Key) IsZero() bool { return k == Key{} }

// Reveal is the base64 form.
func (k Key) Reveal() string { return base64.StdEncoding.EncodeToString(k[:]) }

const hidden = "[key]"

func (k Key) String() string { return hidden }

// Format hides the bytes from every verb, %x and %d too.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue hides them from logs.
func (k Key) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides them from JSON.
func (k Key) MarshalText() ([]byte, error) { return []byte(hidden), nil }
