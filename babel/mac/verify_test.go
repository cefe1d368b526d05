package mac

import (
	"bytes"
	"fmt"
	"hash"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"re6st/babel/wire"
)

var (
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	keyA  = Key{HMACSHA256, []byte("0123456789abcdef0123456789abcdef")}
	keyB  = Key{BLAKE2s128, []byte("fedcba9876543210")}
	keyC  = Key{HMACSHA256, []byte("ffffffffffffffffffffffffffffffff")}
	alice = netip.MustParseAddrPort("[fe80::a]:6696")
	bob   = netip.MustParseAddrPort("[fe80::b]:6696")
	group = netip.AddrPortFrom(wire.Group(), wire.Port)
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// body is a packet without PC and MAC.
func body(tlvs ...wire.TLV) []byte {
	e := wire.NewEncoder(1400)
	for _, tlv := range tlvs {
		e.Add(tlv)
	}
	return e.Bytes()
}

func hello() []byte { return body(&wire.Hello{Seqno: 1, Interval: 400}) }

// sign makes the MACs of a packet that is as the test wants it.
func sign(packet []byte, src, dst netip.AddrPort, keys ...Key) []byte {
	wire.SetBodyLen(packet)
	signed := packet
	for _, k := range keys {
		packet = wire.AppendMAC(packet, newHasher(k).compute(appendPseudo(nil, src, dst), signed))
	}
	return packet
}

// withPC is a packet of Alice to Bob, or to all.
func withPC(dst netip.AddrPort, index string, count uint32, tlvs ...wire.TLV) []byte {
	packet := wire.AppendPC(body(tlvs...), wire.PC{Count: count, Index: []byte(index)})
	return sign(packet, alice, dst, keyA)
}

// receiver is Bob.
type receiver struct {
	*testing.T
	*Interface
	now time.Time
}

func newReceiver(t *testing.T, keys ...Key) *receiver {
	if keys == nil {
		keys = []Key{keyA}
	}
	return &receiver{t, NewInterface(newRand(7), 8, keys), epoch}
}

func (r *receiver) want(why string, want Outcome, dst netip.AddrPort, packet []byte) Verdict {
	r.Helper()
	v := r.Verify(r.now, alice, dst, packet)
	if v.Outcome != want {
		r.Fatalf("%s: %v, want %v", why, v.Outcome, want)
	}
	return v
}

// meet makes Alice known with an index and a counter.
func (r *receiver) meet(index string, count uint32) {
	r.Helper()
	r.now = r.now.Add(gap)
	v := r.want("first packet", Unproven, bob, withPC(bob, index, count))
	r.want("reply", Accepted, bob, withPC(bob, index, count, &wire.ChallengeReply{Nonce: v.Challenge}))
}

func TestC102_MACIsInTheTrailer(t *testing.T) {
	r := newReceiver(t)
	good := withPC(group, "i", 1)
	signed, trailer, _ := wire.Split(good)
	r.want("no trailer", Unsigned, group, signed)
	r.want("padding in the trailer", Unsigned, group, append(slices.Clone(signed), 1, 1, 0, 0))
	inside := slices.Clone(good)
	wire.SetBodyLen(inside)
	r.want("the MAC is in the body", Unsigned, group, inside)
	// A right MAC of the body with the MAC does not help if it is inside too.
	both := sign(slices.Clone(inside), alice, group, keyA)
	wire.SetBodyLen(both)
	r.want("both are in the body", Unsigned, group, both)
	r.want("padding before the MAC", Unproven, group, append(append(slices.Clone(signed), 0, 1, 2, 0, 0), trailer...))
	wrong := append(slices.Clone(signed), 16, 3, 1, 2, 3, 16, 0)
	r.want("MACs of wrong lengths", Forged, group, wrong)
	r.want("a right one after wrong ones", Unproven, group, append(wrong, trailer...))
	r.want("half a MAC", Forged, group, append(slices.Clone(signed), append([]byte{16, 16}, trailer[2:18]...)...))
	r.want("a MAC and more", Forged, group, append(append(slices.Clone(signed), 16, 33), append(slices.Clone(trailer[2:]), 0)...))
	r.want("no packet at all", Unsigned, group, nil)
}

func TestC102_OtherKeysAndOtherAlgorithms(t *testing.T) {
	packet := wire.AppendPC(hello(), wire.PC{Count: 1})
	for _, c := range []struct {
		theirs, ours []Key
		want         Outcome
	}{
		{[]Key{keyA}, []Key{keyA}, Unproven},
		{[]Key{keyC}, []Key{keyA}, Forged},
		{[]Key{keyC, keyA}, []Key{keyA}, Unproven},
		{[]Key{keyA}, []Key{keyC, keyB, keyA}, Unproven},
		{[]Key{keyB}, []Key{keyA, keyB}, Unproven},
		{[]Key{{HMACSHA256, keyB.Secret}}, []Key{keyB}, Forged},
	} {
		r := newReceiver(t, c.ours...)
		r.want(fmt.Sprint(c.theirs, " to ", c.ours), c.want, group, sign(slices.Clone(packet), alice, group, c.theirs...))
	}
}

// counting counts computations.
type counting struct {
	hash.Hash
	n *int
}

func (c counting) Sum(b []byte) []byte { *c.n++; return c.Hash.Sum(b) }

func TestC102_OneComputationPerKeyNotPerTLV(t *testing.T) {
	r := newReceiver(t, keyA, keyB, keyC)
	n := 0
	for _, h := range r.hashers {
		h.hash = counting{h.hash, &n}
	}
	packet := withPC(group, "i", 1)
	signed, _, _ := wire.Split(packet)
	packet = slices.Clone(signed)
	for range 40 {
		packet = wire.AppendMAC(packet, make([]byte, 32))
	}
	r.want("40 wrong MACs", Forged, group, packet)
	if n != 3 {
		t.Errorf("%d MACs were computed for 3 keys", n)
	}
}

// An outsider sends from as many addresses as he likes.
func TestC103_NothingIsRememberedBeforeAMACMatched(t *testing.T) {
	r := newReceiver(t)
	packet := sign(wire.AppendPC(hello(), wire.PC{Count: 1}), alice, group, keyC)
	for n := range 10000 {
		src := alice.Addr().As16()
		src[14], src[15] = byte(n>>8), byte(n)
		v := r.Verify(r.now, netip.AddrPortFrom(netip.AddrFrom16(src), wire.Port), group, packet)
		if v.Outcome != Forged || v.Challenge != nil || v.MustReply {
			t.Fatal(v)
		}
	}
	if len(r.peers.peers) != 0 {
		t.Errorf("%d peers are remembered", len(r.peers.peers))
	}
}

// Recorded packets from many addresses: at most so many entries, none of them at
// the cost of a peer that counts, and room again after a second.
func TestC103_PeersAreBounded(t *testing.T) {
	r := newReceiver(t)
	r.meet("index", 5)
	from := func(n int) netip.AddrPort {
		src := alice.Addr().As16()
		src[12], src[14], src[15] = 1, byte(n>>8), byte(n)
		return netip.AddrPortFrom(netip.AddrFrom16(src), wire.Port)
	}
	challenges := 0
	for n := range 1000 {
		packet := sign(wire.AppendPC(hello(), wire.PC{Count: 1}), from(n), group, keyA)
		if r.Verify(r.now, from(n), group, packet).Challenge != nil {
			challenges++
		}
		if len(r.peers.peers) > r.peers.max {
			t.Fatalf("%d peers", len(r.peers.peers))
		}
	}
	if challenges != r.peers.max-1 {
		t.Errorf("%d challenges at once, want %d", challenges, r.peers.max-1)
	}
	r.now = r.now.Add(grace)
	packet := sign(wire.AppendPC(hello(), wire.PC{Count: 1}), from(5000), group, keyA)
	if v := r.Verify(r.now, from(5000), group, packet); v.Challenge == nil {
		t.Error("no room after a second")
	}
	r.want("the peer that was known", Accepted, bob, withPC(bob, "index", 6))
	if !slices.IsSortedFunc(r.peers.peers, func(a, b *peer) int { return a.addr.Compare(b.addr) }) {
		t.Error("the table is not sorted")
	}
}

func TestC104_FirstPCCounts(t *testing.T) {
	r := newReceiver(t)
	r.want("none", Uncounted, bob, sign(hello(), alice, bob, keyA))
	r.want("too short", Uncounted, bob, sign(append(hello(), 17, 3, 0, 0, 1), alice, bob, keyA))
	r.want("index of 33 octets", Uncounted, bob,
		sign(append(append(hello(), 17, 37), make([]byte, 37)...), alice, bob, keyA))
	if len(r.peers.peers) != 0 {
		t.Error("a peer without counter is remembered")
	}
	r.meet("i", 10)
	two := func(first, second uint32) []byte {
		p := wire.AppendPC(hello(), wire.PC{Count: first, Index: []byte("i")})
		return sign(wire.AppendPC(p, wire.PC{Count: second, Index: []byte("i")}), alice, bob, keyA)
	}
	r.want("the second is newer", Replayed, bob, two(10, 20))
	r.want("the first is newer", Accepted, bob, two(11, 3))
	r.want("not 3 is the last", Replayed, bob, withPC(bob, "i", 11))
}

func TestC104_PCIsLastAndRises(t *testing.T) {
	i := NewInterface(newRand(1), 8, []Key{keyA})
	last := uint32(0)
	for n := range 20 {
		dst := group
		if n%3 == 0 {
			dst = bob
		}
		signed, _, err := wire.Split(i.Sealer().Seal(hello(), alice, dst))
		if err != nil {
			t.Fatal(err)
		}
		var types []wire.Type
		var pc wire.PC
		for typ, b := range wire.Each(signed[wire.HeaderLen:]) {
			types = append(types, typ)
			if typ == wire.TypePC {
				pc, _ = wire.ParsePC(b)
			}
		}
		if !slices.Equal(types, []wire.Type{wire.TypeHello, wire.TypePC}) || pc.Count <= last || len(pc.Index) != indexLen {
			t.Fatalf("TLVs %v, %+v after %d", types, pc, last)
		}
		last = pc.Count
	}
}

func TestC104_OverflowTakesAFreshIndex(t *testing.T) {
	i := NewInterface(newRand(1), 8, []Key{keyA})
	i.count = math.MaxUint32 - 2
	seen := map[string]bool{}
	for range 5 {
		signed, _, _ := wire.Split(i.Sealer().Seal(hello(), alice, group))
		for typ, b := range wire.Each(signed[wire.HeaderLen:]) {
			if typ == wire.TypePC && seen[string(b)] {
				t.Fatalf("a pair of index and counter is used twice: %x", b)
			} else if typ == wire.TypePC {
				seen[string(b)] = true
			}
		}
	}
	if i.count != 3 {
		t.Errorf("the counter is %d", i.count)
	}
}

func TestC104_EachLifeHasItsIndex(t *testing.T) {
	r := newRand(1)
	seen := map[[indexLen]byte]bool{}
	for range 1000 {
		seen[NewInterface(r, 8, nil).index] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d indices in 1000 lives", len(seen))
	}
}

func TestC105_UnknownIsChallenged(t *testing.T) {
	r := newReceiver(t)
	for _, dst := range []netip.AddrPort{group, bob} {
		v := r.want("unknown", Unproven, dst, withPC(dst, "i", 1))
		if len(v.Challenge) == 0 || len(v.Challenge) > wire.NonceMax || v.MustReply {
			t.Errorf("%+v", v)
		}
		r.now = r.now.Add(gap)
	}
	r.meet("i", 2)
	r.now = r.now.Add(gap)
	if v := r.want("other index", Unproven, group, withPC(group, "j", 100)); v.Challenge == nil {
		t.Error("another index is not challenged")
	}
	r.want("the old index still counts", Accepted, group, withPC(group, "i", 3))
}

func TestC105_ReplyEchoesTheNonce(t *testing.T) {
	for _, n := range []int{0, 1, 10, 191, 192} {
		r := newReceiver(t)
		nonce := bytes.Repeat([]byte{7}, n)
		request := &wire.ChallengeRequest{Nonce: nonce}
		v := r.want("challenged", Unproven, bob, withPC(bob, "i", 1, request))
		if !v.MustReply || !bytes.Equal(v.Reply, nonce) || v.Challenge == nil {
			t.Errorf("nonce of %d: %+v", n, v)
		}
	}
	// 193 is against the standard.
	r := newReceiver(t)
	packet := append(body(), byte(wire.TypeChallengeRequest), 193)
	packet = append(packet, make([]byte, 193)...)
	packet = sign(wire.AppendPC(packet, wire.PC{Count: 1}), alice, bob, keyA)
	if v := r.want("193", Unproven, bob, packet); v.MustReply {
		t.Error("a nonce of 193 octets is echoed")
	}
}

func TestC105_ChallengeByMulticastIsIgnored(t *testing.T) {
	r := newReceiver(t)
	request := &wire.ChallengeRequest{Nonce: []byte("nonce")}
	if v := r.want("by multicast", Unproven, group, withPC(group, "i", 1, request)); v.MustReply {
		t.Error("it is answered")
	}
	r.meet("i", 2)
	if v := r.want("from a known peer", Accepted, group, withPC(group, "i", 3, request)); v.MustReply {
		t.Error("it is answered")
	}
	if v := r.want("by unicast", Accepted, bob, withPC(bob, "i", 4, request)); !v.MustReply {
		t.Error("it is not answered")
	}
	// Section 4.3: in a packet that is a replay it may be ignored.
	r.now = r.now.Add(gap)
	if v := r.want("once more", Replayed, bob, withPC(bob, "i", 4, request)); v.MustReply {
		t.Error("a replayed challenge is answered")
	}
}

func TestC106_ReplyProves(t *testing.T) {
	r := newReceiver(t)
	v := r.want("first", Unproven, group, withPC(group, "i", 9))
	nonce := slices.Clone(v.Challenge)
	wrong := &wire.ChallengeReply{Nonce: append(slices.Clone(nonce), 0)}
	r.want("wrong length", Unproven, bob, withPC(bob, "i", 10, wrong))
	wrong.Nonce = make([]byte, len(nonce))
	r.want("wrong nonce", Unproven, bob, withPC(bob, "i", 11, wrong))
	reply := &wire.ChallengeReply{Nonce: nonce}
	// "The nonce is not discarded" by wrong ones.
	v = r.want("right nonce, after wrong ones in one packet", Accepted, bob, withPC(bob, "i", 12, wrong, reply))
	if !v.IsMeeting {
		t.Error("it is no meeting")
	}
	if !r.IsKnown(r.now, alice.Addr()) {
		t.Error("the peer is not known")
	}
	r.want("again: the nonce is discarded", Replayed, bob, withPC(bob, "i", 12, reply))
	r.want("again, with another index", Unproven, bob, withPC(bob, "j", 1, reply))
	// Both classes begin with the counter of the reply.
	r.want("unicast before it", Replayed, bob, withPC(bob, "i", 11))
	r.want("multicast before it", Replayed, group, withPC(group, "i", 11))
	r.want("multicast, the same counter", Replayed, group, withPC(group, "i", 12))
	r.want("multicast after it", Accepted, group, withPC(group, "i", 13))
	r.want("unicast after it", Accepted, bob, withPC(bob, "i", 14))
}

func TestC106_ReplyIsValidFor30Seconds(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  Outcome
	}{{nonceLife - time.Millisecond, Accepted}, {nonceLife, Unproven}} {
		r := newReceiver(t)
		v := r.want("first", Unproven, group, withPC(group, "i", 1))
		reply := &wire.ChallengeReply{Nonce: slices.Clone(v.Challenge)}
		r.now = r.now.Add(c.after)
		r.want(fmt.Sprint("after ", c.after), c.want, bob, withPC(bob, "i", 2, reply))
	}
}

// Where the round trip is longer than the time between two challenges, a new
// nonce each time would make every reply wrong.
func TestC106_ReplySurvivesFurtherChallenges(t *testing.T) {
	r := newReceiver(t)
	first := slices.Clone(r.want("first", Unproven, group, withPC(group, "i", 1)).Challenge)
	for n := range 30 {
		r.now = r.now.Add(gap)
		if v := r.want("more", Unproven, group, withPC(group, "i", uint32(n+2))); v.Challenge == nil {
			t.Fatal("no challenge")
		}
	}
	r.want("the first reply arrives", Accepted, bob, withPC(bob, "i", 100, &wire.ChallengeReply{Nonce: first}))
	// But not for ever: the life of a nonce is not prolonged.
	r.now = r.now.Add(lifetime)
	first = slices.Clone(r.want("again", Unproven, group, withPC(group, "i", 200)).Challenge)
	r.now = r.now.Add(nonceRepeat)
	if v := r.want("later", Unproven, group, withPC(group, "i", 201)); bytes.Equal(v.Challenge, first) {
		t.Error("an old nonce is sent again")
	}
}

// A reply that was overtaken by later packets does not open the door to them
// again.
func TestC106_LateReplyForgetsNothing(t *testing.T) {
	r := newReceiver(t)
	r.meet("i", 1)
	r.now = r.now.Add(gap)
	v := r.want("someone replays another index", Unproven, bob, withPC(bob, "old", 1))
	reply := &wire.ChallengeReply{Nonce: slices.Clone(v.Challenge)}
	r.want("overtakes the reply, by multicast", Accepted, group, withPC(group, "i", 4))
	r.want("overtakes the reply", Accepted, bob, withPC(bob, "i", 5))
	if r.want("the reply", Accepted, bob, withPC(bob, "i", 3, reply)).IsMeeting {
		t.Error("a known peer is met again")
	}
	for _, dst := range []netip.AddrPort{bob, group} {
		for n := range uint32(6) {
			if n == 2 || dst == bob && n == 4 || dst == group && n == 5 {
				continue // was not sent
			}
			r.want(fmt.Sprint("replay of ", n), Replayed, dst, withPC(dst, "i", n))
		}
	}
}

func TestC107_OldCounterIsDroppedWithoutAChallenge(t *testing.T) {
	r := newReceiver(t)
	r.meet("i", 1000)
	r.now = r.now.Add(time.Second)
	for _, n := range []uint32{1000, 999, 900, 1, 0} {
		for _, dst := range []netip.AddrPort{bob, group} {
			if v := r.want(fmt.Sprint("counter ", n), Replayed, dst, withPC(dst, "i", n)); v.Challenge != nil {
				t.Errorf("counter %d is challenged", n)
			}
		}
	}
	r.want("1001", Accepted, bob, withPC(bob, "i", 1001))
	if v := r.want("1001 again", Replayed, bob, withPC(bob, "i", 1001)); v.Challenge != nil {
		t.Error("a replay is challenged")
	}
}

// Multicast is often slower than unicast, and overtaken by it.
func TestC108_UnicastAndMulticastAreCountedApart(t *testing.T) {
	r := newReceiver(t)
	r.meet("i", 1)
	r.want("unicast, far ahead", Accepted, bob, withPC(bob, "i", 1000))
	r.want("multicast that was overtaken", Accepted, group, withPC(group, "i", 2))
	r.want("the same", Replayed, group, withPC(group, "i", 2))
	r.want("multicast, further ahead", Accepted, group, withPC(group, "i", 5000))
	r.want("unicast that was overtaken", Accepted, bob, withPC(bob, "i", 1001))
}

func TestC108_Window(t *testing.T) {
	for _, dst := range []netip.AddrPort{bob, group} {
		r := newReceiver(t)
		r.meet("i", 1)
		r.want("the highest", Accepted, dst, withPC(dst, "i", 1000))
		r.want("the last in the window", Accepted, dst, withPC(dst, "i", 1000-windowSize+1))
		r.want("the first outside", Replayed, dst, withPC(dst, "i", 1000-windowSize))
		r.want("inside", Accepted, dst, withPC(dst, "i", 936))
		r.want("inside again", Replayed, dst, withPC(dst, "i", 936))
		r.want("moves it by 63", Accepted, dst, withPC(dst, "i", 1063))
		r.want("936 is still remembered", Replayed, dst, withPC(dst, "i", 936))
		r.want("1000 is still remembered", Replayed, dst, withPC(dst, "i", 1000))
		r.want("its neighbour was not there", Accepted, dst, withPC(dst, "i", 999))
	}
}

// The window against a plain list of what came.
func TestC108_WindowIsASet(t *testing.T) {
	r := newRand(1)
	for range 200 {
		var w window
		highest := r.Uint32N(1 << 20)
		w.begin(highest)
		start, seen := highest, map[uint32]bool{}
		for range 500 {
			n := highest + r.Uint32N(300) - r.Uint32N(300)
			if r.IntN(50) == 0 {
				n = highest + r.Uint32N(100000)
			}
			want := n > highest || n > start && highest-n < windowSize && !seen[n]
			if got := w.take(n); got != want {
				t.Fatalf("take(%d) = %v, highest %d, began with %d", n, got, highest, start)
			}
			seen[n], highest = true, max(highest, n)
		}
	}
	var w window
	w.begin(math.MaxUint32 - 1)
	if !w.take(math.MaxUint32) || w.take(0) || w.take(math.MaxUint32) {
		t.Error("the window wraps")
	}
}

func TestC109_ChallengesAndRepliesAreLimited(t *testing.T) {
	r := newReceiver(t)
	var challenged, replied []time.Duration
	for n := range uint32(1000) {
		packet := withPC(bob, "old", n, &wire.ChallengeRequest{Nonce: []byte("n")})
		v := r.want("replay of another index", Unproven, bob, packet)
		if v.Challenge != nil {
			challenged = append(challenged, r.now.Sub(epoch))
		}
		if v.MustReply {
			replied = append(replied, r.now.Sub(epoch))
		}
		r.now = r.now.Add(time.Millisecond)
	}
	want := []time.Duration{0, gap, 2 * gap, 3 * gap}
	if !slices.Equal(challenged, want) || !slices.Equal(replied, want) {
		t.Errorf("challenges at %v, replies at %v", challenged, replied)
	}
}

func TestC110_PairIsForgottenAfterFiveMinutes(t *testing.T) {
	r := newReceiver(t)
	r.meet("i", 1)
	r.now = r.now.Add(lifetime - time.Millisecond)
	r.want("in time", Accepted, bob, withPC(bob, "i", 2))
	r.now = r.now.Add(lifetime - time.Millisecond)
	r.want("a multicast in time", Accepted, group, withPC(group, "i", 3))
	r.now = r.now.Add(lifetime)
	if v := r.want("too late", Unproven, bob, withPC(bob, "i", 4)); v.Challenge == nil {
		t.Error("it is not challenged")
	}
}

// What an attacker can cause does not make the pair live longer.
func TestC110_FailedChallengesRefreshNothing(t *testing.T) {
	r := newReceiver(t)
	r.meet("i", 10)
	until := r.now.Add(lifetime)
	for r.now.Before(until) {
		r.want("replay of another index", Unproven, bob, withPC(bob, "old", 1, &wire.ChallengeReply{Nonce: []byte("?")}))
		r.want("replay", Replayed, bob, withPC(bob, "i", 10))
		r.now = r.now.Add(time.Second)
	}
	r.want("a delayed packet", Unproven, bob, withPC(bob, "i", 11))
}

func TestC111_KeysChangeWithoutForgettingPeers(t *testing.T) {
	a := NewInterface(newRand(1), 8, []Key{keyA})
	b := newReceiver(t)
	send := func() []byte { return a.Sealer().Seal(hello(), alice, bob) }
	v := b.want("first", Unproven, bob, send())
	reply := a.Sealer().Seal(body(&wire.ChallengeReply{Nonce: v.Challenge}), alice, bob)
	b.want("reply", Accepted, bob, reply)
	for _, step := range []struct {
		who  *Interface
		keys []Key
	}{
		{a, []Key{keyA, keyB}},
		{b.Interface, []Key{keyA, keyB}},
		{a, []Key{keyB}},
		{b.Interface, []Key{keyB}},
	} {
		inFlight := send()
		step.who.SetKeys(step.keys)
		b.want("sent before the change", Accepted, bob, inFlight)
		b.want("sent after the change", Accepted, bob, send())
	}
	a.SetKeys([]Key{keyA})
	b.want("a key that was removed", Forged, bob, send())
}

// A packet that was filled up for two keys does not get three MACs.
func TestC112_PacketKeepsItsKeys(t *testing.T) {
	a := NewInterface(newRand(1), 8, []Key{keyA})
	sealer, overhead := a.Sealer(), a.Overhead()
	a.SetKeys([]Key{keyA, keyB, keyC})
	if got := len(sealer.Seal(hello(), alice, group)) - len(hello()); got != overhead {
		t.Errorf("%d octets for the MAC, %d were reserved", got, overhead)
	}
	if want := 2 + 4 + indexLen + 2*34 + 18; a.Overhead() != want {
		t.Errorf("overhead %d, want %d", a.Overhead(), want)
	}
	many := make([]Key, 20)
	for i := range many {
		many[i] = Key{HMACSHA256, []byte{byte(i)}}
	}
	a.SetKeys(many)
	if a.Overhead() > 512-200 {
		t.Errorf("with many keys %d octets are left of 512", 512-a.Overhead())
	}
}

func TestC114_IndicesAndNoncesOfOthers(t *testing.T) {
	for _, n := range []int{0, 8, 31, 32} {
		r := newReceiver(t)
		index := string(bytes.Repeat([]byte{1}, n))
		r.meet(index, 7)
		r.want("the next one", Accepted, group, withPC(group, index, 8))
		if n > 0 {
			r.now = r.now.Add(gap)
			r.want("a shorter index is another one", Unproven, group, withPC(group, index[1:], 9))
		}
	}
}
