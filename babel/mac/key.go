package mac

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Algorithm is how a MAC is computed.
type Algorithm uint8

const (
	// HMACSHA256 is what every implementation has.
	HMACSHA256 Algorithm = iota
	// BLAKE2s128 is keyed BLAKE2s with a digest of 16 octets.
	BLAKE2s128
)

// algorithms is indexed by Algorithm. The longest keys are those of babeld: what
// fits into the block of the hash without being hashed itself.
var algorithms = [...]struct {
	name   string
	size   int // of a MAC
	keyMax int
}{
	HMACSHA256: {name: "hmac-sha256", size: 32, keyMax: 64},
	BLAKE2s128: {name: "blake2s128", size: 16, keyMax: 32},
}

func (a Algorithm) String() string {
	if int(a) < len(algorithms) {
		return algorithms[a].name
	}
	return "unknown"
}

// Size is the length of a MAC in octets.
func (a Algorithm) Size() int { return algorithms[a].size }

// keyMin is in octets. A packet and its MAC allow to try keys without us
// noticing: "keys must be chosen in a manner that makes them difficult to guess"
// (RFC 8967, section 7, which recommends 32).
const keyMin = 16

// Key is a shared secret. It never shows its secret to a log.
type Key struct {
	Algorithm Algorithm
	Secret    []byte
}

var (
	errForm = errors.New("want hmac-sha256:HEX or blake2s128:HEX")
	errHex  = errors.New("the secret is not hexadecimal")
)

// ParseKey reads "hmac-sha256:HEX" (16 to 64 octets) or "blake2s128:HEX" (16 to
// 32). Errors do not repeat the secret.
func ParseKey(s string) (Key, error) {
	name, secret, _ := strings.Cut(s, ":")
	for i, a := range algorithms {
		if a.name != name {
			continue
		}
		b, err := hex.DecodeString(secret)
		if err != nil {
			return Key{}, fmt.Errorf("parsing a MAC key: %w", errHex)
		}
		if len(b) < keyMin || len(b) > a.keyMax {
			return Key{}, fmt.Errorf("parsing a MAC key: %s with %d octets, want %d to %d", name, len(b), keyMin, a.keyMax)
		}
		return Key{Algorithm(i), b}, nil
	}
	return Key{}, fmt.Errorf("parsing a MAC key: %w", errForm)
}

// Equal compares. It is for configurations, not for what others sent.
func (k Key) Equal(o Key) bool { return k.Algorithm == o.Algorithm && bytes.Equal(k.Secret, o.Secret) }

func (k Key) String() string { return k.Algorithm.String() + ":redacted" }

// Format redacts, whatever the verb.
func (k Key) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(k.String())) }

// LogValue redacts.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON redacts.
func (k Key) MarshalJSON() ([]byte, error) { return []byte(`"` + k.String() + `"`), nil }
