package node

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"re6st/internal/identity"
	"re6st/registry/api"
	"re6st/registry/client"
)

// JoinOptions say how to enrol this machine.
type JoinOptions struct {
	Token    string // as `re6stregistry token create` printed it
	StateDir string
	Name     string // wanted name; empty: the token's, else one made by the registry
	Warn     func(text string, args ...any)
}

// Joined tells what the registry gave.
type Joined struct {
	Name    string
	Address string
	Prefix  string
	IPv4    string // subnet; empty: none
	Until   time.Time
	// IPv4Exhausted: it was to have a subnet, and none was left.
	IPv4Exhausted bool
}

// Join enrols this machine and fills the state directory. It can be repeated:
// the key is made once and is on disk before the first request, and the
// registry answers the same key and token with the same certificate. The
// certificate is written last, so a directory with one is complete.
func Join(ctx context.Context, options JoinOptions) (Joined, error) {
	token, err := api.ParseToken(options.Token)
	if err != nil {
		return Joined{}, fail(Usage, "copy the whole token, or make a new one with: re6stregistry token create", "%w", err)
	}
	s, err := createState(options.StateDir, options.Warn)
	if err != nil {
		return Joined{}, err
	}
	defer s.close()
	if err := s.checkSameMesh(token); err != nil {
		return Joined{}, err
	}
	key, err := s.makeKey()
	if err != nil {
		return Joined{}, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: options.Name}}, key)
	if err != nil {
		return Joined{}, fmt.Errorf("making the certificate request: %w", err)
	}
	c, err := client.New(client.Options{URLs: token.URLs, Pin: token.Pin, Now: time.Now, Dial: markedDialer()})
	if err != nil {
		return Joined{}, err
	}
	defer c.Close()
	answer, err := c.Enrol(ctx, api.EnrolRequest{Secret: token.Secret.Text(), CSR: csr, Name: options.Name})
	if err != nil {
		return Joined{}, fromClient(err)
	}
	m := &membership{key: key}
	if err := m.accept(answer, token, time.Now()); err != nil {
		return Joined{}, fmt.Errorf("checking the registry's answer: %w", err)
	}
	if err := s.storeMembership(m, answer, token); err != nil {
		return Joined{}, err
	}
	joined := Joined{Name: m.self.Name, Address: m.self.Address.String(), Prefix: m.self.Prefix.String(), Until: m.self.NotAfter, IPv4Exhausted: answer.IPv4Exhausted}
	if m.self.IPv4.IsValid() {
		joined.IPv4 = m.self.IPv4.String()
	}
	return joined, nil
}

// checkSameMesh keeps one directory to one mesh: peers, seqno and leftovers of
// another would be taken for ours.
func (s *state) checkSameMesh(token api.Token) error {
	m := new(membership)
	if err := s.loadAuthority(m); err != nil {
		return nil // nothing joined yet, or not readable: the new answer replaces it
	}
	if m.authority.Pin() != token.Pin {
		return stateError("name another directory with --state", "state directory %q belongs to another network than the token", s.dir)
	}
	return nil
}

// accept proves the answer before anything of it is written.
func (m *membership) accept(answer api.EnrolResponse, token api.Token, now time.Time) error {
	var err error
	if m.authority, err = identity.NewAuthority(answer.CA); err != nil {
		return err
	}
	if m.authority.Pin() != token.Pin {
		return errors.New("the CA's key is not the one that the token names")
	}
	if m.self, err = m.authority.Node(answer.Certificate, now); err != nil {
		return err
	}
	if err = m.adoptCertificate(answer.Certificate); err != nil {
		return err
	}
	m.document, err = m.authority.Document(answer.Network)
	m.documentJWS = answer.Network
	return err
}

func (s *state) storeMembership(m *membership, answer api.EnrolResponse, token api.Token) error {
	record, err := json.Marshal(registryRecord{URLs: token.URLs, Pin: hex.EncodeToString(token.Pin[:]), IPv4Exhausted: answer.IPv4Exhausted})
	if err != nil {
		return err
	}
	peers, err := json.Marshal(answer.Peers)
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return s.write(registryFile, record, 0o644) },
		func() error { return s.write(networkFile, []byte(m.documentJWS), 0o644) },
		func() error { return s.write(peersFile, peers, 0o644) },
		func() error { return s.writeTwice(caFile, certificatePEM(answer.CA), 0o644) },
		func() error { return s.writeTwice(certFile, certificatePEM(answer.Certificate), 0o644) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
