package device

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.zx2c4.com/wireguard/conn"

	"re6st/tunnel/wg/userspace/ecn"
)

// Relay says where the packets of a burst go, which were decrypted in this order
// and have passed the check of their source: ways[i], which is nil when Relay is
// called, becomes the peer of another device to whom packets[i] is sent, or stays
// nil for the TUN. It may change the packets' headers, not their lengths. It is
// called by one goroutine at a time for each peer, and keeps neither slice.
type Relay func(packets [][]byte, ways []*Peer)

// relay is what a device knows of others.
type relay struct {
	decide  atomic.Pointer[Relay]
	refused atomic.Uint64
}

const (
	// relayedMax is how many packets of others wait for a peer at most: a few times
	// what one burst can be, some milliseconds of a fast link.
	relayedMax = 1024
	// relayedBatch are sent at once.
	relayedBatch = 64
)

// relayed are encrypted packets of other devices, on their way to a peer. Those that
// cannot be sent at once wait for its sender: a container without elements in the
// sender's queue stands for all that are there when it comes up. So bursts of one
// packet do not fill that queue, and what has become many goes out together.
type relayed struct {
	mu    sync.Mutex
	elems []*QueueOutboundElement
	state relayedState

	// Of the one who sends, who alone takes elements away.
	batch   []*QueueOutboundElement
	bufs    [][]byte
	classes []uint8 // of bufs
}

type relayedState uint8

const (
	relayedIdle    relayedState = iota
	relayedSending              // somebody sends
	relayedQueued               // there is such a container
)

// TryBind is a Bind that can be asked not to wait: TrySend says how many of the
// datagrams are done with, be it that they were sent or that they cannot be. The
// others may be sent later. Each has a traffic class of its own.
type TryBind interface {
	TrySend(bufs [][]byte, classes []uint8, to conn.Endpoint) (n int, err error)
}

// SetRelay makes r the one that decides; nil: all go to the TUN. Bursts on their
// way may still see the one before.
func (device *Device) SetRelay(r Relay) {
	if r == nil {
		device.relay.decide.Store(nil)
		return
	}
	device.relay.decide.Store(&r)
}

// Refused is how many packets of other devices this one did not take: its queue
// was full, or it was ending.
func (device *Device) Refused() uint64 { return device.relay.refused.Load() }

// PeerFor is the one to whom a packet would be sent at once: nil where none may
// have it, or there is no session with him. What comes by the TUN then waits for
// the handshake.
func (device *Device) PeerFor(packet []byte) *Peer {
	if !device.isUp() {
		return nil
	}
	var peer *Peer
	switch packet[0] >> 4 {
	case ipv4.Version:
		peer = device.allowedips.Lookup(packet[IPv4offsetDst : IPv4offsetDst+net.IPv4len])
	case ipv6.Version:
		peer = device.allowedips.Lookup(packet[IPv6offsetDst : IPv6offsetDst+net.IPv6len])
	}
	if peer == nil || !peer.isRunning.Load() || peer.usable() == nil {
		return nil
	}
	return peer
}

// usable is the key pair with which to send, if there is one.
func (peer *Peer) usable() *Keypair {
	k := peer.keypairs.Current()
	if k == nil || k.sendNonce.Load() >= RejectAfterMessages || time.Since(k.created) >= RejectAfterTime {
		return nil
	}
	return k
}

// burst is the memory of one receiver.
type burst struct {
	elems   []*QueueInboundElement
	packets [][]byte
	ways    []*Peer
	to      []outgoing
}

// outgoing is what of a burst is for one peer.
type outgoing struct {
	peer  *Peer
	elems *QueueOutboundElementsContainer
}

func (b *burst) add(elem *QueueInboundElement) { b.elems = append(b.elems, elem) }

// hand gives those that leave through other devices to these, with their buffers,
// and returns which of bufs are for the TUN. b is empty then. What is for the same
// peer goes to him at once, and in order.
func (r *relay) hand(b *burst, bufs [][]byte) [][]byte {
	defer func() { clear(b.elems); b.elems = b.elems[:0] }()
	decide := r.decide.Load()
	if decide == nil || len(bufs) == 0 {
		return bufs
	}
	for _, elem := range b.elems {
		b.packets = append(b.packets, elem.packet)
		b.ways = append(b.ways, nil)
	}
	(*decide)(b.packets, b.ways)
	left := bufs[:0]
	for i, peer := range b.ways {
		if peer == nil {
			left = append(left, bufs[i])
			continue
		}
		b.take(b.elems[i], peer)
	}
	for _, o := range b.to {
		o.peer.forward(o.elems)
	}
	clear(b.packets)
	clear(b.ways)
	clear(b.to)
	b.packets, b.ways, b.to = b.packets[:0], b.ways[:0], b.to[:0]
	return left
}

// take makes a packet one to be sent. Its buffer goes with it: the header of the
// next message is where the last one's was.
func (b *burst) take(from *QueueInboundElement, peer *Peer) {
	var c *QueueOutboundElementsContainer
	for i := len(b.to) - 1; i >= 0 && c == nil; i-- {
		if b.to[i].peer == peer {
			c = b.to[i].elems
		}
	}
	if c == nil {
		c = peer.device.GetOutboundElementsContainer()
		b.to = append(b.to, outgoing{peer, c})
	}
	elem := peer.device.GetOutboundElement()
	elem.buffer, elem.packet, elem.peer = from.buffer, from.packet, peer
	from.buffer = nil
	c.elems = append(c.elems, elem)
}

// forward encrypts packets and sends them, if that needs no waiting, or leaves them
// to the peer's sender. What does not fit is lost, the newest first: the sender of a
// stream slows down, and the device from which they come does not wait, as it may
// have packets for others.
func (peer *Peer) forward(c *QueueOutboundElementsContainer) {
	if !peer.isRunning.Load() || !peer.seal(c) {
		peer.refuse(c.elems)
		peer.device.PutOutboundElementsContainer(c)
		return
	}
	r := &peer.relayed
	r.mu.Lock()
	fits := min(len(c.elems), relayedMax-len(r.elems))
	r.elems = append(r.elems, c.elems[:fits]...)
	isFirst := r.state == relayedIdle
	if isFirst {
		r.state = relayedSending
	}
	r.mu.Unlock()
	peer.refuse(c.elems[fits:])
	if isFirst && !peer.trySendRelayed() {
		c.elems = c.elems[:0]
		select {
		case peer.queue.outbound.c <- c: // when it has ended nobody takes it, and it goes with the queue
			return
		default: // own packets fill it
			peer.dropRelayed()
		}
	}
	peer.device.PutOutboundElementsContainer(c)
}

// trySendRelayed sends one batch, and is true when nothing is left. What came by the
// stack before is sent before, and who has to shake hands is the sender. It must not
// wait for a lock that is held while a device ends: that may wait for the caller.
func (peer *Peer) trySendRelayed() bool {
	r := &peer.relayed
	n, err := 0, error(nil)
	r.take()
	if peer.direct.queued.Load() == 0 && !peer.isRekeyDue() {
		n, err = peer.trySend(r.bufs, r.classes)
	}
	return peer.sentRelayed(n, err, relayedQueued)
}

func (peer *Peer) isRekeyDue() bool {
	k := peer.keypairs.Current()
	return k == nil || k.sendNonce.Load() > RekeyAfterMessages || k.isInitiator && time.Since(k.created) > RekeyAfterTime
}

// sendRelayed sends all that is there: what a container without elements stands for.
func (peer *Peer) sendRelayed() {
	r := &peer.relayed
	r.mu.Lock()
	isDue := r.state == relayedQueued
	if isDue {
		r.state = relayedSending
	}
	r.mu.Unlock()
	for isDue {
		r.take()
		isDue = !peer.sentRelayed(len(r.bufs), peer.sendMarked(r.bufs, r.classes), relayedSending)
		peer.keepKeyFreshSending()
	}
}

// take makes bufs of the first ones.
func (r *relayed) take() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batch, r.bufs, r.classes = append(r.batch[:0], r.elems[:min(len(r.elems), relayedBatch)]...), r.bufs[:0], r.classes[:0]
	for _, elem := range r.batch {
		r.bufs, r.classes = append(r.bufs, elem.packet), append(r.classes, elem.class)
	}
}

// sentRelayed does what is to be done after n of the batch were sent, and is true
// when nothing is left; next is the state when something is.
func (peer *Peer) sentRelayed(n int, err error, next relayedState) bool {
	r := &peer.relayed
	clear(r.bufs)
	for _, elem := range r.batch[:n] {
		peer.device.PutMessageBuffer(elem.buffer)
		peer.device.PutOutboundElement(elem)
	}
	clear(r.batch)
	if n > 0 {
		peer.timersAnyAuthenticatedPacketTraversal()
		peer.timersAnyAuthenticatedPacketSent()
		peer.timersDataSent()
	}
	if err != nil {
		peer.device.log.Errorf("%v - Failed to send relayed packets: %v", peer, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	left := copy(r.elems, r.elems[n:])
	clear(r.elems[left:])
	r.elems = r.elems[:left]
	if left == 0 {
		next = relayedIdle
	}
	r.state = next
	return left == 0
}

// trySend says how many of the datagrams are done with.
func (peer *Peer) trySend(bufs [][]byte, classes []uint8) (int, error) {
	if !peer.device.net.TryRLock() {
		return 0, nil
	}
	defer peer.device.net.RUnlock()
	bind, ok := peer.device.net.bind.(TryBind)
	if !ok || peer.device.isClosed() {
		return 0, nil
	}
	peer.endpoint.Lock()
	endpoint, isPlain := peer.endpoint.val, !peer.endpoint.clearSrcOnTx
	peer.endpoint.Unlock()
	if endpoint == nil || !isPlain { // the sender knows what to do
		return 0, nil
	}
	n, err := bind.TrySend(bufs, classes, endpoint)
	var sum uint64
	for _, b := range bufs[:n] {
		sum += uint64(len(b))
	}
	peer.txBytes.Add(sum)
	return n, err
}

// dropRelayed begins anew, unless somebody sends.
func (peer *Peer) dropRelayed() {
	r := &peer.relayed
	r.mu.Lock()
	var left []*QueueOutboundElement
	if r.state == relayedQueued {
		left, r.elems, r.state = r.elems, nil, relayedIdle
	}
	r.mu.Unlock()
	peer.refuse(left)
}

// seal encrypts where the packets are in the cache.
func (peer *Peer) seal(c *QueueOutboundElementsContainer) bool {
	keypair := peer.usable()
	if keypair == nil {
		return false
	}
	n := uint64(len(c.elems))
	last := keypair.sendNonce.Add(n)
	if last > RejectAfterMessages {
		keypair.sendNonce.Store(RejectAfterMessages)
		return false
	}
	mtu := int(peer.device.tun.mtu.Load())
	for i, elem := range c.elems {
		elem.nonce, elem.keypair = last-n+uint64(i), keypair
		elem.seal(mtu)
	}
	return true
}

// seal makes a message of the packet, in its buffer.
func (elem *QueueOutboundElement) seal(mtu int) {
	elem.class = ecn.Encapsulate(elem.packet)
	header := elem.buffer[:MessageTransportHeaderSize]
	binary.LittleEndian.PutUint32(header, MessageTransportType)
	binary.LittleEndian.PutUint32(header[MessageTransportOffsetReceiver:], elem.keypair.remoteIndex)
	binary.LittleEndian.PutUint64(header[MessageTransportOffsetCounter:], elem.nonce)
	var padding [PaddingMultiple]byte
	elem.packet = append(elem.packet, padding[:calculatePaddingSize(len(elem.packet), mtu)]...)
	var nonce [chacha20poly1305.NonceSize]byte
	copy(nonce[4:], header[MessageTransportOffsetCounter:])
	elem.packet = elem.keypair.send.Seal(header, nonce[:], elem.packet, nil)
}

func (peer *Peer) refuse(elems []*QueueOutboundElement) {
	peer.device.relay.refused.Add(uint64(len(elems)))
	for _, elem := range elems {
		peer.device.PutMessageBuffer(elem.buffer)
		peer.device.PutOutboundElement(elem)
	}
}
