package identity

import (
	"crypto/tls"
	"time"
)

// ServerTLS is for connections that other nodes open. The caller adds NextProtos.
func ServerTLS(a *Authority, certificate tls.Certificate, now func() time.Time) *tls.Config {
	c := base(now)
	c.Certificates = []tls.Certificate{certificate}
	// RequireAndVerifyClientCert would fail on the critical block before
	// VerifyConnection runs.
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		_, err := PeerOf(&cs, a, now())
		return err
	}
	return c
}

// ClientTLS is for connections to other nodes. The certificate proves who
// answers, whatever address was dialled; want says whether that is the right
// one, and nil wants any node.
func ClientTLS(a *Authority, certificate tls.Certificate, now func() time.Time, want func(Node) error) *tls.Config {
	c := base(now)
	c.Certificates = []tls.Certificate{certificate}
	c.InsecureSkipVerify = true // VerifyConnection does it, see the package comment
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		n, err := PeerOf(&cs, a, now())
		if err != nil || want == nil {
			return err
		}
		return want(n)
	}
	return c
}

// base is what all ends have in common.
func base(now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		Time:                   now,
	}
}

// PeerOf verifies the node at the other end of a connection, at this time.
func PeerOf(cs *tls.ConnectionState, a *Authority, now time.Time) (Node, error) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return Node{}, ErrNoCertificate
	}
	if cs.DidResume {
		return Node{}, ErrResumed
	}
	return a.Node(cs.PeerCertificates[0].Raw, now)
}
