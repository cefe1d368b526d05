package trace

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

var (
	target6 = netip.MustParseAddr("2001:db8:42:7::1")
	target4 = netip.MustParseAddr("192.0.2.7")
	router6 = netip.MustParseAddr("2001:db8:42:8::1")
)

const testID = 0xbeef

// quoted6 is a request of ours as a router quotes it.
func quoted6(to netip.Addr, id, seq uint16) []byte {
	b := make([]byte, 40)
	b[0], b[6], b[7] = 0x60, 58, 1
	a := to.As16()
	copy(b[24:], a[:])
	request, _ := echo(to, id, seq)
	return append(b, request...)
}

// quoted4 has IP options of so many words.
func quoted4(to netip.Addr, id, seq uint16, options int) []byte {
	b := make([]byte, 20+4*options)
	b[0], b[9] = 0x45+byte(options), 1
	a := to.As4()
	copy(b[16:], a[:])
	request, _ := echo(to, id, seq)
	return append(b, request[:8]...) // RFC 792 promises no more
}

func message(t testing.TB, kind icmp.Type, data []byte) []byte {
	t.Helper()
	m := icmp.Message{Type: kind, Body: &icmp.RawBody{Data: append(make([]byte, 4), data...)}}
	b, err := m.Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func reply(t testing.TB, kind icmp.Type, id, seq uint16) []byte {
	t.Helper()
	m := icmp.Message{Type: kind, Body: &icmp.Echo{ID: int(id), Seq: int(seq)}}
	b, err := m.Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name         string
		b            []byte
		from, target netip.Addr
		want         Kind
		ok           bool
	}{
		{"echo reply", reply(t, ipv6.ICMPTypeEchoReply, testID, 9), target6, target6, Arrived, true},
		{"time exceeded", message(t, ipv6.ICMPTypeTimeExceeded, quoted6(target6, testID, 9)), router6, target6, Passed, true},
		{"unreachable", message(t, ipv6.ICMPTypeDestinationUnreachable, quoted6(target6, testID, 9)), router6, target6, Unreachable, true},
		{"IPv4 echo reply", reply(t, ipv4.ICMPTypeEchoReply, testID, 9), target4, target4, Arrived, true},
		{"IPv4 time exceeded", message(t, ipv4.ICMPTypeTimeExceeded, quoted4(target4, testID, 9, 0)), target4, target4, Passed, true},
		{"IPv4 with options", message(t, ipv4.ICMPTypeDestinationUnreachable, quoted4(target4, testID, 9, 3)), target4, target4, Unreachable, true},

		{"echo reply of another", reply(t, ipv6.ICMPTypeEchoReply, testID, 9), router6, target6, Arrived, false},
		{"another's echo reply", reply(t, ipv6.ICMPTypeEchoReply, 1, 9), target6, target6, Arrived, false},
		{"a request", reply(t, ipv6.ICMPTypeEchoRequest, testID, 9), target6, target6, Silence, false},
		{"another's packet", message(t, ipv6.ICMPTypeTimeExceeded, quoted6(target6, 1, 9)), router6, target6, Passed, false},
		{"to another target", message(t, ipv6.ICMPTypeTimeExceeded, quoted6(router6, testID, 9)), router6, target6, Silence, false},
		{"IPv4 to another target", message(t, ipv4.ICMPTypeTimeExceeded, quoted4(netip.MustParseAddr("192.0.2.8"), testID, 9, 0)), target4, target4, Silence, false},
		{"IPv4 in IPv6", message(t, ipv6.ICMPTypeTimeExceeded, quoted4(target4, testID, 9, 0)), router6, target6, Silence, false},
		{"neighbour discovery", message(t, ipv6.ICMPTypeNeighborSolicitation, nil), router6, target6, Silence, false},
	} {
		kind, seq, ok := parse(tt.b, tt.from, tt.target, testID)
		if ok != tt.ok || ok && (kind != tt.want || seq != 9) {
			t.Errorf("%s: %v, %d, %v; want %v, 9, %v", tt.name, kind, seq, ok, tt.want, tt.ok)
		}
		for n := range min(len(tt.b), 8+48) { // what is beyond is payload
			if _, _, ok := parse(tt.b[:n], tt.from, tt.target, testID); ok && n < 8 {
				t.Errorf("%s: %d bytes are enough", tt.name, n)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(reply(f, ipv6.ICMPTypeEchoReply, testID, 9), true)
	f.Add(message(f, ipv6.ICMPTypeTimeExceeded, quoted6(target6, testID, 9)), true)
	f.Add(message(f, ipv4.ICMPTypeTimeExceeded, quoted4(target4, testID, 9, 10)), false)
	f.Add([]byte{11, 0, 0, 0, 0, 0, 0, 0, 0x4f, 0}, false)
	f.Fuzz(func(t *testing.T, b []byte, is6 bool) {
		target := target4
		if is6 {
			target = target6
		}
		kind, seq, ok := parse(b, target, target, testID)
		if !ok {
			return
		}
		at := 4 // of the id
		switch {
		case kind == Silence:
			t.Fatalf("%x belongs to us and says nothing", b)
		case kind != Arrived && is6:
			at = 8 + 40 + 4
		case kind != Arrived:
			at = 8 + int(b[8]&0xf)*4 + 4
		}
		if binary.BigEndian.Uint16(b[at:]) != testID || binary.BigEndian.Uint16(b[at+2:]) != seq {
			t.Fatalf("%x is not of ours", b)
		}
	})
}
