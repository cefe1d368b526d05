package device

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.zx2c4.com/wireguard/conn"
)

// directMax packets are encrypted and sent by the goroutine that has read them from
// the TUN. More are left to the peer's sender, and it goes on reading: there a
// hand-off costs little, and two processors share the work.
const directMax = 8

// errBindChanges: a packet is lost, a handshake is tried again.
var errBindChanges = errors.New("the socket is being opened or closed")

// direct is what those need who work at a peer's packets themselves.
type direct struct {
	sending sync.Mutex
	queued  atomic.Int32 // batches for the sender that it is not done with
	bufs    [][]byte     // of the one who sends, and their traffic classes
	classes []uint8

	receiving sync.Mutex
	tunBufs   [][]byte // of the one who receives, and so burst
	burst     burst
}

// transmit sends a batch to which the nonces have been given, or queues it where
// one that was before is not done with: batches stay in order.
func (peer *Peer) transmit(c *QueueOutboundElementsContainer) {
	d := &peer.direct
	if len(c.elems) <= directMax && d.sending.TryLock() {
		isNext := d.queued.Load() == 0
		if isNext {
			peer.send(c)
		}
		d.sending.Unlock()
		if isNext {
			return
		}
	}
	d.queued.Add(1)
	peer.queue.outbound.c <- c
}

func (peer *Peer) transmitQueued(c *QueueOutboundElementsContainer) {
	d := &peer.direct
	d.sending.Lock()
	defer d.sending.Unlock()
	peer.send(c)
	d.queued.Add(-1)
}

// flushQueued drops what the sender has left when it ended.
func (peer *Peer) flushQueued() {
	for {
		select {
		case c := <-peer.queue.outbound.c:
			if c == nil {
				continue
			}
			if len(c.elems) > 0 {
				peer.direct.queued.Add(-1)
			}
			for _, elem := range c.elems {
				peer.device.PutMessageBuffer(elem.buffer)
				peer.device.PutOutboundElement(elem)
			}
			peer.device.PutOutboundElementsContainer(c)
		default:
			return
		}
	}
}

// end waits for those who work at packets of a peer that has been stopped.
func (d *direct) end() {
	d.sending.Lock()
	defer d.sending.Unlock()
	d.receiving.Lock()
	defer d.receiving.Unlock()
}

// receive decrypts and passes on a batch of the peer's messages.
func (peer *Peer) receive(c *QueueInboundElementsContainer) {
	d := &peer.direct
	d.receiving.Lock()
	defer d.receiving.Unlock()
	if !peer.isRunning.Load() {
		for _, elem := range c.elems {
			peer.device.PutMessageBuffer(elem.buffer)
			peer.device.PutInboundElement(elem)
		}
		peer.device.PutInboundElementsContainer(c)
		return
	}
	for _, elem := range c.elems {
		elem.open()
	}
	peer.receiveDecrypted(c)
}

// open decrypts a message in its place; what cannot be is left without a packet.
func (elem *QueueInboundElement) open() {
	var nonce [chacha20poly1305.NonceSize]byte
	copy(nonce[4:], elem.packet[MessageTransportOffsetCounter:MessageTransportOffsetContent])
	elem.counter = binary.LittleEndian.Uint64(nonce[4:])
	content := elem.packet[MessageTransportOffsetContent:]
	var err error
	if elem.packet, err = elem.keypair.receive.Open(content[:0], nonce[:], content, nil); err != nil {
		elem.packet = nil
	}
}

// DirectBind is a Bind that gives no ReceiveFunc: it is told of its device before its
// first Open, and passes datagrams on by Incoming.
type DirectBind interface {
	SetDevice(d *Device)
}

// Incoming gathers datagrams for a device, by one goroutine, between the Open of
// its Bind and the end of its Close.
type Incoming struct {
	device *Device
	batch  *QueueInboundElementsContainer // nil: none
	max    int

	// Of the batch.
	peer    *Peer
	index   uint32
	keypair *Keypair
}

// Incoming makes one whose batches are of at most max datagrams.
func (device *Device) Incoming(max int) *Incoming { return &Incoming{device: device, max: max} }

// Add copies a datagram, which came with that traffic class. Handshakes are left to the one who does that, or lost
// where he has too many; all others wait for Flush, or until there are many.
func (in *Incoming) Add(datagram []byte, from conn.Endpoint, class uint8) {
	if len(datagram) < MinMessageSize || len(datagram) > MaxMessageSize {
		return
	}
	kind := binary.LittleEndian.Uint32(datagram)
	if kind != MessageTransportType {
		in.handshake(kind, datagram, from)
		return
	}
	index := binary.LittleEndian.Uint32(datagram[MessageTransportOffsetReceiver:])
	if in.batch == nil || in.index != index {
		in.Flush()
		entry := in.device.indexTable.Lookup(index)
		if entry.keypair == nil || time.Since(entry.keypair.created) > RejectAfterTime {
			return
		}
		in.batch = in.device.GetInboundElementsContainer()
		in.peer, in.index, in.keypair = entry.peer, index, entry.keypair
	}
	elem := in.device.GetInboundElement()
	elem.buffer = in.device.GetMessageBuffer()
	elem.packet = elem.buffer[:copy(elem.buffer[:], datagram)]
	elem.keypair, elem.endpoint, elem.class = in.keypair, from, class
	in.batch.elems = append(in.batch.elems, elem)
	if len(in.batch.elems) == in.max {
		in.Flush()
	}
}

// Flush passes on what has been gathered.
func (in *Incoming) Flush() {
	if in.batch != nil {
		in.peer.receive(in.batch)
		in.batch, in.peer, in.keypair = nil, nil, nil
	}
}

func (in *Incoming) handshake(kind uint32, datagram []byte, from conn.Endpoint) {
	switch {
	case kind == MessageInitiationType && len(datagram) == MessageInitiationSize:
	case kind == MessageResponseType && len(datagram) == MessageResponseSize:
	case kind == MessageCookieReplyType && len(datagram) == MessageCookieReplySize:
	default:
		return
	}
	buffer := in.device.GetMessageBuffer()
	select {
	case in.device.queue.handshake.c <- QueueHandshakeElement{
		msgType: kind, buffer: buffer, packet: buffer[:copy(buffer[:], datagram)], endpoint: from,
	}:
	default:
		in.device.PutMessageBuffer(buffer)
	}
}
