package wire

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// table is a table as routers announce it: n prefixes of one router-id.
func table(n int) []Update {
	all := make([]Update, n)
	for i := range all {
		a := [16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0x42}
		binary.BigEndian.PutUint16(a[6:], uint16(i))
		all[i] = Update{
			Prefix: netip.PrefixFrom(netip.AddrFrom16(a), 64), Interval: 1600, Seqno: 7, Metric: 96,
			RouterID: RouterID{7: 1},
		}
	}
	return all
}

// encode fills packets with the table, and says what they need.
func encode(enc *Encoder, table []Update) (octets, packets int) {
	for i := range table {
		if enc.AddUpdate(&table[i]) {
			continue
		}
		octets, packets = octets+len(enc.Bytes()), packets+1
		enc.Reset()
		enc.AddUpdate(&table[i])
	}
	octets, packets = octets+len(enc.Bytes()), packets+1
	enc.Reset()
	return octets, packets
}

// "It is RECOMMENDED that ... compression be used": sequential prefixes of one
// origin need 13.5 octets each.
func TestC036_DumpIsCompressed(t *testing.T) {
	all := table(10000)
	octets, packets := encode(NewEncoder(1232), all)
	each := float64(octets) / float64(len(all))
	t.Logf("%d octets in %d packets: %.2f a route", octets, packets, each)
	if each > 13.5 {
		t.Errorf("%.2f octets a route", each)
	}
}

// Nothing is allocated for a TLV; a packet needs its buffer.
func TestEncoder_AllocatesPackets(t *testing.T) {
	all, enc := table(1000), NewEncoder(1232)
	packets := 0
	n := testing.AllocsPerRun(10, func() { _, packets = encode(enc, all) })
	if n > float64(packets) {
		t.Errorf("%v allocations for %d packets", n, packets)
	}
	hello, ihu := Hello{Seqno: 1, Interval: 400, Timestamp: Timestamp{true, 7}}, IHU{RxCost: 96, Interval: 1200, Address: netip.MustParseAddr("fe80::1")}
	n = testing.AllocsPerRun(10, func() {
		enc.Reset()
		enc.AddHello(&hello)
		enc.AddIHU(&ihu)
	})
	if n > 1 {
		t.Errorf("%v allocations for a packet with a Hello and an IHU", n)
	}
}

// What does not fit leaves no trace: neither in the packet nor in what the
// receiver is supposed to know.
func TestEncoder_WhatDoesNotFitLeavesNoTrace(t *testing.T) {
	for limit := HeaderLen; limit < 120; limit++ {
		enc := NewEncoder(limit)
		var want []Update
		for i, u := range table(8) {
			u.RouterID[0], u.NextHop = byte(i/2+1), netip.MustParseAddr("fe80::5")
			if i%3 == 2 {
				u.From = netip.MustParsePrefix("2001:db8:7::/48")
			}
			if enc.AddUpdate(&u) {
				want = append(want, u)
			}
		}
		var d Decoder
		packet := d.Parse(enc.Bytes(), netip.MustParseAddr("fe80::9"))
		if packet.Err != nil || packet.Ignored > 0 || len(packet.TLVs) != len(want) {
			t.Fatalf("limit %d: %v, %d ignored, %d of %d", limit, packet.Err, packet.Ignored, len(packet.TLVs), len(want))
		}
		for i, tlv := range packet.TLVs {
			u := tlv.(*Update)
			if u.Prefix != want[i].Prefix || u.From != want[i].From || u.RouterID != want[i].RouterID || u.NextHop != want[i].NextHop {
				t.Errorf("limit %d: %+v, want %+v", limit, *u, want[i])
			}
		}
	}
}

// An interval on the wire is never shorter than what it promises for.
func TestIntervalOf_RoundsUp(t *testing.T) {
	for _, v := range []struct {
		d    time.Duration
		want Interval
	}{{0, 1}, {time.Millisecond, 1}, {10 * time.Millisecond, 1}, {11 * time.Millisecond, 2}, {4 * time.Second, 400}, {time.Hour, 0xFFFE}} {
		if got := IntervalOf(v.d); got != v.want {
			t.Errorf("%v: %d, want %d", v.d, got, v.want)
		}
	}
}

func BenchmarkEncoder_Update(b *testing.B) {
	all, enc := table(1024), NewEncoder(1232)
	b.ReportAllocs()
	for i := range b.N {
		if u := &all[i%len(all)]; !enc.AddUpdate(u) {
			// The buffer goes on: a packet is not what is measured.
			enc.buf, enc.said = enc.buf[:HeaderLen], said{}
			enc.AddUpdate(u)
		}
	}
}

func BenchmarkEncoder_HelloAndIHU(b *testing.B) {
	enc := NewEncoder(1232)
	hello, ihu := Hello{Seqno: 1, Interval: 400, Timestamp: Timestamp{true, 7}}, IHU{RxCost: 96, Interval: 1200, Address: netip.MustParseAddr("fe80::1")}
	b.ReportAllocs()
	for range b.N {
		if !enc.AddHello(&hello) || !enc.AddIHU(&ihu) {
			enc.buf = enc.buf[:HeaderLen]
		}
	}
}
