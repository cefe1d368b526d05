package mac

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"re6st/babel/wire"
)

// The keys that babeld and BIRD had when their packets were captured.
var goldenKeys = map[string]string{
	"HMAC-SHA256": "hmac-sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
	"BLAKE2s":     "blake2s128:202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
}

// signed is one of the captures of package wire whose name begins with an
// algorithm.
type signed struct {
	name     string
	key      Key
	from, to netip.AddrPort
	packet   []byte
}

func signedGoldens(t *testing.T) []signed {
	t.Helper()
	files, err := filepath.Glob("../wire/testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []signed
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "\n\n") {
			lines := strings.Split(strings.TrimSpace(part), "\n")
			algorithm, _, _ := strings.Cut(lines[0], ":")
			if goldenKeys[algorithm] == "" {
				continue
			}
			key, err := ParseKey(goldenKeys[algorithm])
			if err != nil {
				t.Fatal(err)
			}
			var from, to, digits string
			if _, err := fmt.Sscanf(lines[1], "from %s to %s", &from, &to); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for _, l := range lines[2:] {
				if !strings.HasPrefix(l, "|") {
					digits += l
				}
			}
			packet, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all = append(all, signed{
				filepath.Base(file) + ", " + lines[0], key,
				netip.AddrPortFrom(netip.MustParseAddr(from), wire.Port), netip.AddrPortFrom(netip.MustParseAddr(to), wire.Port), packet,
			})
		}
	}
	if len(all) < 10 {
		t.Fatalf("only %d signed captures", len(all))
	}
	return all
}

// What babeld and BIRD have signed is authentic to us, and nothing that differs
// from it is: neither an octet of what the MAC covers, nor an address.
func TestGoldenMACs(t *testing.T) {
	now := time.Unix(1e9, 0)
	verify := func(g signed, key Key, to netip.AddrPort, packet []byte) Verdict {
		return NewInterface(rand.New(rand.NewPCG(1, 1)), 8, []Key{key}).Verify(now, g.from, to, packet)
	}
	other, err := ParseKey("hmac-sha256:" + strings.Repeat("ee", 32))
	if err != nil {
		t.Fatal(err)
	}
	replies := 0
	for _, g := range signedGoldens(t) {
		v := verify(g, g.key, g.to, g.packet)
		if v.Outcome != Unproven {
			t.Errorf("%s: %v, want it authentic and unproven", g.name, v.Outcome)
		}
		if v.MustReply {
			replies++
			if len(v.Reply) == 0 || !bytes.Contains(g.packet, v.Reply) {
				t.Errorf("%s: the nonce to be replied is %x", g.name, v.Reply)
			}
		}
		if v := verify(g, other, g.to, g.packet); v.Outcome != Forged {
			t.Errorf("%s: with another key %v", g.name, v.Outcome)
		}
		elsewhere := netip.AddrPortFrom(netip.MustParseAddr("fe80::77"), wire.Port)
		if v := verify(g, g.key, elsewhere, g.packet); v.Outcome != Forged {
			t.Errorf("%s: sent to another address %v", g.name, v.Outcome)
		}
		covered, _, err := wire.Split(g.packet)
		if err != nil {
			t.Fatal(err)
		}
		for i := wire.HeaderLen; i < len(covered); i++ {
			changed := bytes.Clone(g.packet)
			changed[i] ^= 1
			if v := verify(g, g.key, g.to, changed); v.Outcome != Forged {
				t.Errorf("%s: with octet %d changed %v", g.name, i, v.Outcome)
			}
		}
	}
	if replies == 0 {
		t.Error("no Challenge Request among the captures was to be answered")
	}
}
