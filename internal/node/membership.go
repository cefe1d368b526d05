package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"re6st/internal/identity"
	"re6st/registry/network"
)

// A membership is what makes this machine a node of one mesh: read from the
// state directory, proved against the mesh's CA.
type membership struct {
	key         *ecdsa.PrivateKey
	authority   *identity.Authority
	self        identity.Node
	certificate tls.Certificate
	registry    registryRecord
	document    network.Document // zero Version: none at hand
	documentJWS string
}

// registryRecord is registry.json.
type registryRecord struct {
	URLs []string `json:"urls"`
	Pin  string   `json:"pin"` // hex SHA-256 of the CA's public key
	// IPv4Exhausted: at the enrolment no IPv4 subnet was left.
	IPv4Exhausted bool `json:"ipv4_exhausted,omitempty"`
}

// loadMembership reads and proves everything; now is for the certificate's
// lifetime.
func (s *state) loadMembership(now time.Time) (*membership, error) {
	m := new(membership)
	var err error
	if m.key, err = s.loadKey(); err != nil {
		return nil, err
	}
	rejoin := "join again with the same token, or with a new one from: re6stregistry token create"
	if err := s.loadAuthority(m); err != nil {
		return nil, stateError(rejoin, "%w", err)
	}
	if err := s.loadCertificate(m, now); err != nil {
		return nil, stateError(rejoin, "%w", err)
	}
	s.loadDocument(m)
	s.loadRegistry(m)
	return m, nil
}

func (s *state) loadKey() (*ecdsa.PrivateKey, error) {
	info, err := os.Stat(s.path(keyFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, stateError("enrol this machine first: re6stnode join TOKEN --state "+s.dir, "state directory %q has no key", s.dir)
	case err != nil:
		return nil, stateError("run as root, or as the owner of the directory", "reading the node's key: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return nil, stateError("chmod 600 "+s.path(keyFile), "key %q can be read by others (mode %04o)", s.path(keyFile), info.Mode().Perm())
	}
	data, err := s.read(keyFile)
	if err != nil {
		return nil, stateError("run as root, or as the owner of the directory", "reading the node's key: %w", err)
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, stateError("the identity of this node is lost: restore the file, or remove the directory and join again", "key %q: %w", s.path(keyFile), err)
	}
	return key, nil
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("it holds no PEM private key")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it holds no readable private key") // the parser may quote bytes
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("it is not an ECDSA P-256 key")
	}
	return key, nil
}

// makeKey gives the key of the directory, and makes it first where there is
// none: it must be on disk before the first request, so that a repeated request
// comes with the same key.
func (s *state) makeKey() (*ecdsa.PrivateKey, error) {
	if _, err := os.Stat(s.path(keyFile)); !errors.Is(err, fs.ErrNotExist) {
		return s.loadKey()
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	return key, s.write(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func certificateBlock(data []byte) ([]byte, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it holds no PEM certificate")
	}
	return block.Bytes, nil
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (s *state) loadAuthority(m *membership) error {
	return s.loadWithCopy(caFile, 0o644, func(data []byte) error {
		der, err := certificateBlock(data)
		if err != nil {
			return err
		}
		m.authority, err = identity.NewAuthority(der)
		return err
	})
}

// loadCertificate proves that the certificate is of this mesh, valid, and for
// our key. Only damage sends us to the copy: an expired one is no damage.
func (s *state) loadCertificate(m *membership, now time.Time) error {
	var der []byte
	err := s.loadWithCopy(certFile, 0o644, func(data []byte) (err error) {
		if der, err = certificateBlock(data); err == nil {
			_, err = x509.ParseCertificate(der)
		}
		return err
	})
	if err != nil {
		return err
	}
	if m.self, err = m.authority.Node(der, now); err != nil {
		return fmt.Errorf("certificate %q: %w", s.path(certFile), err)
	}
	return m.adoptCertificate(der)
}

func (m *membership) adoptCertificate(der []byte) error {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	if !m.key.PublicKey.Equal(leaf.PublicKey) {
		return errors.New("the certificate is for another key than this node's")
	}
	m.certificate = tls.Certificate{Certificate: [][]byte{der, m.authority.Raw()}, PrivateKey: m.key, Leaf: leaf}
	return nil
}

func (s *state) loadDocument(m *membership) {
	s.load(networkFile, func(data []byte) error {
		doc, err := m.authority.Document(string(data))
		if err != nil {
			return err
		}
		m.document, m.documentJWS = doc, string(data)
		return nil
	})
}

// loadRegistry finds the registry: in its own file, else in the document. The
// pin is that of the CA, which is proved already.
func (s *state) loadRegistry(m *membership) {
	pin := m.authority.Pin()
	ok := s.load(registryFile, func(data []byte) error {
		if err := json.Unmarshal(data, &m.registry); err != nil {
			return err
		}
		if m.registry.Pin != hex.EncodeToString(pin[:]) {
			return errors.New("its pin is not that of the mesh's CA")
		}
		return nil
	})
	if !ok {
		m.registry = registryRecord{URLs: m.document.Registries, Pin: hex.EncodeToString(pin[:])}
	}
	if m.document.Version > 0 {
		m.registry.URLs = m.document.Registries
	}
}
