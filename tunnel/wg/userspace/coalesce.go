package userspace

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	rowPackets  = 64 // of a super-packet: the kernel's limit for UDP
	rowOctets   = 65535
	flowsLooked = 8 // rows that a packet is compared with
)

// row is packets of one flow that the kernel gets as one.
type row struct {
	first, last int // packets; next links them
	count       int
	headers     int // length of IP and transport header
	transport   int // where the latter starts
	size        int // payload of each; of the last perhaps less
	length      int // of it all
	seq         uint32
	isTCP       bool
	isClosed    bool // nothing may follow
	isVerified  bool // the first one's checksum
	isFlow      bool // first has addresses and ports at their usual place
}

// coalescer joins packets that follow each other, without copying them. Its rows
// are in the order of their first packets, so flows stay in order.
type coalescer struct {
	udp  bool // the kernel takes UDP in rows
	rows []row
	next [batchSize]int
}

// add sorts in packet i, whose predecessors it can look at.
func (c *coalescer) add(packets func(int) []byte, i int) {
	p := packets(i)
	c.next[i] = -1
	r, canJoin := c.describe(p)
	r.first, r.last, r.count, r.length = i, i, 1, len(p)
	if !r.isFlow {
		// It may be of any flow.
		for j := range c.rows {
			c.rows[j].isClosed = true
		}
		c.rows = append(c.rows, r)
		return
	}
	for j := len(c.rows) - 1; j >= max(0, len(c.rows)-flowsLooked); j-- {
		old := &c.rows[j]
		head := packets(old.first)
		if !old.isFlow || !isSameFlow(head, p, old, &r) {
			continue
		}
		if canJoin && !old.isClosed && old.takes(head, p, &r) {
			c.next[old.last], old.last = i, i
			old.count++
			old.length += len(p) - r.headers
			old.isClosed = len(p)-r.headers < old.size || r.isClosed
			return
		}
		old.isClosed = true
		break
	}
	r.isClosed = r.isClosed || !canJoin
	c.rows = append(c.rows, r)
}

// describe says what a packet is as the first one of a row, and whether it can be
// in one.
func (c *coalescer) describe(p []byte) (r row, canJoin bool) {
	if len(p) < v4Header+udpHeader {
		return r, false
	}
	protocol := p[9]
	r.transport = v4Header
	length := int(binary.BigEndian.Uint16(p[2:]))
	isPlain := p[0] == 0x45 && p[6]&0x3f == 0 && p[7] == 0 // no options, no fragment
	if p[0]>>4 == 6 {
		protocol, r.transport = p[6], v6Header
		length = int(binary.BigEndian.Uint16(p[4:])) + v6Header
		isPlain = true
	}
	r.isTCP = protocol == unix.IPPROTO_TCP
	r.headers = r.transport + udpHeader
	if r.isTCP {
		r.headers = r.transport + tcpHeader
	}
	if !isPlain || length != len(p) || !r.isTCP && protocol != unix.IPPROTO_UDP || len(p) < r.headers {
		return row{}, false
	}
	r.isFlow = true
	if !r.isTCP {
		r.size = len(p) - r.headers
		return r, c.udp && r.size > 0
	}
	l4 := p[r.transport:]
	r.headers = r.transport + int(l4[12]>>4)*4
	r.size = len(p) - r.headers
	r.seq = binary.BigEndian.Uint32(l4[tcpSeq:])
	flags := l4[tcpFlags]
	r.isClosed = flags&flagPSH != 0
	return r, flags&^flagPSH == flagACK && r.headers >= r.transport+tcpHeader && r.size > 0
}

// isSameFlow compares version, addresses, ports and protocol.
func isSameFlow(a, b []byte, ra, rb *row) bool {
	return ra.isTCP == rb.isTCP && ra.transport == rb.transport &&
		bytes.Equal(addresses(a), addresses(b)) && bytes.Equal(a[ra.transport:ra.transport+4], b[rb.transport:rb.transport+4])
}

// takes says whether p, which is n, can follow what the row has.
func (r *row) takes(head, p []byte, n *row) bool {
	if n.headers != r.headers || n.size > r.size || r.count == rowPackets || r.length+n.size > rowOctets {
		return false
	}
	if !isSameHeader(head, p, r.count) {
		return false
	}
	if r.isTCP && (n.seq != r.seq+uint32(r.length-r.headers) ||
		!bytes.Equal(head[r.transport+tcpAck:r.transport+12], p[r.transport+tcpAck:r.transport+12]) ||
		!bytes.Equal(head[r.transport+14:r.transport+tcpChecksum], p[r.transport+14:r.transport+tcpChecksum]) || // window
		!bytes.Equal(head[r.transport+tcpHeader:r.headers], p[r.transport+tcpHeader:r.headers])) { // options
		return false
	}
	if !r.isVerified && !isIntact(head, r) {
		return false
	}
	r.isVerified = true
	return isIntact(p, n)
}

// isSameHeader compares what IP headers of a row have in common: class, flow label
// and hop limit; of IPv4 the service, DF and the lifetime, and without DF an
// identification that counts on.
func isSameHeader(head, p []byte, n int) bool {
	if head[0]>>4 == 6 {
		return bytes.Equal(head[:4], p[:4]) && head[7] == p[7]
	}
	follows := binary.BigEndian.Uint16(p[4:]) == binary.BigEndian.Uint16(head[4:])+uint16(n)
	return head[1] == p[1] && head[6] == p[6] && head[8] == p[8] && (follows || head[6]&0x40 != 0)
}

// isIntact: a row gets new checksums, which must not heal what was damaged before it
// came to us.
func isIntact(p []byte, r *row) bool {
	if p[0]>>4 == 4 && fold(sum(p[:v4Header], 0)) != 0xffff {
		return false
	}
	protocol := uint8(unix.IPPROTO_UDP)
	if r.isTCP {
		protocol = unix.IPPROTO_TCP
	} else if p[r.transport+udpChecksum]|p[r.transport+udpChecksum+1] == 0 {
		return false // none
	}
	l4 := p[r.transport:]
	return fold(sum(l4, pseudoHeader(addresses(p), protocol, len(l4)))) == 0xffff
}

// finish makes the first packet of a row the header of it all, and gives the vnet
// header for it.
func (r *row) finish(head, last []byte) vnetHeader {
	if r.count == 1 {
		return vnetHeader{}
	}
	h := vnetHeader{
		flags: unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, headers: uint16(r.headers), gsoSize: uint16(r.size),
		csumFrom: uint16(r.transport), csumAt: udpChecksum, gsoType: unix.VIRTIO_NET_HDR_GSO_UDP_L4,
	}
	setLength(head, r.length)
	l4, protocol := head[r.transport:], uint8(unix.IPPROTO_UDP)
	if r.isTCP {
		h.csumAt, h.gsoType, protocol = tcpChecksum, unix.VIRTIO_NET_HDR_GSO_TCPV4, unix.IPPROTO_TCP
		if head[0]>>4 == 6 {
			h.gsoType = unix.VIRTIO_NET_HDR_GSO_TCPV6
		}
		l4[tcpFlags] |= last[r.transport+tcpFlags] & flagPSH
	} else {
		binary.BigEndian.PutUint16(l4[4:], uint16(r.length-r.transport))
	}
	binary.NativeEndian.PutUint16(l4[h.csumAt:], fold(pseudoHeader(addresses(head), protocol, r.length-r.transport)))
	return h
}
