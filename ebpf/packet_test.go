package ebpf

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
)

// MaxExtensions is how many extension headers the programs look through.
const MaxExtensions = 8

const (
	protoTCP, protoUDP, protoICMP = 6, 17, 58
	icmpTimeExceeded              = 3
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

var (
	insideMAC  = [6]byte{2, 0, 0, 0, 0, 1}
	outsideMAC = [6]byte{2, 0, 0, 0, 0, 2}
)

// frame is an Ethernet frame with an IPv6 packet.
func frame(src, dst netip.Addr, next byte, payload []byte) []byte {
	b := append(outsideMAC[:], insideMAC[:]...)
	b = append(b, 0x86, 0xdd)
	return append(b, packet(src, dst, next, payload)...)
}

func packet(src, dst netip.Addr, next byte, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6], b[7] = next, 64
	put(b[8:], src)
	put(b[24:], dst)
	return append(b, payload...)
}

// checked fills in the checksum of a transport header (RFC 8200, section 8.1).
func checked(src, dst netip.Addr, next byte, payload []byte) []byte {
	at := map[byte]int{protoTCP: 16, protoUDP: 6, protoICMP: 2}[next]
	payload[at], payload[at+1] = 0, 0
	binary.BigEndian.PutUint16(payload[at:], ^checksum(src, dst, next, payload))
	return payload
}

// checksum sums pseudo-header and payload: 0xffff where the checksum in it is right.
func checksum(src, dst netip.Addr, next byte, payload []byte) uint16 {
	s, d := src.As16(), dst.As16()
	var length [8]byte
	binary.BigEndian.PutUint32(length[:], uint32(len(payload)))
	length[7] = next
	sum := uint32(0)
	for _, part := range [][]byte{s[:], d[:], length[:], payload} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(part[i]) << 8
			if i+1 < len(part) {
				sum += uint32(part[i+1])
			}
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

func tcp(n int) []byte {
	b := make([]byte, 20+n)
	b[12] = 5 << 4
	return b
}

func udp(n int) []byte {
	b := make([]byte, 8+n)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	return b
}

func icmp(kind byte, body []byte) []byte { return append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, body...) }

// random bytes.
func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// needsKernel skips, or fails where everything must be possible.
func needsKernel(t testing.TB) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "loading programs needs root"
	} else if err := Supported(); err != nil {
		why = err.Error()
	}
	switch {
	case why == "":
	case os.Getenv("CI") == "true":
		t.Fatal(why)
	default:
		t.Skip(why)
	}
}
