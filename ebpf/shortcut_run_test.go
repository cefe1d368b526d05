package ebpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"re6st/internal/fib"
	"re6st/internal/lab/packets"
)

// relay is the real programs and what they are compared with: a fib.Table that is
// fed with the same. Packets are run by BPF_PROG_TEST_RUN, without an interface.
type relay struct {
	s     *Shortcut
	fib   *fib.FIB
	table *fib.Table
}

// Interfaces that need not exist. Packets come in by lo, which is a tunnel here.
const (
	testLo  = 1
	testA   = 101
	testB   = 102
	testLAN = 103
)

var testNetwork, testNetwork4 = prefix("2001:db8:42::/48"), prefix("10.42.0.0/16")

func newRelay(t testing.TB, z sizes, events ...fib.Event) *relay {
	t.Helper()
	needsKernel(t)
	r := &relay{s: &Shortcut{config: ShortcutConfig{sizes: z}, ports: map[int]*port{}}, fib: fib.New()}
	if err := r.s.load(14); err != nil {
		var v *ebpf.VerifierError
		if errors.As(err, &v) {
			t.Fatalf("%+v", v)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { r.s.objects.Close() })
	links := []fib.Link{
		{Index: testLo, Kind: fib.Raw, Up: true, MTU: 1420},
		{Index: testA, Kind: fib.Raw, Up: true, MTU: 1420},
		{Index: testB, Kind: fib.Raw, Up: true, MTU: 1280},
		{Index: testLAN, Kind: fib.Ethernet, Up: true, MTU: 1500},
	}
	for _, l := range links {
		p := &port{Port: Port{Index: l.Index, Kind: l.Kind}, attached: tcxLinks{}, permitted: map[netip.Prefix]struct{}{}}
		if l.Kind == fib.Ethernet {
			p.sources = r.s.routes.newTable()
		}
		r.s.ports[l.Index] = p
		must(t, r.s.objects.Interfaces.Put(uint32(l.Index), r.s.interfaceOf(p)))
	}
	must(t, r.s.SetOn(true))
	r.apply(t, fib.Snapshot{Links: links, Rules: []fib.Rule{
		{To: testNetwork, Lookup: true},
		{From: testNetwork, Lookup: true},
		{},
		{IPv4: true, To: testNetwork4, Lookup: true},
		{IPv4: true, From: testNetwork4, Lookup: true},
		{IPv4: true},
	}})
	r.apply(t, events...)
	return r
}

func (r *relay) apply(t testing.TB, events ...fib.Event) {
	t.Helper()
	r.fib.Apply(events...)
	table, add, remove := r.fib.Compile()
	r.table = table
	must(t, r.s.Update(add, remove))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func via(dst string, index int) fib.RouteAdded {
	return fib.RouteAdded{Route: fib.Route{RouteKey: fib.RouteKey{Dst: prefix(dst)}, Ordinary: true, Interface: index}}
}

func viaFrom(src, dst string, index int) fib.RouteAdded {
	e := via(dst, index)
	e.Src = prefix(src)
	return e
}

func unreachable(dst string) fib.RouteAdded {
	return fib.RouteAdded{Route: fib.Route{RouteKey: fib.RouteKey{Dst: prefix(dst), Priority: 1 << 31}}}
}

func local(p string) fib.LocalAdded { return fib.LocalAdded{Local: fib.Local{Prefix: prefix(p)}} }

// theWorld has every kind of route.
var theWorld = []fib.Event{
	unreachable("2001:db8:42::/48"), unreachable("10.42.0.0/16"),
	via("2001:db8:42:1::/64", testLo), via("2001:db8:42:2::/64", testA), via("2001:db8:42:3::/64", testB), via("2001:db8:42:4::/64", testLAN),
	via("2001:db8:42:2:f00::/72", testB), via("2001:db8:42:5::7/128", testA),
	local("2001:db8:42:9::1/128"), via("2001:db8:42:9::/64", testA),
	viaFrom("2001:db8:42:1::/64", "2001:db8:77::/48", testA), viaFrom("2001:db8:42::/48", "2001:db8:77::/48", testB),
	viaFrom("2001:db8:42::/48", "::/0", testA),
	via("10.42.1.0/24", testLo), via("10.42.2.0/24", testA), via("10.42.3.0/24", testB), via("10.42.4.0/24", testLAN),
	via("10.42.2.7/32", testB), via("0.0.0.0/0", testA),
	local("10.42.9.1/32"), local("192.0.2.1/32"), local("10.42.9.255/32"),
}

// skb is struct __sk_buff as BPF_PROG_TEST_RUN takes it: what is not named must be 0.
type skb struct {
	_       [2]uint32
	Mark    uint32
	_       [6]uint32
	Ingress uint32
	Ifindex uint32
	_       [30]uint32
	GsoSegs uint32
	_       [2]uint32
	GsoSize uint32
	_       [3]uint32
}

// result of one packet.
type result struct {
	verdict   string
	into      int // 0: to the stack
	out       []byte
	own, carr Flow // counted
}

const redirected = 7

// execute gives an IP packet to a program in an Ethernet frame.
func execute(t testing.TB, p *ebpf.Program, packet []byte, c skb) (out []byte, code int32) {
	t.Helper()
	kind := uint16(0x86dd)
	if len(packet) > 0 && packet[0]>>4 == 4 {
		kind = 0x0800
	}
	to := make([]byte, 6) // lo's own address: any other is for somebody else
	frame := binary.BigEndian.AppendUint16(append(to, insideMAC[:]...), kind)
	frame = append(frame, packet...)
	o := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256), Context: c}
	result, err := p.Run(&o)
	if err != nil {
		t.Fatalf("running the program on %d bytes (%x): %v", len(frame), frame[:min(len(frame), 80)], err)
	}
	return o.DataOut[14:], int32(result)
}

// verdict says what became of a packet.
func (r *relay) verdict(t testing.TB, p *ebpf.Program, packet []byte, c skb) string {
	t.Helper()
	before, _ := r.state(t)
	execute(t, p, packet, c)
	after, _ := r.state(t)
	return difference(before, after)
}

// run says all that became of a packet, by the counters.
func (r *relay) run(t testing.TB, p *ebpf.Program, packet []byte, c skb) result {
	t.Helper()
	before, flowsBefore := r.state(t)
	out, code := execute(t, p, packet, c)
	after, flowsAfter := r.state(t)
	got := result{out: out, verdict: difference(before, after)}
	for k, f := range flowsAfter {
		if was := flowsBefore[k]; f.Packets != was.Packets {
			got.into = k.into
			f.Packets, f.Bytes = f.Packets-was.Packets, f.Bytes-was.Bytes
			if f.Transit {
				got.carr = f
			} else {
				got.own = f
			}
		}
	}
	if isRedirected := code == redirected; isRedirected != (got.verdict == "forwarded") || !isRedirected && code != -1 {
		t.Fatalf("the program returned %d, and counted %q", code, got.verdict)
	}
	return got
}

func difference(before, after map[string]uint64) string {
	for name, n := range after {
		if n != before[name] {
			return name
		}
	}
	return ""
}

type flowID struct {
	to      netip.Prefix
	into    int
	transit bool
}

func (r *relay) state(t testing.TB) (map[string]uint64, map[flowID]Flow) {
	t.Helper()
	st, err := r.s.Stats()
	must(t, err)
	flows, err := r.s.Flows()
	must(t, err)
	by := map[flowID]Flow{}
	for _, f := range flows {
		by[flowID{f.To, f.Into, f.Transit}] = f
	}
	return st.Packets, by
}

// verdictOf is what the programs call what fib.Inspect finds.
var verdictOf = map[fib.Verdict]string{
	fib.Ordinary: "forwarded", fib.Malformed: "malformed", fib.Version: "version", fib.Options: "options", fib.Fragment: "fragment",
	fib.HopLimit: "hop_limit", fib.Address: "address", fib.Checksum: "checksum", fib.Connecting: "connecting", fib.Neighbour: "neighbour_discovery",
}

// want is what the reference says of a packet that is segments of this length at
// most (0: one), come in by lo.
func (r *relay) want(packet []byte, segment int) (verdict string, into int) {
	if v := fib.Inspect(packet, len(packet)); v != fib.Ordinary {
		return verdictOf[v], 0
	}
	src, dst := fib.Addresses(packet)
	d := r.table.Lookup(src, dst)
	switch {
	case d.Action == fib.Pass || r.s.ports[d.Interface].Kind != fib.Raw:
		return "pass", 0
	case d.Interface == testLo:
		return "back", 0
	}
	if segment == 0 {
		segment = len(packet)
	}
	if segment > d.MTU {
		return "too_big", 0
	}
	return "forwarded", d.Interface
}

// compare runs a packet and demands what the reference says, to the byte.
func (r *relay) compare(t testing.TB, what string, packet []byte, gso, headers int) string {
	t.Helper()
	segment := 0
	if gso > 0 {
		segment = gso + headers
	}
	verdict, into := r.want(packet, segment)
	if gso > 0 && headers == 0 && verdict == "forwarded" {
		verdict, into = "too_big", 0 // of what the segments consist is not known
	}
	got := r.run(t, r.s.objects.Re6stTunnel, packet, skb{GsoSize: uint32(gso)})
	want := slices.Clone(packet)
	if verdict == "forwarded" {
		fib.LowerHopLimit(want)
	}
	isSame := got.verdict == verdict || verdict == "pass" && got.verdict == "no_route"
	if !isSame || got.into != into || !bytes.Equal(got.out, want) {
		t.Fatalf("%s: %q into %d, want %q into %d\npacket %x\ngot    %x", what, got.verdict, got.into, verdict, into, packet[:min(len(packet), 100)], got.out[:min(len(packet), 100)])
	}
	if verdict == "forwarded" && gso == 0 && (got.carr.Packets != 1 || got.carr.Bytes != uint64(len(packet))) {
		t.Fatalf("%s: counted %+v of %d bytes", what, got.carr, len(packet))
	}
	return verdict
}

// testable is what BPF_PROG_TEST_RUN takes; DIFF's test sends the others.
func testable(packet []byte) bool {
	return len(packet) >= 40 && len(packet) < 3000
}

func testPlan() packets.Plan {
	named := func(all ...string) []packets.Address {
		var as []packets.Address
		for _, a := range all {
			as = append(as, packets.Address{What: a, Addr: addr(a)})
		}
		return as
	}
	return packets.Plan{
		V6: packets.Ends{
			Sources: named("2001:db8:42:1::1", "2001:db8:42:8::1", "2001:db8:99::1"),
			Destinations: named("2001:db8:42:1::2", "2001:db8:42:2::1", "2001:db8:42:2:f00::1", "2001:db8:42:3::1", "2001:db8:42:4::1", "2001:db8:42:5::7",
				"2001:db8:42:5::8", "2001:db8:42:9::1", "2001:db8:42:9::2", "2001:db8:77::1", "2400::1"),
		},
		V4: packets.Ends{
			Sources:      named("10.42.1.1", "10.42.8.1", "192.0.2.1", "192.0.2.2", "10.42.9.255"),
			Destinations: named("10.42.1.2", "10.42.2.1", "10.42.2.7", "10.42.3.1", "10.42.4.1", "10.42.5.1", "10.42.9.1", "198.51.100.1"),
		},
		MTUs: []int{1420, 1280},
	}
}

// The programs do what the reference does, byte for byte, with packets of all
// kinds; and every verdict comes up.
func TestA14_ShortcutIsTheReference(t *testing.T) {
	r := newRelay(t, sizes{}, theWorld...)
	g := packets.New(testPlan(), 14)
	seen := map[string]int{}
	random := rand.New(rand.NewPCG(14, 1))
	for i := range 12000 {
		p := g.Next()
		if !testable(p.Bytes) {
			continue
		}
		switch i % 5 {
		case 0:
			p.Bytes[random.IntN(60)%len(p.Bytes)] ^= 1 << random.IntN(8)
		case 1: // where TCP has its flags, ICMPv6 its type
			p.Bytes[40%len(p.Bytes)] = byte(130 + random.IntN(10))
			p.Bytes[53%len(p.Bytes)] = byte(random.Uint32())
		}
		seen[r.compare(t, p.What, p.Bytes, 0, 0)]++
	}
	for _, v := range append(slices.Collect(maps.Values(verdictOf)), "pass", "back", "too_big") {
		if seen[v] < 5 {
			t.Errorf("verdict %s came up %d times", v, seen[v])
		}
	}
	t.Log(seen)
}

// The control: a table that differs in one route is noticed.
func TestA14_DifferenceIsSeen(t *testing.T) {
	r := newRelay(t, sizes{}, theWorld...)
	b := packet(addr("2001:db8:42:1::1"), addr("2001:db8:42:2::1"), protoUDP, udp(9))
	r.compare(t, "before", b, 0, 0)
	r.fib.Apply(via("2001:db8:42:2::/64", testB)) // and the programs are not told
	r.table, _, _ = r.fib.Compile()
	got := r.run(t, r.s.objects.Re6stTunnel, b, skb{})
	if _, into := r.want(b, 0); got.into == into {
		t.Errorf("both say %d", into)
	}
}

// Every length around every limit, whole and in segments.
func TestShortcutLengths(t *testing.T) {
	r := newRelay(t, sizes{}, theWorld...)
	for _, dst := range []string{"2001:db8:42:2::1", "2001:db8:42:3::1"} {
		for _, mtu := range []int{1280, 1420} {
			for n := mtu - 60; n <= mtu+60; n++ {
				b := packet(addr("2001:db8:42:1::1"), addr(dst), protoUDP, udp(n-48))
				r.compare(t, fmt.Sprintf("UDP of %d", n), b, 0, 0)
				for _, options := range []int{0, 12, 40} {
					p := tcp(2900 - 60)
					p[12] = byte(20+options) / 4 << 4
					b := packet(addr("2001:db8:42:1::1"), addr(dst), protoTCP, p)
					r.compare(t, fmt.Sprintf("TCP in segments of %d, %d of options", n, options), b, n-60-options, 60+options)
				}
				b = packet(addr("2001:db8:42:1::1"), addr(dst), protoUDP, udp(2000))
				r.compare(t, fmt.Sprintf("UDP in segments of %d", n), b, n-48, 48)
			}
		}
	}
	b := packet(addr("2001:db8:42:1::1"), addr("2001:db8:42:2::1"), 132, make([]byte, 2000))
	r.compare(t, "SCTP in segments", b, 1000, 0)
}

// FuzzShortcut compares on whatever the fuzzer thinks of.
func FuzzShortcut(f *testing.F) {
	r := newRelay(f, sizes{}, theWorld...)
	g := packets.New(testPlan(), 15)
	for range 60 {
		f.Add(g.Next().Bytes, uint16(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, gso uint16) {
		if !testable(b) {
			return
		}
		gso %= 2000
		headers := 0
		if v := fib.Inspect(b, len(b)); gso > 0 && v == fib.Ordinary {
			headers = headersOf(b)
		}
		r.compare(t, "fuzzed", b, int(gso), headers)
	})
}

// headersOf is what each segment of a packet has before its payload; 0: not known.
func headersOf(b []byte) int {
	ip, protocol := 40, b[6]
	if b[0]>>4 == 4 {
		ip, protocol = 20, b[9]
	}
	switch {
	case protocol == protoUDP:
		return ip + 8
	case protocol == protoTCP && len(b) > ip+12 && b[ip+12]>>4 > 0:
		return ip + int(b[ip+12]>>4)*4
	}
	return 0
}
