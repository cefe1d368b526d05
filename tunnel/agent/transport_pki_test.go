package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"re6st/addressing"
	"re6st/internal/identity"
)

// mesh is a certificate authority for tests, after the profile of the registry.
type mesh struct {
	t         testing.TB
	key       *ecdsa.PrivateKey
	cert      *x509.Certificate
	authority *identity.Authority
}

var testNetwork = netip.MustParsePrefix("2001:db8:42::/48")

// notBefore is well in the past: tests judge by the clock of the machine.
func notBefore() time.Time { return time.Now().Add(-time.Hour).Truncate(time.Second) }

// newMesh also checks at the end of the test that no goroutine is left.
func newMesh(t testing.TB) *mesh {
	t.Helper()
	m := &mesh{t: t, key: newTestKey(t)}
	if t, ok := t.(*testing.T); ok {
		before := goleak.IgnoreCurrent()
		t.Cleanup(func() { // runs last, when all that was started is stopped
			if !t.Failed() {
				goleak.VerifyNone(t, before)
			}
		})
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "re6st test"},
		NotBefore: notBefore(), NotAfter: notBefore().AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtraExtensions: []pkix.Extension{blocksExtension(t, testNetwork)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, m.key.Public(), m.key)
	if err != nil {
		t.Fatal(err)
	}
	if m.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if m.authority, err = identity.NewAuthority(der); err != nil {
		t.Fatal(err)
	}
	return m
}

func newTestKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func blocksExtension(t testing.TB, prefixes ...netip.Prefix) pkix.Extension {
	t.Helper()
	der, err := addressing.MarshalIPBlocks(prefixes)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: addressing.OIDIPBlocks, Critical: true, Value: der}
}

// prefixOf is the /64 of the node with this number.
func prefixOf(number byte) netip.Prefix {
	a := testNetwork.Addr().As16()
	a[7] = number
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// node issues a certificate; change spoils it for tests that want it refused.
func (m *mesh) node(name string, number byte, change ...func(*x509.Certificate)) tls.Certificate {
	m.t.Helper()
	p := prefixOf(number)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1000 + int64(number)), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{name + ".mesh"}, IPAddresses: []net.IP{addressing.NodeAddress(p).AsSlice()},
		NotBefore: notBefore(), NotAfter: notBefore().AddDate(0, 0, 90),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		ExtraExtensions: []pkix.Extension{blocksExtension(m.t, p)},
	}
	for _, f := range change {
		f(template)
	}
	key := newTestKey(m.t)
	der, err := x509.CreateCertificate(rand.Reader, template, m.cert, key.Public(), m.key)
	if err != nil {
		m.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// spoiled are the classes of certificates that no node may get in with.
func (m *mesh) spoiled() map[string]tls.Certificate {
	foreign := newMesh(m.t)
	return map[string]tls.Certificate{
		"of another mesh": foreign.node("b", 2),
		"expired": m.node("b", 2, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = notBefore().AddDate(0, 0, -90), notBefore()
		}),
		"not yet valid": m.node("b", 2, func(c *x509.Certificate) {
			c.NotBefore = time.Now().AddDate(0, 0, 1)
		}),
		"of the registry": m.node("registry", 2, func(c *x509.Certificate) {
			value := []byte{0x0c, 8, 'r', 'e', 'g', 'i', 's', 't', 'r', 'y'}
			c.ExtraExtensions = []pkix.Extension{{Id: addressing.OIDRole, Value: value}}
		}),
		"without a prefix": m.node("b", 2, func(c *x509.Certificate) { c.ExtraExtensions = nil }),
		"outside the network": m.node("b", 2, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{blocksExtension(m.t, netip.MustParsePrefix("2001:db8:43:1::/64"))}
		}),
	}
}
