package userspace

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"re6st/tunnel/wg/userspace/device"
)

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("192.0.2.2")
	start = time.Unix(1_000_000, 0)
)

// checker is the MAC1 of a device whose public key begins with that octet.
func checker(key byte) *device.CookieChecker {
	c := &device.CookieChecker{}
	c.Init(device.NoisePublicKey{key})
	return c
}

// initiationTo is one with the right MAC1 and nothing else right.
func initiationTo(key byte) []byte {
	d := make([]byte, device.MessageInitiationSize)
	d[0] = byte(initiation)
	var g device.CookieGenerator
	g.Init(device.NoisePublicKey{key})
	g.AddMacs(d)
	return d
}

func TestDemuxByIndex(t *testing.T) {
	m := newDemux[string]()
	m.add("a", nil)
	m.add("b", nil)
	want := func(index uint32, owner string) {
		t.Helper()
		if got, ok := m.byIndex(start, index); got != owner || ok != (owner != "") {
			t.Errorf("index %d: %q, %v; want %q", index, got, ok, owner)
		}
	}
	for index, owner := range map[uint32]string{1: "a", 2: "a", 3: "b"} {
		if !m.sent(start, owner, index, there) {
			t.Errorf("index %d of %s is refused", index, owner)
		}
	}
	want(1, "a")
	want(2, "a")
	want(3, "b")
	want(4, "")
	if m.sent(start, "b", 1, there) {
		t.Error("b may use a's index: a's packets would be its")
	}
	if !m.sent(start, "a", 1, there) {
		t.Error("a may not send the same message again")
	}
	m.remove("a")
	m.remove("a")
	want(1, "")
	want(3, "b")
	if m.sent(start, "a", 5, there) {
		t.Error("one that is closed takes an index")
	}
	m.remove("b")
	if len(m.sessions)+len(m.stations) != 0 {
		t.Errorf("left: %v, %v", m.sessions, m.stations)
	}
}

// What is dead is forgotten; the session that is in use stays, however many
// handshakes are begun meanwhile.
func TestDemuxForgetsTheDead(t *testing.T) {
	m := newDemux[string]()
	m.add("a", nil)
	now := start
	m.sent(now, "a", 1, there)
	for i := range uint32(1000) {
		now = now.Add(20 * time.Millisecond)
		if _, ok := m.byIndex(now, 1); !ok {
			t.Fatalf("the session in use is forgotten after %d handshakes", i)
		}
		m.sent(now, "a", 2+i, there)
		if len(m.sessions) > sessionsMax || len(m.stations["a"].sessions) != len(m.sessions) {
			t.Fatalf("%d sessions, of the device %d", len(m.sessions), len(m.stations["a"].sessions))
		}
	}
	if _, ok := m.byIndex(now, 1001); !ok {
		t.Error("the last handshake is forgotten")
	}
	m.sent(now.Add(sessionLife+time.Second), "a", 7777, there)
	if len(m.sessions) != 1 {
		t.Errorf("%d sessions long after, want the new one alone", len(m.sessions))
	}
}

func TestDemuxByMAC1(t *testing.T) {
	m := newDemux[byte]()
	for key := range byte(20) {
		m.add(key, checker(key))
	}
	m.add(99, nil)
	for key := range byte(20) {
		if got, ok := m.byMAC1(start, initiationTo(key), here); !ok || got != key {
			t.Errorf("initiation to %d: %d, %v", key, got, ok)
		}
	}
	bad := initiationTo(3)
	bad[device.MessageInitiationSize-32] ^= 1
	if got, ok := m.byMAC1(start, bad, here); ok {
		t.Errorf("a bad MAC1 is %d's", got)
	}
	m.setKey(3, checker(77))
	m.setKey(50, checker(78)) // unknown: nothing
	if got, ok := m.byMAC1(start, initiationTo(77), here); !ok || got != 3 {
		t.Errorf("after another key: %d, %v", got, ok)
	}
	if _, ok := m.byMAC1(start, initiationTo(3), here); ok {
		t.Error("the old key is still good")
	}
}

// A flood of initiations that are nobody's is bounded in hashes, and one from where
// a peer is known to be passes all the while.
func TestP12_TrialsAreBounded(t *testing.T) {
	m := newDemux[byte]()
	for key := range byte(20) {
		m.add(key, checker(key))
	}
	m.sent(start, 7, 1, there)
	bad := make([]byte, device.MessageInitiationSize)
	now := start
	const floods = 10_000 // a second
	for range floods {
		now = now.Add(time.Second / floods)
		m.byMAC1(now, bad, here)
	}
	before := m.strangers.TokensAt(now)
	if before > 2*20 {
		t.Errorf("%v trials are left after a second of the flood: it was not to be bounded", before)
	}
	if got, ok := m.byMAC1(now, initiationTo(7), there); !ok || got != 7 {
		t.Errorf("the peer's initiation: %d, %v", got, ok)
	}
	if _, ok := m.byMAC1(now, initiationTo(8), here); ok && before < 19 {
		t.Error("a stranger's got more trials than there are")
	}
	if got, ok := m.byMAC1(now.Add(time.Second), initiationTo(8), here); !ok || got != 8 {
		t.Errorf("a stranger's after the flood: %d, %v", got, ok)
	}
	// One who floods from the peer's address has a budget too.
	now = now.Add(2 * time.Second)
	for range trialsBurst {
		m.byMAC1(now, bad, there)
	}
	if n := m.known.TokensAt(now); n >= 1 {
		t.Errorf("%v trials left for that address", n)
	}
}

func FuzzT13_Classify(f *testing.F) {
	f.Add(initiationTo(1))
	f.Add(append([]byte{2, 0, 0, 0}, make([]byte, device.MessageResponseSize-4)...))
	f.Add(append([]byte{3, 0, 0, 0}, make([]byte, device.MessageCookieReplySize-4)...))
	f.Add(append([]byte{4, 0, 0, 0}, make([]byte, 28)...))
	f.Add([]byte{4, 0, 0})
	m := newDemux[byte]()
	m.add(1, checker(1))
	m.sent(start, 1, 0x04030201, there)
	f.Fuzz(func(t *testing.T, d []byte) {
		k, index := classify(d)
		sender, isHandshake := uint32(0), false
		if len(d) > 0 {
			sender, isHandshake = senderIndex(d)
		}
		switch k {
		case notWireGuard, initiation:
			if index != 0 {
				t.Errorf("kind %d has index %d", k, index)
			}
		case response, cookieReply, transport:
			at := 4
			if k == response {
				at = 8
			}
			if index != binary.LittleEndian.Uint32(d[at:]) {
				t.Errorf("index %x of kind %d is not in its place", index, k)
			}
		default:
			t.Errorf("kind %d", k)
		}
		if (k == initiation || k == response) && (!isHandshake || sender != binary.LittleEndian.Uint32(d[4:])) {
			t.Errorf("kind %d: sender %x, %v", k, sender, isHandshake)
		}
		m.byIndex(start, index)
		if k == initiation {
			m.byMAC1(start.Add(time.Duration(rand.Int64N(1e9))), d, here)
		}
	})
}
