package wire

// The requests.

// parseRouteRequest: RFC 8966, section 4.6.10.
//
//	AE | plen | prefix ...
func parseRouteRequest(d *Decoder, b []byte) (TLV, int, result) {
	r := add(&d.routeRequests)
	*r = RouteRequest{}
	if AE(b[0]) == AEWildcard {
		if b[1] != 0 {
			return nil, 0, ignore
		}
		return r, 2, good
	}
	p, n, ok := plainPrefix(AE(b[0]), int(b[1]), b[2:])
	if !ok {
		return nil, 0, ignore
	}
	r.Prefix = p
	return r, 2 + n, good
}

// parseSeqnoRequest: section 4.6.11.
//
//	AE | plen | seqno (2) | hop count | reserved | router-id (8) | prefix ...
func parseSeqnoRequest(d *Decoder, b []byte) (TLV, int, result) {
	r := add(&d.seqnoRequests)
	*r = SeqnoRequest{Seqno: be16(b[2:]), HopCount: b[4], RouterID: RouterID(b[6:14])}
	p, n, ok := plainPrefix(AE(b[0]), int(b[1]), b[14:])
	if !ok || r.HopCount == 0 || !r.RouterID.IsLegal() {
		return nil, 0, ignore
	}
	r.Prefix = p
	return r, 14 + n, good
}

func (r *RouteRequest) append(b []byte) []byte {
	at := len(b)
	b = append(b, byte(TypeRouteRequest), 0, byte(prefixAE(r.Prefix)))
	if !r.Prefix.IsValid() {
		return closeTLV(append(b, 0), at)
	}
	full, n := prefixOctets(r.Prefix)
	b = append(append(b, byte(r.Prefix.Bits())), full[:n]...)
	return closeTLV(appendSourcePrefix(b, r.From), at)
}

func (r *SeqnoRequest) append(b []byte) []byte {
	at := len(b)
	b = append(b, byte(TypeSeqnoRequest), 0, byte(prefixAE(r.Prefix)), byte(r.Prefix.Bits()))
	b = append(append16(b, r.Seqno), r.HopCount, 0)
	b = append(b, r.RouterID[:]...)
	full, n := prefixOctets(r.Prefix)
	b = append(b, full[:n]...)
	return closeTLV(appendSourcePrefix(b, r.From), at)
}
