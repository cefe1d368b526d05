package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"re6st/addressing"
	"re6st/internal/identity"
)

// office issues certificates after the profile of the registry.
type office struct {
	t         testing.TB
	key       *ecdsa.PrivateKey
	ca        *x509.Certificate
	authority *identity.Authority
}

func newOffice(t testing.TB) *office {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, key: key}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "re6st test"}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtraExtensions: []pkix.Extension{o.blocks(testNetworks...)},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if o.ca, err = x509.ParseCertificate(der); err == nil {
		o.authority, err = identity.NewAuthority(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *office) blocks(prefixes ...netip.Prefix) pkix.Extension {
	der, err := addressing.MarshalIPBlocks(prefixes)
	if err != nil {
		o.t.Fatal(err)
	}
	return pkix.Extension{Id: addressing.OIDIPBlocks, Critical: true, Value: der}
}

// issue makes node i's, valid until then.
func (o *office) issue(i int, until time.Time) identity.Node {
	o.t.Helper()
	n := certified(i)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(int64(1000 + i)), Subject: pkix.Name{CommonName: n.Name}, DNSNames: []string{n.Name + ".mesh"},
		IPAddresses: []net.IP{n.Address.AsSlice()}, NotBefore: until.Add(-90 * 24 * time.Hour), NotAfter: until,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		ExtraExtensions: []pkix.Extension{o.blocks(n.Prefix)},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, o.ca, o.key.Public(), o.key)
	if err != nil {
		o.t.Fatal(err)
	}
	n.Raw = der
	return n
}

// shelf is a state directory that writes down what it says.
func shelf(t *testing.T) (s *state, said func() string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	var b strings.Builder
	s, err := createState(dir, func(text string, args ...any) { fmt.Fprintln(&b, text, args) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s, b.String
}

func namesOf(nodes []identity.Node) (names []string) {
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return names
}

func TestCertificatesOutliveARestart(t *testing.T) {
	o := newOffice(t)
	s, said := shelf(t)
	store := certificateStore{s, o.authority}
	k := newKeeper(newClaims(testNetworks, netip.Prefix{}), certified(1).RouterID, store, slog.New(slog.DiscardHandler))
	tomorrow := time.Now().AddDate(0, 0, 1)
	for _, i := range []int{1, 2, 3} {
		n, err := o.authority.Node(o.issue(i, tomorrow).Raw, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		k.Met(n)
	}
	k.save()
	if got := namesOf(store.load(time.Now())); !slices.Equal(got, []string{"node-2", "node-3"}) {
		t.Errorf("loaded %v", got) // our own is elsewhere
	}
	info, err := os.Stat(s.path(certificatesFile))
	if err != nil {
		t.Fatal(err)
	}
	k.save()
	if again, err := os.Stat(s.path(certificatesFile)); err != nil || !os.SameFile(info, again) {
		t.Errorf("written again though nothing is new: %v", err)
	}
	if got := store.load(tomorrow.Add(time.Minute)); len(got) != 0 {
		t.Errorf("when they have ended: %v", namesOf(got))
	}
	if text := said(); text != "" {
		t.Errorf("said: %s", text)
	}
}

// F-06: whatever is damaged is dropped and said; the rest counts.
func TestF06_DamagedCertificates(t *testing.T) {
	o, foreign := newOffice(t), newOffice(t)
	tomorrow := time.Now().AddDate(0, 0, 1)
	a, b := certificatePEM(o.issue(2, tomorrow).Raw), certificatePEM(o.issue(3, tomorrow).Raw)
	ended := certificatePEM(o.issue(4, time.Now().Add(-time.Hour)).Raw)
	broken := slices.Clone(a)
	broken[len(broken)/2] ^= 1
	for _, tt := range []struct {
		name  string
		data  []byte
		want  []string
		says  string
		aside bool
	}{
		{"nothing", nil, nil, "", false},
		{"good", slices.Concat(a, b), []string{"node-2", "node-3"}, "", false},
		{"one has ended", slices.Concat(ended, b), []string{"node-3"}, "", false},
		{"one is broken", slices.Concat(broken, b), []string{"node-3"}, "damaged", false},
		{"one is foreign", slices.Concat(certificatePEM(foreign.issue(2, tomorrow).Raw), b), []string{"node-3"}, "damaged", false},
		{"cut off", slices.Concat(a, b[:len(b)/2]), []string{"node-2"}, "damaged", false},
		{"rubbish", []byte("rubbish"), nil, "set aside", true},
		{"zeros", make([]byte, 4096), nil, "set aside", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, said := shelf(t)
			if err := os.WriteFile(s.path(certificatesFile), tt.data, 0o600); err != nil {
				t.Fatal(err)
			}
			if got := namesOf(certificateStore{s, o.authority}.load(time.Now())); !slices.Equal(got, tt.want) {
				t.Errorf("loaded %v, want %v", got, tt.want)
			}
			if text := said(); !strings.Contains(text, tt.says) || tt.says == "" && text != "" {
				t.Errorf("said %q, want %q", text, tt.says)
			}
			if _, err := os.Stat(s.path(certificatesFile)); (err != nil) != tt.aside {
				t.Errorf("the file: %v", err)
			}
		})
	}
}

func FuzzCertificatesFile(f *testing.F) {
	o := newOffice(f)
	good := certificatePEM(o.issue(2, time.Now().AddDate(0, 0, 1)).Raw)
	f.Add(good)
	f.Add(append(good, "-----BEGIN CERTIFICATE-----\n"...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	store := certificateStore{authority: o.authority}
	f.Fuzz(func(t *testing.T, data []byte) {
		nodes, _ := store.parse(data, time.Now())
		for _, n := range nodes {
			if n.Name != "node-2" { // nobody else has a signature
				t.Errorf("%q is believed", n.Name)
			}
		}
	})
}
