package wire

// The TLVs about the link: acknowledgments, Hello, IHU.

// parseAckRequest: RFC 8966, section 4.6.3.
//
//	reserved (2) | opaque (2) | interval (2)
func parseAckRequest(d *Decoder, b []byte) (TLV, int, result) {
	a := add(&d.ackRequests)
	*a = AckRequest{Opaque: be16(b[2:]), Interval: Interval(be16(b[4:]))}
	if a.Interval == 0 {
		return nil, 0, ignore // "This MUST NOT be zero"
	}
	return a, 6, good
}

// parseAck: section 4.6.4.
//
//	opaque (2)
func parseAck(d *Decoder, b []byte) (TLV, int, result) {
	a := add(&d.acks)
	a.Opaque = be16(b)
	return a, 2, good
}

const flagUnicast = 0x8000

// parseHello: section 4.6.5. Flags other than U are ignored.
//
//	flags (2) | seqno (2) | interval (2)
func parseHello(d *Decoder, b []byte) (TLV, int, result) {
	h := add(&d.hellos)
	*h = Hello{
		Unicast:  be16(b)&flagUnicast != 0,
		Seqno:    be16(b[2:]),
		Interval: Interval(be16(b[4:])),
	}
	return h, 6, good
}

// parseIHU: section 4.6.6. AE 4 cannot say an address (RFC 9229, section 4.1).
//
//	AE | reserved | rxcost (2) | interval (2) | address ...
func parseIHU(d *Decoder, b []byte) (TLV, int, result) {
	u := add(&d.ihus)
	*u = IHU{RxCost: be16(b[2:]), Interval: Interval(be16(b[4:]))}
	if u.Interval == 0 {
		return nil, 0, ignore
	}
	if AE(b[0]) == AEWildcard {
		return u, 6, good
	}
	a, n, ok := address(AE(b[0]), b[6:])
	if !ok {
		return nil, 0, ignore
	}
	u.Address = a
	return u, 6 + n, good
}

func (a *AckRequest) append(b []byte) []byte {
	return append16(append16(append(b, byte(TypeAckRequest), 6, 0, 0), a.Opaque), uint16(a.Interval))
}

func (a *Ack) append(b []byte) []byte {
	return append16(append(b, byte(TypeAck), 2), a.Opaque)
}

func (h *Hello) append(b []byte) []byte {
	at := len(b)
	b = append(b, byte(TypeHello), 0)
	var flags uint16
	if h.Unicast {
		flags = flagUnicast
	}
	b = append16(append16(append16(b, flags), h.Seqno), uint16(h.Interval))
	if h.Timestamp.Present {
		b = appendTimestamp(b, h.Timestamp.Transmit)
	}
	return closeTLV(b, at)
}

func (u *IHU) append(b []byte) []byte {
	at := len(b)
	b = append(b, byte(TypeIHU), 0, byte(aeOf(u.Address)), 0)
	b = append16(append16(b, u.RxCost), uint16(u.Interval))
	b = appendAddress(b, u.Address)
	if u.Echo.Present {
		b = appendTimestamp(b, u.Echo.Origin, u.Echo.Receive)
	}
	return closeTLV(b, at)
}

// closeTLV writes the length of the TLV that begins at the offset.
func closeTLV(b []byte, at int) []byte {
	b[at+1] = byte(len(b) - at - 2)
	return b
}
