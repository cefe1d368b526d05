package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"re6st/addressing"
)

// Node is what a node's certificate is to say.
type Node struct {
	Name   string
	Domain string // may be empty
	Prefix netip.Prefix
	IPv4   netip.Prefix // may be invalid: none
	Rights addressing.Rights
	Key    *ecdsa.PublicKey
	Serial *big.Int
	// NotBefore already contains Backdate, if it is wanted: see Validity.
	NotBefore, NotAfter time.Time
}

// Server is what the registry's own certificate is to say.
type Server struct {
	URLs                []string
	Key                 *ecdsa.PublicKey
	Serial              *big.Int
	NotBefore, NotAfter time.Time
}

// Validity is the usual time of validity of a certificate that is issued now.
func Validity(now time.Time) (notBefore, notAfter time.Time) {
	now = now.UTC().Truncate(time.Second)
	return now.Add(-Backdate), now.Add(Lifetime)
}

// certifyCA signs the CA's certificate with its own key.
func certifyCA(key crypto.Signer, name string, networks []netip.Prefix, now time.Time) ([]byte, error) {
	if name == "" || !isPrintable(name) {
		return nil, fmt.Errorf("name %.80q is not of 1 to 64 printable characters", name)
	}
	blocks, err := blocksExtension(networks)
	if err != nil {
		return nil, err
	}
	serial, err := NewSerial()
	if err != nil {
		return nil, err
	}
	now = now.UTC().Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-Backdate),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		ExtraExtensions:       []pkix.Extension{blocks},
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

// PrepareNode returns the bytes to be signed of a node's certificate.
func (c *CA) PrepareNode(n Node) ([]byte, error) {
	tbs, err := c.prepareNode(n)
	if err != nil {
		return nil, fmt.Errorf("preparing the certificate of %.80q: %w", n.Name, err)
	}
	return tbs, nil
}

func (c *CA) prepareNode(n Node) ([]byte, error) {
	if !addressing.ValidName(n.Name) {
		return nil, errors.New("the name is not a host name in lower case")
	}
	if n.Domain != "" && !addressing.ValidDomain(n.Domain) {
		return nil, fmt.Errorf("domain %.80q is not a domain name in lower case", n.Domain)
	}
	own, err := c.ownPrefixes(n)
	if err != nil {
		return nil, err
	}
	extensions, err := nodeExtensions(own, n.Rights)
	if err != nil {
		return nil, err
	}
	name := n.Name
	if n.Domain != "" {
		name += "." + n.Domain
	}
	return c.prepare(&x509.Certificate{
		SerialNumber:          n.Serial,
		Subject:               pkix.Name{CommonName: n.Name},
		NotBefore:             n.NotBefore,
		NotAfter:              n.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{name},
		IPAddresses:           []net.IP{addressing.NodeAddress(n.Prefix).AsSlice()},
		ExtraExtensions:       extensions,
	}, n.Key)
}

// ownPrefixes checks that they are of the network: OpenSSL and internal/identity
// would refuse a certificate with others, but later.
func (c *CA) ownPrefixes(n Node) ([]netip.Prefix, error) {
	if !n.Prefix.Addr().Is6() {
		return nil, fmt.Errorf("prefix %v is not of IPv6", n.Prefix)
	}
	own := []netip.Prefix{n.Prefix}
	if n.IPv4 != (netip.Prefix{}) {
		if !n.IPv4.Addr().Is4() {
			return nil, fmt.Errorf("prefix %v is not of IPv4", n.IPv4)
		}
		own = append(own, n.IPv4)
	}
	for _, p := range own {
		if !slices.ContainsFunc(c.networks, func(network netip.Prefix) bool { return addressing.Covers(network, p) }) {
			return nil, fmt.Errorf("prefix %v is not of the network", p)
		}
	}
	return own, nil
}

func nodeExtensions(own []netip.Prefix, rights addressing.Rights) ([]pkix.Extension, error) {
	blocks, err := blocksExtension(own)
	if err != nil {
		return nil, err
	}
	extensions := []pkix.Extension{blocks}
	if !rights.IsZero() {
		value, err := addressing.MarshalRights(rights)
		if err != nil {
			return nil, err
		}
		extensions = append(extensions, pkix.Extension{Id: addressing.OIDRights, Value: value})
	}
	return extensions, nil
}

func blocksExtension(prefixes []netip.Prefix) (pkix.Extension, error) {
	value, err := addressing.MarshalIPBlocks(prefixes)
	return pkix.Extension{Id: addressing.OIDIPBlocks, Critical: true, Value: value}, err
}

// PrepareServer returns the bytes to be signed of the registry's certificate.
func (c *CA) PrepareServer(s Server) ([]byte, error) {
	tbs, err := c.prepareServer(s)
	if err != nil {
		return nil, fmt.Errorf("preparing the registry's certificate: %w", err)
	}
	return tbs, nil
}

func (c *CA) prepareServer(s Server) ([]byte, error) {
	names, addresses, err := hosts(s.URLs)
	if err != nil {
		return nil, err
	}
	role, err := asn1.MarshalWithParams(addressing.RoleRegistry, "utf8")
	if err != nil {
		return nil, err
	}
	return c.prepare(&x509.Certificate{
		SerialNumber:          s.Serial,
		Subject:               pkix.Name{CommonName: addressing.RoleRegistry},
		NotBefore:             s.NotBefore,
		NotAfter:              s.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              names,
		IPAddresses:           addresses,
		ExtraExtensions:       []pkix.Extension{{Id: addressing.OIDRole, Value: role}},
	}, s.Key)
}

// hosts are the names and addresses in URLs, each once.
func hosts(urls []string) (names []string, addresses []net.IP, err error) {
	seen := map[string]bool{}
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" {
			return nil, nil, fmt.Errorf("%.80q is not a URL with a host", text)
		}
		host := u.Hostname()
		if seen[host] {
			continue
		}
		seen[host] = true
		if a, err := netip.ParseAddr(host); err == nil {
			addresses = append(addresses, a.WithZone("").Unmap().AsSlice())
			continue
		}
		names = append(names, host)
	}
	if len(seen) == 0 {
		return nil, nil, errors.New("no URL")
	}
	return names, addresses, nil
}
