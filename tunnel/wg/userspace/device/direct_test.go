package device

import (
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/tun/tuntest"
)

func (p *testPeer) only(t *testing.T) *Peer {
	t.Helper()
	p.dev.peers.RLock()
	defer p.dev.peers.RUnlock()
	for _, peer := range p.dev.peers.keyMap {
		return peer
	}
	t.Fatal("no peer")
	return nil
}

// wearOut makes a peer's session one that has sent as much as it should, a while
// after its last handshake.
func (peer *Peer) wearOut() *Keypair {
	k := peer.keypairs.Current()
	k.sendNonce.Store(RekeyAfterMessages + 1)
	peer.handshake.mutex.Lock()
	defer peer.handshake.mutex.Unlock()
	peer.handshake.lastSentHandshake = time.Now().Add(-2 * RekeyTimeout)
	return k
}

// A stream does not notice that its keys are replaced, whichever end begins.
func TestNewKeysUnderWay(t *testing.T) {
	pair := genTestPair(t, false)
	pair.Send(t, Ping, nil)
	pair.Send(t, Pong, nil)
	got := make(chan []byte)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case p := <-pair[1].tun.Inbound:
				got <- p
			case <-done:
				return
			}
		}
	}()
	packet := tuntest.Ping(pair[1].ip, pair[0].ip)
	for round := range 4 {
		worn := pair[round%2].only(t)
		old := worn.wearOut()
		deadline := time.After(20 * time.Second)
		for n := 0; n < 300 || worn.keypairs.Current() == old; n++ {
			if round%2 == 1 { // the keys are looked at where something is sent
				worn.SendKeepalive()
			}
			pair[0].tun.Outbound <- packet
			select {
			case <-got:
			case <-deadline:
				t.Fatalf("round %d: packet %d did not arrive, or the keys stay", round, n)
			}
		}
	}
}

// Batches stay in order, however large they are and whoever sends them.
func TestDirectKeepsOrder(t *testing.T) {
	pair := genTestPair(t, false)
	pair.Send(t, Ping, nil)
	peer := pair[0].only(t)
	const batches = 400
	sizes := []int{1, directMax, directMax + 1, 1, 1, 40, 1}
	go func() {
		n := 0
		for i := range batches {
			c := peer.device.GetOutboundElementsContainer()
			for range sizes[i%len(sizes)] {
				elem := peer.device.NewOutboundElement()
				p := tuntest.Ping(pair[1].ip, pair[0].ip)
				p[len(p)-1], p[len(p)-2] = byte(n), byte(n>>8)
				elem.packet = elem.buffer[MessageTransportHeaderSize:][:copy(elem.buffer[MessageTransportHeaderSize:], p)]
				c.elems = append(c.elems, elem)
				n++
			}
			peer.StagePackets(c)
			peer.SendStagedPackets()
		}
	}()
	total := 0
	for i := range batches {
		total += sizes[i%len(sizes)]
	}
	for n := range total {
		select {
		case p := <-pair[1].tun.Inbound:
			if got := int(p[len(p)-2])<<8 | int(p[len(p)-1]); got != n&0xffff {
				t.Fatalf("packet %d came in the place of %d", got, n)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("packet %d of %d did not arrive", n, total)
		}
	}
}
