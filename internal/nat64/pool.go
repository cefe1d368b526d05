package nat64

import (
	"encoding/binary"
	"net/netip"
	"time"
)

const (
	// idleMin is how long a source must be silent before another one may have its
	// address: an established TCP connection may be so long without a packet
	// (RFC 5382, REQ-5).
	idleMin = 2*time.Hour + 4*time.Minute
	// touchEvery bounds how often the order of use is kept.
	touchEvery = time.Second
	// perNetworkMax is how many addresses the machines of one /64 can hold. One
	// member who makes up sources then takes them from itself.
	perNetworkMax = 1024
	// firstIndex: the first address is the network's, the second our own.
	firstIndex = 2
)

// entry is one IPv4 address of the pool, by its offset there.
type entry struct {
	source     [16]byte
	used       time.Duration // since the pool's beginning
	newer      uint32        // the list of all by use; 0: none
	older      uint32
	inNetworks uint32 // place in the list of its /64
}

// pool gives IPv4 addresses to IPv6 sources, for as long as it can.
type pool struct {
	base    uint32 // the first address
	size    uint32
	began   time.Time
	entries []entry // grows to size
	index   map[[16]byte]uint32
	network map[[8]byte][]uint32
	newest  uint32
	oldest  uint32
}

func newPool(p netip.Prefix) *pool {
	b := p.Masked().Addr().As4()
	return &pool{
		base: binary.BigEndian.Uint32(b[:]), size: 1 << (32 - p.Bits()), entries: make([]entry, firstIndex),
		index: make(map[[16]byte]uint32), network: make(map[[8]byte][]uint32),
	}
}

// own is the address of the translator itself.
func (p *pool) own() uint32 { return p.base + 1 }

// find is the address of a source that has one.
func (p *pool) find(source *[16]byte) (address uint32, ok bool) {
	i, ok := p.index[*source]
	return p.base + i, ok
}

// source is whose an address is.
func (p *pool) source(address uint32) (source *[16]byte, ok bool) {
	i := address - p.base
	if i < firstIndex || i >= uint32(len(p.entries)) {
		return nil, false
	}
	return &p.entries[i].source, true
}

// use gives the address of a source, a new one where it has none yet.
func (p *pool) use(now time.Time, source *[16]byte) (address uint32, ok bool) {
	if p.began.IsZero() {
		p.began = now
	}
	since := now.Sub(p.began)
	i, ok := p.index[*source]
	if !ok {
		if i, ok = p.take(since, [8]byte(source[:8])); !ok {
			return 0, false
		}
		p.give(i, source, since)
	}
	if e := &p.entries[i]; since-e.used >= touchEvery {
		e.used = since
		p.unlink(i)
		p.link(i)
	}
	return p.base + i, true
}

// take finds an address that nobody has, or that has to be given up.
func (p *pool) take(since time.Duration, network [8]byte) (uint32, bool) {
	if mine := p.network[network]; len(mine) >= min(perNetworkMax, int(p.size)/2) {
		oldest := mine[0]
		for _, i := range mine {
			if p.entries[i].used < p.entries[oldest].used {
				oldest = i
			}
		}
		p.drop(oldest)
		return oldest, true
	}
	if n := uint32(len(p.entries)); n < p.size-1 { // the last address is a broadcast
		p.entries = append(p.entries, entry{})
		return n, true
	}
	if p.oldest == 0 || since-p.entries[p.oldest].used < idleMin {
		return 0, false
	}
	i := p.oldest
	p.drop(i)
	return i, true
}

func (p *pool) give(i uint32, source *[16]byte, since time.Duration) {
	network := [8]byte(source[:8])
	p.index[*source] = i
	p.entries[i] = entry{source: *source, used: since, inNetworks: uint32(len(p.network[network]))}
	p.network[network] = append(p.network[network], i)
	p.link(i)
}

func (p *pool) drop(i uint32) {
	e := &p.entries[i]
	network := [8]byte(e.source[:8])
	mine := p.network[network]
	last := mine[len(mine)-1]
	mine[e.inNetworks] = last
	p.entries[last].inNetworks = e.inNetworks
	if mine = mine[:len(mine)-1]; len(mine) == 0 {
		delete(p.network, network)
	} else {
		p.network[network] = mine
	}
	delete(p.index, e.source)
	p.unlink(i)
}

func (p *pool) link(i uint32) {
	p.entries[i].newer, p.entries[i].older = 0, p.newest
	if p.newest != 0 {
		p.entries[p.newest].newer = i
	}
	p.newest = i
	if p.oldest == 0 {
		p.oldest = i
	}
}

func (p *pool) unlink(i uint32) {
	e := &p.entries[i]
	if e.newer != 0 {
		p.entries[e.newer].older = e.older
	} else {
		p.newest = e.older
	}
	if e.older != 0 {
		p.entries[e.older].newer = e.newer
	} else {
		p.oldest = e.newer
	}
}
