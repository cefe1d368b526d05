package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"re6st/addressing"
	"re6st/registry/network"
)

func TestNewAuthority(t *testing.T) {
	w := newWorld(t)
	a := w.authority
	want := []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("2001:db8:42::/48")}
	if got := a.Networks(); !slices.Equal(got, want) {
		t.Errorf("networks %v, want %v", got, want)
	}
	spki, err := x509.MarshalPKIXPublicKey(&w.key.PublicKey)
	if err != nil || a.Pin() != sha256.Sum256(spki) || !a.Key().Equal(&w.key.PublicKey) {
		t.Errorf("pin or key is not the CA's: %v", err)
	}
	// What is handed out is a copy.
	a.Networks()[0], a.Raw()[0] = netip.Prefix{}, 0
	if _, err := NewAuthority(a.Raw()); err != nil || a.Networks()[0] != want[0] {
		t.Errorf("after the answers were changed: %v", err)
	}
}

func TestNewAuthorityRefuses(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	for _, test := range []struct {
		name   string
		change func(*x509.Certificate)
		key    crypto.Signer
		want   error
	}{
		{"good", func(*x509.Certificate) {}, key, nil},
		{"P-384", func(*x509.Certificate) {}, p384, ErrKey},
		{"no CA", func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }, key, ErrProfile},
		{"a CA that may not sign certificates", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }, key, ErrProfile},
		{"a CA of CAs", func(c *x509.Certificate) { c.MaxPathLenZero = false }, key, ErrProfile},
		{"no blocks", func(c *x509.Certificate) { c.ExtraExtensions = nil }, key, ErrProfile},
		{"malformed blocks", func(c *x509.Certificate) { c.ExtraExtensions[0].Value = []byte{5, 0} }, key, ErrProfile},
	} {
		c := caTemplate(t)
		test.change(c)
		if _, err := NewAuthority(sign(t, c, c, test.key.Public(), test.key)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	c := caTemplate(t)
	if _, err := NewAuthority(sign(t, c, c, &key.PublicKey, newKey(t))); !errors.Is(err, ErrProfile) {
		t.Errorf("signed by another key: %v", err)
	}
	for _, der := range [][]byte{nil, {0x30, 0}, make([]byte, 9<<10)} {
		if _, err := NewAuthority(der); !errors.Is(err, ErrProfile) {
			t.Errorf("%d bytes: %v", len(der), err)
		}
	}
	// An unknown critical extension of the CA makes its chains invalid.
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
	a, err := NewAuthority(sign(t, c, c, &key.PublicKey, key))
	if err != nil {
		return // as good
	}
	w := &world{t: t, key: key, template: a.certificate, authority: a}
	if _, err := a.Node(w.node("node-3", "2001:db8:42:8::/64").Certificate[0], epoch); err == nil {
		t.Error("an unknown critical extension of the CA was ignored")
	}
}

func TestDocument(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	d := network.Document{
		Version:    1,
		Prefixes:   []netip.Prefix{netip.MustParsePrefix("2001:db8:42::/48")},
		IPv4:       []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")},
		Parameters: network.Defaults(),
		Issued:     epoch,
	}
	sign := func(d network.Document, w *world) string {
		t.Helper()
		text, err := network.Sign(d, w.key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if got, err := w.authority.Document(sign(d, w)); err != nil || got.Version != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := w.authority.Document(sign(d, other)); !errors.Is(err, network.ErrSignature) {
		t.Errorf("of another network: %v", err)
	}
	d.Prefixes = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}
	if _, err := w.authority.Document(sign(d, w)); !errors.Is(err, network.ErrInvalid) || !hasText(err, "2001:db8::/32") {
		t.Errorf("of more than the CA's prefixes: %v", err)
	}
}

func TestRegistry(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	good := w.leaf(registryTemplate(t)).Certificate[0]
	for host, want := range map[string]error{
		"registry.example": nil, "REGISTRY.example": nil, "192.0.2.1": nil,
		"other.example": ErrHost, "a.registry.example": ErrHost, "192.0.2.2": ErrHost, "": ErrHost,
	} {
		if err := w.authority.Registry(good, host, epoch); !errors.Is(err, want) {
			t.Errorf("host %q: %v, want %v", host, err, want)
		}
	}
	for _, test := range []struct {
		name   string
		change func(*x509.Certificate)
		want   error
	}{
		{"expired", func(c *x509.Certificate) { c.NotAfter = epoch.Add(-time.Second) }, ErrExpired},
		{"not yet valid", func(c *x509.Certificate) { c.NotBefore = epoch.Add(time.Second) }, ErrNotYetValid},
		{"no role", func(c *x509.Certificate) { c.ExtraExtensions = nil }, ErrRole},
		{"another role", func(c *x509.Certificate) { replace(c, roleOf(t, "node")) }, ErrRole},
		{"an unreadable role", func(c *x509.Certificate) { c.ExtraExtensions[0].Value = []byte{5, 0} }, ErrRole},
		{"with a prefix", func(c *x509.Certificate) { replace(c, blocksOf(t, "2001:db8:42:1::/64")) }, ErrProfile},
		{"a client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, ErrProfile},
		{"a CA", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, c.KeyUsage|x509.KeyUsageCertSign }, ErrRole},
		{"no names", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil }, ErrHost},
	} {
		c := registryTemplate(t)
		test.change(c)
		if err := w.authority.Registry(w.leaf(c).Certificate[0], "registry.example", epoch); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	if err := w.authority.Registry(other.leaf(registryTemplate(t)).Certificate[0], "registry.example", epoch); !errors.Is(err, ErrForeign) {
		t.Errorf("of another network: %v", err)
	}
	if err := w.authority.Registry([]byte("x"), "registry.example", epoch); !errors.Is(err, ErrProfile) {
		t.Errorf("no certificate: %v", err)
	}
}

// T-01's half of it: whoever has a node's certificate is not the registry, even
// at an address that is in it, and the registry is no node.
func TestRolesAreApart(t *testing.T) {
	w := newWorld(t)
	node := w.node("registry", "2001:db8:42:8::/64").Certificate[0]
	for _, host := range []string{"registry.mesh", "2001:db8:42:8::1", "[2001:db8:42:8::1]"} {
		if err := w.authority.Registry(node, host, epoch); !errors.Is(err, ErrRole) {
			t.Errorf("a node as the registry at %s: %v", host, err)
		}
	}
	if _, err := w.authority.Node(w.leaf(registryTemplate(t)).Certificate[0], epoch); !errors.Is(err, ErrRole) {
		t.Errorf("the registry as a node: %v", err)
	}
	var rights addressing.Rights
	if n, err := w.authority.Node(node, epoch); err != nil || len(n.Rights.Announce) != 0 || n.Rights.Gateway != rights.Gateway {
		t.Errorf("a node without the extension has rights %+v, %v", n.Rights, err)
	}
}
