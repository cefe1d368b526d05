package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
)

const (
	// tokenPrefix says what the string is; the digit is the format's version.
	tokenPrefix = "re6st1-"
	// redacted stands wherever a secret would be printed.
	redacted = "[secret]"

	tokenChecksumBytes = 4
	tokenURLsMax       = 8
	tokenURLBytesMax   = 200
	// tokenTextMax bounds what ParseToken decodes.
	tokenTextMax = 4096
)

// A Secret is what a token proves: 128 bits from the system's random source.
type Secret [16]byte

// Hash is what the registry stores: nobody gets a token from its database.
// The secret has full entropy, so that a slow hash would gain nothing.
func (s Secret) Hash() [32]byte { return sha256.Sum256(s[:]) }

// Text is the secret as it stands in an enrolment request.
func (s Secret) Text() SecretText {
	return SecretText(base64.RawURLEncoding.EncodeToString(s[:]))
}

// Format prints no secret, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue keeps the secret out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the secret out of JSON and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// A SecretText is a secret in a request. It marshals to JSON as it is, since a
// request must carry it; everything else prints a substitute.
type SecretText string

// Parse decodes the text.
func (t SecretText) Parse() (Secret, error) {
	var s Secret
	if len(t) != base64.RawURLEncoding.EncodedLen(len(s)) {
		return Secret{}, errors.New("the secret has a wrong length")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(string(t))
	if err != nil {
		return Secret{}, errors.New("the secret is not base64url") // err quotes an offset only, but of a secret
	}
	copy(s[:], raw)
	return s, nil
}

// Format prints no secret, whatever the verb.
func (t SecretText) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue keeps the secret out of logs.
func (t SecretText) LogValue() slog.Value { return slog.StringValue(redacted) }

// A Token is all that a machine needs to join: where the registry is, which key
// its CA has, and the right to enrol. It is one string for the operator:
//
//	re6st1-BASE64URL( pin 32 | secret 16 | URL count 1 | (length 1 | URL)* | checksum 4 )
//
// The checksum is the beginning of the SHA-256 of what precedes it: a mistyped
// or truncated token is found before anything goes out.
type Token struct {
	URLs   []string // https://host:port of the registry, in the order to try
	Pin    [32]byte // SHA-256 of the CA's SubjectPublicKeyInfo
	Secret Secret
}

// ErrToken says that a text is no token; what is wrong with it follows.
var ErrToken = errors.New("the token is not valid")

// ParseToken reads what Reveal wrote. White space around it does not matter.
// Its errors do not quote the text.
func ParseToken(text string) (Token, error) {
	text = strings.TrimSpace(text)
	if len(text) > tokenTextMax {
		return Token{}, fmt.Errorf("%w: it is too long", ErrToken)
	}
	body, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return Token{}, fmt.Errorf("%w: it does not begin with %q", ErrToken, tokenPrefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) < tokenChecksumBytes {
		return Token{}, fmt.Errorf("%w: it is truncated or mistyped", ErrToken)
	}
	payload, checksum := raw[:len(raw)-tokenChecksumBytes], raw[len(raw)-tokenChecksumBytes:]
	if !bytes.Equal(tokenChecksum(payload), checksum) {
		return Token{}, fmt.Errorf("%w: it is truncated or mistyped", ErrToken)
	}
	return parseTokenPayload(payload)
}

func parseTokenPayload(b []byte) (Token, error) {
	var t Token
	fixed := len(t.Pin) + len(t.Secret) + 1
	if len(b) < fixed {
		return Token{}, fmt.Errorf("%w: it is too short", ErrToken)
	}
	copy(t.Pin[:], b)
	copy(t.Secret[:], b[len(t.Pin):])
	count := int(b[fixed-1])
	if count == 0 || count > tokenURLsMax {
		return Token{}, fmt.Errorf("%w: it has %d URLs", ErrToken, count)
	}
	b = b[fixed:]
	for range count {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return Token{}, fmt.Errorf("%w: a URL is cut off", ErrToken)
		}
		text := string(b[1 : 1+int(b[0])])
		if err := CheckURL(text); err != nil {
			return Token{}, fmt.Errorf("%w: %w", ErrToken, err)
		}
		t.URLs = append(t.URLs, text)
		b = b[1+len(text):]
	}
	if len(b) != 0 {
		return Token{}, fmt.Errorf("%w: bytes follow the last URL", ErrToken)
	}
	return t, nil
}

// Reveal is the token's text, for the operator alone.
func (t Token) Reveal() string {
	b := append(t.Pin[:], t.Secret[:]...)
	b = append(b, byte(len(t.URLs)))
	for _, u := range t.URLs {
		b = append(append(b, byte(len(u))), u...)
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(b, tokenChecksum(b)...))
}

// Check says whether the token can be written down and read back.
func (t Token) Check() error {
	if len(t.URLs) == 0 || len(t.URLs) > tokenURLsMax {
		return fmt.Errorf("a token has 1 to %d URLs, not %d", tokenURLsMax, len(t.URLs))
	}
	for _, u := range t.URLs {
		if err := CheckURL(u); err != nil {
			return err
		}
	}
	return nil
}

func tokenChecksum(payload []byte) []byte {
	sum := sha256.Sum256(append([]byte("re6st token\x00"), payload...))
	return sum[:tokenChecksumBytes]
}

// SecretText is the secret as it stands in an enrolment request.
func (t Token) SecretText() SecretText { return t.Secret.Text() }

// String does not show the secret.
func (t Token) String() string { return tokenPrefix + redacted }

// Format prints no secret, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }

// LogValue keeps the token out of logs.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText keeps the token out of JSON and the like.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// CheckURL says whether a text can be the URL of a registry: https, a host,
// perhaps a port, and nothing else.
func CheckURL(text string) error {
	if len(text) > tokenURLBytesMax {
		return fmt.Errorf("a registry's URL has at most %d bytes", tokenURLBytesMax)
	}
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("registry URL %q cannot be parsed", text)
	}
	if u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("registry URL %q is not of the form https://host:port", text)
	}
	bare := url.URL{Scheme: "https", Host: u.Host}
	if bare.String() != text {
		return fmt.Errorf("registry URL %q has more than a host and a port", text)
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil && (addr.Zone() != "" || addr.Is4In6()) {
		return fmt.Errorf("registry URL %q has an address with a zone, or an IPv4 one in IPv6", text)
	}
	return nil
}
