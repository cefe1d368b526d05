package userspace

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/time/rate"
	"re6st/tunnel/wg/userspace/device"
)

const (
	// sessionLife is how long an index may be of use: wireguard-go forgets all keys
	// of a peer three times RejectAfterTime after the last handshake.
	sessionLife = 3 * device.RejectAfterTime
	// sessionsMax is what one device keeps. It needs four; a handshake that is tried
	// again and again takes one each time, and a peer that calls 50 times a second
	// takes as many.
	sessionsMax = 128

	// MAC1 is checked here to learn whose an initiation is, one hash for each device.
	// A hash takes half a microsecond: floods cost 3 % of a core.
	strangerTrials = 50_000 // a second
	knownTrials    = 5_000  // a second, of those who claim an address to which we send
	trialsBurst    = 5_000
)

// kind is that of a WireGuard message, or none.
type kind uint8

const (
	notWireGuard kind = iota
	initiation        = kind(device.MessageInitiationType)
	response          = kind(device.MessageResponseType)
	cookieReply       = kind(device.MessageCookieReplyType)
	transport         = kind(device.MessageTransportType)
)

// classify gives the kind of a datagram and the index in it that is ours, the
// receiver's, which an initiation does not have.
func classify(d []byte) (kind, uint32) {
	if len(d) < device.MinMessageSize || d[1]|d[2]|d[3] != 0 {
		return notWireGuard, 0
	}
	switch k := kind(d[0]); {
	case k == initiation && len(d) == device.MessageInitiationSize:
		return k, 0
	case k == response && len(d) == device.MessageResponseSize:
		return k, binary.LittleEndian.Uint32(d[8:])
	case k == cookieReply && len(d) == device.MessageCookieReplySize, k == transport:
		return k, binary.LittleEndian.Uint32(d[4:])
	}
	return notWireGuard, 0
}

// senderIndex is the index that a device gives itself in a handshake message that
// it sends: its peer will send to that.
func senderIndex(d []byte) (uint32, bool) {
	isInitiation := len(d) == device.MessageInitiationSize && kind(d[0]) == initiation
	isResponse := len(d) == device.MessageResponseSize && kind(d[0]) == response
	if !isInitiation && !isResponse {
		return 0, false
	}
	return binary.LittleEndian.Uint32(d[4:]), true
}

// session is an index in use.
type session[T comparable] struct {
	owner T
	used  time.Time // by us, who sent it, or the peer
}

// station is what is known of a device.
type station[T comparable] struct {
	owner    T
	mac1     *device.CookieChecker // nil: no key yet
	peer     netip.Addr            // to whom it sent a handshake message last
	sessions []uint32
}

// demux says whose a datagram is. It is not safe for several goroutines.
type demux[T comparable] struct {
	stations  map[T]*station[T]
	sessions  map[uint32]*session[T]
	strangers *rate.Limiter
	known     *rate.Limiter
}

func newDemux[T comparable]() *demux[T] {
	return &demux[T]{
		stations: make(map[T]*station[T]), sessions: make(map[uint32]*session[T]),
		strangers: rate.NewLimiter(strangerTrials, trialsBurst), known: rate.NewLimiter(knownTrials, trialsBurst),
	}
}

func (m *demux[T]) add(owner T, mac1 *device.CookieChecker) {
	m.stations[owner] = &station[T]{owner: owner, mac1: mac1}
}

func (m *demux[T]) setKey(owner T, mac1 *device.CookieChecker) {
	if s := m.stations[owner]; s != nil {
		s.mac1 = mac1
	}
}

func (m *demux[T]) remove(owner T) {
	s := m.stations[owner]
	if s == nil {
		return
	}
	for _, index := range s.sessions {
		delete(m.sessions, index)
	}
	delete(m.stations, owner)
}

// sent notes the index in a handshake message that leaves. It is false where the
// index is another device's (1 in four thousand millions for each): the message
// must not leave then, and wireguard-go takes a new index in its next attempt.
func (m *demux[T]) sent(now time.Time, owner T, index uint32, to netip.Addr) bool {
	s := m.stations[owner]
	if s == nil {
		return false
	}
	s.peer = to
	if old, ok := m.sessions[index]; ok {
		old.used = now
		return old.owner == owner
	}
	m.forget(now, s)
	m.sessions[index] = &session[T]{owner: owner, used: now}
	s.sessions = append(s.sessions, index)
	return true
}

// forget drops what is dead, and where that is not enough the one whose use is
// longest ago.
func (m *demux[T]) forget(now time.Time, s *station[T]) {
	kept, oldest := s.sessions[:0], 0
	for _, index := range s.sessions {
		if now.Sub(m.sessions[index].used) > sessionLife {
			delete(m.sessions, index)
			continue
		}
		kept = append(kept, index)
		if m.sessions[index].used.Before(m.sessions[kept[oldest]].used) {
			oldest = len(kept) - 1
		}
	}
	if len(kept) >= sessionsMax {
		delete(m.sessions, kept[oldest])
		kept = append(kept[:oldest], kept[oldest+1:]...)
	}
	s.sessions = kept
}

// byIndex is for messages of all kinds but initiations.
func (m *demux[T]) byIndex(now time.Time, index uint32) (owner T, ok bool) {
	s, ok := m.sessions[index]
	if !ok {
		return owner, false
	}
	s.used = now
	return s.owner, true
}

// byMAC1 tries first those who sent to that address, out of a budget of their own:
// a flood from elsewhere does not keep a peer's handshake out.
func (m *demux[T]) byMAC1(now time.Time, d []byte, from netip.Addr) (owner T, ok bool) {
	others := 0
	for _, s := range m.stations {
		if s.mac1 == nil {
			continue
		}
		if s.peer != from {
			others++
		} else if m.known.AllowN(now, 1) && s.mac1.CheckMAC1(d) {
			return s.owner, true
		}
	}
	if others == 0 || !m.strangers.AllowN(now, others) {
		return owner, false
	}
	for _, s := range m.stations {
		if s.mac1 != nil && s.peer != from && s.mac1.CheckMAC1(d) {
			return s.owner, true
		}
	}
	return owner, false
}
