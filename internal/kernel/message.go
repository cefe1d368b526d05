package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

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
	m := make(message, headerLen, headerLen+len(fixed)+64)
	native.PutUint16(m[4:], kind)
	native.PutUint16(m[6:], flags|unix.NLM_F_REQUEST)
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

func (m message) attr(kind uint16, value ...byte) message {
	m = native.AppendUint16(m, uint16(attrLen+len(value)))
	m = native.AppendUint16(m, kind)
	m = append(m, value...)
	return m.sized()
}

func (m message) attrUint32(kind uint16, value uint32) message {
	return m.attr(kind, native.AppendUint32(nil, value)...)
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
