package userspace

import (
	"encoding/binary"
	"math/bits"
)

// The Internet checksum (RFC 1071). It does not depend on the byte order, so words
// are summed, and results stored, in the host's.

// sum adds to acc, which is another sum or zero. b starts at an even place.
func sum(b []byte, acc uint64) uint64 {
	var carry uint64
	for len(b) >= 64 {
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(b[0:8]), 0)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(b[8:16]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(b[16:24]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(b[24:32]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(b[32:40]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(b[40:48]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(b[48:56]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(b[56:64]), carry)
		acc, carry = bits.Add64(acc, 0, carry)
		acc += carry
		b = b[64:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(b), 0)
		acc += carry
		b = b[8:]
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(last[:]), 0)
		acc += carry
	}
	return acc
}

// fold makes 16 bits of a sum.
func fold(acc uint64) uint16 {
	for acc>>16 != 0 {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}

// pseudoHeader is the sum of what TCP and UDP cover beyond themselves. addresses
// are both, as in the packet; length is that of header and payload.
func pseudoHeader(addresses []byte, protocol uint8, length int) uint64 {
	return sum([]byte{0, protocol, byte(length >> 8), byte(length)}, sum(addresses, 0))
}

// putChecksum stores what makes the sum of it all right.
func putChecksum(b []byte, acc uint64) { binary.NativeEndian.PutUint16(b, ^fold(acc)) }

// putTransportChecksum is for UDP, where zero stands for none (RFC 768), and does
// no harm to others.
func putTransportChecksum(b []byte, acc uint64) {
	if putChecksum(b, acc); b[0]|b[1] == 0 {
		b[0], b[1] = 0xff, 0xff
	}
}
