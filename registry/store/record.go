package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// head is the end of a chain of records.
type head struct {
	sequence uint64
	hash     [32]byte
}

// A record is one line of the journal: all that is needed to know, or to put
// back, what was issued. Each names the hash of the one before, so that none
// can be changed, dropped or added within.
type record struct {
	Sequence  uint64       `json:"sequence"`
	Previous  string       `json:"previous"` // hex SHA-256 of the line before, the first: of the network
	Time      time.Time    `json:"time"`
	TokenHash string       `json:"token_hash"` // hex SHA-256 of the secret
	Key       string       `json:"key"`        // hex SHA-256 of the SubjectPublicKeyInfo
	Name      string       `json:"name"`
	Prefix    netip.Prefix `json:"prefix"`
	// Records of networks without IPv4 are as they were before there was any:
	// a record is read and written again byte for byte.
	IPv4       netip.Prefix   `json:"ipv4,omitzero"`
	IPv4Wanted int            `json:"ipv4_wanted,omitzero"` // length
	Gateway    bool           `json:"gateway"`
	Announce   []netip.Prefix `json:"announce"`
	Serial     string         `json:"serial"`
	NotBefore  time.Time      `json:"not_before"`
	NotAfter   time.Time      `json:"not_after"`
	TBS        []byte         `json:"tbs"`
}

// encode gives the line without its end.
func (r record) encode() ([]byte, error) { return json.Marshal(r) }

// follow checks that a line comes after h, and gives the chain's new end.
func (h head) follow(line []byte) (record, head, error) {
	var r record
	if err := json.Unmarshal(line, &r); err != nil {
		return record{}, head{}, fmt.Errorf("record after %d: %w", h.sequence, err)
	}
	if r.Sequence != h.sequence+1 {
		return record{}, head{}, fmt.Errorf("record %d follows record %d", r.Sequence, h.sequence)
	}
	if r.Previous != hex.EncodeToString(h.hash[:]) {
		return record{}, head{}, fmt.Errorf("record %d does not continue the chain", r.Sequence)
	}
	return r, head{sequence: r.Sequence, hash: sha256.Sum256(line)}, nil
}

// decodeHex reads hex of an exact size.
func decodeHex(text string, size int) ([]byte, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != size {
		return nil, fmt.Errorf("%.80q is not hex of %d bytes", text, size)
	}
	return b, nil
}
