package userspace

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func listenBoth(t *testing.T, is6 bool) (*udpSocket, uint16) {
	t.Helper()
	s, port, err := listenUDP(is6, 0)
	must(t, err)
	t.Cleanup(func() { must(t, s.close()) })
	return s, port
}

// sendAndReceive gives the datagrams that arrive, until there are as many.
func sendAndReceive(t *testing.T, from, to *udpSocket, e *endpoint, bufs [][]byte) (got [][]byte, last *endpoint) {
	t.Helper()
	must(t, from.send(bufs, make([]uint8, len(bufs)), e))
	r := &receiver{socket: to}
	must(t, r.receive(func(m arrived) bool {
		last = m.from
		for at := 0; at < len(m.data); at += m.size {
			got = append(got, bytes.Clone(m.data[at:min(at+m.size, len(m.data))]))
		}
		m.buffer.release()
		return len(got) < len(bufs)
	}))
	return got, last
}

func datagrams(sizes ...int) (bufs [][]byte) {
	for i, n := range sizes {
		bufs = append(bufs, bytes.Repeat([]byte{byte(i + 1)}, n))
	}
	return bufs
}

func wantSame(t *testing.T, got, want [][]byte) {
	t.Helper()
	for i := range want {
		if i >= len(got) || !bytes.Equal(got[i], want[i]) {
			t.Fatalf("datagram %d of %d is another", i, len(got))
		}
	}
}

func TestRowsOverUDP(t *testing.T) {
	many := make([]int, batchSize)
	for i := range many {
		many[i] = 1452
	}
	for _, is6 := range []bool{false, true} {
		a, _ := listenBoth(t, is6)
		b, port := listenBoth(t, is6)
		host := netip.IPv6Loopback()
		if !is6 {
			host = netip.MustParseAddr("127.0.0.1")
		}
		for _, sizes := range [][]int{{1}, {1452}, {100, 100, 100}, {1452, 1452, 32}, {32, 1452, 1452, 64, 64, 63, 64}, many, {1, 2, 3, 4}, {4, 3, 2, 1}} {
			want := datagrams(sizes...)
			got, from := sendAndReceive(t, a, b, &endpoint{dst: netip.AddrPortFrom(host, port)}, want)
			wantSame(t, got, want)
			if from.src != host {
				t.Errorf("sent to %v, want %v", from.src, host)
			}
		}
		if !a.offload.Load() {
			t.Error("no offload: this shows less")
		}
	}
}

// A path with a small MTU: rows are refused, single datagrams are fragmented.
func TestRowsLargerThanThePath(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	linkUp(t, "lo", 1280)
	a, _ := listenBoth(t, false)
	b, port := listenBoth(t, false)
	want := datagrams(1452, 1452, 1452, 1452)
	got, _ := sendAndReceive(t, a, b, &endpoint{dst: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}, want)
	wantSame(t, got, want)
	if !a.offload.Load() {
		t.Error("one small path ends offload for all")
	}
}

// A peer hears from the address that it sent to, while we have it.
func TestSourceStays(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	linkUp(t, "lo", 65536)
	a, portA := listenBoth(t, false)
	b, portB := listenBoth(t, false)
	want := datagrams(100)
	_, from := sendAndReceive(t, a, b, &endpoint{dst: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.5"), portB)}, want)
	_, back := sendAndReceive(t, b, a, from, want)
	if back.dst != netip.AddrPortFrom(netip.MustParseAddr("127.0.0.5"), portB) {
		t.Errorf("the answer is from %v", back.dst)
	}
	gone := &endpoint{dst: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), portA), src: netip.MustParseAddr("192.0.2.99")}
	_, back = sendAndReceive(t, b, a, gone, datagrams(100, 100))
	if back.dst.Addr() != netip.MustParseAddr("127.0.0.1") || gone.SrcIP().IsValid() {
		t.Errorf("from an address that we have no more: %v, %v", back.dst, gone.SrcIP())
	}
}

func linkUp(t *testing.T, name string, mtu uint32) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(s)
	request, err := unix.NewIfreq(name)
	must(t, err)
	request.SetUint32(mtu)
	must(t, unix.IoctlIfreq(s, unix.SIOCSIFMTU, request))
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	must(t, unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, request))
}
