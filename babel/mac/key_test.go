package mac

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const secretHex = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func TestParseKey(t *testing.T) {
	for _, c := range []struct {
		in, wantErr string
		want        Algorithm
		size        int
	}{
		{"hmac-sha256:" + secretHex, "", HMACSHA256, 32},
		{"hmac-sha256:" + secretHex + secretHex, "", HMACSHA256, 32},
		{"hmac-sha256:" + secretHex[:32], "", HMACSHA256, 32},
		{"blake2s128:" + secretHex, "", BLAKE2s128, 16},
		{"blake2s128:" + secretHex[:32], "", BLAKE2s128, 16},
		{"blake2s128:" + secretHex + "00", "33 octets, want 16 to 32", 0, 0},
		{"hmac-sha256:" + secretHex + secretHex + "00", "65 octets, want 16 to 64", 0, 0},
		{"hmac-sha256:" + secretHex[:30], "15 octets, want 16 to 64", 0, 0},
		{"hmac-sha256:", "0 octets, want 16 to 64", 0, 0},
		{"hmac-sha256", "0 octets, want 16 to 64", 0, 0},
		{"hmac-sha256:" + secretHex + "0", "not hexadecimal", 0, 0},
		{"hmac-sha256:zz", "not hexadecimal", 0, 0},
		{"md5:" + secretHex, "want hmac-sha256:HEX or blake2s128:HEX", 0, 0},
		{secretHex, "want hmac-sha256:HEX or blake2s128:HEX", 0, 0},
		{"", "want hmac-sha256:HEX or blake2s128:HEX", 0, 0},
	} {
		k, err := ParseKey(c.in)
		if c.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), c.wantErr) {
				t.Errorf("%q: %v, want %q", c.in, err, c.wantErr)
			}
			if err != nil && strings.Contains(err.Error(), secretHex[:30]) {
				t.Errorf("the error tells the secret: %v", err)
			}
			continue
		}
		if err != nil || k.Algorithm != c.want || k.Algorithm.Size() != c.size {
			t.Errorf("%q: %v, %v", c.in, k, err)
		}
	}
}

// Whatever prints a key, or what contains one, does not print the secret.
func TestKeyIsRedacted(t *testing.T) {
	k, err := ParseKey("hmac-sha256:" + secretHex)
	if err != nil {
		t.Fatal(err)
	}
	type config struct {
		Keys []Key
		Key  *Key
	}
	c := config{[]Key{k}, &k}
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		fmt.Fprintf(&b, verb+verb+"\n", k, c)
	}
	log := slog.New(slog.NewTextHandler(&b, nil))
	log.Info("key", "key", k, "config", c)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("key", "key", k, "config", c)
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out := b.String() + string(data)
	for _, leak := range []string{"ccddee", "0xcc", "204 221", "204,221", "ABEiM0"} {
		if strings.Contains(out, leak) {
			t.Errorf("the output has %q:\n%s", leak, out)
		}
	}
	if !strings.Contains(out, "hmac-sha256:redacted") {
		t.Error(out)
	}
}

func TestKeyEqual(t *testing.T) {
	a, b := Key{HMACSHA256, []byte("a")}, Key{BLAKE2s128, []byte("a")}
	if !a.Equal(Key{HMACSHA256, []byte("a")}) || a.Equal(b) || a.Equal(Key{HMACSHA256, []byte("b")}) {
		t.Error("Equal is wrong")
	}
}
