package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"re6st/addressing"
)

// The tests make their certificates with crypto/x509 and not with registry/ca:
// that way they can also make wrong ones, and a mistake in the profile is not
// repeated here.

var epoch = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return epoch }

// world is a network with its CA.
type world struct {
	t         testing.TB
	key       *ecdsa.PrivateKey
	template  *x509.Certificate
	authority *Authority
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func blocksOf(t testing.TB, prefixes ...string) pkix.Extension {
	t.Helper()
	var ps []netip.Prefix
	for _, p := range prefixes {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	value, err := addressing.MarshalIPBlocks(ps)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: addressing.OIDIPBlocks, Critical: true, Value: value}
}

func roleOf(t testing.TB, role string) pkix.Extension {
	t.Helper()
	value, err := asn1.MarshalWithParams(role, "utf8")
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: addressing.OIDRole, Value: value}
}

func rightsOf(t testing.TB, r addressing.Rights) pkix.Extension {
	t.Helper()
	value, err := addressing.MarshalRights(r)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: addressing.OIDRights, Value: value}
}

func caTemplate(t testing.TB) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "network"},
		NotBefore:             epoch.AddDate(-1, 0, 0),
		NotAfter:              epoch.AddDate(20, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		ExtraExtensions:       []pkix.Extension{blocksOf(t, "10.42.0.0/16", "2001:db8:42::/48")},
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, key: newKey(t), template: caTemplate(t)}
	a, err := NewAuthority(sign(t, w.template, w.template, &w.key.PublicKey, w.key))
	if err != nil {
		t.Fatal(err)
	}
	w.authority = a
	// With the identifier of its key, as in the certificate.
	if w.template, err = x509.ParseCertificate(a.Raw()); err != nil {
		t.Fatal(err)
	}
	return w
}

func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// leaf is a certificate with its key.
func (w *world) leaf(template *x509.Certificate) tls.Certificate {
	w.t.Helper()
	key := newKey(w.t)
	return tls.Certificate{
		Certificate: [][]byte{sign(w.t, template, w.template, &key.PublicKey, w.key), w.authority.Raw()},
		PrivateKey:  key,
	}
}

// nodeTemplate is a good node's certificate, which tests change for the worse.
func nodeTemplate(t testing.TB, name, prefix string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          big.NewInt(0xabc),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             epoch.Add(-time.Hour),
		NotAfter:              epoch.Add(90 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{name + ".mesh"},
		IPAddresses:           []net.IP{addressing.NodeAddress(netip.MustParsePrefix(prefix)).AsSlice()},
		ExtraExtensions:       []pkix.Extension{blocksOf(t, prefix)},
	}
}

func (w *world) node(name, prefix string) tls.Certificate {
	w.t.Helper()
	return w.leaf(nodeTemplate(w.t, name, prefix))
}

// registryTemplate is a good certificate of the registry.
func registryTemplate(t testing.TB) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          big.NewInt(0xdef),
		Subject:               pkix.Name{CommonName: "registry"},
		NotBefore:             epoch.Add(-time.Hour),
		NotAfter:              epoch.Add(90 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"registry.example"},
		IPAddresses:           []net.IP{net.ParseIP("192.0.2.1")},
		ExtraExtensions:       []pkix.Extension{roleOf(t, "registry")},
	}
}

// replace exchanges an extension by its identifier.
func replace(c *x509.Certificate, e pkix.Extension) {
	c.ExtraExtensions = append(without(c, e.Id), e)
}

func without(c *x509.Certificate, id asn1.ObjectIdentifier) []pkix.Extension {
	return slices.DeleteFunc(slices.Clone(c.ExtraExtensions), func(e pkix.Extension) bool { return e.Id.Equal(id) })
}

func hasText(err error, text string) bool {
	return err != nil && strings.Contains(err.Error(), text)
}
