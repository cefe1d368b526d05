package wire

import "net/netip"

// The TLVs about routes: Router-Id, Next Hop, Update.

// parseRouterID: RFC 8966, section 4.6.7. An illegal router-id leaves none: the
// Updates after it were not meant for the one before.
//
//	reserved (2) | router-id (8)
func parseRouterID(d *Decoder, b []byte) (TLV, int, result) {
	d.setRouterID(RouterID(b[2:10]))
	if d.state.id == (RouterID{}) {
		return nil, 0, ignore
	}
	return nil, 10, good
}

func (d *Decoder) setRouterID(id RouterID) {
	if !id.IsLegal() {
		id = RouterID{}
	}
	d.state.id = id
}

// parseNextHop: section 4.6.8. The wildcard and AE 4 are no next hops.
//
//	AE | reserved | next hop ...
func parseNextHop(d *Decoder, b []byte) (TLV, int, result) {
	a, n, ok := address(AE(b[0]), b[2:])
	switch {
	case !ok:
		return nil, 0, ignore
	case a.Is4():
		d.state.nextHop4 = a
	default:
		d.state.nextHop6 = a
	}
	return nil, 2 + n, good
}

const (
	flagPrefix   = 0x80 // P: this prefix is the default from here on
	flagRouterID = 0x40 // R: the router-id is in the prefix
)

// parseUpdate: section 4.6.9. It changes the parser state before anything can
// make the TLV ignored ("even if the TLV is otherwise ignored", section 4.4).
//
//	AE | flags | plen | omitted | interval (2) | seqno (2) | metric (2) | prefix ...
func parseUpdate(d *Decoder, b []byte) (TLV, int, result) {
	u := add(&d.updates)
	*u = Update{AE: AE(b[0]), Interval: Interval(be16(b[4:])), Seqno: be16(b[6:]), Metric: be16(b[8:])}
	flags, bits, omitted := b[1], int(b[2]), int(b[3])
	switch {
	case u.AE > AEv4viav6:
		return nil, 0, ignore
	case u.AE == AEWildcard:
		if bits != 0 || omitted != 0 {
			return nil, 0, ignore
		}
		u.RouterID = d.state.id
		return u, 10, good
	case u.AE == AELinkLocal:
		p, n, ok := plainPrefix(u.AE, bits, b[10:])
		if !ok || omitted != 0 {
			return nil, 0, ignore
		}
		u.Prefix, u.RouterID, u.NextHop = p, d.state.id, d.state.nextHop6
		return u, 10 + n, good
	}
	full, n, ok := d.expand(u.AE, bits, omitted, b[10:])
	if !ok {
		return nil, 0, ignore
	}
	d.noteUpdate(u.AE, flags, full)
	if u.Prefix, ok = prefixOf(u.AE, full, bits); !ok {
		return nil, 0, ignore
	}
	u.RouterID, u.NextHop = d.state.id, d.state.nextHop6
	if u.AE == AEIPv4 {
		u.NextHop = d.state.nextHop4
	}
	return u, 10 + n, good
}

// expand undoes the compression of a prefix. Octets that the default prefix does
// not have are zero.
func (d *Decoder) expand(ae AE, bits, omitted int, b []byte) (full [16]byte, n int, ok bool) {
	total := octets(bits)
	if bits > addressBits(ae) || omitted > total {
		return full, 0, false
	}
	if omitted > 0 {
		if !d.state.defaults[ae].isSet {
			return full, 0, false
		}
		copy(full[:omitted], d.state.defaults[ae].full[:omitted])
	}
	n = total - omitted
	if len(b) < n {
		return full, 0, false
	}
	copy(full[omitted:total], b)
	if spare := total*8 - bits; spare > 0 {
		full[total-1] &= 0xFF << spare
	}
	return full, n, true
}

func (d *Decoder) noteUpdate(ae AE, flags byte, full [16]byte) {
	if flags&flagPrefix != 0 {
		d.state.defaults[ae] = defaultPrefix{true, full}
	}
	if flags&flagRouterID == 0 {
		return
	}
	// "the low-order 8 octets of the advertised prefix", or with IPv4 "the
	// address preceded by four octets of zeros".
	var id RouterID
	if addressBits(ae) == 32 {
		copy(id[4:], full[:4])
	} else {
		copy(id[:], full[8:])
	}
	d.setRouterID(id)
}

// isUsable judges what can only be known after the sub-TLVs. A retraction needs
// neither router-id nor next hop nor a legal interval; an announcement does.
func (d *Decoder) isUsable(u *Update) bool {
	if u.Metric == Infinity {
		return true
	}
	return u.AE != AEWildcard && u.Interval != 0 && u.RouterID != RouterID{} && u.NextHop.IsValid()
}

// updateAE chooses how to say a prefix with this next hop (zero: the sender's
// IPv6 address).
func updateAE(p netip.Prefix, nextHop netip.Addr) AE {
	switch {
	case !p.IsValid():
		return AEWildcard
	case p.Addr().Is6():
		return AEIPv6
	case nextHop.Is4():
		return AEIPv4
	}
	return AEv4viav6
}
