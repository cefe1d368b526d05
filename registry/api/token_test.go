package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

func exampleToken() Token {
	t := Token{URLs: []string{"https://registry.example:8443", "https://[2001:db8::1]:8443"}}
	for i := range t.Pin {
		t.Pin[i] = byte(i)
	}
	for i := range t.Secret {
		t.Secret[i] = byte(0xa0 + i)
	}
	return t
}

func TestToken_RoundTrip(t *testing.T) {
	want := exampleToken()
	for _, text := range []string{want.Reveal(), " " + want.Reveal() + "\r\n"} {
		got, err := ParseToken(text)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got.URLs, want.URLs)
		}
	}
	secret, err := want.SecretText().Parse()
	if err != nil || secret != want.Secret {
		t.Errorf("the secret does not survive its text: %v", err)
	}
}

// A token that lost or changed a character is found here, not by the registry.
func TestToken_TruncatedOrMistypedIsDetected(t *testing.T) {
	text := exampleToken().Reveal()
	for n := range len(text) {
		if _, err := ParseToken(text[:n]); !errors.Is(err, ErrToken) {
			t.Errorf("cut to %d characters: %v", n, err)
		}
	}
	for i := range len(text) {
		for _, c := range []byte("Ab9-_ ~") {
			if text[i] == c {
				continue
			}
			changed := text[:i] + string(c) + text[i+1:]
			if _, err := ParseToken(changed); !errors.Is(err, ErrToken) {
				t.Errorf("character %d changed to %q: %v", i, c, err)
			}
		}
	}
}

func TestToken_MalformedPayloads(t *testing.T) {
	fixed := make([]byte, 48)
	url := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	for name, payload := range map[string][]byte{
		"empty":              {},
		"no count":           fixed,
		"no URL":             append(fixed[:48:48], 0),
		"nine URLs":          append(fixed[:48:48], append([]byte{9}, url("https://a")...)...),
		"a URL missing":      append(fixed[:48:48], append([]byte{2}, url("https://a")...)...),
		"a URL cut off":      append(fixed[:48:48], 1, 20, 'h'),
		"bytes after":        append(append(fixed[:48:48], append([]byte{1}, url("https://a")...)...), 0),
		"http":               append(fixed[:48:48], append([]byte{1}, url("http://a")...)...),
		"a path":             append(fixed[:48:48], append([]byte{1}, url("https://a/x")...)...),
		"a user":             append(fixed[:48:48], append([]byte{1}, url("https://u:p@a")...)...),
		"a query":            append(fixed[:48:48], append([]byte{1}, url("https://a?x")...)...),
		"a zone":             append(fixed[:48:48], append([]byte{1}, url("https://[fe80::1%25eth0]")...)...),
		"no host":            append(fixed[:48:48], append([]byte{1}, url("https://:8443")...)...),
		"a control byte":     append(fixed[:48:48], append([]byte{1}, url("https://a\x00b")...)...),
		"longer than a URL":  append(fixed[:48:48], append([]byte{1}, url("https://"+strings.Repeat("a", 210))...)...),
		"not a URL whatever": append(fixed[:48:48], append([]byte{1}, url("::")...)...),
	} {
		text := tokenPrefix + base64.RawURLEncoding.EncodeToString(append(payload[:len(payload):len(payload)], tokenChecksum(payload)...))
		if _, err := ParseToken(text); !errors.Is(err, ErrToken) {
			t.Errorf("%s: got %v, want ErrToken", name, err)
		}
	}
}

// T-28: whatever prints a token, a secret, or a request does not print the secret.
func TestT28_SecretsDoNotPrint(t *testing.T) {
	token := exampleToken()
	request := EnrolRequest{Secret: token.SecretText(), Name: "a"}
	canaries := []string{token.Reveal(), string(token.SecretText()), fmt.Sprintf("%x", token.Secret[:]), base64.StdEncoding.EncodeToString(token.Secret[:]), "160 161", "0xa0, 0xa1"}
	var out strings.Builder
	for _, v := range []any{token, &token, token.Secret, token.SecretText(), request, &request, []any{token}, map[string]any{"t": token}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "token", token, "secret", token.Secret, "text", token.SecretText(), "request", request)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "token", token, "secret", token.Secret, "text", token.SecretText())
	for _, v := range []any{token, token.Secret} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	if _, err := ParseToken(token.Reveal()[:60]); err != nil {
		out.WriteString(err.Error())
	}
	for _, canary := range canaries {
		if strings.Contains(out.String(), canary) {
			t.Errorf("the secret is printed, as %q", canary)
		}
	}
}

func TestSecret_Malformed(t *testing.T) {
	for _, text := range []SecretText{"", "a", SecretText(strings.Repeat("a", 23)), SecretText(strings.Repeat("!", 22)), SecretText(strings.Repeat("_", 22))} {
		if _, err := text.Parse(); err == nil {
			t.Errorf("a secret of %d characters is taken", len(text))
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(exampleToken().Reveal())
	f.Add("re6st1-")
	f.Add("re6st1-AAAA")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err != nil {
			return
		}
		if err := token.Check(); err != nil {
			t.Errorf("a token that was read cannot be written: %v", err)
		}
		if again, err := ParseToken(token.Reveal()); err != nil || !reflect.DeepEqual(again, token) {
			t.Errorf("it differs after a round trip: %v", err)
		}
	})
}

// FuzzTokenPayload gets past the checksum.
func FuzzTokenPayload(f *testing.F) {
	f.Add(append(make([]byte, 48), 1, 9, 'h', 't', 't', 'p', 's', ':', '/', '/', 'a'))
	f.Add(make([]byte, 49))
	f.Fuzz(func(t *testing.T, payload []byte) {
		token, err := parseTokenPayload(payload)
		if err == nil && token.Check() != nil {
			t.Error("a token that was read cannot be written")
		}
	})
}
