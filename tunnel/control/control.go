package control

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"
)

// Protocol is the version of the control API that this code speaks. Two nodes speak the lower of their two versions.
const Protocol = 1

// MinProtocol is the oldest version that this code understands. The network document may ask for more.
const MinProtocol = 1

// Port is the default port of the control API, over UDP and TCP, on the underlay and on the node's address.
const Port = 6326

// Limits on what a peer may send. They bound memory and work, not sense.
const (
	MaxMessageBytes  = 16 << 10  // NodeInfo, Offer, Answer, Patch, Refusal
	MaxPeersBytes    = 128 << 10 // Peers
	MaxDocumentBytes = 64 << 10  // one signed document
	MaxListBytes     = MaxDocuments*MaxDocumentBytes + 4<<10
	// MaxCertificatesBytes holds as many as there may be, of any size, in base64.
	MaxCertificatesBytes = MaxCertificates*(MaxCertificate*4/3+8) + 4<<10
	MaxEndpoints         = 16
	MaxPeers             = 128
	MaxDocuments         = 4
	MaxCertificates      = 64 // in one message
	MaxCertificate       = 8 << 10
	MaxNameBytes         = 253
	MaxTextBytes         = 500
)

// MTU limits of a tunnel: IPv6 needs 1280 (RFC 8200, section 5), and no link that we know of carries more than 9000.
const (
	MinMTU = 1280
	MaxMTU = 9000
)

// Compatible tells whether a node that speaks theirs may be talked to in a network that demands at least floor.
// A newer one always may: it is its part to speak our version.
func Compatible(theirs, floor int) error {
	if least := max(floor, MinProtocol); theirs < least {
		return fmt.Errorf("protocol %d: at least %d is needed", theirs, least)
	}
	return nil
}

// TunnelID names one tunnel at both ends. The side that offers the tunnel draws it at random.
type TunnelID [16]byte

// ParseTunnelID reads the hexadecimal form of a TunnelID, 32 digits.
func ParseTunnelID(s string) (TunnelID, error) {
	var id TunnelID
	if len(s) != 2*len(id) {
		return TunnelID{}, fmt.Errorf("tunnel id of %d characters: want %d", len(s), 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return TunnelID{}, fmt.Errorf("tunnel id: %w", err)
	}
	if id == (TunnelID{}) {
		return TunnelID{}, fmt.Errorf("tunnel id: all zeros")
	}
	return id, nil
}

func (t TunnelID) String() string { return hex.EncodeToString(t[:]) }

// MarshalText writes the hexadecimal form.
func (t TunnelID) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the hexadecimal form.
func (t *TunnelID) UnmarshalText(text []byte) error {
	id, err := ParseTunnelID(string(text))
	if err != nil {
		return err
	}
	*t = id
	return nil
}

// Key is a WireGuard public key; its text form is base64, as wg(8) prints it.
type Key [32]byte

func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// MarshalText writes the base64 form.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the base64 form, 44 characters.
func (k *Key) UnmarshalText(text []byte) error {
	if len(text) != base64.StdEncoding.EncodedLen(len(k)) {
		return fmt.Errorf("public key of %d characters: want %d", len(text), base64.StdEncoding.EncodedLen(len(k)))
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("public key: %w", err)
	}
	if len(raw) != len(k) {
		return fmt.Errorf("public key of %d bytes: want %d", len(raw), len(k))
	}
	copy(k[:], raw)
	return nil
}

// isZero is true of the all-zero key, with which every Diffie-Hellman result is zero (RFC 7748, section 6.1).
func (k Key) isZero() bool {
	var zero Key
	return subtle.ConstantTimeCompare(k[:], zero[:]) == 1
}

// Reason says why a tunnel was opened; it decides when it is replaced.
type Reason string

const (
	Random  Reason = "random"  // drawn from all reachable nodes: keeps the graph connected
	Elected Reason = "elected" // shortens paths; goes when a better one is found
	Demand  Reason = "demand"  // much traffic goes there
)

func (r Reason) valid() bool { return r == Random || r == Elected || r == Demand }

// Seconds is a duration that is written as a JSON number of seconds.
type Seconds time.Duration

// MarshalJSON writes whole milliseconds as a decimal fraction of a second.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", time.Duration(s).Seconds()), nil
}

// UnmarshalJSON reads a number of seconds, refusing what no duration can hold.
func (s *Seconds) UnmarshalJSON(data []byte) error {
	var f float64
	if err := decodeNumber(data, &f); err != nil {
		return err
	}
	const most = 100 * 365 * 24 * 3600
	if f < 0 || f > most {
		return fmt.Errorf("duration of %g seconds", f)
	}
	*s = Seconds(f * float64(time.Second))
	return nil
}
