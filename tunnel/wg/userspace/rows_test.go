package userspace

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"re6st/tunnel/wg/userspace/ecn"
)

// stream makes packets of a few flows, most of which can be joined.
type stream struct {
	r       *rand.Rand
	seq     [4]uint32
	id      [4]uint16
	damaged bool
}

// packet of one of four flows: TCP and UDP over IPv4 and IPv6.
func (s *stream) packet() []byte {
	r := s.r
	flow := r.IntN(4)
	isTCP, is6 := flow&1 == 0, flow&2 == 0
	size := []int{1, 100, 1000, 1000, 1000, 1000, 1000}[r.IntN(7)]
	l3, l4, protocol := v4Header, udpHeader, uint8(unix.IPPROTO_UDP)
	if is6 {
		l3 = v6Header
	}
	if isTCP {
		l4, protocol = tcpHeader+12, unix.IPPROTO_TCP
	}
	p := make([]byte, l3+l4+size)
	for i := l3 + l4; i < len(p); i++ {
		p[i] = byte(r.Uint32())
	}
	if is6 {
		p[0], p[6], p[7], p[23], p[39] = 0x60, protocol, 64, 1, 2
	} else {
		p[0], p[8], p[9], p[15], p[19] = 0x45, 64, protocol, 1, 2
		s.id[flow]++
		binary.BigEndian.PutUint16(p[4:], s.id[flow])
	}
	t := p[l3:]
	t[1], t[3] = byte(flow), 80
	check := udpChecksum
	if isTCP {
		check = tcpChecksum
		binary.BigEndian.PutUint32(t[tcpSeq:], s.seq[flow])
		s.seq[flow] += uint32(size)
		t[12], t[tcpFlags], t[tcpHeader] = 8<<4, flagACK, 1
		switch r.IntN(12) {
		case 0:
			t[tcpFlags] |= flagPSH
		case 1:
			t[tcpFlags] |= flagFIN
		case 2:
			s.seq[flow]++ // a gap
		}
	} else {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	}
	if r.IntN(12) == 0 { // marked on its way
		if is6 {
			p[1] = ecn.CE << 4
		} else {
			p[1] = ecn.CE
		}
	}
	setLength(p, len(p))
	putTransportChecksum(t[check:], sum(t, pseudoHeader(addresses(p), protocol, len(t))))
	if s.damaged && r.IntN(8) == 0 {
		p[r.IntN(len(p))] ^= byte(1 + r.IntN(255))
	}
	return p
}

// kernelReads is what a TUN gives when a row comes back: cut by us again.
func kernelReads(t *testing.T, c *coalescer, packets [][]byte, r *row) [][]byte {
	t.Helper()
	head := append([]byte(nil), packets[r.first]...)
	h := r.finish(head, packets[r.last])
	b := make([]byte, vnetSize)
	h.put(b)
	b = append(b, head...)
	for i := c.next[r.first]; i >= 0; i = c.next[i] {
		b = append(b, packets[i][r.headers:]...)
	}
	s, err := parseSegments(b)
	if err != nil {
		t.Fatalf("a row of %d: %v", r.count, err)
	}
	var out [][]byte
	for !s.isEmpty() {
		p := make([]byte, 3000)
		out = append(out, p[:s.next(p)])
	}
	return out
}

// Joined and cut again, all is as it was: nothing is lost, changed or healed, and
// within a flow nothing changes places.
func TestRowsAreCutAsTheyWere(t *testing.T) {
	joined, total := 0, 0
	for seed := range uint64(400) {
		s := &stream{r: rand.New(rand.NewPCG(seed, 1)), damaged: seed%2 == 1}
		var packets [][]byte
		for range 1 + s.r.IntN(batchSize) {
			packets = append(packets, s.packet())
		}
		c := &coalescer{udp: true}
		for i := range packets {
			c.add(func(i int) []byte { return packets[i] }, i)
		}
		byFlow := func(all [][]byte) map[string][][]byte {
			m := make(map[string][][]byte)
			for _, p := range all {
				l3 := v4Header
				if p[0]>>4 == 6 {
					l3 = v6Header
				}
				m[string(p[l3:l3+4])] = append(m[string(p[l3:l3+4])], p) // the ports tell them apart
			}
			return m
		}
		var out [][]byte
		for i := range c.rows {
			if c.rows[i].count > 1 {
				joined += c.rows[i].count
			}
			out = append(out, kernelReads(t, c, packets, &c.rows[i])...)
		}
		total += len(packets)
		if len(out) != len(packets) {
			t.Fatalf("seed %d: %d packets, were %d", seed, len(out), len(packets))
		}
		if s.damaged {
			wantSameSet(t, seed, packets, out)
			continue
		}
		want, got := byFlow(packets), byFlow(out)
		for key := range want {
			for i := range want[key] {
				if i >= len(got[key]) || !bytes.Equal(want[key][i], got[key][i]) {
					t.Fatalf("seed %d: packet %d of flow %q is another", seed, i, key)
				}
			}
		}
	}
	if joined < total/4 {
		t.Errorf("%d of %d packets were joined: this shows little", joined, total)
	}
}

func wantSameSet(t *testing.T, seed uint64, want, got [][]byte) {
	t.Helper()
	left := make(map[string]int)
	for _, p := range want {
		left[string(p)]++
	}
	for _, p := range got {
		if left[string(p)]--; left[string(p)] < 0 {
			t.Fatalf("seed %d: a packet came out that had not gone in: %x", seed, p)
		}
	}
}

// Whatever a peer sends inside the tunnel.
func FuzzT13_Coalesce(f *testing.F) {
	s := &stream{r: rand.New(rand.NewPCG(1, 1))}
	f.Add(s.packet(), s.packet(), s.packet())
	f.Add([]byte{0x45}, []byte{0x60}, []byte{0})
	f.Fuzz(func(t *testing.T, a, b, d []byte) {
		packets := [][]byte{a, b, d, a, b}
		for _, p := range packets {
			if len(p) == 0 || len(p) > 2000 {
				return // wireguard-go lets none such through
			}
		}
		c := &coalescer{udp: true}
		count := 0
		for i := range packets {
			c.add(func(i int) []byte { return packets[i] }, i)
		}
		for i := range c.rows {
			r := &c.rows[i]
			count += r.count
			if r.count > 1 {
				kernelReads(t, c, packets, r)
			}
		}
		if count != len(packets) {
			t.Errorf("%d packets in rows, want %d", count, len(packets))
		}
	})
}

// Whatever the TUN gives.
func FuzzT13_Segments(f *testing.F) {
	s := &stream{r: rand.New(rand.NewPCG(1, 1))}
	for range 4 {
		p := s.packet()
		h := vnetHeader{flags: 1, gsoType: unix.VIRTIO_NET_HDR_GSO_UDP_L4, gsoSize: 100, csumFrom: v6Header, csumAt: udpChecksum}
		b := make([]byte, vnetSize)
		h.put(b)
		f.Add(append(b, p...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSegments(b)
		if err != nil {
			return
		}
		out := make([]byte, 3000)
		for n := 0; !s.isEmpty(); n++ {
			if n > len(b) {
				t.Fatal("it does not end")
			}
			s.next(out)
		}
	})
}

func TestChecksumOfAllLengths(t *testing.T) {
	b := make([]byte, 200)
	for i := range b {
		b[i] = 0xff - byte(i/150)
	}
	for n := range b {
		want := uint64(0)
		for i, v := range b[:n] {
			want += uint64(v) << (8 * uint(1-i&1))
		}
		for want>>16 != 0 {
			want = want>>16 + want&0xffff
		}
		var got [2]byte
		binary.NativeEndian.PutUint16(got[:], fold(sum(b[:n], 0)))
		if binary.BigEndian.Uint16(got[:]) != uint16(want) {
			t.Errorf("%d octets: %x, want %x", n, got, want)
		}
	}
}
