package device

import "golang.zx2c4.com/wireguard/conn"

// MarkedBind is a Bind that gives each datagram a traffic class of its own. Send is
// for handshake messages, then.
type MarkedBind interface {
	SendMarked(bufs [][]byte, classes []uint8, to conn.Endpoint) error
}

// send leaves the classes out where the Bind has no room for them.
func send(bind conn.Bind, bufs [][]byte, classes []uint8, to conn.Endpoint) error {
	if marked, ok := bind.(MarkedBind); ok && classes != nil {
		return marked.SendMarked(bufs, classes, to)
	}
	return bind.Send(bufs, to)
}

// SendBuffers sends handshake messages.
func (peer *Peer) SendBuffers(bufs [][]byte) error { return peer.sendMarked(bufs, nil) }
