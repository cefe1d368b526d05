package ca

import (
	"bytes"
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
	"errors"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
)

// draft is a certification request, part by part, so that each can be wrong.
// What is left out is as in a good one.
type draft struct {
	version    int
	subject    []byte // DER
	spki       []byte
	attributes []byte // DER, with the tag
	algorithm  []byte
	sign       func(tbs []byte) []byte
	wrap       func(der []byte) []byte
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// tlv writes any tag with any content.
func tlv(tag byte, content ...[]byte) []byte {
	body := bytes.Join(content, nil)
	n := len(body)
	switch {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, body...)
	case n < 0x100:
		return append([]byte{tag, 0x81, byte(n)}, body...)
	case n < 0x10000:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, body...)
	}
	return append([]byte{tag, 0x84, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

func oid(t testing.TB, arcs ...int) []byte {
	return must[[]byte](t)(asn1.Marshal(asn1.ObjectIdentifier(arcs)))
}

// name is a subject of one attribute, in any string type.
func name(t testing.TB, tag byte, value string, arcs ...int) []byte {
	if arcs == nil {
		arcs = []int{2, 5, 4, 3}
	}
	return tlv(0x31, tlv(0x30, oid(t, arcs...), tlv(tag, []byte(value))))
}

// ecKey is the key of a point, whatever it is.
func ecKey(t testing.TB, curve []byte, point ...[]byte) []byte {
	return tlv(0x30, tlv(0x30, oid(t, 1, 2, 840, 10045, 2, 1), curve), tlv(3, append([][]byte{{0}}, point...)...))
}

var (
	arcsP224 = []int{1, 3, 132, 0, 33}
	arcsP256 = []int{1, 2, 840, 10045, 3, 1, 7}
)

// build signs with the key, unless the draft does it.
func (d draft) build(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	if d.spki == nil {
		d.spki = must[[]byte](t)(x509.MarshalPKIXPublicKey(&key.PublicKey))
	}
	if d.attributes == nil {
		d.attributes = []byte{0xa0, 0}
	}
	if d.algorithm == nil {
		d.algorithm = oid(t, 1, 2, 840, 10045, 4, 3, 2)
	}
	if d.sign == nil {
		d.sign = func(tbs []byte) []byte {
			digest := sha256.Sum256(tbs)
			return must[[]byte](t)(ecdsa.SignASN1(rand.Reader, key, digest[:]))
		}
	}
	version := must[[]byte](t)(asn1.Marshal(d.version))
	tbs := tlv(0x30, version, tlv(0x30, d.subject), d.spki, d.attributes)
	der := tlv(0x30, tbs, tlv(0x30, d.algorithm), tlv(3, []byte{0}, d.sign(tbs)))
	if d.wrap != nil {
		der = d.wrap(der)
	}
	return der
}

// extensionRequest is the attribute of RFC 2985, section 5.4.2.
func extensionRequest(t testing.TB, extensions ...pkix.Extension) []byte {
	list := must[[]byte](t)(asn1.Marshal(extensions))
	return tlv(0xa0, tlv(0x30, oid(t, 1, 2, 840, 113549, 1, 9, 14), tlv(0x31, list)))
}

func TestParseCSR(t *testing.T) {
	key := newKey(t)
	for what, template := range map[string]*x509.CertificateRequest{
		"no subject":    {},
		"a common name": {Subject: pkix.Name{CommonName: "node-3"}},
	} {
		der := must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, template, key))
		got, err := ParseCSR(der)
		if err != nil || !got.Equal(&key.PublicKey) {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	if got, err := ParseCSR((draft{}).build(t, key)); err != nil || !got.Equal(&key.PublicKey) {
		t.Errorf("the draft of the tests: %v, %v", got, err)
	}
	path := t.TempDir() + "/key.pem"
	if out, err := openssl(t, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := openssl(t, "req", "-new", "-key", path, "-subj", "/CN=node-3", "-outform", "DER", "-out", path+".der"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := ParseCSR(readFile(t, path+".der")); err != nil {
		t.Errorf("of OpenSSL: %v", err)
	}
}

// T-02: hostile requests. Each is refused, and none makes anything panic.
func TestT02_HostileCSR(t *testing.T) {
	table := hostile(t)
	if len(table) < 60 {
		t.Errorf("%d rows, the claim is about 60", len(table))
	}
	seen := map[string]bool{}
	for _, row := range table {
		if seen[row.name] {
			t.Errorf("two rows %q", row.name)
		}
		seen[row.name] = true
		t.Run(row.name, func(t *testing.T) {
			key, err := ParseCSR(row.der)
			if key != nil || !errors.Is(err, ErrCSR) {
				t.Errorf("key %v, error %v", key, err)
			}
			t.Log(err)
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// Nothing of a request but its key reaches a certificate.
func TestT02_OnlyTheKeyIsUsed(t *testing.T) {
	c, _ := newCA(t)
	key := newKey(t)
	var first []byte
	for _, subject := range []string{"node-3", "registry", "*", "root"} {
		der := must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: subject}}, key))
		public, err := ParseCSR(der)
		if err != nil {
			t.Fatal(err)
		}
		n := exampleNode(t)
		n.Key = public
		got := issue(t, c, n)
		if first == nil {
			first = got
		}
		if !bytes.Equal(got, first) {
			t.Errorf("a request by %q gets another certificate", subject)
		}
	}
}

// Cut off at every byte, or with any byte changed, a request is none.
func TestT02_DamagedCSR(t *testing.T) {
	der := (draft{}).build(t, newKey(t))
	for n := range der {
		if _, err := ParseCSR(der[:n]); err == nil {
			t.Errorf("%d of %d bytes are accepted", n, len(der))
		}
		changed := bytes.Clone(der)
		changed[n] ^= 0x41
		if _, err := ParseCSR(changed); err == nil {
			t.Errorf("byte %d was changed, and nobody noticed", n)
		}
	}
}

func FuzzParseCSR(f *testing.F) {
	key := newKey(f)
	f.Add((draft{}).build(f, key))
	for _, row := range hostile(f) {
		if len(row.der) <= maxCSRBytes {
			f.Add(row.der)
		}
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		public, err := ParseCSR(der)
		if err != nil {
			return
		}
		if public.Curve != elliptic.P256() {
			t.Errorf("a key on %s", public.Curve.Params().Name)
		}
		if _, err := x509.MarshalPKIXPublicKey(public); err != nil {
			t.Error(err)
		}
	})
}

type hostileRow struct {
	name string
	der  []byte
}

// hostile is the table of T-02.
func hostile(t testing.TB) []hostileRow {
	var rows []hostileRow
	add := func(name string, der []byte) { rows = append(rows, hostileRow{name, der}) }
	key := newKey(t)
	from := func(name string, d draft) { add(name, d.build(t, key)) }
	hostileKeys(t, add, from)
	hostilePoints(t, key, from)
	hostileSignatures(t, key, from)
	hostileRequests(t, key, add)
	hostileForms(t, from)
	hostileBytes(t, key, add, from)
	return rows
}

func hostileKeys(t testing.TB, add func(string, []byte), from func(string, draft)) {
	signed := func(key crypto.Signer) []byte {
		return must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key))
	}
	add("RSA 2048", signed(must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))))
	add("P-224", signed(must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))))
	add("P-384", signed(must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))))
	add("P-521", signed(must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	add("Ed25519", signed(ed))

	rsaKey := func(bits uint, exponent int64) []byte {
		n := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), bits), big.NewInt(1))
		body := must[[]byte](t)(asn1.Marshal(struct{ N, E *big.Int }{n, big.NewInt(exponent)}))
		return tlv(0x30, tlv(0x30, oid(t, 1, 2, 840, 113549, 1, 1, 1), []byte{5, 0}), tlv(3, []byte{0}, body))
	}
	from("RSA 512", draft{spki: rsaKey(512, 65537)})
	from("RSA 1024", draft{spki: rsaKey(1024, 65537)})
	from("RSA with exponent 1", draft{spki: rsaKey(2048, 1)})
	from("RSA with exponent 3", draft{spki: rsaKey(2048, 3)})
	from("RSA with a negative exponent", draft{spki: rsaKey(2048, -3)})
	from("RSA 16384", draft{spki: rsaKey(16384, 65537)})
	from("RSA of 0 bits", draft{spki: rsaKey(0, 65537)})
	edKey := func(point []byte) []byte {
		return tlv(0x30, tlv(0x30, oid(t, 1, 3, 101, 112)), tlv(3, []byte{0}, point))
	}
	from("Ed25519 of low order", draft{spki: edKey(make([]byte, 32)), algorithm: oid(t, 1, 3, 101, 112), sign: func([]byte) []byte { return make([]byte, 64) }})
	from("Ed25519 of 31 bytes", draft{spki: edKey(make([]byte, 31))})
	from("X25519", draft{spki: tlv(0x30, tlv(0x30, oid(t, 1, 3, 101, 110)), tlv(3, make([]byte, 33)))})
	from("DSA", draft{spki: tlv(0x30, tlv(0x30, oid(t, 1, 2, 840, 10040, 4, 1)), tlv(3, []byte{0, 2, 1, 5}))})
	from("an unknown kind of key", draft{spki: tlv(0x30, tlv(0x30, oid(t, 2, 25, 1)), tlv(3, []byte{0, 1}))})
	from("no key", draft{spki: []byte{}})
	from("an empty key", draft{spki: []byte{0x30, 0}})
}

func hostilePoints(t testing.TB, key *ecdsa.PrivateKey, from func(string, draft)) {
	curve := oid(t, arcsP256...)
	point := must[[]byte](t)(key.PublicKey.Bytes())
	x, y := point[1:33], point[33:]
	off := bytes.Clone(y)
	off[31] ^= 1
	p := elliptic.P256().Params().P.Bytes()
	from("a point off the curve", draft{spki: ecKey(t, curve, []byte{4}, x, off)})
	from("the point at infinity", draft{spki: ecKey(t, curve, []byte{0})})
	from("the point (0, 0)", draft{spki: ecKey(t, curve, []byte{4}, make([]byte, 64))})
	from("a coordinate of the size of the field", draft{spki: ecKey(t, curve, []byte{4}, p, y)})
	from("coordinates all ones", draft{spki: ecKey(t, curve, []byte{4}, bytes.Repeat([]byte{0xff}, 64))})
	from("a point too short", draft{spki: ecKey(t, curve, point[:64])})
	from("a point too long", draft{spki: ecKey(t, curve, point, []byte{0})})
	from("an empty point", draft{spki: ecKey(t, curve)})
	from("a compressed point", draft{spki: ecKey(t, curve, []byte{2 + y[31]&1}, x)})
	from("a hybrid point", draft{spki: ecKey(t, curve, []byte{6 + y[31]&1}, x, y)})
	from("no curve", draft{spki: ecKey(t, nil, point)})
	from("the implicit curve", draft{spki: ecKey(t, []byte{5, 0}, point)})
	from("an unknown curve", draft{spki: ecKey(t, oid(t, 1, 3, 132, 0, 10), point)}) // secp256k1
	from("another curve's name", draft{spki: ecKey(t, oid(t, arcsP224...), point)})
	// CVE-2020-0601: parameters of one's own, with a generator of one's own.
	explicit := tlv(0x30, []byte{2, 1, 1}, tlv(0x30, oid(t, 1, 2, 840, 10045, 1, 1), tlv(2, []byte{0}, p)))
	from("a curve of one's own", draft{spki: ecKey(t, explicit, point)})
	from("parameters after the curve", draft{spki: tlv(0x30, tlv(0x30, oid(t, 1, 2, 840, 10045, 2, 1), curve, []byte{5, 0}), tlv(3, []byte{0}, point))})
	from("unused bits in the key", draft{spki: tlv(0x30, tlv(0x30, oid(t, 1, 2, 840, 10045, 2, 1), curve), tlv(3, []byte{1}, point))})
}

func hostileSignatures(t testing.TB, key *ecdsa.PrivateKey, from func(string, draft)) {
	of := func(b []byte) func([]byte) []byte { return func([]byte) []byte { return b } }
	stranger := newKey(t)
	rs := func(r, s *big.Int) []byte { return must[[]byte](t)(asn1.Marshal(struct{ R, S *big.Int }{r, s})) }
	one, order := big.NewInt(1), elliptic.P256().Params().N
	from("no signature", draft{sign: of(nil)})
	from("a signature of zeros", draft{sign: of(rs(new(big.Int), new(big.Int)))})
	from("a signature of ones", draft{sign: of(rs(one, one))})
	from("a signature of the order", draft{sign: of(rs(order, order))})
	from("a negative signature", draft{sign: of(rs(big.NewInt(-1), big.NewInt(-1)))})
	from("a signature that is no ASN.1", draft{sign: of(bytes.Repeat([]byte{1}, 64))})
	from("another's signature", draft{sign: func(tbs []byte) []byte {
		digest := sha256.Sum256(tbs)
		return must[[]byte](t)(ecdsa.SignASN1(rand.Reader, stranger, digest[:]))
	}})
	from("a signature of something else", draft{sign: func([]byte) []byte {
		digest := sha256.Sum256([]byte("a tunnel's offer"))
		return must[[]byte](t)(ecdsa.SignASN1(rand.Reader, key, digest[:]))
	}})
	from("a signature with a byte behind it", draft{sign: func(tbs []byte) []byte {
		digest := sha256.Sum256(tbs)
		return append(must[[]byte](t)(ecdsa.SignASN1(rand.Reader, key, digest[:])), 0)
	}})
	from("another key in the place of one's own", draft{spki: must[[]byte](t)(x509.MarshalPKIXPublicKey(&stranger.PublicKey))})
	for name, arcs := range map[string][]int{
		"ECDSA with SHA-1": {1, 2, 840, 10045, 4, 1}, "ECDSA with SHA-384": {1, 2, 840, 10045, 4, 3, 3},
		"RSA with MD5 as algorithm": {1, 2, 840, 113549, 1, 1, 4}, "Ed25519 as algorithm": {1, 3, 101, 112},
		"an unknown algorithm": {2, 25, 1},
	} {
		from(name, draft{algorithm: oid(t, arcs...)})
	}
	from("no algorithm", draft{algorithm: []byte{}})
}

// hostileRequests ask for what only the registry grants.
func hostileRequests(t testing.TB, key *ecdsa.PrivateKey, add func(string, []byte)) {
	blocks := must[pkix.Extension](t)(blocksExtension(prefixes("2001:db8:42::/48")))
	ca := must[[]byte](t)(asn1.Marshal(struct{ CA bool }{true}))
	extension := func(critical bool, value []byte, arcs ...int) pkix.Extension {
		return pkix.Extension{Id: arcs, Critical: critical, Value: value}
	}
	for name, e := range map[string]pkix.Extension{
		"to be a CA":                  extension(true, ca, 2, 5, 29, 19),
		"to sign certificates":        extension(true, []byte{3, 2, 2, 4}, 2, 5, 29, 15),
		"any extended usage":          extension(false, tlv(0x30, oid(t, 2, 5, 29, 37, 0)), 2, 5, 29, 37),
		"name constraints":            extension(true, []byte{0x30, 0}, 2, 5, 29, 30),
		"policies":                    extension(false, []byte{0x30, 0}, 2, 5, 29, 32),
		"another's key identifier":    extension(false, tlv(4, make([]byte, 20)), 2, 5, 29, 14),
		"all prefixes of the network": blocks,
		"to be a gateway":             extension(false, []byte{0x30, 5, 0x30, 0, 1, 1, 0xff}, 2, 25, 1374820913, 1),
		"to be the registry":          extension(false, []byte("\x0c\x08registry"), 2, 25, 1374820913, 2),
		"an unknown extension":        extension(true, nil, 2, 25, 1),
	} {
		add("asks "+name, (draft{attributes: extensionRequest(t, e)}).build(t, key))
	}
	for name, template := range map[string]*x509.CertificateRequest{
		"a DNS name":        {DNSNames: []string{"registry.example"}},
		"an address":        {IPAddresses: []net.IP{net.ParseIP("2001:db8:42::1")}},
		"a wildcard":        {DNSNames: []string{"*"}},
		"an e-mail address": {EmailAddresses: []string{"root@example.org"}},
		"a URI":             {URIs: []*url.URL{{Scheme: "https", Host: "x"}}},
	} {
		add("asks for "+name, must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, template, key)))
	}
	password := tlv(0xa0, tlv(0x30, oid(t, 1, 2, 840, 113549, 1, 9, 7), tlv(0x31, tlv(0x0c, []byte("secret")))))
	add("a challenge password", (draft{attributes: password}).build(t, key))
	var many []pkix.Extension
	for i := range 10_000 {
		many = append(many, extension(false, nil, 2, 25, i+1))
	}
	add("10,000 extensions", (draft{attributes: extensionRequest(t, many...)}).build(t, key))
	add("10,000 attributes", (draft{attributes: tlv(0xa0, bytes.Repeat(tlv(0x30, oid(t, 2, 25, 1), tlv(0x31)), 10_000))}).build(t, key))
	same := extension(false, nil, 2, 25, 1)
	add("the same extension twice", (draft{attributes: extensionRequest(t, same, same)}).build(t, key))
}

func hostileForms(t testing.TB, from func(string, draft)) {
	const utf8, printable, bmp, ia5 = 0x0c, 0x13, 0x1e, 0x16
	from("version 1", draft{version: 1})
	from("version -1", draft{version: -1})
	from("a large version", draft{version: 1 << 62})
	from("no attributes, not even none", draft{attributes: []byte{}})
	from("attributes that are no SET", draft{attributes: []byte{0xa0, 2, 5, 0}})
	from("a name with a NUL", draft{subject: name(t, utf8, "node-3\x00.example")})
	from("a name that is not UTF-8", draft{subject: name(t, utf8, "node-\xff")})
	from("a name that is not printable", draft{subject: name(t, printable, "node*\x07")})
	from("a name with a line break", draft{subject: name(t, utf8, "node-3\nERROR")})
	from("a name of another script", draft{subject: name(t, utf8, "nоde-3")}) // a Cyrillic o
	from("a name with a direction override", draft{subject: name(t, utf8, "node\u202e3")})
	from("a name of half a character", draft{subject: name(t, bmp, "n")})
	from("an IA5 name with high bits", draft{subject: name(t, ia5, "n\xe9")})
	from("a name of 65 characters", draft{subject: name(t, utf8, strings.Repeat("n", 65))})
	from("two names", draft{subject: append(name(t, utf8, "a"), name(t, utf8, "b")...)})
	from("an organization", draft{subject: name(t, utf8, "Example", 2, 5, 4, 10)})
	from("a subject that is no name", draft{subject: []byte{5, 0}})
	from("a subject of 1 MiB", draft{subject: name(t, utf8, strings.Repeat("n", 1<<20))})
	from("10,000 names", draft{subject: bytes.Repeat(name(t, utf8, "a"), 10_000)})
}

func hostileBytes(t testing.TB, key *ecdsa.PrivateKey, add func(string, []byte), from func(string, draft)) {
	good := (draft{}).build(t, key)
	add("nothing", nil)
	add("text", []byte("-----BEGIN CERTIFICATE REQUEST-----"))
	add("PEM", EncodeCertificate(good))
	add("an empty SEQUENCE", []byte{0x30, 0})
	add("a length beyond the end", []byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff})
	add("an indefinite length", append(append([]byte{0x30, 0x80}, good[3:]...), 0, 0))
	add("nested 2,000 deep", bytes.Repeat([]byte{0x30, 0x80}, 2000))
	add("zeros", make([]byte, maxCSRBytes))
	add("16 MiB", make([]byte, 16<<20))
	add("a byte too many for us", make([]byte, maxCSRBytes+1))
	add("the request twice", append(bytes.Clone(good), good...))
	from("trailing bytes", draft{wrap: func(der []byte) []byte { return append(der, 0) }})
	from("a SET for the SEQUENCE", draft{wrap: func(der []byte) []byte {
		der[0] = 0x31
		return der
	}})
	c, _ := newCA(t)
	add("a certificate", c.Raw())
}
