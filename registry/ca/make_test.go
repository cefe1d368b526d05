package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"re6st/addressing"
	"re6st/internal/lab/solo"
)

var epoch = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newCA(t testing.TB, networks ...string) (*CA, *ecdsa.PrivateKey) {
	t.Helper()
	if len(networks) == 0 {
		networks = []string{"2001:db8:42::/48", "10.42.0.0/16"}
	}
	c, key, err := NewCA("mesh", prefixes(networks...), epoch)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

func exampleNode(t testing.TB) Node {
	n := Node{
		Name:   "node-3",
		Domain: "mesh",
		Prefix: netip.MustParsePrefix("2001:db8:42:8::/61"),
		IPv4:   netip.MustParsePrefix("10.42.3.0/24"),
		Rights: addressing.Rights{Announce: prefixes("::/0", "2001:db8:99::/48"), Gateway: true},
		Key:    &newKey(t).PublicKey,
		Serial: big.NewInt(0xabc),
	}
	n.NotBefore, n.NotAfter = Validity(epoch)
	return n
}

func exampleServer(t testing.TB) Server {
	s := Server{
		URLs:   []string{"https://registry.example:8443", "https://[2001:db8:42::1]:8443", "https://192.0.2.1", "https://registry.example"},
		Key:    &newKey(t).PublicKey,
		Serial: big.NewInt(0xdef),
	}
	s.NotBefore, s.NotAfter = Validity(epoch)
	return s
}

func issue(t testing.TB, c *CA, n Node) []byte {
	t.Helper()
	tbs, err := c.PrepareNode(n)
	if err != nil {
		t.Fatal(err)
	}
	der, err := c.Sign(tbs)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// openssl runs the second opinion. The machine that runs CI has it.
func openssl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		solo.SkipOrFail(t, "openssl is not installed")
	}
	var out bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

func writePEM(t *testing.T, name string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, EncodeCertificate(der), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
