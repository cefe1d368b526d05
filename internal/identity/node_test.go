package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"re6st/addressing"
)

func TestNode(t *testing.T) {
	w := newWorld(t)
	template := nodeTemplate(t, "node-3", "2001:db8:42:8::/61")
	rights := addressing.Rights{Announce: []netip.Prefix{netip.MustParsePrefix("2001:db8:99::/48")}, Gateway: true}
	template.ExtraExtensions = []pkix.Extension{
		blocksOf(t, "10.42.3.0/24", "2001:db8:42:8::/61"), rightsOf(t, rights),
		{Id: asn1.ObjectIdentifier{2, 25, 1374820913, 99}, Value: []byte("of a newer version")},
	}
	c := w.leaf(template)
	raw := c.Certificate[0]
	got, err := w.authority.Node(raw, epoch)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&c.PrivateKey.(*ecdsa.PrivateKey).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	want := Node{
		Name:      "node-3",
		Serial:    "00000000000000000000000000000abc",
		Key:       sha256.Sum256(spki),
		Prefix:    netip.MustParsePrefix("2001:db8:42:8::/61"),
		IPv4:      netip.MustParsePrefix("10.42.3.0/24"),
		Address:   netip.MustParseAddr("2001:db8:42:8::1"),
		RouterID:  addressing.RouterID{0x20, 0x01, 0x0d, 0xb8, 0, 0x42, 0, 8},
		Rights:    rights,
		NotBefore: epoch.Add(-time.Hour),
		NotAfter:  epoch.Add(90 * 24 * time.Hour),
		Raw:       raw,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// The answer is the caller's own.
	got.Raw[0] ^= 1
	if again, err := w.authority.Node(raw, epoch); err != nil || bytes.Equal(again.Raw, got.Raw) {
		t.Errorf("after the answer was changed: %v", err)
	}
}

// A15, key and prefix are bound: each thing that a certificate says must follow
// from the one prefix that it proves, and everything else is refused.
func TestA15_NodeCertificatesRefused(t *testing.T) {
	w := newWorld(t)
	const own = "2001:db8:42:8::/64"
	unsorted := blocksOf(t, "2001:db8:42:8::/64")
	unsorted.Value = append(bytes.Clone(unsorted.Value), 0)
	for _, test := range []struct {
		name   string
		change func(*x509.Certificate)
		want   error
		text   string
	}{
		{"good", func(*x509.Certificate) {}, nil, ""},
		{"a name without domain", func(c *x509.Certificate) { c.DNSNames = []string{"node-3"} }, nil, ""},

		{"expired", func(c *x509.Certificate) { c.NotAfter = epoch.Add(-time.Second) }, ErrExpired, "certificate of node-3 expired: it ended at 2026-06-01T11:59:59Z"},
		{"not yet valid", func(c *x509.Certificate) { c.NotBefore = epoch.Add(time.Second) }, ErrNotYetValid, "certificate of node-3 is not yet valid"},

		{"no blocks", func(c *x509.Certificate) { c.ExtraExtensions = nil }, ErrBlocks, "no IPv6 prefix"},
		{"blocks that are not critical", func(c *x509.Certificate) {
			e := blocksOf(t, own)
			e.Critical = false
			replace(c, e)
		}, ErrBlocks, "not critical"},
		{"malformed blocks", func(c *x509.Certificate) { replace(c, unsorted) }, ErrBlocks, "parsing"},
		{"another network's prefix", func(c *x509.Certificate) { replace(c, blocksOf(t, "2001:db8:43:8::/64")) }, ErrBlocks, "2001:db8:43:8::/64 is not of the CA's blocks"},
		{"more than the network", func(c *x509.Certificate) { replace(c, blocksOf(t, "2001:db8::/32")) }, ErrBlocks, "not of the CA's"},
		{"another network's IPv4 prefix", func(c *x509.Certificate) { replace(c, blocksOf(t, "10.43.0.0/24", own)) }, ErrBlocks, "10.43.0.0/24"},
		{"two IPv6 prefixes", func(c *x509.Certificate) { replace(c, blocksOf(t, own, "2001:db8:42:a::/64")) }, ErrBlocks, "both"},
		{"two IPv4 prefixes", func(c *x509.Certificate) { replace(c, blocksOf(t, own, "10.42.1.0/24", "10.42.3.0/24")) }, ErrBlocks, "both"},
		{"IPv4 only", func(c *x509.Certificate) { replace(c, blocksOf(t, "10.42.1.0/24")) }, ErrBlocks, "no IPv6 prefix"},

		{"the address of another prefix", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("2001:db8:42:9::1")} }, ErrProfile, "2001:db8:42:8::1"},
		{"another address of its prefix", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("2001:db8:42:8::2")} }, ErrProfile, "follows"},
		{"no address", func(c *x509.Certificate) { c.IPAddresses = nil }, ErrProfile, "follows"},
		{"two addresses", func(c *x509.Certificate) { c.IPAddresses = append(c.IPAddresses, net.ParseIP("2001:db8:42:9::1")) }, ErrProfile, "follows"},
		{"another node's DNS name", func(c *x509.Certificate) { c.DNSNames = []string{"node-4.mesh"} }, ErrProfile, "does not begin"},
		{"two DNS names", func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "node-4.mesh") }, ErrProfile, "2 DNS names"},
		{"no DNS name", func(c *x509.Certificate) { c.DNSNames = nil }, ErrProfile, "0 DNS names"},
		{"a longer name before the domain", func(c *x509.Certificate) { c.DNSNames = []string{"node-33.mesh"} }, ErrProfile, "does not begin"},
		{"a domain that is none", func(c *x509.Certificate) { c.DNSNames = []string{"node-3."} }, ErrProfile, "does not begin"},
		{"an e-mail address", func(c *x509.Certificate) { c.EmailAddresses = []string{"a@example.org"} }, ErrProfile, "other kinds"},
		{"a URI", func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "https", Host: "a"}} }, ErrProfile, "other kinds"},
		{"a name with a line break", func(c *x509.Certificate) { c.Subject.CommonName = "a\nb" }, ErrProfile, `"a\nb"`},
		{"no name", func(c *x509.Certificate) { c.Subject.CommonName = "" }, ErrProfile, "host name"},

		{"a client only", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, ErrProfile, "TLS"},
		{"a server only", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }, ErrProfile, "TLS"},
		{"any extended usage", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, ErrProfile, "TLS"},
		{"no extended usage", func(c *x509.Certificate) { c.ExtKeyUsage = nil }, ErrProfile, "TLS"},
		{"no signing", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, ErrProfile, "may not sign"},
		{"a CA", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, c.KeyUsage|x509.KeyUsageCertSign }, ErrRole, "is a CA"},
		{"the registry's role", func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, roleOf(t, "registry")) }, ErrRole, "not a node's"},
		{"another role", func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, roleOf(t, "king")) }, ErrRole, "not a node's"},
		{"an unreadable role", func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: addressing.OIDRole, Value: []byte{5, 0}})
		}, ErrRole, "not a node's"},
		{"an empty role", func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, roleOf(t, "")) }, ErrRole, "not a node's"},
		{"malformed rights", func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: addressing.OIDRights, Value: []byte{0x30, 0}})
		}, ErrProfile, "parsing rights"},
		{"an unknown critical extension", func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}, ErrProfile, "critical"},
		{"too large", func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, 9<<10)})
		}, ErrProfile, "at most 8192"},
	} {
		t.Run(test.name, func(t *testing.T) {
			template := nodeTemplate(t, "node-3", own)
			test.change(template)
			n, err := w.authority.Node(w.leaf(template).Certificate[0], epoch)
			if !errors.Is(err, test.want) || test.text != "" && !hasText(err, test.text) {
				t.Fatalf("%v, want %v with %q", err, test.want, test.text)
			}
			var typed *Error
			if err != nil && (!errors.As(err, &typed) || n.Name != "" || n.Raw != nil) {
				t.Errorf("%T with %+v", err, n)
			}
		})
	}
}

func TestNodeValidityBounds(t *testing.T) {
	w := newWorld(t)
	raw := w.node("node-3", "2001:db8:42:8::/64").Certificate[0]
	first, last := epoch.Add(-time.Hour), epoch.Add(90*24*time.Hour)
	for _, test := range []struct {
		now  time.Time
		want error
	}{
		{first, nil},
		{first.Add(-1), ErrNotYetValid},
		{last, nil},
		{last.Add(1), ErrExpired},
		{epoch.AddDate(20, 0, 1), ErrExpired},
		{time.Time{}, ErrNotYetValid},
		{first.In(time.FixedZone("", 3600)), nil},
	} {
		if _, err := w.authority.Node(raw, test.now); !errors.Is(err, test.want) {
			t.Errorf("at %v: %v, want %v", test.now, err, test.want)
		}
	}
	// The CA can have ended before its certificates.
	if _, err := w.authority.Node(w.leaf(func() *x509.Certificate {
		c := nodeTemplate(t, "node-3", "2001:db8:42:8::/64")
		c.NotAfter = epoch.AddDate(30, 0, 0)
		return c
	}()).Certificate[0], epoch.AddDate(21, 0, 0)); !errors.Is(err, ErrExpired) || !hasText(err, "of the CA expired") {
		t.Errorf("of an expired CA: %v", err)
	}
}

func TestA15_ForeignCertificates(t *testing.T) {
	w, other := newWorld(t), newWorld(t) // of the same name and blocks
	template := nodeTemplate(t, "node-3", "2001:db8:42:8::/64")
	key := newKey(t)
	for name, raw := range map[string][]byte{
		"another CA":                         other.leaf(template).Certificate[0],
		"signed by itself":                   sign(t, template, template, &key.PublicKey, key),
		"the other CA":                       other.authority.Raw(),
		"signed by any key in the CA's name": sign(t, template, caTemplate(t), &key.PublicKey, newKey(t)),
	} {
		if _, err := w.authority.Node(raw, epoch); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v, want %v", name, err, ErrForeign)
		}
	}
	if _, err := w.authority.Node(w.authority.Raw(), epoch); !errors.Is(err, ErrRole) {
		t.Errorf("the CA itself: %v", err)
	}
	// A node's certificate cannot certify others.
	node := w.node("node-4", "2001:db8:42:9::/64")
	parent, err := x509.ParseCertificate(node.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	raw := sign(t, template, parent, &key.PublicKey, node.PrivateKey.(*ecdsa.PrivateKey))
	if _, err := w.authority.Node(raw, epoch); !errors.Is(err, ErrForeign) {
		t.Errorf("certified by a node: %v", err)
	}
}

func TestKeysRefused(t *testing.T) {
	w := newWorld(t)
	rsaKey, err1 := rsa.GenerateKey(rand.Reader, 2048)
	p384, err2 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p224, err3 := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	ed, _, err4 := ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	for name, public := range map[string]any{"RSA": &rsaKey.PublicKey, "P-384": &p384.PublicKey, "P-224": &p224.PublicKey, "Ed25519": ed} {
		raw := sign(t, nodeTemplate(t, "node-3", "2001:db8:42:8::/64"), w.template, public, w.key)
		if _, err := w.authority.Node(raw, epoch); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v, want %v", name, err, ErrKey)
		}
		if err := w.authority.Registry(sign(t, registryTemplate(t), w.template, public, w.key), "registry.example", epoch); !errors.Is(err, ErrKey) {
			t.Errorf("%s of the registry: %v, want %v", name, err, ErrKey)
		}
	}
}

// Re-encoded or cut off, a certificate is not one.
func TestT08_MalleatedCertificates(t *testing.T) {
	w := newWorld(t)
	raw := w.node("node-3", "2001:db8:42:8::/64").Certificate[0]
	for n := range raw {
		if _, err := w.authority.Node(raw[:n], epoch); err == nil {
			t.Fatalf("%d of %d bytes are accepted", n, len(raw))
		}
		changed := bytes.Clone(raw)
		changed[n] ^= 1
		if _, err := w.authority.Node(changed, epoch); err == nil {
			t.Fatalf("byte %d was changed, and nobody noticed", n)
		}
	}
	if _, err := w.authority.Node(append(bytes.Clone(raw), 0), epoch); !errors.Is(err, ErrProfile) {
		t.Errorf("with a byte behind it: %v", err)
	}

	// The one twin that no verifier can refuse: ECDSA accepts (r, n-s) as well.
	// It proves the same identity and key, which is what counts.
	var parts struct {
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(raw, &parts); err != nil {
		t.Fatal(err)
	}
	if _, err := asn1.Unmarshal(parts.Signature.Bytes, &rs); err != nil {
		t.Fatal(err)
	}
	rs.S.Sub(elliptic.P256().Params().N, rs.S)
	signature, err := asn1.Marshal(rs)
	if err != nil {
		t.Fatal(err)
	}
	parts.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	twin, err := asn1.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	a, err1 := w.authority.Node(raw, epoch)
	b, err2 := w.authority.Node(twin, epoch)
	if err := errors.Join(err1, err2); err != nil || a.Key != b.Key || a.Serial != b.Serial || a.Prefix != b.Prefix || a.Name != b.Name {
		t.Errorf("the twin is %+v, %v", b, err)
	}
}

func FuzzNode(f *testing.F) {
	w := newWorld(f)
	good := w.node("node-3", "2001:db8:42:8::/64").Certificate[0]
	f.Add(good)
	f.Add(w.leaf(registryTemplate(f)).Certificate[0])
	f.Add(w.authority.Raw())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if n, err := w.authority.Node(raw, epoch); err == nil && n.Name != "node-3" {
			t.Errorf("forged: %x is %+v", raw, n)
		}
		_ = w.authority.Registry(raw, "registry.example", epoch)
		_, _ = NewAuthority(raw)
	})
}
