package userspace

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// vnetHeader is struct virtio_net_hdr: what of a packet is left to the other side,
// which is we or the kernel.
type vnetHeader struct {
	flags, gsoType                     uint8
	headers, gsoSize, csumAt, csumFrom uint16 // csumFrom: where the sum starts; csumAt: where it goes, from there
}

const vnetSize = 10

func parseVnet(b []byte) vnetHeader {
	word := func(at int) uint16 { return binary.NativeEndian.Uint16(b[at:]) }
	return vnetHeader{flags: b[0], gsoType: b[1], headers: word(2), gsoSize: word(4), csumFrom: word(6), csumAt: word(8)}
}

func (h vnetHeader) put(b []byte) {
	b[0], b[1] = h.flags, h.gsoType
	for i, v := range []uint16{h.headers, h.gsoSize, h.csumFrom, h.csumAt} {
		binary.NativeEndian.PutUint16(b[2+2*i:], v)
	}
}

const (
	v4Header, v6Header = 20, 40 // without options
	v4Addresses        = 12     // where they start
	v6Addresses        = 8
	tcpHeader          = 20
	udpHeader          = 8
	tcpChecksum        = 16 // where it is
	udpChecksum        = 6
	tcpSeq, tcpAck     = 4, 8
	tcpFlags           = 13

	flagFIN, flagPSH, flagACK = 0x01, 0x08, 0x10
)

// addresses are both of a packet that has been looked at.
func addresses(packet []byte) []byte {
	if packet[0]>>4 == 6 {
		return packet[v6Addresses:v6Header]
	}
	return packet[v4Addresses:v4Header]
}

// setLength sets the length in an IP header to that of the packet.
func setLength(packet []byte, length int) {
	if packet[0]>>4 == 6 {
		binary.BigEndian.PutUint16(packet[4:], uint16(length-v6Header))
		return
	}
	binary.BigEndian.PutUint16(packet[2:], uint16(length))
	header := packet[:int(packet[0]&0x0f)*4]
	header[10], header[11] = 0, 0
	putChecksum(header[10:], sum(header, 0))
}

var errVnet = errors.New("the TUN gave a packet that cannot be cut")

// segments is a packet of the kernel's with what is left of it to give out. A
// common packet is one segment.
type segments struct {
	packet  []byte
	vnet    vnetHeader
	headers int // length of those that each segment gets
	at      int // next octet of payload
	count   int // segments given so far
}

// parseSegments checks all that next relies on.
func parseSegments(b []byte) (segments, error) {
	if len(b) < vnetSize+v4Header {
		return segments{}, errVnet
	}
	s := segments{packet: b[vnetSize:], vnet: parseVnet(b)}
	p, from := s.packet, int(s.vnet.csumFrom)
	if s.vnet.flags&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM != 0 && from+int(s.vnet.csumAt)+2 > len(p) {
		return segments{}, errVnet
	}
	least := v4Header
	if p[0]>>4 == 6 {
		least = v6Header
	}
	switch s.vnet.gsoType {
	case unix.VIRTIO_NET_HDR_GSO_NONE:
		return s, nil
	case unix.VIRTIO_NET_HDR_GSO_TCPV4, unix.VIRTIO_NET_HDR_GSO_TCPV6:
		// The header's own word of the length of headers is not to be relied on for
		// packets that are forwarded.
		if from < least || len(p) < from+tcpHeader {
			return segments{}, errVnet
		}
		s.headers = from + int(p[from+12]>>4)*4
		if s.headers < from+tcpHeader {
			return segments{}, errVnet
		}
	case unix.VIRTIO_NET_HDR_GSO_UDP_L4:
		s.headers = from + udpHeader
	default:
		return segments{}, errVnet
	}
	isTCP4 := s.vnet.gsoType == unix.VIRTIO_NET_HDR_GSO_TCPV4
	isTCP6 := s.vnet.gsoType == unix.VIRTIO_NET_HDR_GSO_TCPV6
	isBad := isTCP4 && p[0]>>4 != 4 || isTCP6 && p[0]>>4 != 6 || p[0]>>4 != 4 && p[0]>>4 != 6
	if isBad || from < least || s.headers >= len(p) || s.vnet.gsoSize == 0 || p[0]>>4 == 4 && int(p[0]&0x0f)*4 != from {
		return segments{}, errVnet
	}
	s.at = s.headers
	return s, nil
}

func (s *segments) isEmpty() bool { return len(s.packet) == 0 }

// next writes a segment and gives its length, or 0 where it does not fit. The last
// one leaves s empty.
func (s *segments) next(out []byte) int {
	if s.vnet.gsoType == unix.VIRTIO_NET_HDR_GSO_NONE {
		return s.whole(out)
	}
	end := min(s.at+int(s.vnet.gsoSize), len(s.packet))
	length := s.headers + end - s.at
	if length > len(out) {
		s.packet = nil
		return 0
	}
	out = out[:length]
	copy(out, s.packet[:s.headers])
	copy(out[s.headers:], s.packet[s.at:end])
	if out[0]>>4 == 4 {
		binary.BigEndian.PutUint16(out[4:], binary.BigEndian.Uint16(out[4:])+uint16(s.count)) // identification
	}
	setLength(out, length)
	from := int(s.vnet.csumFrom)
	l4 := out[from:]
	at, protocol := udpChecksum, uint8(unix.IPPROTO_UDP)
	if s.vnet.gsoType == unix.VIRTIO_NET_HDR_GSO_UDP_L4 {
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	} else {
		at, protocol = tcpChecksum, unix.IPPROTO_TCP
		seq := binary.BigEndian.Uint32(l4[tcpSeq:])
		binary.BigEndian.PutUint32(l4[tcpSeq:], seq+uint32(s.at-s.headers))
		if end < len(s.packet) {
			l4[tcpFlags] &^= flagFIN | flagPSH // the last one's
		}
	}
	l4[at], l4[at+1] = 0, 0
	putTransportChecksum(l4[at:], sum(l4, pseudoHeader(addresses(out), protocol, len(l4))))
	s.count++
	if s.at = end; end == len(s.packet) {
		s.packet = nil
	}
	return length
}

// whole is a packet that is not to be cut, perhaps without its checksum. The field
// then has the sum of the pseudo-header.
func (s *segments) whole(out []byte) int {
	p := s.packet
	s.packet = nil
	if len(p) > len(out) {
		return 0
	}
	n := copy(out, p)
	if s.vnet.flags&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM != 0 {
		putTransportChecksum(out[int(s.vnet.csumFrom)+int(s.vnet.csumAt):], sum(out[s.vnet.csumFrom:n], 0))
	}
	return n
}
