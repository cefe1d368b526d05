package agent

import (
	"crypto/tls"
	"fmt"

	"re6st/tunnel/control"
	"re6st/tunnel/wg"
)

// exportPSK derives WireGuard's pre-shared key from the TLS session (RFC 8446, section 7.5). Whoever records the
// tunnel's packets needs both Diffie-Hellman exchanges, the tunnel's and the session's, to read them; the session's is
// hybrid with ML-KEM where both ends have it.
func exportPSK(cs *tls.ConnectionState, id control.TunnelID, offerer, answerer wg.Key) (wg.Key, error) {
	raw, err := cs.ExportKeyingMaterial(PSKLabel, pskContext(id, offerer, answerer), len(wg.Key{}))
	if err != nil {
		return wg.Key{}, fmt.Errorf("deriving the pre-shared key of tunnel %v: %w", id, err)
	}
	var psk wg.Key
	if copy(psk[:], raw) != len(psk) {
		return wg.Key{}, fmt.Errorf("deriving the pre-shared key of tunnel %v: %d bytes", id, len(raw))
	}
	return psk, nil
}
