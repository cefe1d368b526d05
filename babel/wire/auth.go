package wire

import "iter"

// The TLVs of RFC 8967, section 6. They are all opaque octets but for the packet
// counter, have no sub-TLVs, and mean nothing after the packet was accepted
// (section 4.3: "any PC, Challenge Request, and Challenge Reply TLVs that it
// contains are silently ignored").

const (
	// IndexMax and NonceMax are in octets (sections 6.2 and 6.3).
	IndexMax = 32
	NonceMax = 192
)

// PC is the packet counter of a packet, and the index that says of which series.
type PC struct {
	Count uint32
	Index []byte
}

// Split checks the header of a packet. signed is what a MAC covers of it: "from
// octet 0 inclusive up to (Body Length + 4) exclusive" (section 4.1).
func Split(packet []byte) (signed, trailer []byte, err error) {
	body, trailer, err := splitPacket(packet)
	if err != nil {
		return nil, nil, err
	}
	return packet[:HeaderLen+len(body)], trailer, nil
}

// Each goes through the TLVs of a body or a trailer, without padding. What is
// cut off ends it. Nothing is copied.
func Each(b []byte) iter.Seq2[Type, []byte] {
	return func(yield func(Type, []byte) bool) {
		w := walker{rest: b}
		for w.next() {
			if t := Type(w.kind); t != TypePadN && !yield(t, w.body) {
				return
			}
		}
	}
}

// ParsePC reads the body of a PC TLV. "A node MAY ignore a PC TLV with an index
// of length strictly larger than 32 octets": so be it.
//
//	PC (4) | index ...
func ParsePC(b []byte) (PC, bool) {
	if len(b) < 4 || len(b) > 4+IndexMax {
		return PC{}, false
	}
	return PC{be32(b), b[4:]}, true
}

// AppendPC writes a PC TLV. An index that is too long is cut.
func AppendPC(b []byte, pc PC) []byte {
	index := pc.Index[:min(len(pc.Index), IndexMax)]
	b = append(b, byte(TypePC), byte(4+len(index)))
	return append(append32(b, pc.Count), index...)
}

// AppendMAC writes a MAC TLV, which belongs into the trailer.
func AppendMAC(b, mac []byte) []byte { return appendOpaque(b, TypeMAC, mac) }

func appendOpaque(b []byte, t Type, value []byte) []byte {
	return append(append(b, byte(t), byte(len(value))), value...)
}

// ChallengeRequest asks for a proof of freshness (section 6.3).
type ChallengeRequest struct{ Nonce []byte }

// ChallengeReply is that proof, in a packet with a MAC (section 6.4).
type ChallengeReply struct{ Nonce []byte }

func (*ChallengeRequest) tlvType() Type { return TypeChallengeRequest }
func (*ChallengeReply) tlvType() Type   { return TypeChallengeReply }

func (t *ChallengeRequest) append(b []byte) []byte { return appendNonce(b, t.tlvType(), t.Nonce) }
func (t *ChallengeReply) append(b []byte) []byte   { return appendNonce(b, t.tlvType(), t.Nonce) }

func appendNonce(b []byte, t Type, nonce []byte) []byte {
	return appendOpaque(b, t, nonce[:min(len(nonce), NonceMax)])
}

func (t Type) isAuth() bool { return t >= TypeMAC && t <= TypeChallengeReply }

// SetBodyLen makes everything after the header the body, for whoever appends to
// a packet that an Encoder has ended. It has at most 65535 octets.
func SetBodyLen(packet []byte) {
	n := len(packet) - HeaderLen
	packet[2], packet[3] = byte(n>>8), byte(n)
}
