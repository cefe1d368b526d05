package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"re6st/addressing"
)

// shape is what a certificate says, with the extensions in their order.
type shape struct {
	Subject, Issuer     string
	NotBefore, NotAfter time.Time
	KeyUsage            x509.KeyUsage
	ExtKeyUsage         []x509.ExtKeyUsage
	IsCA, PathLenZero   bool
	DNSNames            []string
	Addresses           []string
	Extensions          []string
}

func shapeOf(t *testing.T, der []byte) shape {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s := shape{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		KeyUsage: c.KeyUsage, ExtKeyUsage: c.ExtKeyUsage,
		IsCA: c.IsCA, PathLenZero: c.MaxPathLenZero,
		DNSNames: c.DNSNames,
	}
	for _, a := range c.IPAddresses {
		s.Addresses = append(s.Addresses, a.String())
	}
	for _, e := range c.Extensions {
		id := e.Id.String()
		if e.Critical {
			id += " critical"
		}
		s.Extensions = append(s.Extensions, id)
	}
	return s
}

func wantShape(t *testing.T, der []byte, want shape) {
	t.Helper()
	if diff := cmp.Diff(want, shapeOf(t, der)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProfileOfCA(t *testing.T) {
	c, key := newCA(t)
	wantShape(t, c.Raw(), shape{
		Subject: "CN=mesh", Issuer: "CN=mesh",
		NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.Add(30 * 365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		IsCA:     true, PathLenZero: true,
		Extensions: []string{"2.5.29.15 critical", "2.5.29.19 critical", "2.5.29.14", "1.3.6.1.5.5.7.1.7 critical"},
	})
	if _, err := Load(c.Raw(), key); err != nil {
		t.Error(err)
	}
	if !key.PublicKey.Equal(c.Signer().Public()) {
		t.Error("the signer has another key")
	}
}

func TestProfileOfNode(t *testing.T) {
	c, _ := newCA(t)
	n := exampleNode(t)
	der := issue(t, c, n)
	wantShape(t, der, shape{
		Subject: "CN=node-3", Issuer: "CN=mesh",
		NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.Add(90 * 24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"node-3.mesh"},
		Addresses:   []string{"2001:db8:42:8::1"},
		Extensions: []string{
			"2.5.29.15 critical", "2.5.29.37", "2.5.29.19 critical", "2.5.29.35", "2.5.29.17",
			"1.3.6.1.5.5.7.1.7 critical", "2.25.1374820913.1",
		},
	})
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if leaf.SerialNumber.Cmp(n.Serial) != 0 || !n.Key.Equal(leaf.PublicKey) {
		t.Error("another serial number or key")
	}
	for _, e := range leaf.Extensions {
		switch {
		case e.Id.Equal(addressing.OIDIPBlocks):
			got, err := addressing.ParseIPBlocks(e.Value)
			if want := prefixes("10.42.3.0/24", "2001:db8:42:8::/61"); err != nil || !slices.Equal(got, want) {
				t.Errorf("blocks %v, %v, want %v", got, err, want)
			}
		case e.Id.Equal(addressing.OIDRights):
			got, err := addressing.ParseRights(e.Value)
			if err != nil || !slices.Equal(got.Announce, n.Rights.Announce) || !got.Gateway {
				t.Errorf("rights %v, %v, want %v", got, err, n.Rights)
			}
		}
	}
	// A node with nothing special has no rights extension, and with no domain a
	// name of one label.
	plain := exampleNode(t)
	plain.Rights, plain.IPv4, plain.Domain = addressing.Rights{}, netip.Prefix{}, ""
	plain.Prefix = netip.MustParsePrefix("2001:db8:42:7::77/128")
	got := shapeOf(t, issue(t, c, plain))
	if slices.Contains(got.Extensions, "2.25.1374820913.1") || got.Addresses[0] != "2001:db8:42:7::77" || got.DNSNames[0] != "node-3" {
		t.Errorf("%+v", got)
	}
}

func TestProfileOfServer(t *testing.T) {
	c, _ := newCA(t)
	tbs, err := c.PrepareServer(exampleServer(t))
	if err != nil {
		t.Fatal(err)
	}
	der, err := c.Sign(tbs)
	if err != nil {
		t.Fatal(err)
	}
	wantShape(t, der, shape{
		Subject: "CN=registry", Issuer: "CN=mesh",
		NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.Add(90 * 24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"registry.example"},
		Addresses:   []string{"2001:db8:42::1", "192.0.2.1"},
		Extensions: []string{
			"2.5.29.15 critical", "2.5.29.37", "2.5.29.19 critical", "2.5.29.35", "2.5.29.17", "2.25.1374820913.2",
		},
	})
}

// Preparing and signing apart gives, byte for byte, what crypto/x509 gives at once.
func TestSignEqualsDirectSigning(t *testing.T) {
	c, key := newCA(t)
	n := exampleNode(t)
	der := issue(t, c, n)
	blocks, err := addressing.MarshalIPBlocks([]netip.Prefix{n.Prefix, n.IPv4})
	if err != nil {
		t.Fatal(err)
	}
	rights, err := addressing.MarshalRights(n.Rights)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: n.Serial, Subject: pkix.Name{CommonName: n.Name}, NotBefore: n.NotBefore, NotAfter: n.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		DNSNames: []string{"node-3.mesh"}, IPAddresses: []net.IP{net.ParseIP("2001:db8:42:8::1")},
		ExtraExtensions: []pkix.Extension{
			{Id: addressing.OIDIPBlocks, Critical: true, Value: blocks}, {Id: addressing.OIDRights, Value: rights},
		},
	}
	direct, err := x509.CreateCertificate(nil, template, c.certificate, n.Key, key)
	if err != nil || !bytes.Equal(direct, der) {
		t.Errorf("direct signing gives %x, %v, ours %x", direct, err, der)
	}
}

// What was stored gives the same certificate, also after a restart.
func TestSignIsDeterministic(t *testing.T) {
	c, key := newCA(t)
	n := exampleNode(t)
	tbs, err := c.PrepareNode(n)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.PrepareNode(n)
	if err != nil || !bytes.Equal(tbs, again) {
		t.Errorf("prepared again it differs: %v", err)
	}
	der, err := c.Sign(tbs)
	if err != nil {
		t.Fatal(err)
	}
	text, err := EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := DecodeKey(text)
	if err != nil {
		t.Fatal(err)
	}
	restarted, err := Load(c.Raw(), stored)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got, err := restarted.Sign(bytes.Clone(tbs)); err != nil || !bytes.Equal(got, der) {
			t.Errorf("signed again it differs: %v", err)
		}
	}
}

// unused fails the test when the CA's key is used.
type unused struct {
	*ecdsa.PrivateKey
	t *testing.T
}

func (u unused) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	u.t.Error("the key was used")
	return nil, errors.New("not now")
}

func TestPrepareDoesNotUseTheKey(t *testing.T) {
	c, key := newCA(t)
	c, err := Load(c.Raw(), unused{key, t})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PrepareNode(exampleNode(t)); err != nil {
		t.Error(err)
	}
	if _, err := c.PrepareServer(exampleServer(t)); err != nil {
		t.Error(err)
	}
}

func TestSignRefuses(t *testing.T) {
	c, key := newCA(t)
	other, _, err := NewCA("another", prefixes("2001:db8:42::/48"), epoch)
	if err != nil {
		t.Fatal(err)
	}
	good, err := c.PrepareNode(exampleNode(t))
	if err != nil {
		t.Fatal(err)
	}
	plain := exampleNode(t)
	plain.IPv4 = netip.Prefix{}
	foreign, err := other.PrepareNode(plain)
	if err != nil {
		t.Fatal(err)
	}
	self, err := x509.ParseCertificate(c.Raw())
	if err != nil {
		t.Fatal(err)
	}
	for name, tbs := range map[string][]byte{
		"nothing":             nil,
		"no certificate":      {0x30, 0},
		"cut off":             good[:len(good)-1],
		"bytes behind":        append(bytes.Clone(good), 0),
		"of another CA":       foreign,
		"a CA's":              self.RawTBSCertificate,
		"a whole certificate": c.Raw(),
	} {
		if der, err := c.Sign(tbs); err == nil {
			t.Errorf("%s: signed %x", name, der)
		}
	}
	// A signer that errs, or signs with another key.
	c, err = Load(c.Raw(), wrong{key, newKey(t)})
	if err != nil {
		t.Fatal(err)
	}
	if der, err := c.Sign(good); err == nil {
		t.Errorf("signed by another key: %x", der)
	}
	c.key = wrong{key, nil}
	if _, err := c.Sign(good); !errors.Is(err, errRemoved) {
		t.Errorf("%v, want %v", err, errRemoved)
	}
}

var errRemoved = errors.New("token removed")

type wrong struct{ claimed, used *ecdsa.PrivateKey }

func (w wrong) Public() crypto.PublicKey { return &w.claimed.PublicKey }

func (w wrong) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if w.used == nil {
		return nil, errRemoved
	}
	return w.used.Sign(r, digest, o)
}

func TestPrepareNodeRefuses(t *testing.T) {
	c, key := newCA(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*Node)
		text   string
	}{
		{"no name", func(n *Node) { n.Name = "" }, "host name"},
		{"a bad name", func(n *Node) { n.Name = "Node.3" }, "host name"},
		{"a bad domain", func(n *Node) { n.Domain = "me sh" }, "domain"},
		{"no prefix", func(n *Node) { n.Prefix = netip.Prefix{} }, "not of IPv6"},
		{"another network", func(n *Node) { n.Prefix = netip.MustParsePrefix("2001:db8:43::/64") }, "not of the network"},
		{"more than the network", func(n *Node) { n.Prefix = netip.MustParsePrefix("2001:db8::/32") }, "not of the network"},
		{"bits after the length", func(n *Node) { n.Prefix = netip.MustParsePrefix("2001:db8:42::1/64") }, "not of the network"},
		{"IPv4 as IPv6", func(n *Node) { n.Prefix = n.IPv4 }, "not of IPv6"},
		{"IPv6 as IPv4", func(n *Node) { n.IPv4 = n.Prefix }, "not of IPv4"},
		{"another IPv4 network", func(n *Node) { n.IPv4 = netip.MustParsePrefix("10.43.0.0/24") }, "not of the network"},
		{"bad rights", func(n *Node) { n.Rights.Announce = []netip.Prefix{{}} }, "rights"},
		{"no key", func(n *Node) { n.Key = nil }, "no key"},
		{"P-384", func(n *Node) { n.Key = &p384.PublicKey }, "not P-256"},
		{"the CA's key", func(n *Node) { n.Key = &key.PublicKey }, "CA's own"},
		{"no serial number", func(n *Node) { n.Serial = nil }, "serial"},
		{"serial number 0", func(n *Node) { n.Serial = new(big.Int) }, "serial"},
		{"a negative serial number", func(n *Node) { n.Serial = big.NewInt(-1) }, "serial"},
		{"a long serial number", func(n *Node) { n.Serial = new(big.Int).Lsh(big.NewInt(1), 128) }, "serial"},
		{"no time", func(n *Node) { n.NotAfter = n.NotBefore }, "validity"},
		{"longer than the CA", func(n *Node) { n.NotAfter = epoch.AddDate(31, 0, 0) }, "validity"},
	} {
		n := exampleNode(t)
		test.change(&n)
		if _, err := c.PrepareNode(n); err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want an error with %q", test.name, err, test.text)
		}
	}
	for _, urls := range [][]string{nil, {"x"}, {"https://"}, {"https://%zz"}} {
		s := exampleServer(t)
		s.URLs = urls
		if _, err := c.PrepareServer(s); err == nil {
			t.Errorf("a server at %q is prepared", urls)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	c, key := newCA(t)
	der := issue(t, c, exampleNode(t))
	self, err := x509.ParseCertificate(c.Raw())
	if err != nil {
		t.Fatal(err)
	}
	remake := func(change func(*x509.Certificate)) []byte {
		template := *self
		template.ExtraExtensions = []pkix.Extension{{Id: addressing.OIDIPBlocks, Critical: true, Value: []byte{5, 0}}}
		change(&template)
		der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for name, test := range map[string]struct {
		der []byte
		key crypto.Signer
	}{
		"nothing":          {nil, key},
		"another key":      {c.Raw(), newKey(t)},
		"a node's":         {der, key},
		"malformed blocks": {remake(func(*x509.Certificate) {}), key},
		"no blocks":        {remake(func(c *x509.Certificate) { c.ExtraExtensions = nil }), key},
		"a CA of CAs":      {remake(func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = -1, false }), key},
	} {
		if _, err := Load(test.der, test.key); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
	for _, networks := range [][]netip.Prefix{nil, prefixes("fd00::/8", "fd42::/16")} {
		if _, _, err := NewCA("mesh", networks, epoch); err == nil {
			t.Errorf("a CA of %v", networks)
		}
	}
	for _, name := range []string{"", "a\nb", strings.Repeat("a", 65)} {
		if _, _, err := NewCA(name, prefixes("fd00::/8"), epoch); err == nil {
			t.Errorf("a CA of the name %q", name)
		}
	}
}

func TestNewSerial(t *testing.T) {
	seen := map[string]bool{}
	longest := 0
	for range 200 {
		n, err := NewSerial()
		if err != nil {
			t.Fatal(err)
		}
		if n.Sign() <= 0 || n.BitLen() > 128 || seen[n.String()] {
			t.Errorf("serial number %v", n)
		}
		seen[n.String()] = true
		longest = max(longest, n.BitLen())
	}
	if longest < 125 {
		t.Errorf("of 200 serial numbers none has more than %d bits", longest)
	}
}

func TestPEM(t *testing.T) {
	c, key := newCA(t)
	text, err := EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := DecodeKey(text); err != nil || !back.Equal(key) {
		t.Errorf("key: %v", err)
	}
	certificate := EncodeCertificate(c.Raw())
	if back, err := DecodeCertificate(certificate); err != nil || !bytes.Equal(back, c.Raw()) {
		t.Errorf("certificate: %v", err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	large, err := EncodeKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"nothing": nil, "no PEM": []byte("x"), "cut off": text[:len(text)/2], "two": append(bytes.Clone(text), text...),
		"a certificate": certificate, "P-384": large,
		"garbage": []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
	} {
		if _, err := DecodeKey(bad); err == nil {
			t.Errorf("%s is a key", name)
		}
	}
	if _, err := DecodeCertificate(text); err == nil {
		t.Error("a key is a certificate")
	}
}
