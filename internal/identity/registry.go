package identity

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"time"

	"re6st/addressing"
)

// Registry verifies the registry's server certificate for a host, which is a
// name or an address.
func (a *Authority) Registry(der []byte, host string, now time.Time) error {
	c, err := parse(der, "")
	if err != nil {
		return err
	}
	r := refusal{subjectOf(c)}
	if err := a.verify(c, r, now); err != nil {
		return err
	}
	if role, err := role(c); err != nil || role != addressing.RoleRegistry {
		return r.because(ErrRole, "it is not the registry's")
	}
	if _, _, ok := extension(c, addressing.OIDIPBlocks); ok {
		return r.because(ErrProfile, "the registry has no prefix")
	}
	if err := c.VerifyHostname(host); err != nil {
		return r.because(ErrHost, "%v", err)
	}
	return a.chain(c, r, now, x509.ExtKeyUsageServerAuth)
}

// maxChain is how many certificates are looked at for the pinned CA.
const maxChain = 4

// PinnedAuthority finds the CA with the pin among the certificates that came
// after the leaf.
func PinnedAuthority(chain []*x509.Certificate, pin [32]byte) (*Authority, error) {
	if len(chain) == 0 {
		return nil, ErrNoCertificate
	}
	for _, c := range chain[1:min(len(chain), maxChain)] {
		if sha256.Sum256(c.RawSubjectPublicKeyInfo) == pin {
			return NewAuthority(c.Raw)
		}
	}
	return nil, refusal{subjectOf(chain[0])}.because(ErrPin, "")
}

// RegistryTLS is for the registry's clients. They trust the CA whose key has the
// pin, which the registry sends behind its own certificate: a node that enrols
// has nothing but the pin. The certificate is nil before enrolment.
func RegistryTLS(pin [32]byte, host string, certificate *tls.Certificate, now func() time.Time) *tls.Config {
	c := base(now)
	c.ServerName = host
	c.InsecureSkipVerify = true // VerifyConnection does it, see the package comment
	if certificate != nil {
		c.Certificates = []tls.Certificate{*certificate}
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if cs.DidResume {
			return ErrResumed
		}
		a, err := PinnedAuthority(cs.PeerCertificates, pin)
		if err != nil {
			return err
		}
		return a.Registry(cs.PeerCertificates[0].Raw, host, now())
	}
	return c
}

// RegistryServerTLS is for the registry. A client may show no certificate, as
// one that enrols has none; one that is shown must be a node's. Who is at the
// other end, the handler asks of PeerOf.
func RegistryServerTLS(a *Authority, certificate tls.Certificate, now func() time.Time) *tls.Config {
	c := base(now)
	c.Certificates = []tls.Certificate{certificate}
	c.ClientAuth = tls.RequestClientCert
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if cs.DidResume {
			return ErrResumed
		}
		if len(cs.PeerCertificates) == 0 {
			return nil
		}
		_, err := PeerOf(&cs, a, now())
		return err
	}
	return c
}
