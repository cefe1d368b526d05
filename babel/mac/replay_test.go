package mac

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"re6st/babel/wire"
)

// A net is a sender, a receiver, and someone in between who delays, doubles,
// drops and replays as he likes. Sender and receiver restart.
type net struct {
	*testing.T
	rand     *rand.Rand
	now      time.Time
	alice    *Interface
	bob      *Interface
	flying   []flying
	recorded []flying
	accepted map[string]int // packet to how often, over all lives of Bob
	serial   uint16
	lastGood time.Time
}

type flying struct {
	at   time.Time
	src  netip.AddrPort
	dst  netip.AddrPort
	data []byte
}

func newNet(t *testing.T, seed uint64) *net {
	n := &net{T: t, rand: newRand(seed), now: epoch, accepted: map[string]int{}}
	n.alice, n.bob = NewInterface(n.rand, 8, []Key{keyA}), NewInterface(n.rand, 8, []Key{keyA})
	return n
}

func (n *net) send(from *Interface, src, dst netip.AddrPort, tlvs ...wire.TLV) {
	n.serial++
	tlvs = append(tlvs, &wire.Hello{Seqno: n.serial, Interval: 100})
	f := flying{src: src, dst: dst, data: from.Sealer().Seal(body(tlvs...), src, dst)}
	n.recorded = append(n.recorded, f)
	f.at = n.now.Add(time.Duration(n.rand.IntN(200)) * time.Millisecond)
	if n.rand.IntN(10) > 0 {
		n.flying = append(n.flying, f)
	}
}

// deliver brings what has come, in any order.
func (n *net) deliver() {
	n.rand.Shuffle(len(n.flying), func(i, j int) { n.flying[i], n.flying[j] = n.flying[j], n.flying[i] })
	late := n.flying[:0]
	var now []flying
	for _, f := range n.flying {
		if f.at.After(n.now) {
			late = append(late, f)
		} else {
			now = append(now, f)
		}
	}
	n.flying = late
	for _, f := range now {
		n.receive(f)
	}
}

func (n *net) receive(f flying) {
	who, me := n.bob, bob
	if f.src == bob {
		who, me = n.alice, alice
	}
	v := who.Verify(n.now, f.src, f.dst, f.data)
	if v.Outcome == Accepted && me == bob {
		n.lastGood = n.now
		id := fmt.Sprint(f.dst, string(f.data))
		if n.accepted[id]++; n.accepted[id] > 1 {
			n.Fatalf("%v: a packet was accepted twice", n.now.Sub(epoch))
		}
	}
	var tlvs []wire.TLV
	if v.MustReply {
		tlvs = append(tlvs, &wire.ChallengeReply{Nonce: append([]byte(nil), v.Reply...)})
	}
	if v.Challenge != nil {
		tlvs = append(tlvs, &wire.ChallengeRequest{Nonce: append([]byte(nil), v.Challenge...)})
	}
	if tlvs != nil {
		n.send(who, me, f.src, tlvs...)
	}
}

// Whatever the order, and whoever restarts: no packet is accepted twice. And
// when the restarts are over, packets are accepted again at once.
func TestC107_ReplayIsNeverAccepted(t *testing.T) {
	for seed := range uint64(60) {
		n := newNet(t, seed)
		for range 600 {
			n.now = n.now.Add(time.Duration(n.rand.IntN(100)) * time.Millisecond)
			n.someStep()
			n.deliver()
		}
		if len(n.accepted) < 50 {
			t.Errorf("seed %d: only %d packets were accepted", seed, len(n.accepted))
		}
		quiet := n.now
		for !n.lastGood.After(quiet) {
			if n.now.Sub(quiet) > 5*time.Second {
				t.Fatalf("seed %d: nothing is accepted any more", seed)
			}
			n.now = n.now.Add(100 * time.Millisecond)
			n.send(n.alice, alice, group)
			n.deliver()
		}
	}
}

func (n *net) someStep() {
	switch n.rand.IntN(40) {
	case 0:
		n.alice = NewInterface(n.rand, 8, []Key{keyA})
	case 1:
		n.bob = NewInterface(n.rand, 8, []Key{keyA})
	case 2:
		n.now = n.now.Add(time.Duration(n.rand.IntN(400)) * time.Second)
	case 3, 4, 5, 6, 7, 8, 9:
		if len(n.recorded) > 0 {
			n.receive(n.recorded[n.rand.IntN(len(n.recorded))])
		}
	default:
		dst := group
		if n.rand.IntN(2) == 0 {
			dst = bob
		}
		n.send(n.alice, alice, dst)
	}
}

// Packets that overtake each other within the window are all accepted, and each
// once (RFC 9467). Latencies of up to 100 ms at 1000 packets a second.
func TestC108_ReorderedPacketsAreAccepted(t *testing.T) {
	for seed := range uint64(20) {
		r := newReceiver(t)
		rnd := newRand(seed)
		r.meet("i", 0)
		var order []uint32
		for n := range uint32(2000) {
			order = append(order, n+1)
		}
		// Each moves by at most half a window.
		for i := range order {
			j := i + rnd.IntN(windowSize/2)
			if j < len(order) && order[i] <= uint32(i)+windowSize/2 && order[j] <= uint32(i)+windowSize/2 {
				order[i], order[j] = order[j], order[i]
			}
		}
		highest := uint32(0)
		for _, count := range order {
			highest = max(highest, count)
			if highest-count >= windowSize {
				continue // not by this shuffle
			}
			r.want(fmt.Sprint("counter ", count), Accepted, bob, withPC(bob, "i", count))
			r.want(fmt.Sprint("counter again ", count), Replayed, bob, withPC(bob, "i", count))
		}
	}
}

// Arbitrary octets, as they are and with a right MAC.
func FuzzT13_A18_Verify(f *testing.F) {
	f.Add([]byte{}, uint8(0))
	f.Add(withPC(bob, "i", 1), uint8(0))
	f.Add(withPC(group, "i", 1, &wire.ChallengeRequest{Nonce: []byte("n")}), uint8(1))
	f.Add(wire.AppendPC(body(&wire.ChallengeReply{Nonce: make([]byte, 8)}), wire.PC{Count: 7}), uint8(1))
	f.Add([]byte{42, 2, 0, 9, 17, 200, 0, 0}, uint8(1))
	f.Add([]byte{42, 2, 0, 2, 18, 0, 16, 0, 16, 255}, uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, mode uint8) {
		r := newReceiver(t, keyA, keyB)
		r.meet("i", 5)
		dst := bob
		if mode&2 != 0 {
			dst = group
		}
		isSigned := mode&1 != 0 && len(data) >= wire.HeaderLen && len(data) < 60000
		if isSigned {
			data[0], data[1] = 42, 2
			data = sign(data, alice, dst, keyB)
		}
		for range 2 {
			before := *r.peers.peers[0]
			v := r.Verify(r.now, alice, dst, data)
			switch {
			case isSigned && (v.Outcome == Unsigned || v.Outcome == Forged):
				t.Fatalf("a right MAC is not seen: %v", v.Outcome)
			case !isSigned && (v.Outcome > Forged || v.Outcome == Accepted) && mode&1 == 0 && !isByUs(data, dst):
				t.Fatalf("a wrong MAC is taken: %v", v.Outcome)
			case v.Outcome <= Forged && v.Outcome != Accepted && (v.MustReply || v.Challenge != nil || before != *r.peers.peers[0]):
				t.Fatal("an outsider changed something")
			case v.MustReply && len(v.Reply) > wire.NonceMax || len(r.peers.peers) > 1:
				t.Fatalf("%+v, %d peers", v, len(r.peers.peers))
			}
			r.now = r.now.Add(time.Duration(mode) * 10 * time.Millisecond)
		}
		if r.Verify(r.now, alice, dst, data).Outcome == Accepted {
			t.Fatal("accepted three times")
		}
	})
}

// isByUs: the seeds have packets that are right.
func isByUs(data []byte, dst netip.AddrPort) bool {
	signed, trailer, err := wire.Split(data)
	return err == nil && newHasher(keyA).matches(appendPseudo(nil, alice, dst), signed, trailer)
}
