package wire

import "net/netip"

// parseSubTLVs reads the sub-TLVs of a TLV into it. It is false if the TLV must
// be ignored: its list is malformed, or an unknown sub-TLV is mandatory
// (RFC 8966, section 4.4). A nil tlv is one that only changes the parser state.
func parseSubTLVs(tlv TLV, b []byte) bool {
	u, isUpdate := tlv.(*Update)
	w := walker{rest: b}
	for w.next() {
		if !parseSubTLV(tlv, subType(w.kind), w.body) {
			return false
		}
		if isUpdate && subType(w.kind).isOpaque() {
			u.attach(w.whole)
		}
	}
	if isUpdate && len(u.Attachment) == 0 {
		u.Attachment = nil
	}
	return !w.broken
}

func parseSubTLV(tlv TLV, t subType, body []byte) bool {
	switch t {
	case subTimestamp:
		parseTimestamp(tlv, body)
		return true
	case subSourcePrefix:
		return parseSourcePrefix(tlv, body)
	}
	return t&subMandatory == 0
}

// parseTimestamp: RFC 9616, section 5. A longer body has something to come, of
// which the beginning is ours; a shorter one is ignored, without its TLV.
func parseTimestamp(tlv TLV, body []byte) {
	switch tlv := tlv.(type) {
	case *Hello:
		if len(body) >= 4 {
			tlv.Timestamp = Timestamp{true, be32(body)}
		}
	case *IHU:
		if len(body) >= 8 {
			tlv.Echo = Echo{true, be32(body), be32(body[4:])}
		}
	}
}

// parseSourcePrefix: RFC 9079, section 7.1. False where the whole TLV is to be
// ignored: a length of zero, too little data, a second one, a TLV that cannot
// have one, or a wildcard (section 5.3).
//
//	source plen | source prefix ...
func parseSourcePrefix(tlv TLV, body []byte) bool {
	var from *netip.Prefix
	var of netip.Prefix
	switch tlv := tlv.(type) {
	case *Update:
		from, of = &tlv.From, tlv.Prefix
	case *RouteRequest:
		from, of = &tlv.From, tlv.Prefix
	case *SeqnoRequest:
		from, of = &tlv.From, tlv.Prefix
	default:
		return false
	}
	if from.IsValid() || !of.IsValid() || len(body) < 1 || body[0] == 0 {
		return false
	}
	p, _, ok := plainPrefix(prefixAE(of), int(body[0]), body[1:])
	*from = p
	return ok
}

// appendSourcePrefix never writes a length of zero, which is forbidden: any
// source is said by having no sub-TLV.
func appendSourcePrefix(b []byte, from netip.Prefix) []byte {
	if !from.IsValid() || from.Bits() == 0 {
		return b
	}
	full, n := prefixOctets(from)
	b = append(b, byte(subSourcePrefix), byte(1+n), byte(from.Bits()))
	return append(b, full[:n]...)
}

func appendTimestamp(b []byte, stamps ...uint32) []byte {
	b = append(b, byte(subTimestamp), byte(4*len(stamps)))
	for _, s := range stamps {
		b = append32(b, s)
	}
	return b
}

func append16(b []byte, v uint16) []byte { return append(b, byte(v>>8), byte(v)) }

func append32(b []byte, v uint32) []byte { return append16(append16(b, uint16(v>>16)), uint16(v)) }
