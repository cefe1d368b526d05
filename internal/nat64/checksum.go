package nat64

import "encoding/binary"

// sum adds 16-bit words in ones' complement, not folded yet (RFC 1071).
func sum(b []byte) uint32 {
	var s uint64
	for len(b) >= 8 {
		v := binary.BigEndian.Uint64(b)
		s += v>>32 + v&0xffffffff
		b = b[8:]
	}
	for len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint32(s)
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// adjust changes a checksum for words that were replaced: the sum of the old
// ones and of the new ones (RFC 1624, equation 3).
func adjust(field []byte, old, now uint32) {
	was := ^binary.BigEndian.Uint16(field)
	binary.BigEndian.PutUint16(field, ^fold(uint32(was)+uint32(^fold(old))+uint32(fold(now))))
}

// pseudo6 is the sum of the pseudo-header of IPv6 (RFC 8200, section 8.1).
func pseudo6(source, destination []byte, length int, protocol byte) uint32 {
	return sum(source) + sum(destination) + uint32(length>>16) + uint32(length&0xffff) + uint32(protocol)
}
