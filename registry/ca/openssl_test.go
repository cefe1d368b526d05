package ca

import (
	"math/big"
	"net/netip"
	"strings"
	"testing"

	"re6st/addressing"
)

// verify asks OpenSSL at a time at which the certificates are valid.
func verify(t *testing.T, ca, leaf []byte, more ...string) (string, error) {
	t.Helper()
	args := []string{"verify", "-x509_strict", "-attime", big.NewInt(epoch.Unix()).String(), "-CAfile", writePEM(t, "ca.pem", ca)}
	return openssl(t, append(append(args, more...), writePEM(t, "leaf.pem", leaf))...)
}

// OpenSSL understands RFC 3779 and enforces containment: the second opinion on
// our profile and our codec.
func TestOpenSSLAccepts(t *testing.T) {
	c, _ := newCA(t)
	for _, test := range []struct {
		name   string
		change func(*Node)
	}{
		{"a node with everything", func(*Node) {}},
		{"a plain /64", func(n *Node) {
			n.Prefix, n.IPv4, n.Rights = netip.MustParsePrefix("2001:db8:42:7::/64"), netip.Prefix{}, addressing.Rights{}
		}},
		{"one address", func(n *Node) { n.Prefix = netip.MustParsePrefix("2001:db8:42:7::77/128") }},
		{"an odd length", func(n *Node) { n.Prefix = netip.MustParsePrefix("2001:db8:42:8000::/49") }},
		{"neighbours in its rights", func(n *Node) { n.Rights.Announce = prefixes("fd00::/64", "fd00:0:0:1::/64", "0.0.0.0/0") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := exampleNode(t)
			test.change(&n)
			for _, purpose := range []string{"sslclient", "sslserver"} {
				if out, err := verify(t, c.Raw(), issue(t, c, n), "-purpose", purpose); err != nil {
					t.Errorf("%s: %v\n%s", purpose, err, out)
				}
			}
		})
	}
	tbs, err := c.PrepareServer(exampleServer(t))
	if err != nil {
		t.Fatal(err)
	}
	server, err := c.Sign(tbs)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := verify(t, c.Raw(), server, "-purpose", "sslserver", "-verify_hostname", "registry.example"); err != nil {
		t.Errorf("the registry: %v\n%s", err, out)
	}
	if out, err := verify(t, c.Raw(), server, "-purpose", "sslclient"); err == nil {
		t.Errorf("the registry as a client: %s", out)
	}
}

// A CA whose certificate has other blocks, with the key of the first: what it
// would have signed lies outside.
func TestOpenSSLRefusesOutside(t *testing.T) {
	wide, key := newCA(t, "2001:db8::/32", "10.0.0.0/8")
	for _, test := range []struct{ name, prefix, ipv4 string }{
		{"IPv6", "2001:db8:43::/64", "10.42.3.0/24"},
		{"IPv4", "2001:db8:42:8::/64", "10.43.0.0/24"},
		{"more than the network", "2001:db8::/40", "10.42.3.0/24"},
	} {
		n := exampleNode(t)
		n.Prefix, n.IPv4 = netip.MustParsePrefix(test.prefix), netip.MustParsePrefix(test.ipv4)
		leaf := issue(t, wide, n)
		if out, err := verify(t, wide.Raw(), leaf); err != nil {
			t.Fatalf("%s: inside the wide network: %v\n%s", test.name, err, out)
		}
		narrow, err := certifyCA(key, "mesh", prefixes("2001:db8:42::/48", "10.42.0.0/16"), epoch)
		if err != nil {
			t.Fatal(err)
		}
		out, err := verify(t, narrow, leaf)
		if err == nil || !strings.Contains(out, "error 46") {
			t.Errorf("%s: %v\n%s\nwant error 46 (RFC 3779 resource not subset of parent's resources)", test.name, err, out)
		}
	}
}

// OpenSSL prints the blocks as we meant them.
func TestOpenSSLPrintsBlocks(t *testing.T) {
	c, _ := newCA(t)
	out, err := openssl(t, "x509", "-noout", "-text", "-in", writePEM(t, "leaf.pem", issue(t, c, exampleNode(t))))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"sbgp-ipAddrBlock: critical", "2001:db8:42:8::/61", "10.42.3.0/24", "IP Address:2001:DB8:42:8:0:0:0:1",
		"DNS:node-3.mesh", "Digital Signature", "CA:FALSE", "ecdsa-with-SHA256", "2.25.1374820913.1",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
