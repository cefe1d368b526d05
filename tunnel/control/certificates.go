package control

import (
	"errors"

	"re6st/addressing"
)

// CertificatesWanted asks for certificates of many nodes at once: a node that is new to the mesh hears of all others
// in one moment.
type CertificatesWanted struct {
	RouterIDs []addressing.RouterID `json:"router_ids"`
}

// Certificates are those that the answerer has, DER, in any order. They prove themselves; nothing is verified here.
type Certificates struct {
	Certificates [][]byte `json:"certificates"`
}

// ParseCertificatesWanted reads the body of POST /v1/certificates.
func ParseCertificatesWanted(data []byte) (CertificatesWanted, error) {
	var m CertificatesWanted
	err := parse(data, MaxMessageBytes, &m, func() error { return atMost("router-ids", len(m.RouterIDs), MaxCertificates) })
	return m, err
}

// ParseCertificates reads the answer to either call.
func ParseCertificates(data []byte) (Certificates, error) {
	var m Certificates
	err := parse(data, MaxCertificatesBytes, &m, func() error {
		if err := atMost("certificates", len(m.Certificates), MaxCertificates); err != nil {
			return err
		}
		for _, c := range m.Certificates {
			if err := atMost("bytes in a certificate", len(c), MaxCertificate); err != nil {
				return err
			}
			if len(c) == 0 {
				return errors.New("an empty certificate")
			}
		}
		return nil
	})
	return m, err
}
