package babel

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"re6st/babel/wire"
)

// What is stored for each route and each destination has these sizes, and no
// others by accident: a network of 1,000 nodes has ten million routes.
func TestStorage_Sizes(t *testing.T) {
	if n := unsafe.Sizeof(route{}); n != 32 {
		t.Errorf("a route has %d octets", n)
	}
	if n := unsafe.Sizeof(entry{}); n != 112 {
		t.Errorf("an entry has %d octets", n)
	}
}

// The memory of a route, all included, when 10 neighbours tell each of 1,000
// prefixes, and when one tells 50,000.
func TestStorage_OctetsPerRoute(t *testing.T) {
	for _, v := range []struct{ neighbours, prefixes, most int }{{10, 1000, 128}, {1, 50000, 220}} {
		if n := octetsPerRoute(t, v.neighbours, v.prefixes); n > float64(v.most) {
			t.Errorf("%d neighbours, %d prefixes: %.0f octets a route, want at most %d", v.neighbours, v.prefixes, n, v.most)
		}
	}
}

// BenchmarkMemoryPerRoute reports what TestStorage_OctetsPerRoute bounds.
func BenchmarkMemoryPerRoute(b *testing.B) {
	for _, v := range []struct{ neighbours, prefixes int }{{10, 1000}, {1, 50000}, {2, 50000}} {
		b.Run(fmt.Sprintf("neighbours=%d/prefixes=%d", v.neighbours, v.prefixes), func(b *testing.B) {
			var octets float64
			for b.Loop() {
				octets = octetsPerRoute(b, v.neighbours, v.prefixes)
			}
			b.ReportMetric(octets, "octets/route")
		})
	}
}

// octetsPerRoute has an engine learn, install and announce, and looks at the heap
// when all is said and acknowledged.
func octetsPerRoute(t testing.TB, neighbours, prefixes int) float64 {
	var engines []*Engine
	packets := learnPackets(prefixes)
	repeat := max(1, 50000/neighbours/prefixes)
	before := heapLive()
	for range repeat {
		b := newBench(neighbours)
		for index := range neighbours {
			b.hear(index+1, packets)
		}
		b.pass(2 * time.Minute)
		if n := b.e.entries.count; n != prefixes {
			t.Fatalf("%d entries", n)
		}
		if b.e.routeCount != neighbours*prefixes {
			t.Fatalf("%d routes", b.e.routeCount)
		}
		engines = append(engines, b.e)
	}
	used := heapLive() - before
	runtime.KeepAlive(engines)
	runtime.KeepAlive(packets)
	return float64(used) / float64(repeat*neighbours*prefixes)
}

func heapLive() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// bench is an engine whose neighbours say Hello and acknowledge everything.
type bench struct {
	e     *Engine
	now   time.Time
	seqno uint16
	links int
	dec   wire.Decoder
	enc   *wire.Encoder
	count int // packets sent
	at    time.Time
}

var benchPeer = netip.MustParseAddrPort("[fe80::1]:6696")

// newBench has a tunnel to each neighbour, which is heard both ways.
func newBench(links int) *bench {
	b := &bench{
		e:   New(Config{RouterID: selfID, Rand: rand.New(rand.NewPCG(1, 1))}),
		now: epoch, links: links, enc: wire.NewEncoder(1372),
	}
	for index := range links {
		b.e.InterfaceUp(b.now, InterfaceConfig{Index: index + 1, LinkLocal: self, MTU: 1420, Kind: Tunnel})
	}
	b.pass(time.Second)
	return b
}

func (b *bench) greet() {
	b.seqno++
	for index := range b.links {
		b.enc.Reset()
		b.enc.Add(&wire.Hello{Seqno: b.seqno, Interval: 400})
		b.enc.Add(&wire.IHU{RxCost: 96, Interval: 1200, Address: self})
		b.receive(index+1, b.enc.Bytes())
	}
	b.at = b.now.Add(3900 * time.Millisecond)
}

func (b *bench) receive(index int, packet []byte) {
	b.e.Receive(b.now, index, benchPeer, wire.Group(), packet)
}

// hear has a neighbour say packets, 4 ms apart.
func (b *bench) hear(index int, packets [][]byte) {
	for _, p := range packets {
		b.receive(index, p)
		b.pass(4 * time.Millisecond)
	}
}

// pass lets time pass, and acknowledges.
func (b *bench) pass(d time.Duration) {
	until := b.now.Add(d)
	for {
		b.drain()
		at := earliest(b.e.Deadline(), until, b.at)
		if at.After(b.now) {
			b.now = at
		}
		if !b.now.Before(until) {
			break
		}
		if !b.at.After(b.now) {
			b.greet()
		}
		b.e.Advance(b.now)
	}
	b.e.Advance(b.now)
	b.drain()
}

func (b *bench) drain() {
	for _, p := range b.e.Output().Packets {
		b.count++
		// The Ack Request is the first TLV, or comes after Hello and IHUs.
		for _, tlv := range b.dec.Parse(p.Data, self).TLVs {
			if a, ok := tlv.(*wire.AckRequest); ok {
				b.enc.Reset()
				b.enc.Add(&wire.Ack{Opaque: a.Opaque})
				b.receive(p.Interface, b.enc.Bytes())
				break
			}
		}
	}
}

// cpu is the time that processors spent on us: other than the time that passed it
// says the same on a busy machine.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLearn is a table that is learned from one neighbour, installed, and
// passed on to another.
func BenchmarkLearn(b *testing.B) {
	for _, size := range []int{1000, 10000, 50000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			packets := learnPackets(size)
			b.ReportAllocs()
			began := cpu(b)
			for b.Loop() {
				x := newBench(2)
				x.hear(1, packets)
				x.pass(time.Second)
				if x.e.entries.count != size {
					b.Fatal(x.e.entries.count)
				}
			}
			reportPerThousand(b, cpu(b)-began, size)
		})
	}
}

func reportPerThousand(b *testing.B, d time.Duration, size int) {
	b.ReportMetric(float64(d.Microseconds())/float64(b.N)/float64(size)*1000, "cpu-µs/1000routes")
}

// learnPackets is a neighbour's dump.
func learnPackets(size int) [][]byte {
	var packets [][]byte
	enc := wire.NewEncoder(1372)
	flush := func() {
		packets = append(packets, append([]byte(nil), enc.Bytes()...))
		enc.Reset()
	}
	for i := range size {
		u := &wire.Update{Prefix: nodePrefix(i), Interval: 30000, Seqno: 1, Metric: 96, RouterID: originA}
		if !enc.Add(u) {
			flush()
			enc.Add(u)
		}
	}
	flush()
	return packets
}

// BenchmarkRepeat is a periodic dump that says what is known: for each Update.
func BenchmarkRepeat(b *testing.B) {
	const size = 10000
	packets := learnPackets(size)
	x := newBench(2)
	x.hear(1, packets)
	x.pass(time.Second)
	b.ReportAllocs()
	// An op, and its allocations, are a packet of some 100 Updates.
	heard, began := 0, cpu(b)
	for b.Loop() {
		x.receive(1, packets[heard%len(packets)])
		heard++
	}
	b.ReportMetric(float64((cpu(b)-began).Nanoseconds())/float64(heard)/float64(size)*float64(len(packets)), "cpu-ns/update")
}

// BenchmarkRetractAll is a wildcard retraction, passed on to a neighbour.
func BenchmarkRetractAll(b *testing.B) {
	for _, size := range []int{10000, 50000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			packets := learnPackets(size)
			enc := wire.NewEncoder(100)
			enc.Add(&wire.Update{Interval: 30000, Metric: Infinity})
			b.ReportAllocs()
			var spent time.Duration
			for b.Loop() {
				b.StopTimer()
				x := newBench(2)
				x.hear(1, packets)
				x.pass(time.Second)
				b.StartTimer()
				began := cpu(b)
				x.receive(1, enc.Bytes())
				x.pass(time.Second)
				if x.e.held+x.e.entries.count == 0 {
					b.Fatal("nothing was retracted")
				}
				spent += cpu(b) - began
			}
			reportPerThousand(b, spent, size)
		})
	}
}

// BenchmarkNeighbourDies is the same by a link that goes down.
func BenchmarkNeighbourDies(b *testing.B) {
	const size = 50000
	packets := learnPackets(size)
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		x := newBench(2)
		x.hear(1, packets)
		x.pass(time.Second)
		b.StartTimer()
		began := cpu(b)
		x.e.InterfaceDown(x.now, 1)
		x.pass(time.Second)
		spent += cpu(b) - began
	}
	reportPerThousand(b, spent, size)
}

// BenchmarkIdleTunnel is ten tunnels of a node for an hour, with the dumps of 490
// destinations by each neighbour: an op is a tunnel and an hour.
func BenchmarkIdleTunnel(b *testing.B) {
	const links, size = 10, 490
	packets := learnPackets(size)
	x := newBench(links)
	for index := range links {
		x.hear(index+1, packets)
	}
	x.pass(time.Minute)
	b.ReportAllocs()
	n, began := 0, cpu(b)
	for b.Loop() {
		for range 12 {
			for index := range links {
				x.hear(index+1, packets)
			}
			x.pass(5*time.Minute - time.Duration(links*len(packets)*4)*time.Millisecond)
		}
		n += links
	}
	b.ReportMetric(float64((cpu(b)-began).Microseconds())/1000/float64(n), "cpu-ms/tunnel-hour")
}
