package network

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

func newKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func example() Document {
	return Document{
		Version:    7,
		Prefixes:   []netip.Prefix{netip.MustParsePrefix("2001:db8:42::/48")},
		IPv4:       []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")},
		Domain:     "mesh",
		Registries: []string{"https://registry.example:8443"},
		Parameters: Defaults(),
		Issued:     time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

const exampleJSON = `{"version":7,"prefixes":["2001:db8:42::/48"],"ipv4":["10.42.0.0/16"],"domain":"mesh",` +
	`"registries":["https://registry.example:8443"],"parameters":{"tunnels":10,"refresh":300,"hello_idle":4,` +
	`"hello_active":0.3,"update_interval":300,"min_protocol":1,"demand_tunnels":2,"nat64":""},"issued":"2026-01-02T03:04:05Z"}`

var compare = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func TestSignVerify(t *testing.T) {
	key := newKey(t, elliptic.P256())
	text, err := Sign(example(), key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Verify(text, &key.PublicKey)
	if diff := cmp.Diff(example(), got, compare); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	part := strings.Split(text, ".")
	header, _ := base64.RawURLEncoding.DecodeString(part[0])
	if want := `{"alg":"ES256","typ":"re6st-network+jws"}`; string(header) != want {
		t.Errorf("header %s, want %s", header, want)
	}
	payload, _ := base64.RawURLEncoding.DecodeString(part[1])
	if string(payload) != exampleJSON {
		t.Errorf("payload\n%s, want\n%s", payload, exampleJSON)
	}
	for range 3 {
		if again, err := Sign(example(), key); again != text || err != nil {
			t.Errorf("signed again it differs: %v", err)
		}
	}
	// The time zone of who signs is of no meaning.
	d := example()
	d.Issued = d.Issued.In(time.FixedZone("", 7200))
	if again, err := Sign(d, key); again != text || err != nil {
		t.Errorf("signed in another time zone it differs: %v", err)
	}
}

func TestNewer(t *testing.T) {
	older, newer := example(), example()
	newer.Version++
	newer.Issued = older.Issued.Add(-time.Hour) // the clock does not decide
	if !Newer(newer, older) || Newer(older, newer) || Newer(older, older) || !Newer(older, Document{}) {
		t.Error("not in order of version")
	}
}

func TestDocumentValidate(t *testing.T) {
	prefixes := func(s ...string) []netip.Prefix {
		var out []netip.Prefix
		for _, p := range s {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	var many []netip.Prefix
	for i := range 17 {
		many = append(many, netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::/48", i)))
	}
	for _, test := range []struct {
		name    string
		change  func(*Document)
		wantErr string
	}{
		{"as it is", func(*Document) {}, ""},
		{"without what may be absent", func(d *Document) { d.IPv4, d.Domain, d.Registries = nil, "", nil }, ""},
		{"two prefixes", func(d *Document) { d.Prefixes = prefixes("2001:db8:42::/48", "fd42::/48") }, ""},
		{"a registry by address", func(d *Document) { d.Registries = []string{"https://[2001:db8::1]:8443"} }, ""},
		{"no version", func(d *Document) { d.Version = 0 }, "version 0"},
		{"no prefix", func(d *Document) { d.Prefixes = nil }, "no prefix"},
		{"the zero prefix", func(d *Document) { d.Prefixes = []netip.Prefix{{}} }, "not a prefix"},
		{"an IPv4 prefix among IPv6", func(d *Document) { d.Prefixes = prefixes("10.0.0.0/8") }, "other family"},
		{"an IPv6 prefix among IPv4", func(d *Document) { d.IPv4 = prefixes("fd00::/8") }, "other family"},
		{"a mapped prefix", func(d *Document) { d.Prefixes = prefixes("::ffff:10.0.0.0/104") }, "IPv4-mapped"},
		{"everything", func(d *Document) { d.Prefixes = prefixes("::/0") }, "is everything"},
		{"bits after the length", func(d *Document) { d.Prefixes = prefixes("2001:db8::1/48") }, "bits are set"},
		{"overlap", func(d *Document) { d.Prefixes = prefixes("2001:db8:42::/48", "2001:db8::/32") }, "overlaps"},
		{"too many prefixes", func(d *Document) { d.Prefixes = many }, "at most 16"},
		{"a bad domain", func(d *Document) { d.Domain = "Mesh\x00" }, "domain"},
		{"too many registries", func(d *Document) { d.Registries = make([]string, 17) }, "at most 16"},
		{"http", func(d *Document) { d.Registries = []string{"http://r.example"} }, "https"},
		{"no host", func(d *Document) { d.Registries = []string{"https:///v1"} }, "https"},
		{"a secret in a URL", func(d *Document) { d.Registries = []string{"https://u:p@r.example"} }, "https"},
		{"no URL", func(d *Document) { d.Registries = []string{"https://%zz"} }, "not a URL"},
		{"a long URL", func(d *Document) { d.Registries = []string{"https://" + strings.Repeat("a", 250)} }, "longer"},
		{"a parameter", func(d *Document) { d.Parameters.Tunnels = 41 }, "parameter tunnels"},
		{"NAT64", func(d *Document) { d.Parameters.NAT64 = netip.MustParsePrefix("64:ff9b::/96") }, ""},
		{"NAT64 inside the network", func(d *Document) { d.Parameters.NAT64 = netip.MustParsePrefix("2001:db8:42:64::/96") }, "overlaps"},
		{"NAT64 of another length", func(d *Document) { d.Parameters.NAT64 = netip.MustParsePrefix("64:ff9b::/64") }, "length 96"},
		{"no parameters", func(d *Document) { d.Parameters = Parameters{} }, "parameter tunnels"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := example()
			test.change(&d)
			err := d.Validate()
			if test.wantErr == "" && err != nil || test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
				t.Fatalf("%v, want %q", err, test.wantErr)
			}
			key := newKey(t, elliptic.P256())
			if _, err := Sign(d, key); (err != nil) != (test.wantErr != "") || err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("Sign: %v", err)
			}
			// Signed all the same, it is refused by who reads it.
			payload, err := json.Marshal(d)
			if err != nil {
				return // and not every invalid document can be written
			}
			_, err = Verify(signRaw(t, key, jose.ES256, mediaType, string(payload)), &key.PublicKey)
			if (err != nil) != (test.wantErr != "") || err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("Verify: %v", err)
			}
		})
	}
}

// signRaw signs any text with any algorithm, as a forger would.
func signRaw(t testing.TB, key any, algorithm jose.SignatureAlgorithm, typ, payload string) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if typ != "" {
		options = options.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestVerifyRefuses(t *testing.T) {
	key, other := newKey(t, elliptic.P256()), newKey(t, elliptic.P256())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good, err := Sign(example(), key)
	if err != nil {
		t.Fatal(err)
	}
	part := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	with := func(payload string) string { return signRaw(t, key, jose.ES256, mediaType, payload) }
	for _, test := range []struct {
		name, text string
		want       error
	}{
		{"empty", "", ErrInvalid},
		{"a newline in it", good[:9] + "\n" + good[9:], ErrInvalid},
		{"a newline behind it", good + "\n", ErrInvalid},
		{"padding", good + "=", ErrInvalid},
		{"two parts", part[0] + "." + part[1], ErrInvalid},
		{"four parts", good + ".", ErrInvalid},
		{"another key", signRaw(t, other, jose.ES256, mediaType, exampleJSON), ErrSignature},
		{"another payload", part[0] + "." + b64([]byte(strings.Replace(exampleJSON, "10", "11", 1))) + "." + part[2], ErrSignature},
		{"another header", b64([]byte(`{"typ":"re6st-network+jws","alg":"ES256"}`)) + "." + part[1] + "." + part[2], ErrSignature},
		{"no signature", part[0] + "." + part[1] + ".", ErrSignature},
		{"alg none", b64([]byte(`{"alg":"none","typ":"re6st-network+jws"}`)) + "." + part[1] + ".", ErrInvalid},
		{"HS256 with the public key", signRaw(t, make([]byte, 32), jose.HS256, mediaType, exampleJSON), ErrInvalid},
		{"RS256", signRaw(t, rsaKey, jose.RS256, mediaType, exampleJSON), ErrInvalid},
		{"ES384", signRaw(t, newKey(t, elliptic.P384()), jose.ES384, mediaType, exampleJSON), ErrInvalid},
		{"no type", signRaw(t, key, jose.ES256, "", exampleJSON), ErrInvalid},
		{"another type", signRaw(t, key, jose.ES256, "re6st-revocations+jws", exampleJSON), ErrInvalid},
		{"JSON serialization", `{"payload":"` + part[1] + `","protected":"` + part[0] + `","signature":"` + part[2] + `"}`, ErrInvalid},
		{"too large", with(`{"x":"` + strings.Repeat("x", 64<<10) + `"}`), ErrInvalid},
		{"no JSON", with("x"), ErrInvalid},
		{"null", with("null"), ErrInvalid},
		{"an array", with("[]"), ErrInvalid},
		{"bytes after the object", with(exampleJSON + "{}"), ErrInvalid},
		{"a member twice", with(strings.Replace(exampleJSON, `"domain"`, `"version":8,"domain"`, 1)), ErrInvalid},
		{"names in other case", with(strings.Replace(exampleJSON, `"version"`, `"Version"`, 1)), ErrInvalid},
		{"a wrong type", with(strings.Replace(exampleJSON, `"version":7`, `"version":"7"`, 1)), ErrInvalid},
		{"a negative version", with(strings.Replace(exampleJSON, `"version":7`, `"version":-7`, 1)), ErrInvalid},
		{"a version beyond 64 bits", with(strings.Replace(exampleJSON, `"version":7`, `"version":18446744073709551616`, 1)), ErrInvalid},
		{"a bad prefix", with(strings.Replace(exampleJSON, `::/48`, `::/149`, 1)), ErrInvalid},
		{"a bad time", with(strings.Replace(exampleJSON, `05Z`, `05`, 1)), ErrInvalid},
		{"nested without end", with(strings.Repeat("[", 20_000)), ErrInvalid},
	} {
		if d, err := Verify(test.text, &key.PublicKey); !errors.Is(err, test.want) || d.Version != 0 {
			t.Errorf("%s: %v, %v, want %v", test.name, d, err, test.want)
		}
	}
	for i := range good {
		changed := []byte(good)
		changed[i] ^= 1
		if _, err := Verify(string(changed), &key.PublicKey); err == nil {
			t.Errorf("byte %d was changed, and nobody noticed", i)
		}
	}
}

// A newer registry may add members and parameters, an older one lack some.
func TestVerifyOtherVersions(t *testing.T) {
	key := newKey(t, elliptic.P256())
	for name, payload := range map[string]string{
		"newer": strings.Replace(strings.Replace(exampleJSON, `"tunnels"`, `"colour":{"a":[1]},"tunnels"`, 1), `"domain"`, `"revocations":{"version":3},"domain"`, 1),
		"older": strings.Replace(exampleJSON, `,"min_protocol":1`, "", 1),
	} {
		got, err := Verify(signRaw(t, key, jose.ES256, mediaType, payload), &key.PublicKey)
		if diff := cmp.Diff(example(), got, compare); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestKeysRefused(t *testing.T) {
	p384 := newKey(t, elliptic.P384())
	if _, err := Sign(example(), p384); err == nil {
		t.Error("signed with P-384")
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(example(), rsaKey); err == nil {
		t.Error("signed with RSA")
	}
	for _, key := range []*ecdsa.PublicKey{nil, &p384.PublicKey} {
		if _, err := Verify("a.b.c", key); err == nil {
			t.Error("verified with another kind of key")
		}
	}
}

// odd is a signer that does not do what is expected of it.
type odd struct {
	crypto.Signer
	signature []byte
	err       error
}

func (o odd) Sign(_ io.Reader, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
	return o.signature, o.err
}

func TestSignerFails(t *testing.T) {
	key := newKey(t, elliptic.P256())
	broken := errors.New("token removed")
	if _, err := Sign(example(), odd{key, nil, broken}); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
	for _, signature := range []string{"", "\x30\x00", "\x30\x06\x02\x01\x01\x02\x01\x01x", "\x30\x06\x02\x01\x01\x02\x01\x00", "\x30\x26\x02\x01\x01\x02\x21\x01" + strings.Repeat("x", 32)} {
		if _, err := Sign(example(), odd{key, []byte(signature), nil}); err == nil {
			t.Errorf("signature %x was taken", signature)
		}
	}
}

func FuzzVerify(f *testing.F) {
	key := newKey(f, elliptic.P256())
	good, err := Sign(example(), key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("..")
	f.Add(`{"payload":""}`)
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := Verify(text, &key.PublicKey); err == nil && text != good {
			t.Errorf("forged: %q is %v", text, d)
		}
	})
}

// Behind the signature: what a CA with bugs could sign.
func FuzzPayload(f *testing.F) {
	key := newKey(f, elliptic.P256())
	f.Add(exampleJSON)
	f.Add("{}")
	f.Add(`{"version":1,"prefixes":["fd00::/8"]}`)
	f.Fuzz(func(t *testing.T, payload string) {
		d, err := Verify(signRaw(t, key, jose.ES256, mediaType, payload), &key.PublicKey)
		if err != nil {
			return
		}
		text, err := Sign(d, key)
		if err != nil {
			t.Fatalf("%s was read and cannot be signed: %v", payload, err)
		}
		back, err := Verify(text, &key.PublicKey)
		if diff := cmp.Diff(d, back, compare); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}
