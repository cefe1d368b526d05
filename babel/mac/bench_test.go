package mac

import (
	"fmt"
	"net/netip"
	"testing"

	"re6st/babel/wire"
)

// benchmarkPackets runs f with packets as they are: a Hello, a full dump.
func benchmarkPackets(b *testing.B, f func(b *testing.B, keys []Key, packet []byte)) {
	full := wire.NewEncoder(1420 - 48 - 100)
	for i := 0; full.Add(&wire.SeqnoRequest{Prefix: prefixOf(i), HopCount: 1, RouterID: wire.RouterID{1}}); i++ {
	}
	for _, keys := range [][]Key{{keyA}, {keyB}, {keyA, keyB}} {
		for _, packet := range [][]byte{hello(), full.Bytes()} {
			b.Run(fmt.Sprintf("%v,keys=%d,octets=%d", keys[0].Algorithm, len(keys), len(packet)), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(packet)))
				f(b, keys, packet)
			})
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	benchmarkPackets(b, func(b *testing.B, keys []Key, packet []byte) {
		i := NewInterface(newRand(1), 8, keys)
		buffer := make([]byte, 0, 2000)
		for b.Loop() {
			i.Sealer().Seal(append(buffer, packet...), alice, group)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	benchmarkPackets(b, func(b *testing.B, keys []Key, packet []byte) {
		a, i := NewInterface(newRand(1), 8, keys), NewInterface(newRand(2), 8, keys)
		v := i.Verify(epoch, alice, bob, a.Sealer().Seal(hello(), alice, bob))
		i.Verify(epoch, alice, bob, a.Sealer().Seal(body(&wire.ChallengeReply{Nonce: v.Challenge}), alice, bob))
		sealed := a.Sealer().Seal(append(make([]byte, 0, 2000), packet...), alice, group)
		for b.Loop() {
			// The counter is forgotten, so that the packet is as new each time.
			i.peers.peers[0].multicast = window{}
			if o := i.Verify(epoch, alice, group, sealed).Outcome; o != Accepted {
				b.Fatal(o)
			}
		}
	})
}

// BenchmarkVerifyForged is what an outsider can make us do with one packet.
func BenchmarkVerifyForged(b *testing.B) {
	benchmarkPackets(b, func(b *testing.B, keys []Key, packet []byte) {
		i := NewInterface(newRand(2), 8, keys)
		sealed := NewInterface(newRand(1), 8, []Key{keyC}).Sealer().Seal(append(make([]byte, 0, 2000), packet...), alice, group)
		for b.Loop() {
			if o := i.Verify(epoch, alice, group, sealed).Outcome; o != Forged {
				b.Fatal(o)
			}
		}
	})
}

// Neither direction allocates.
func TestMACDoesNotAllocate(t *testing.T) {
	for _, keys := range [][]Key{{keyA}, {keyB}} {
		a, i := NewInterface(newRand(1), 8, keys), NewInterface(newRand(2), 8, keys)
		v := i.Verify(epoch, alice, bob, a.Sealer().Seal(hello(), alice, bob))
		i.Verify(epoch, alice, bob, a.Sealer().Seal(body(&wire.ChallengeReply{Nonce: v.Challenge}), alice, bob))
		packet := append(make([]byte, 0, 200), hello()...)
		n := testing.AllocsPerRun(100, func() {
			sealed := a.Sealer().Seal(packet, alice, bob)
			if o := i.Verify(epoch, alice, bob, sealed).Outcome; o != Accepted {
				t.Fatal(o)
			}
		})
		if n > 0 {
			t.Errorf("%v: %v allocations", keys[0].Algorithm, n)
		}
	}
}

func prefixOf(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 8), byte(i)}), 64)
}
