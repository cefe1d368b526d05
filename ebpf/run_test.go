package ebpf

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"pgregory.net/rapid"
)

// shortest is what BPF_PROG_TEST_RUN takes of IPv6; the stack drops what is
// shorter.
const shortest = 54

// program runs the real programs on packets, by BPF_PROG_TEST_RUN: the kernel's
// verifier, compiler and helpers, without an interface.
type program struct{ t *Translator }

func loaded(t testing.TB, pairs []Pair) program {
	t.Helper()
	needsKernel(t)
	tr := &Translator{}
	if err := tr.load(14); err != nil {
		var v *ebpf.VerifierError
		if errors.As(err, &v) {
			t.Fatalf("%+v", v)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.objects.Close() })
	if err := tr.Set(pairs); err != nil {
		t.Fatal(err)
	}
	return program{tr}
}

func (p program) run(t testing.TB, frame []byte, outwards bool) ([]byte, refVerdict) {
	t.Helper()
	prog := p.t.objects.Re6stIngress
	if outwards {
		prog = p.t.objects.Re6stEgress
	}
	out := make([]byte, len(frame)+256)
	opts := ebpf.RunOptions{Data: frame, DataOut: out}
	code, err := prog.Run(&opts)
	if err != nil {
		t.Fatalf("running the program on %d bytes: %v", len(frame), err)
	}
	switch int32(code) {
	case -1:
		return opts.DataOut, refNext
	case 2:
		return opts.DataOut, refDrop
	case 7:
		return opts.DataOut, refTurn
	}
	t.Fatalf("verdict %d", int32(code))
	return nil, 0
}

// compare runs program and reference, and demands the same bytes and verdict.
func (p program) compare(t testing.TB, frame []byte, outwards bool) {
	t.Helper()
	want, verdict := reference(p.t.Pairs()).packet(frame, outwards)
	got, gotVerdict := p.run(t, frame, outwards)
	if verdict != gotVerdict || verdict != refDrop && !bytes.Equal(want, got) {
		t.Fatalf("pairs %v, outwards %t:\nframe  %s\nverdict %v, want %v\ngot    %s\nwant   %s", p.t.Pairs(), outwards,
			hex.EncodeToString(frame), gotVerdict, verdict, hex.EncodeToString(got), hex.EncodeToString(want))
	}
}

// RFC 6296, section 3.6: the example of the standard.
func TestSection3_6_Example(t *testing.T) {
	p := loaded(t, []Pair{{prefix("fd01:203:405::/48"), prefix("2001:db8:1::/48")}})
	in, out := addr("fd01:203:405:1::1234"), addr("2001:db8:1:d550::1234")
	far := addr("2001:db8:2::1")
	got, _ := p.run(t, frame(in, far, protoUDP, udp(0)), true)
	if src := netip.AddrFrom16([16]byte(got[22:38])); src != out {
		t.Errorf("%v became %v, want %v", in, src, out)
	}
	got, _ = p.run(t, frame(far, out, protoUDP, udp(0)), false)
	if dst := netip.AddrFrom16([16]byte(got[38:54])); dst != in {
		t.Errorf("%v became %v, want %v", out, dst, in)
	}
}

// Every pair of lengths, addresses at every edge: the programs do what the
// reference does, no checksum changes, and what went out comes back as it was.
func TestEveryLength(t *testing.T) {
	p := loaded(t, nil)
	r := rand.New(rand.NewPCG(6296, 1))
	far := addr("2400::1")
	for inside := 1; inside <= 64; inside++ {
		for _, outside := range []int{inside, 1 + r.IntN(64), 1 + r.IntN(64), 48, 56, 64} {
			pair := Pair{
				netip.PrefixFrom(edgy(r, 0xfc), max(inside, 8)).Masked(),
				netip.PrefixFrom(edgy(r, 0x20), max(outside, 8)).Masked(),
			}
			if err := p.t.Set([]Pair{pair}); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				src := within(r, pair.Inside)
				payload := checked(src, far, protoTCP, append(tcp(0), random(r, r.IntN(50))...))
				f := frame(src, far, protoTCP, payload)
				p.compare(t, f, true)
				p.compare(t, frame(far, within(r, pair.Outside), protoTCP, payload), false)
				out, verdict := p.run(t, f, true)
				if verdict != refNext {
					continue
				}
				now := netip.AddrFrom16([16]byte(out[22:38]))
				if sum := checksum(now, far, protoTCP, payload); sum != 0xffff {
					t.Fatalf("%v: %v became %v, and the checksum is wrong: %#x", pair, src, now, sum)
				}
				back, verdict := p.run(t, frame(far, now, protoTCP, payload), false)
				if verdict != refNext || netip.AddrFrom16([16]byte(back[38:54])) != src {
					t.Fatalf("%v: %v became %v and did not come back: %x", pair, src, now, back[38:54])
				}
			}
		}
	}
}

// edgy makes an address of words that are likely to matter.
func edgy(r *rand.Rand, first byte) netip.Addr {
	var b [16]byte
	for i := 0; i < 16; i += 2 {
		word := []uint16{0, 0xffff, 0xfffe, 1, uint16(r.Uint32()), uint16(r.Uint32())}[r.IntN(6)]
		b[i], b[i+1] = byte(word>>8), byte(word)
	}
	b[0] = first
	return netip.AddrFrom16(b)
}

func within(r *rand.Rand, p netip.Prefix) netip.Addr {
	a, q := edgy(r, 0).As16(), p.Addr().As16()
	for bit := range p.Bits() {
		m := byte(0x80) >> (bit % 8)
		a[bit/8] = a[bit/8]&^m | q[bit/8]&m
	}
	return netip.AddrFrom16(a)
}

var somePairs = []Pair{
	{prefix("fd00:1::/48"), prefix("2001:db8:1::/48")},
	{prefix("fd00:2::/56"), prefix("2001:db8:2::/48")},
	{prefix("fd00:3::/48"), prefix("2001:db8:3:ab00::/56")},
	{prefix("fd00:4:0:5::/64"), prefix("2001:db8:4:6::/64")},
	{prefix("fd00:1:0:7::/64"), prefix("2001:db8:5:6::/64")}, // inside the first
}

// Packets of all kinds, whole, cut short anywhere, and with bytes changed.
func TestGeneratedPackets(t *testing.T) {
	p := loaded(t, somePairs)
	r := rand.New(rand.NewPCG(6296, 2))
	verdicts := map[string]int{}
	for i := range 6000 {
		f := generate(r)
		switch i % 4 {
		case 1:
			f = f[:max(shortest, r.IntN(len(f)+1))]
		case 2:
			f[12+r.IntN(len(f)-12)] ^= 1 << r.IntN(8)
		}
		outwards := r.IntN(2) == 0
		p.compare(t, f, outwards)
		_, v := p.run(t, f, outwards)
		verdicts[fmt.Sprint(v)]++
	}
	if len(verdicts) != 3 {
		t.Errorf("verdicts seen: %v, want all three", verdicts)
	}
}

// someAddr is inside, outside or elsewhere.
func someAddr(r *rand.Rand) netip.Addr {
	switch pair := somePairs[r.IntN(len(somePairs))]; r.IntN(8) {
	case 0, 1, 2:
		return within(r, pair.Inside)
	case 3, 4, 5:
		return within(r, pair.Outside)
	case 6:
		return []netip.Addr{addr("fe80::1"), addr("ff02::1"), addr("ff0e::1"), addr("::1"), addr("febf::1"), addr("fec0::1"), addr("ff05::2")}[r.IntN(7)]
	}
	return edgy(r, 0x24)
}

// generate makes a frame: transport or ICMPv6, with extension headers in front.
func generate(r *rand.Rand) []byte {
	src, dst := someAddr(r), someAddr(r)
	var next byte
	var payload []byte
	switch r.IntN(6) {
	case 0:
		next, payload = protoTCP, append(tcp(0), random(r, r.IntN(100))...)
	case 1:
		next, payload = protoUDP, append(udp(0), random(r, r.IntN(100))...)
	case 2: // echo, discovery, anything
		next, payload = protoICMP, icmp(byte(126+r.IntN(20)), random(r, r.IntN(60)))
	default:
		quoted := packet(someAddr(r), someAddr(r), protoUDP, udp(r.IntN(30)))
		next, payload = protoICMP, icmp(byte(r.IntN(6)), quoted[:r.IntN(len(quoted)+1)])
	}
	for range []int{0, 0, 0, 1, 2, 3, 9}[r.IntN(7)] {
		next, payload = extended(r, next, payload)
	}
	return frame(src, dst, next, payload)
}

func extended(r *rand.Rand, next byte, payload []byte) (byte, []byte) {
	kind := []byte{0, 43, 44, 51, 60}[r.IntN(5)]
	var h []byte
	switch kind {
	case 44:
		h = []byte{next, 0, 0, byte(r.IntN(2)), 1, 2, 3, 4}
		if r.IntN(3) == 0 {
			h[2], h[3] = 1, 8
		}
	case 51:
		n := 1 + r.IntN(6)
		h = append([]byte{next, byte(n)}, random(r, 4*(n+2)-2)...)
	default:
		n := r.IntN(3)
		h = append([]byte{next, byte(n)}, random(r, 8*(n+1)-2)...)
	}
	return kind, slices.Concat(h, payload)
}

// The rules that have a sentence of their own.
func TestPackets(t *testing.T) {
	p := loaded(t, somePairs)
	in, out, far := addr("fd00:1:0:9::1"), addr("2001:db8:1:cf50::1"), addr("2400::1")
	if got, _ := reference(somePairs).address(in, true); got != out {
		t.Fatalf("the test's own addresses: %v becomes %v", in, got)
	}
	quoting := func(src, dst netip.Addr) []byte { return icmp(icmpTimeExceeded, packet(src, dst, protoUDP, udp(8))) }
	for _, c := range []struct {
		name     string
		frame    []byte
		outwards bool
		want     refVerdict
		src, dst netip.Addr
		quoted   [2]netip.Addr
	}{
		{name: "out", frame: frame(in, far, protoTCP, tcp(9)), outwards: true, src: out, dst: far},
		{name: "in", frame: frame(far, out, protoTCP, tcp(9)), src: far, dst: in},
		{name: "source elsewhere stays", frame: frame(addr("2600::1"), far, protoTCP, tcp(0)), outwards: true, src: addr("2600::1"), dst: far},
		{name: "destination inside comes from outside", frame: frame(far, in, protoTCP, tcp(0)), src: far, dst: in},
		{name: "subnet 0xffff has no mapping (3.2)", frame: frame(addr("fd00:1:0:ffff::1"), far, protoTCP, tcp(0)), outwards: true, want: refDrop},
		{name: "nor from outside (3.3): the stack answers", frame: frame(far, addr("2001:db8:1:ffff::1"), protoTCP, tcp(0)), src: far, dst: addr("2001:db8:1:ffff::1")},
		{name: "a machine of the mesh on the uplink", frame: frame(in, addr("fd00:1:0:a::1"), protoTCP, tcp(0)), outwards: true, src: in, dst: addr("fd00:1:0:a::1")},
		{name: "an identifier of ones (3.5)", frame: frame(addr("fd00:4:0:5:ffff:ffff:ffff:ffff"), far, protoTCP, tcp(0)), outwards: true, want: refDrop},
		{name: "no room in the longer prefix", frame: frame(addr("fd00:3:0:100::1"), far, protoTCP, tcp(0)), outwards: true, want: refDrop},
		{name: "the longest prefix counts", frame: frame(addr("fd00:1:0:7::1"), far, protoTCP, tcp(0)), outwards: true, src: mapped(t, "fd00:1:0:7::1"), dst: far},
		{name: "link-local destination", frame: frame(in, addr("fe80::2"), protoUDP, udp(1)), outwards: true, src: in, dst: addr("fe80::2")},
		{name: "neighbour solicitation", frame: frame(in, far, protoICMP, icmp(135, make([]byte, 16))), outwards: true, src: in, dst: far},
		{name: "echo", frame: frame(in, far, protoICMP, icmp(128, nil)), outwards: true, src: out, dst: far},
		{name: "error from inside", frame: frame(addr("fd00:1:0:9::5"), far, protoICMP, quoting(far, in)), outwards: true, src: mapped(t, "fd00:1:0:9::5"), dst: far, quoted: [2]netip.Addr{far, out}},
		{name: "error by the gateway itself", frame: frame(addr("2600::1"), far, protoICMP, quoting(far, in)), outwards: true, src: addr("2600::1"), dst: far, quoted: [2]netip.Addr{far, out}},
		{name: "error from outside", frame: frame(addr("2600::1"), out, protoICMP, quoting(out, far)), src: addr("2600::1"), dst: in, quoted: [2]netip.Addr{in, far}},
		{name: "hairpin (4.3)", frame: frame(in, mapped(t, "fd00:1:0:a::1"), protoTCP, tcp(0)), outwards: true, want: refTurn, src: out, dst: mapped(t, "fd00:1:0:a::1")},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.compare(t, c.frame, c.outwards)
			got, verdict := p.run(t, c.frame, c.outwards)
			if verdict != c.want {
				t.Fatalf("verdict %v, want %v", verdict, c.want)
			}
			if verdict == refDrop {
				return
			}
			at := func(offset int) netip.Addr { return netip.AddrFrom16([16]byte(got[offset:])) }
			if at(22) != c.src || at(38) != c.dst {
				t.Errorf("%v > %v, want %v > %v", at(22), at(38), c.src, c.dst)
			}
			if c.quoted[0].IsValid() && (at(70) != c.quoted[0] || at(86) != c.quoted[1]) {
				t.Errorf("quoted %v > %v, want %v > %v", at(70), at(86), c.quoted[0], c.quoted[1])
			}
		})
	}
	t.Run("counters", func(t *testing.T) {
		n, err := p.t.Counters()
		if err != nil {
			t.Fatal(err)
		}
		// Each case has run twice.
		want := Counters{
			Egress:  Direction{Packets: 2 * 5, Embedded: 2 * 2, Unmapped: 2 * 3, Hairpinned: 2},
			Ingress: Direction{Packets: 2 * 2, Embedded: 2, Unmapped: 2},
		}
		n.Egress.Bytes, n.Ingress.Bytes = 0, 0
		if n != want {
			t.Errorf("counted %+v, want %+v", n, want)
		}
	})
}

// What the gateway's filter is told has no counterpart has none, and nothing else.
func TestPropertyHoles(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		pairs := slices.DeleteFunc(slices.Clone(somePairs), func(Pair) bool { return rapid.Bool().Draw(r, "without") })
		words := rapid.SliceOfN(rapid.SampledFrom([]uint16{0, 1, 2, 3, 4, 5, 7, 0xfffe, 0xffff}), 8, 8).Draw(r, "words")
		words[0] = 0xfd00
		var b [16]byte
		for i, w := range words {
			binary.BigEndian.PutUint16(b[2*i:], w)
		}
		a := netip.AddrFrom16(b)
		var inside Pair
		for _, p := range pairs {
			if p.Inside.Contains(a) && p.Inside.Bits() > inside.Inside.Bits() {
				inside = p
			}
		}
		if inside.Outside.Bits() > inside.Inside.Bits() {
			return // the gateway refuses such a pair
		}
		got := false
		for _, h := range Holes(pairs) {
			if h.Inside.Contains(a) {
				under := h.Mask.As16()
				for i := range under {
					under[i] &= b[i]
				}
				got = netip.AddrFrom16(under) == h.Value
				break
			}
		}
		if _, outcome := reference(pairs).address(a, true); got != (outcome == refUnmapped) {
			r.Fatalf("%v: a hole %t, the reference says %v", a, got, outcome)
		}
	})
}

func mapped(t *testing.T, inside string) netip.Addr {
	t.Helper()
	a, outcome := reference(somePairs).address(addr(inside), true)
	if outcome != refTranslated {
		t.Fatalf("%s has no mapping", inside)
	}
	return a
}

// A packet of another protocol is none of ours.
func TestNotOurs(t *testing.T) {
	p := loaded(t, somePairs)
	whole := frame(addr("fd00:1:0:9::1"), addr("2400::1"), protoUDP, udp(4))
	arp := slices.Clone(whole)
	arp[12], arp[13] = 0x08, 0x06
	four := slices.Clone(whole)
	four[14] = 0x45
	for name, f := range map[string][]byte{"ARP": arp, "version 4": four} {
		for _, outwards := range []bool{true, false} {
			got, verdict := p.run(t, f, outwards)
			if verdict != refNext || !bytes.Equal(got, f) {
				t.Errorf("%s, outwards %t: verdict %v, %x", name, outwards, verdict, got)
			}
		}
	}
}

// A planted difference is found: the oracle is no rubber stamp.
func TestReferenceCatchesDifference(t *testing.T) {
	p := loaded(t, somePairs)
	p.t.pairs = []Pair{{prefix("fd00:1::/48"), prefix("2001:db8:9::/48")}} // what the reference is told
	f := frame(addr("fd00:1:0:9::1"), addr("2400::1"), protoUDP, udp(4))
	want, _ := reference(p.t.Pairs()).packet(f, true)
	got, _ := p.run(t, f, true)
	if bytes.Equal(got, want) {
		t.Error("another outside prefix, and the same bytes")
	}
}

// FuzzTranslate compares on whatever the fuzzer thinks of.
func FuzzTranslate(f *testing.F) {
	p := loaded(f, somePairs)
	r := rand.New(rand.NewPCG(6296, 3))
	for range 60 {
		f.Add(generate(r), r.IntN(2) == 0)
	}
	f.Fuzz(func(t *testing.T, b []byte, outwards bool) {
		if len(b) < shortest || len(b) > 3000 {
			return
		}
		p.compare(t, b, outwards)
	})
}
