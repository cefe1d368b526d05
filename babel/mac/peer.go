package mac

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"re6st/babel/wire"
)

const (
	// lifetime of an (index, PC) pair after the last accepted packet: without it
	// an attacker could delay a packet for ever (RFC 8967, sections 4.4 and 7).
	lifetime = 5 * time.Minute
	// nonceLife is the challenge expiry timer (section 4.3.1.1).
	nonceLife = 30 * time.Second
	// gap is the least time between two challenges, and between two replies, to
	// one peer.
	gap = 300 * time.Millisecond
	// nonceRepeat is how long the same nonce goes out again. A new one each time
	// would make the reply to the last one wrong, and where the round trip is
	// longer than gap no challenge would ever succeed. What a reply proves is that
	// the packet is younger than its nonce, and that stays within nonceLife.
	nonceRepeat = 10 * time.Second
	// grace is how long a new entry may not be given up for another: longer than
	// gap, so that the limits hold, and than most round trips.
	grace = time.Second

	nonceLen = 8
)

// peer is what RFC 8967 adds to an entry of the neighbour table (section 3.2).
// It is made before there is a neighbour: section 7 proposes "a separate table".
type peer struct {
	addr netip.Addr

	// The pair (index, PC), with a window for each class of RFC 9467.
	isKnown    bool
	index      [wire.IndexMax]byte
	indexLen   int
	multicast  window
	unicast    window
	acceptedAt time.Time

	hasNonce     bool
	nonce        [nonceLen]byte
	nonceAt      time.Time
	challengedAt time.Time
	repliedAt    time.Time
}

// expire forgets what is too old.
func (p *peer) expire(now time.Time) {
	if p.isKnown && now.Sub(p.acceptedAt) >= lifetime {
		p.isKnown = false
	}
	if p.hasNonce && now.Sub(p.nonceAt) >= nonceLife {
		p.hasNonce = false
	}
}

func (p *peer) hasIndex(index []byte) bool {
	return p.isKnown && bytes.Equal(p.index[:p.indexLen], index)
}

// prove is a successful challenge: "the PC and Index contained in the PC TLV MUST
// be stored", for both classes. If the index is the known one, packets that were
// sent after the reply may have overtaken it, and are not to be forgotten.
func (p *peer) prove(now time.Time, pc wire.PC) {
	p.hasNonce, p.acceptedAt = false, now
	if p.hasIndex(pc.Index) {
		p.multicast.take(pc.Count)
		p.unicast.take(pc.Count)
		return
	}
	p.isKnown = true
	p.indexLen = copy(p.index[:], pc.Index)
	p.multicast.begin(pc.Count)
	p.unicast.begin(pc.Count)
}

// take is the test of the packet counter for the known index.
func (p *peer) take(now time.Time, count uint32, isMulticast bool) bool {
	w := &p.unicast
	if isMulticast {
		w = &p.multicast
	}
	if !w.take(count) {
		return false
	}
	p.acceptedAt = now
	return true
}

// isDue: never yet, or gap ago. A time before the last one is not.
func isDue(now, last time.Time) bool { return last.IsZero() || now.Sub(last) >= gap }

// touched is when the peer last cost us something.
func (p *peer) touched() time.Time {
	last := p.challengedAt
	if p.repliedAt.After(last) {
		last = p.repliedAt
	}
	return last
}

// table has the peers, sorted by address.
type table struct {
	peers []*peer
	max   int
}

func (t *table) search(addr netip.Addr) (int, bool) {
	return slices.BinarySearchFunc(t.peers, addr, func(p *peer, a netip.Addr) int { return p.addr.Compare(a) })
}

// find forgets on the way what is too old of the peer.
func (t *table) find(now time.Time, addr netip.Addr) *peer {
	i, ok := t.search(addr)
	if !ok {
		return nil
	}
	t.peers[i].expire(now)
	return t.peers[i]
}

// add makes an entry, if need be instead of the one that waits longest for
// nothing. Nil: the table is full of peers that count.
func (t *table) add(now time.Time, addr netip.Addr) *peer {
	if len(t.peers) >= t.max && !t.evict(now) {
		return nil
	}
	p := &peer{addr: addr}
	i, _ := t.search(addr)
	t.peers = slices.Insert(t.peers, i, p)
	return p
}

func (t *table) evict(now time.Time) bool {
	oldest := -1
	for i, p := range t.peers {
		p.expire(now)
		isFree := !p.isKnown && now.Sub(p.touched()) >= grace
		if isFree && (oldest < 0 || p.touched().Before(t.peers[oldest].touched())) {
			oldest = i
		}
	}
	if oldest < 0 {
		return false
	}
	t.peers = slices.Delete(t.peers, oldest, oldest+1)
	return true
}
