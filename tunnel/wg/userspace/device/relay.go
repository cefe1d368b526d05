package device

import (
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Relay says where the packets of a burst go, which were decrypted in this order
// and have passed the check of their source: ways[i], which is nil when Relay is
// called, becomes the device through which packets[i] leaves, or Drop, or stays nil
// for the TUN. It may change the packets' headers, not their lengths. It is called
// by one goroutine at a time for each peer, and keeps neither slice.
type Relay func(packets [][]byte, ways []*Device)

// Drop is the way of packets that go nowhere.
var Drop = new(Device)

// relay is what a device knows of others.
type relay struct {
	decide atomic.Pointer[Relay]

	alive sync.RWMutex // held for reading by those who forward to this device

	refused atomic.Uint64
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
// was full, it was not up, or no peer of it may have them.
func (device *Device) Refused() uint64 { return device.relay.refused.Load() }

// end waits for those who forward to a device that has been marked as closed.
func (r *relay) end() {
	r.alive.Lock()
	defer r.alive.Unlock()
}

// burst is the memory of one receiver.
type burst struct {
	elems   []*QueueInboundElement
	packets [][]byte
	ways    []*Device
}

func (b *burst) add(elem *QueueInboundElement) { b.elems = append(b.elems, elem) }

// hand gives those that leave through other devices to these, with their buffers,
// and returns which of bufs are for the TUN. b is empty then. Packets that follow
// each other on one way stay together and in order.
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
	for start := 0; start < len(bufs); {
		end, way := start+1, b.ways[start]
		for end < len(bufs) && b.ways[end] == way {
			end++
		}
		switch way {
		case nil:
			left = append(left, bufs[start:end]...)
		case Drop:
		default:
			way.forward(b.elems[start:end])
		}
		start = end
	}
	clear(b.packets)
	clear(b.ways)
	b.packets, b.ways = b.packets[:0], b.ways[:0]
	return left
}

// forward takes over the buffers of packets that another device has decrypted: the
// header of their next message goes where the last one's was. What does not fit
// into the queue is lost, the newest first: the sender of a stream slows down, and
// the device from which they come does not wait.
func (device *Device) forward(elems []*QueueInboundElement) {
	device.relay.alive.RLock()
	defer device.relay.alive.RUnlock()
	for start := 0; start < len(elems); {
		peer := device.peerFor(elems[start].packet)
		end := start + 1
		for end < len(elems) && device.peerFor(elems[end].packet) == peer {
			end++
		}
		n := end - start
		if peer == nil || !peer.isRunning.Load() || !device.isUp() || len(peer.queue.outbound.c) >= QueueOutboundSize/2 {
			device.relay.refused.Add(uint64(n))
		} else {
			peer.forward(elems[start:end])
		}
		start = end
	}
}

func (peer *Peer) forward(elems []*QueueInboundElement) {
	c := peer.device.GetOutboundElementsContainer()
	for _, from := range elems {
		elem := peer.device.GetOutboundElement()
		elem.buffer, elem.packet, elem.nonce = from.buffer, from.packet, 0
		from.buffer = nil
		c.elems = append(c.elems, elem)
	}
	peer.StagePackets(c)
	peer.SendStagedPackets()
}

// peerFor is the peer that may have a packet of which the length has been checked.
func (device *Device) peerFor(packet []byte) *Peer {
	switch packet[0] >> 4 {
	case ipv4.Version:
		return device.allowedips.Lookup(packet[IPv4offsetDst : IPv4offsetDst+net.IPv4len])
	case ipv6.Version:
		return device.allowedips.Lookup(packet[IPv6offsetDst : IPv6offsetDst+net.IPv6len])
	}
	return nil
}
