package registry

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"

	"re6st/registry/api"
)

type hostile struct {
	name string
	csr  []byte
}

// request is PKCS #10 (RFC 2986, section 4.1), for what crypto/x509 would not write.
type rawRequest struct {
	Info      asn1.RawValue
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

type rawInfo struct {
	Version    int
	Subject    asn1.RawValue
	PublicKey  asn1.RawValue
	Attributes []asn1.RawValue `asn1:"tag:0,set"`
}

var (
	oidECDSA = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidECKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidP256  = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
	oidCN    = asn1.ObjectIdentifier{2, 5, 4, 3}
)

func mustMarshal(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := asn1.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// signRequest signs whatever information it gets.
func signRequest(tb testing.TB, info []byte, key *ecdsa.PrivateKey) []byte {
	tb.Helper()
	digest := sha256.Sum256(info)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		tb.Fatal(err)
	}
	return mustMarshal(tb, rawRequest{
		Info: asn1.RawValue{FullBytes: info}, Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidECDSA},
		Signature: asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
	})
}

// pointRequest has any bytes as its P-256 point.
func pointRequest(tb testing.TB, point []byte, key *ecdsa.PrivateKey) []byte {
	tb.Helper()
	spki := mustMarshal(tb, struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{
		pkix.AlgorithmIdentifier{Algorithm: oidECKey, Parameters: asn1.RawValue{FullBytes: mustMarshal(tb, oidP256)}},
		asn1.BitString{Bytes: point, BitLength: 8 * len(point)},
	})
	return infoRequest(tb, rawInfo{Subject: emptySubject(tb), PublicKey: asn1.RawValue{FullBytes: spki}}, key)
}

func infoRequest(tb testing.TB, info rawInfo, key *ecdsa.PrivateKey) []byte {
	return signRequest(tb, mustMarshal(tb, info), key)
}

func emptySubject(tb testing.TB) asn1.RawValue {
	return asn1.RawValue{FullBytes: mustMarshal(tb, pkix.RDNSequence{})}
}

// subjectRequest has any bytes as a common name, under any string type.
func subjectRequest(tb testing.TB, tag int, name []byte, key *ecdsa.PrivateKey) []byte {
	tb.Helper()
	value := asn1.RawValue{Class: asn1.ClassUniversal, Tag: tag, Bytes: name}
	type attribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	one := asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSet, IsCompound: true, Bytes: mustMarshal(tb, attribute{oidCN, value})}
	return infoRequest(tb, rawInfo{
		Subject:   asn1.RawValue{FullBytes: mustMarshal(tb, []asn1.RawValue{one})},
		PublicKey: publicKey(tb, &key.PublicKey),
	}, key)
}

func publicKey(tb testing.TB, key any) asn1.RawValue {
	tb.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return asn1.RawValue{FullBytes: spki}
}

func template(tb testing.TB, key crypto.Signer, change func(*x509.CertificateRequest)) []byte {
	tb.Helper()
	c := &x509.CertificateRequest{}
	change(c)
	der, err := x509.CreateCertificateRequest(rand.Reader, c, key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func extension(id asn1.ObjectIdentifier, value []byte) func(*x509.CertificateRequest) {
	return func(c *x509.CertificateRequest) {
		c.ExtraExtensions = []pkix.Extension{{Id: id, Critical: true, Value: value}}
	}
}

// hostileRequests are all refused. key is a good one, certified already where
// isCertified says so.
func hostileRequests(tb testing.TB, key *ecdsa.PrivateKey) []hostile {
	tb.Helper()
	good := newCSR(tb, key)
	all := []hostile{{"empty", nil}, {"not DER", []byte("hello")}, {"a NUL", []byte{0}}, {"64 KiB of zeros", make([]byte, 40<<10)}}
	all = append(all, hostileKeys(tb, key)...)
	all = append(all, hostileForms(tb, key, good)...)
	all = append(all, hostileSubjects(tb, key)...)
	return append(all, hostileExtensions(tb, key)...)
}

func hostileKeys(tb testing.TB, key *ecdsa.PrivateKey) []hostile {
	tb.Helper()
	none := func(*x509.CertificateRequest) {}
	var all []hostile
	for _, curve := range []elliptic.Curve{elliptic.P224(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, hostile{curve.Params().Name, template(tb, k, none)})
	}
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	all = append(all, hostile{"Ed25519", template(tb, ed, none)})
	low := asn1.RawValue{FullBytes: append([]byte{0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0}, make([]byte, 32)...)}
	all = append(all, hostile{"Ed25519 of low order", infoRequest(tb, rawInfo{Subject: emptySubject(tb), PublicKey: low}, key)})
	for _, bits := range []int{1024, 2048} {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, hostile{fmt.Sprintf("RSA-%d", bits), template(tb, k, none)})
	}
	for _, e := range []int{1, 3} { // nothing signs with these: our signature stands in
		modulus := new(big.Int).SetBit(big.NewInt(1), 511, 1)
		k := publicKey(tb, &rsa.PublicKey{N: modulus, E: e})
		all = append(all, hostile{fmt.Sprintf("RSA-512, exponent %d", e), infoRequest(tb, rawInfo{Subject: emptySubject(tb), PublicKey: k}, key)})
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		tb.Fatal(err)
	}
	bent := bytes.Clone(point)
	bent[64] ^= 1
	field := elliptic.P256().Params().P.Bytes()
	outside := append(append([]byte{4}, field...), point[33:]...)
	compressed := append([]byte{2 + point[64]&1}, point[1:33]...)
	hybrid := append([]byte{6 + point[64]&1}, point[1:]...)
	for name, p := range map[string][]byte{
		"a point off the curve": bent, "a coordinate outside the field": outside, "the point at infinity": {0},
		"a compressed point": compressed, "a hybrid point": hybrid, "no point": {}, "a short point": point[:64],
		"a long point": append(bytes.Clone(point), 0), "zero coordinates": append([]byte{4}, make([]byte, 64)...),
	} {
		all = append(all, hostile{name, pointRequest(tb, p, key)})
	}
	return all
}

func hostileForms(tb testing.TB, key *ecdsa.PrivateKey, good []byte) []hostile {
	tb.Helper()
	flip := func(at int) []byte {
		b := bytes.Clone(good)
		b[(at+len(b))%len(b)] ^= 1
		return b
	}
	other := newKey(tb)
	all := []hostile{
		{"trailing bytes", append(bytes.Clone(good), 0)},
		{"two requests", append(bytes.Clone(good), good...)},
		{"cut in half", good[:len(good)/2]},
		{"one byte short", good[:len(good)-1]},
		{"a bad signature", flip(-1)},
		{"a bad length", flip(1)},
		{"signed by another key", infoRequest(tb, rawInfo{Subject: emptySubject(tb), PublicKey: publicKey(tb, &key.PublicKey)}, other)},
		{"version 1", infoRequest(tb, rawInfo{Version: 1, Subject: emptySubject(tb), PublicKey: publicKey(tb, &key.PublicKey)}, key)},
		{"version 2^31", infoRequest(tb, rawInfo{Version: 1 << 31, Subject: emptySubject(tb), PublicKey: publicKey(tb, &key.PublicKey)}, key)},
		{"SHA-512", template(tb, key, func(c *x509.CertificateRequest) { c.SignatureAlgorithm = x509.ECDSAWithSHA512 })},
		{"SHA-384", template(tb, key, func(c *x509.CertificateRequest) { c.SignatureAlgorithm = x509.ECDSAWithSHA384 })},
		{"PEM", []byte("-----BEGIN CERTIFICATE REQUEST-----\nMIH=\n-----END CERTIFICATE REQUEST-----\n")},
		{"indefinite length", append([]byte{0x30, 0x80}, append(bytes.Clone(good[3:]), 0, 0)...)},
		{"nested too deeply", bytes.Repeat([]byte{0x30, 0x80}, 2000)},
	}
	for _, at := range []int{4, 8, 12, 16, 40, 60, 80} {
		all = append(all, hostile{fmt.Sprintf("byte %d changed", at), flip(at)})
	}
	var empty rawRequest
	all = append(all, hostile{"no signature", mustMarshal(tb, rawRequest{Info: asn1.RawValue{FullBytes: mustMarshal(tb, rawInfo{Subject: emptySubject(tb), PublicKey: publicKey(tb, &key.PublicKey)})}, Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidECDSA}, Signature: empty.Signature})})
	return all
}

func hostileSubjects(tb testing.TB, key *ecdsa.PrivateKey) []hostile {
	tb.Helper()
	subject := func(n pkix.Name) func(*x509.CertificateRequest) {
		return func(c *x509.CertificateRequest) { c.Subject = n }
	}
	return []hostile{
		{"a subject of 1 MiB", template(tb, key, subject(pkix.Name{CommonName: strings.Repeat("a", 1<<20)}))},
		{"a subject of 3 KiB", template(tb, key, subject(pkix.Name{CommonName: strings.Repeat("a", 3<<10)}))},
		{"an organisation", template(tb, key, subject(pkix.Name{CommonName: "a", Organization: []string{"b"}}))},
		{"only an organisation", template(tb, key, subject(pkix.Name{Organization: []string{"b"}}))},
		{"two common names", template(tb, key, subject(pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: oidCN, Value: "a"}, {Type: oidCN, Value: "b"}}}))},
		{"a NUL in the name", subjectRequest(tb, asn1.TagUTF8String, []byte("a\x00b"), key)},
		{"not UTF-8", subjectRequest(tb, asn1.TagUTF8String, []byte{0xff, 0xfe}, key)},
		{"half a BMPString", subjectRequest(tb, asn1.TagBMPString, []byte{0, 'a', 0}, key)},
		{"a bad PrintableString", subjectRequest(tb, asn1.TagPrintableString, []byte("a@b*"), key)},
		{"a line break in the name", subjectRequest(tb, asn1.TagUTF8String, []byte("a\nb"), key)},
		{"an escape in the name", subjectRequest(tb, asn1.TagUTF8String, []byte("a\x1b[2Jb"), key)},
		{"right to left in the name", subjectRequest(tb, asn1.TagUTF8String, []byte("a\u202eb"), key)},
	}
}

func hostileExtensions(tb testing.TB, key *ecdsa.PrivateKey) []hostile {
	tb.Helper()
	id := func(last ...int) asn1.ObjectIdentifier { return append(asn1.ObjectIdentifier{2, 5, 29}, last...) }
	isCA := mustMarshal(tb, struct{ CA bool }{true})
	all := []hostile{
		{"CA:TRUE", template(tb, key, extension(id(19), isCA))},
		{"key usage", template(tb, key, extension(id(15), []byte{3, 2, 1, 6}))},
		{"extended key usage", template(tb, key, extension(id(37), []byte{0x30, 6, 6, 4, 0x55, 0x1d, 0x25, 0}))},
		{"name constraints", template(tb, key, extension(id(30), []byte{0x30, 0}))},
		{"policies", template(tb, key, extension(id(32), []byte{0x30, 0}))},
		{"an unknown extension", template(tb, key, extension(asn1.ObjectIdentifier{1, 2, 3}, []byte{5, 0}))},
		{"address blocks of all", template(tb, key, extension(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 7}, []byte{0x30, 0}))},
		{"rights", template(tb, key, extension(asn1.ObjectIdentifier{2, 25, 1374820913, 1}, []byte{0x30, 3, 1, 1, 0xff}))},
		{"the role of the registry", template(tb, key, extension(asn1.ObjectIdentifier{2, 25, 1374820913, 2}, []byte("\x0c\x08registry")))},
		{"a DNS name", template(tb, key, func(c *x509.CertificateRequest) { c.DNSNames = []string{"registry.example"} })},
		{"an address", template(tb, key, func(c *x509.CertificateRequest) { c.IPAddresses = []net.IP{net.IPv6loopback} })},
		{"an e-mail address", template(tb, key, func(c *x509.CertificateRequest) { c.EmailAddresses = []string{"a@example"} })},
		{"a URI", template(tb, key, func(c *x509.CertificateRequest) { c.URIs = []*url.URL{{Scheme: "https", Host: "x"}} })},
		{"10,000 extensions", template(tb, key, func(c *x509.CertificateRequest) {
			for i := range 10_000 {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, i}, Value: []byte{5, 0}})
			}
		})},
	}
	challenge := asn1.RawValue{FullBytes: mustMarshal(tb, struct {
		ID    asn1.ObjectIdentifier
		Value []asn1.RawValue `asn1:"set"`
	}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}, []asn1.RawValue{{Class: 0, Tag: asn1.TagUTF8String, Bytes: []byte("x")}}})}
	return append(all, hostile{"a challenge password", infoRequest(tb, rawInfo{
		Subject: emptySubject(tb), PublicKey: publicKey(tb, &key.PublicKey), Attributes: []asn1.RawValue{challenge},
	}, key)})
}

func TestT02_HostileCSR(t *testing.T) {
	r, token := newRegistry(t)
	s := serve(t, r)
	c := browser(t, token.Pin, nil)
	all := hostileRequests(t, newKey(t))
	if len(all) < 60 {
		t.Fatalf("%d hostile requests, want at least 60", len(all))
	}
	for _, h := range all {
		err := call(c, http.MethodPost, s.url+api.PathEnrol, api.EnrolRequest{Secret: token.SecretText(), CSR: h.csr}, nil)
		p, ok := err.(*api.Problem)
		if !ok || p.Status < 400 || p.Status > 499 {
			t.Errorf("%s: got %v, want a refusal", h.name, err)
		}
	}
	wantCounts(t, r, 0, 0)
	// Keys that may not have a certificate, or not another one.
	key := newKey(t)
	if _, err := enrol(r, token.SecretText(), newCSR(t, key), "first"); err != nil {
		t.Fatalf("the token does not work after the attack: %v", err)
	}
	second := r.mustToken(t, api.TokenRequest{})
	_, err := enrol(r, second.SecretText(), newCSR(t, key), "")
	wantCode(t, err, api.CodeKeyTaken)
	text, err := os.ReadFile(r.dir + "/" + keyFile)
	if err != nil {
		t.Fatal(err)
	}
	_, err = enrol(r, second.SecretText(), newCSR(t, decodeKey(t, text)), "")
	wantCode(t, err, api.CodeRequestRefused)
	wantCounts(t, r, 1, 1)
	t.Logf("%d hostile requests refused", len(all)+2)
}

// Nothing but the key comes from the request: certificates of two requests that
// differ in all else have the same bytes, up to key, serial, name, prefix, time.
func TestT02_NothingButTheKeyIsCopied(t *testing.T) {
	r, _ := newRegistry(t)
	token := r.mustToken(t, api.TokenRequest{Uses: 2})
	var leaves []*x509.Certificate
	for _, csr := range [][]byte{
		template(t, newKey(t), func(*x509.CertificateRequest) {}),
		template(t, newKey(t), func(c *x509.CertificateRequest) { c.Subject.CommonName = "registry" }),
	} {
		answer, err := enrol(r, token.SecretText(), csr, "")
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(answer.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leaf)
	}
	a, b := leaves[0], leaves[1]
	if b.Subject.CommonName == "registry" {
		t.Error("the request's common name is in the certificate")
	}
	if len(a.Raw) < len(b.Raw)-4 || len(a.Raw) > len(b.Raw)+4 { // lengths of ASN.1 integers
		t.Errorf("%d and %d bytes", len(a.Raw), len(b.Raw))
	}
	if len(a.Extensions) != len(b.Extensions) {
		t.Fatalf("%d and %d extensions", len(a.Extensions), len(b.Extensions))
	}
	for i, e := range a.Extensions {
		if !e.Id.Equal(b.Extensions[i].Id) || e.Critical != b.Extensions[i].Critical {
			t.Errorf("extension %d: %v and %v", i, e.Id, b.Extensions[i].Id)
		}
	}
	if a.KeyUsage != b.KeyUsage || a.IsCA || b.IsCA || fmt.Sprint(a.ExtKeyUsage) != fmt.Sprint(b.ExtKeyUsage) {
		t.Error("usages differ, or one is a CA")
	}
}

func FuzzT02_CSR(f *testing.F) {
	key := newKey(f)
	for _, h := range hostileRequests(f, key) {
		if len(h.csr) < api.CSRBytesMax {
			f.Add(h.csr)
		}
	}
	f.Add(newCSR(f, key))
	dir, _ := newState(f, nil)
	r := openRegistry(f, Options{State: dir})
	f.Cleanup(func() { r.Close() })
	source := netip.MustParseAddr("192.0.2.1")
	f.Fuzz(func(t *testing.T, csr []byte) {
		r.failures = newBudgets()
		// The secret is not one: whatever the request, nothing may be written.
		_, err := r.Enrol(context.Background(), source, api.EnrolRequest{Secret: newSecret().Text(), CSR: csr})
		p, ok := err.(*api.Problem)
		if !ok || p.Status < 400 || p.Status > 499 {
			t.Errorf("got %v, want a refusal", err)
		}
	})
}
