package mac

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"re6st/babel/wire"
)

const (
	// KeysMax is how many keys an interface uses. In a packet of 512 octets they
	// leave room for any TLV.
	KeysMax = 8
	// indexLen: "64-bit values are believed to be large enough" (RFC 8967, section 7).
	indexLen = 8
)

// Interface is what RFC 8967 adds to an entry of the interface table (section
// 3.1), with the peers that were heard there.
type Interface struct {
	rand    *rand.Rand
	hashers []*hasher
	index   [indexLen]byte
	count   uint32 // of the last packet sent
	peers   table
	pseudo  [pseudoMax]byte
}

// NewInterface begins with a fresh index, so that no packet counter is used
// twice with a key, whatever was sent in an earlier life. Rand must be
// unpredictable outside of simulations. At most peersMax peers are remembered,
// and KeysMax keys used.
func NewInterface(rand *rand.Rand, peersMax int, keys []Key) *Interface {
	i := &Interface{rand: rand, peers: table{max: peersMax}}
	i.freshIndex()
	i.SetKeys(keys)
	return i
}

// SetKeys replaces the keys. What is known of the peers stays: who has one of
// the new keys does not notice.
func (i *Interface) SetKeys(keys []Key) {
	was := i.hashers
	i.hashers = nil
	for _, k := range keys[:min(len(keys), KeysMax)] {
		has := func(h *hasher) bool { return h.key.Equal(k) }
		if slices.ContainsFunc(i.hashers, has) {
			continue
		}
		if at := slices.IndexFunc(was, has); at >= 0 {
			i.hashers = append(i.hashers, was[at])
			continue
		}
		if h := newHasher(k); h.hash != nil {
			i.hashers = append(i.hashers, h)
		}
	}
}

// Overhead is what Seal appends, in octets: "the TLV aggregation logic MUST take
// into account the overhead due to PC TLVs and MAC TLVs" (section 4.2).
func (i *Interface) Overhead() int {
	n := 2 + 4 + indexLen
	for _, h := range i.hashers {
		n += 2 + h.key.Algorithm.Size()
	}
	return n
}

// Sealer ends packets with the keys of one moment: a packet that was filled up
// to what they leave must not get the MACs of more.
type Sealer struct {
	i       *Interface
	hashers []*hasher
}

// Sealer is for packets made now.
func (i *Interface) Sealer() Sealer { return Sealer{i, i.hashers} }

// Seal appends the packet counter to the body and the MACs as trailer. What it
// gets is header and body; nothing may be changed afterwards. Sealed again, the
// same packet has another counter.
func (s Sealer) Seal(packet []byte, src, dst netip.AddrPort) []byte {
	i := s.i
	if i.count == math.MaxUint32 {
		// "If the PC overflows, a fresh index MUST be generated."
		i.freshIndex()
	}
	i.count++
	packet = wire.AppendPC(packet, wire.PC{Count: i.count, Index: i.index[:]})
	wire.SetBodyLen(packet)
	pseudo, signed := appendPseudo(i.pseudo[:0], src, dst), packet
	for _, h := range s.hashers {
		packet = wire.AppendMAC(packet, h.compute(pseudo, signed))
	}
	return packet
}

func (i *Interface) freshIndex() {
	binary.BigEndian.PutUint64(i.index[:], i.rand.Uint64())
	i.count = 0
}

// IsKnown tells whether packets of the peer are accepted without a challenge.
func (i *Interface) IsKnown(now time.Time, addr netip.Addr) bool {
	p := i.peers.find(now, addr.WithZone(""))
	return p != nil && p.isKnown
}
