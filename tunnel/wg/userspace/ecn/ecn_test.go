package ecn

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// packetWith is a header of the family with a DSCP and that codepoint.
func packetWith(version, mark uint8) []byte {
	const dscp = 46
	class := dscp<<2 | mark
	if version == 6 {
		p := make([]byte, 40)
		p[0], p[1], p[2] = 0x60|class>>4, class<<4|0x5, 0x77
		return p
	}
	p := make([]byte, 20)
	p[0], p[1], p[8], p[9], p[12], p[19] = 0x45, class, 64, 17, 10, 7
	binary.BigEndian.PutUint16(p[10:], ^checksum(p))
	return p
}

// checksum is that of RFC 1071: 0xffff where that in the header is right.
func checksum(header []byte) uint16 {
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// RFC 6040, figure 4, but for its one drop; and RFC 3168 §9.1.1.
func TestP13_BothTables(t *testing.T) {
	// after[inner][outer], in the order of the codepoints' values.
	after := [4][4]uint8{
		NotECT: {NotECT, NotECT, NotECT, NotECT},
		ECT1:   {ECT1, ECT1, ECT1, CE},
		ECT0:   {ECT0, ECT1, ECT0, CE},
		CE:     {CE, CE, CE, CE},
	}
	before := [4]uint8{NotECT: NotECT, ECT1: ECT1, ECT0: ECT0, CE: ECT0}
	for _, version := range []uint8{4, 6} {
		for inner := range uint8(4) {
			if got := Encapsulate(packetWith(version, inner)); got != before[inner] {
				t.Errorf("IPv%d: the outer packet of %02b is %02b, want %02b", version, inner, got, before[inner])
			}
			for outer := range uint8(4) {
				want := packetWith(version, after[inner][outer])
				for _, dscp := range []uint8{0, 0x88, 0xfc} {
					got := packetWith(version, inner)
					if Decapsulate(got, dscp|outer); !bytes.Equal(got, want) {
						t.Errorf("IPv%d: %02b in %08b came out as %x, want %x", version, inner, dscp|outer, got, want)
					}
				}
			}
		}
	}
}

// Whatever is in the checksum's other words, it stays as right, or as wrong, as it was.
func TestP13_Checksum(t *testing.T) {
	for inner := range uint8(4) {
		for outer := range uint8(4) {
			for n := range 1 << 16 {
				p := packetWith(4, inner)
				binary.BigEndian.PutUint16(p[10:], uint16(n))
				was := checksum(p)
				if Decapsulate(p, outer); checksum(p)%0xffff != was%0xffff {
					t.Fatalf("%02b in %02b, checksum %#04x: the sum was %#04x and is %#04x", inner, outer, n, was, checksum(p))
				}
			}
		}
	}
}

func TestP13_NoPacket(t *testing.T) {
	for _, p := range [][]byte{nil, {}, {0x45}, {0x60}, {0, 0xff}, {0x55, 0xff}, {0xff, 0xff}} {
		if Of(p) != NotECT || Encapsulate(p) != NotECT {
			t.Errorf("%x has ECN", p)
		}
	}
}

// Nothing but the mark and the checksum of IPv4 changes, and a mark never disappears.
func FuzzP13_Decapsulate(f *testing.F) {
	for _, version := range []uint8{4, 6} {
		for mark := range uint8(4) {
			f.Add(packetWith(version, mark), CE)
			f.Add(packetWith(version, mark), ECT1)
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte, outer uint8) {
		_ = Encapsulate(packet)
		is4 := len(packet) >= 20 && packet[0]>>4 == 4
		if !is4 && (len(packet) < 40 || packet[0]>>4 != 6) {
			return // the device does not let it through
		}
		got := bytes.Clone(packet)
		Decapsulate(got, outer)
		if was, is := Of(packet), Of(got); was == NotECT && is != NotECT || was == CE && is != CE || outer&3 == CE && was != NotECT && is != CE {
			t.Fatalf("%02b in %02b became %02b", was, outer&3, is)
		}
		if Of(got) == Of(packet) && !bytes.Equal(got, packet) {
			t.Fatalf("changed without need: %x, %x", packet, got)
		}
		if is4 {
			if checksum(got[:20])%0xffff != checksum(packet[:20])%0xffff {
				t.Fatalf("checksum: %x, %x", packet, got)
			}
			copy(got[10:12], packet[10:12])
			got[1] = got[1]&^mask | packet[1]&mask
		} else {
			got[1] = got[1]&^(mask<<4) | packet[1]&(mask<<4)
		}
		if !bytes.Equal(got, packet) {
			t.Fatalf("more than the mark changed: %x, %x", packet, got)
		}
	})
}
