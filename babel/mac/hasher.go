package mac

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"hash"
	"net/netip"

	"golang.org/x/crypto/blake2s"

	"re6st/babel/wire"
)

// pseudoMax is the length of the pseudo-header over IPv6.
const pseudoMax = 2 * (16 + 2)

// hasher computes the MACs of one key. It keeps the state after the key, and
// its memory.
type hasher struct {
	key  Key
	hash hash.Hash // nil: no such key can be
	sum  [sha256.Size]byte
}

func newHasher(key Key) *hasher {
	h := &hasher{key: key}
	switch key.Algorithm {
	case HMACSHA256:
		h.hash = hmac.New(sha256.New, key.Secret)
	case BLAKE2s128:
		if b, err := blake2s.New128(key.Secret); err == nil {
			h.hash = b
		}
	}
	return h
}

// compute is RFC 8967, section 4.1. The result lives until the next call.
func (h *hasher) compute(pseudo, signed []byte) []byte {
	h.hash.Reset()
	h.hash.Write(pseudo)
	h.hash.Write(signed)
	return h.hash.Sum(h.sum[:0])
}

// matches compares with every MAC of the trailer, in a time that does not tell
// how much of one is right.
func (h *hasher) matches(pseudo, signed, trailer []byte) bool {
	if h.hash == nil {
		return false
	}
	mac := h.compute(pseudo, signed)
	isEqual := 0
	for t, body := range wire.Each(trailer) {
		if t == wire.TypeMAC {
			isEqual |= subtle.ConstantTimeCompare(mac, body)
		}
	}
	return isEqual == 1
}

// appendPseudo writes the pseudo-header, whose addresses have 4 or 16 octets:
//
//	source | port (2) | destination | port (2)
func appendPseudo(b []byte, src, dst netip.AddrPort) []byte {
	for _, a := range [...]netip.AddrPort{src, dst} {
		if ip := a.Addr().Unmap(); ip.Is4() {
			octets := ip.As4()
			b = append(b, octets[:]...)
		} else {
			octets := ip.As16()
			b = append(b, octets[:]...)
		}
		b = append(b, byte(a.Port()>>8), byte(a.Port()))
	}
	return b
}
