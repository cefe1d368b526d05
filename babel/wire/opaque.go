package wire

import (
	"errors"
	"fmt"
)

// SubTLV is an opaque sub-TLV: nobody but those who attach and check it knows
// what it says.
type SubTLV struct {
	Type uint8
	Body []byte
}

// AttachmentMax is how many octets of opaque sub-TLVs an Update has room for,
// however long its prefixes are and however little of them can be omitted: the
// length of a TLV is one octet.
const AttachmentMax = 255 - 10 - 16 - (2 + 1 + 16)

// ErrAttachment says that sub-TLVs cannot be attached to a route.
var ErrAttachment = errors.New("not an attachment")

// isOpaque tells whether a relay passes the sub-TLV on with the route.
func (t subType) isOpaque() bool { return subOpaqueFirst <= t && t <= subOpaqueLast }

// NewAttachment encodes opaque sub-TLVs.
func NewAttachment(list []SubTLV) ([]byte, error) {
	var b []byte
	for _, s := range list {
		if !subType(s.Type).isOpaque() {
			return nil, fmt.Errorf("attaching sub-TLV %d: %w: not from %d to %d", s.Type, ErrAttachment, subOpaqueFirst, subOpaqueLast)
		}
		if len(b)+2+len(s.Body) > AttachmentMax {
			return nil, fmt.Errorf("attaching sub-TLV %d: %w: more than %d octets", s.Type, ErrAttachment, AttachmentMax)
		}
		b = append(append(b, s.Type, byte(len(s.Body))), s.Body...)
	}
	return b, nil
}

// SubTLVs decodes the Attachment of an Update.
func SubTLVs(attachment string) []SubTLV {
	var list []SubTLV
	w := walker{rest: []byte(attachment)}
	for w.next() {
		list = append(list, SubTLV{w.kind, w.body})
	}
	return list
}

// attach adds a sub-TLV to an Update. The first is a part of the datagram; more
// are copied together. More than can be passed on with certainty is not kept at
// all: half an attachment says nothing. Empty, but not nil, says that it was so.
func (u *Update) attach(whole []byte) {
	isOverfull := u.Attachment != nil && len(u.Attachment) == 0
	switch {
	case isOverfull || len(u.Attachment)+len(whole) > AttachmentMax:
		u.Attachment = []byte{}
	case u.Attachment == nil:
		u.Attachment = whole[:len(whole):len(whole)]
	default:
		u.Attachment = append(u.Attachment, whole...)
	}
}
