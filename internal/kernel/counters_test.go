package kernel

import (
	"net"
	"testing"
	"time"
)

// The counters are those that the kernel also shows elsewhere: what we send
// over lo comes back on lo.
func TestCountersFollowTraffic(t *testing.T) {
	h, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	before, err := h.Counters()
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	const packets, size = 20, 1000
	for range packets {
		if _, err := receiver.WriteTo(make([]byte, size), receiver.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(5 * time.Second); ; <-ticker.C {
		after, err := h.Counters()
		if err != nil {
			t.Fatal(err)
		}
		a, b := after[lo.Index], before[lo.Index]
		if a.RxPackets-b.RxPackets >= packets && a.TxBytes-b.TxBytes >= packets*size {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("counters of lo went from %+v to %+v", b, a)
		}
	}
}

func TestCountersMalformed(t *testing.T) {
	for _, b := range [][]byte{nil, make([]byte, 11), append(make([]byte, 12), 8, 0, 1, 0, 1, 2, 3, 4)} {
		if _, _, err := parseCounters(b); err == nil {
			t.Errorf("%x was taken", b)
		}
	}
}

func FuzzT13_Counters(f *testing.F) {
	f.Add(make([]byte, 12))
	f.Add(append(make([]byte, 12), append([]byte{36, 0, 1, 0}, make([]byte, 32)...)...))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _, _ = parseCounters(b) })
}
