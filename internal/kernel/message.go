package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A netlink message is
//
//	u32 length, u16 type, u16 flags, u32 sequence number, u32 port id,
//	a fixed header that depends on the type, and attributes
//	(u16 length, u16 type, value, padding to 4), all in host byte order.
const (
	headerLen = unix.NLMSG_HDRLEN
	attrLen   = unix.SizeofRtAttr

	// attrTypeMask takes away the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER.
	attrTypeMask = 0x3fff
)

var native = binary.NativeEndian

// errMessage says that something is not a netlink message.
var errMessage = errors.New("malformed netlink message")

type message []byte

// newMessage starts a request; the socket writes sequence number and port.
func newMessage(kind, flags uint16, fixed ...byte) message {
	return message(nil).begin(kind, flags, fixed...)
}

// begin starts a request in the memory of an old one.
func (m message) begin(kind, flags uint16, fixed ...byte) message {
	var header [headerLen]byte
	native.PutUint16(header[4:], kind)
	native.PutUint16(header[6:], flags|unix.NLM_F_REQUEST)
	if cap(m) == 0 {
		m = make(message, 0, headerLen+len(fixed)+96)
	}
	m = append(m[:0], header[:]...)
	m = append(m, fixed...)
	return m.sized()
}

func (m message) sized() message {
	for len(m)%4 != 0 {
		m = append(m, 0)
	}
	native.PutUint32(m, uint32(len(m)))
	return m
}

func (m message) attrHeader(kind uint16, length int) message {
	m = native.AppendUint16(m, uint16(attrLen+length))
	return native.AppendUint16(m, kind)
}

func (m message) attr(kind uint16, value ...byte) message {
	return append(m.attrHeader(kind, len(value)), value...).sized()
}

func (m message) attrUint32(kind uint16, value uint32) message {
	return message(native.AppendUint32(m.attrHeader(kind, 4), value)).sized()
}

func (m message) attrAddr(kind uint16, a netip.Addr) message {
	return m.attrHeader(kind, a.BitLen()/8).addr(a).sized()
}

func (m message) addr(a netip.Addr) message {
	if a.Is4() {
		b := a.As4()
		return append(m, b[:]...)
	}
	b := a.As16()
	return append(m, b[:]...)
}

// header is the first part of a received message.
type header struct {
	kind, flags uint16
	seq, port   uint32
}

// eachMessage walks the messages of one datagram. It stops at the first error
// of f, and reports a length that does not fit.
func eachMessage(b []byte, f func(header, []byte) error) error {
	for len(b) > 0 {
		if len(b) < headerLen {
			return fmt.Errorf("%w: %d bytes left", errMessage, len(b))
		}
		n := uint64(native.Uint32(b))
		if n < headerLen || n > uint64(len(b)) {
			return fmt.Errorf("%w: length %d of %d", errMessage, n, len(b))
		}
		h := header{kind: native.Uint16(b[4:]), flags: native.Uint16(b[6:]), seq: native.Uint32(b[8:]), port: native.Uint32(b[12:])}
		if err := f(h, b[headerLen:n]); err != nil {
			return err
		}
		b = b[min((n+3)&^3, uint64(len(b))):]
	}
	return nil
}

// eachAttr walks the attributes that follow a fixed header.
func eachAttr(b []byte, f func(kind uint16, value []byte) error) error {
	for len(b) >= attrLen {
		n := int(native.Uint16(b))
		if n < attrLen || n > len(b) {
			return fmt.Errorf("%w: attribute length %d of %d", errMessage, n, len(b))
		}
		if err := f(native.Uint16(b[2:])&attrTypeMask, b[attrLen:n]); err != nil {
			return err
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}

func uint32Of(value []byte) (uint32, error) {
	if len(value) != 4 {
		return 0, fmt.Errorf("%w: attribute of %d bytes, want 4", errMessage, len(value))
	}
	return native.Uint32(value), nil
}
