package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// The Parse functions take what came from the network and the mesh's own prefixes, see Validate.

// ParseNodeInfo reads the answer to GET /v1/node.
func ParseNodeInfo(data []byte, networks []netip.Prefix) (NodeInfo, error) {
	var m NodeInfo
	err := parse(data, MaxMessageBytes, &m, func() error {
		return errors.Join(atMost("endpoints", len(m.Endpoints), MaxEndpoints), m.Validate(networks))
	})
	return m, err
}

// ParseOffer reads the body of PUT /v1/tunnels/{id}.
func ParseOffer(data []byte, networks []netip.Prefix) (Offer, error) {
	var m Offer
	err := parse(data, MaxMessageBytes, &m, func() error {
		return errors.Join(atMost("endpoints", len(m.Endpoints), MaxEndpoints), m.Validate(networks))
	})
	return m, err
}

// ParseAnswer reads the answer to PUT /v1/tunnels/{id}.
func ParseAnswer(data []byte, networks []netip.Prefix) (Answer, error) {
	var m Answer
	err := parse(data, MaxMessageBytes, &m, func() error {
		return errors.Join(atMost("endpoints", len(m.Endpoints), MaxEndpoints), m.Validate(networks))
	})
	return m, err
}

// ParsePatch reads the body of PATCH /v1/tunnels/{id}.
func ParsePatch(data []byte) (Patch, error) {
	var m Patch
	err := parse(data, MaxMessageBytes, &m, func() error { return nil })
	return m, err
}

// ParsePeers reads the answer to GET /v1/peers.
func ParsePeers(data []byte, networks []netip.Prefix) (Peers, error) {
	var m Peers
	err := parse(data, MaxPeersBytes, &m, func() error {
		if err := atMost("peers", len(m.Peers), MaxPeers); err != nil {
			return err
		}
		for _, r := range m.Peers {
			if err := atMost("endpoints", len(r.Endpoints), MaxEndpoints); err != nil {
				return err
			}
		}
		return m.Validate(networks)
	})
	return m, err
}

// ParseDocumentList reads what GET /v1/documents answers and POST /v1/documents brings.
func ParseDocumentList(data []byte) (DocumentList, error) {
	var m DocumentList
	err := parse(data, MaxListBytes, &m, func() error {
		if err := atMost("documents", len(m.Documents), MaxDocuments); err != nil {
			return err
		}
		for _, d := range m.Documents {
			if err := atMost("bytes in a document", len(d), MaxDocumentBytes); err != nil {
				return err
			}
		}
		return nil
	})
	return m, err
}

// parse reads one JSON object of at most limit bytes. On an error the message is not to be used.
func parse[M any](data []byte, limit int, m *M, check func() error) error {
	if err := atMost("bytes", len(data), limit); err != nil {
		return fmt.Errorf("parsing %T: %w", *m, err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(m); err != nil {
		return fmt.Errorf("parsing %T: %w", *m, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("parsing %T: more than one value", *m)
	}
	if err := check(); err != nil {
		var zero M
		*m = zero
		return fmt.Errorf("parsing %T: %w", *m, err)
	}
	return nil
}

func atMost(what string, n, limit int) error {
	if n > limit {
		return fmt.Errorf("%d %s: at most %d", n, what, limit)
	}
	return nil
}

func decodeNumber(data []byte, f *float64) error {
	if err := json.Unmarshal(data, f); err != nil {
		return fmt.Errorf("duration: %w", err)
	}
	return nil
}
