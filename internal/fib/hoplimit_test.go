package fib

import (
	"encoding/binary"
	"testing"
)

// The checksum stays right, and is that of ip_decrease_ttl to the bit, which counts
// in the byte order of the packet: 0x0100 to the sum, and 1 more from 0xffff on.
func TestLowerHopLimitKeepsTheChecksum(t *testing.T) {
	var p [header4]byte
	for id := range 1 << 16 {
		p = [header4]byte{0: 0x45, 3: header4, 8: 64, 9: 17, 12: 10, 15: 1, 16: 10, 19: 2}
		binary.BigEndian.PutUint16(p[4:], uint16(id))
		binary.BigEndian.PutUint16(p[10:], ^sum4(p[:]))
		before := uint32(binary.BigEndian.Uint16(p[10:]))
		LowerHopLimit(p[:])
		want := before + 0x0100
		if want >= 0xffff {
			want++
		}
		if got := binary.BigEndian.Uint16(p[10:]); p[8] != 63 || sum4(p[:]) != 0xffff || got != uint16(want) {
			t.Fatalf("identification %d: checksum %#04x after %#04x, sum %#04x", id, got, before, sum4(p[:]))
		}
	}
}
