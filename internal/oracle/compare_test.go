package oracle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"re6st/internal/lab"
	"re6st/internal/lab/packets"
)

// sent is a packet with the interface that it goes into.
type sent struct {
	into   port
	packet packets.Packet
}

// generate makes n packets for the relay.
func (w *world) generate(seed uint64, n int) []sent {
	generators := make([]*packets.Generator, len(w.ingress))
	for i, p := range w.ingress {
		generators[i] = packets.New(w.plans[p.name()], seed*100+uint64(i))
	}
	all := make([]sent, n)
	for i := range all {
		k := i % len(generators)
		all[i] = sent{w.ingress[k], generators[k].Next()}
	}
	return all
}

const (
	batch = 250
	// attempts is how often a batch must differ. What the shortcut does is the
	// same each time; the kernel's own doings (a timer, a report of groups) are not.
	attempts = 2
	// reported is how many differing packets are shown.
	reported = 8
)

// refill is how long the kernel takes to answer unreachable as often as before
// (ip_error in net/ipv4/route.c: five times to one address, and once a second).
const refill = 6 * time.Second

// round is how many packets can be sent before that matters.
const round = 10000

// rounds compares so many packets, and fails the test where something differs.
func (w *world) rounds(seed uint64, packets int) {
	w.t.Helper()
	for n := 0; n < packets; n += round {
		if n > 0 {
			<-time.After(refill)
		}
		if d := w.compare(w.generate(seed+uint64(n/round), min(round, packets-n))); len(d) > 0 {
			w.t.Fatalf("with the shortcut it is not as by the stack:\n%s", strings.Join(d, "\n"))
		}
	}
}

// compare sends all packets without the shortcut and with it, and says of which
// something else became.
func (w *world) compare(all []sent) (differences []string) {
	w.t.Helper()
	for chunk := range slices.Chunk(all, batch) {
		together := w.differsAlways(chunk)
		if together == "" {
			continue
		}
		<-time.After(refill)
		for _, one := range chunk {
			if d := w.differs([]sent{one}); d != "" {
				differences = append(differences, fmt.Sprintf("into %s: %s\n  %x\n%s", one.into.name(), one.packet.What, head(one.packet.Bytes), d))
			}
		}
		if len(differences) == 0 {
			differences = append(differences, "packets that differ together, but not alone:\n"+together)
		}
		if len(differences) >= reported {
			return differences
		}
	}
	return differences
}

// differsAlways is differs for what is so each time.
func (w *world) differsAlways(chunk []sent) (d string) {
	first := ""
	for i := range attempts {
		if d = w.differs(chunk); d == "" {
			if first != "" {
				w.t.Logf("a batch differed once:\n%s", first)
			}
			return ""
		}
		if i == 0 {
			first = d
		}
	}
	return d
}

// differs sends the packets both ways.
func (w *world) differs(chunk []sent) string {
	off, on := w.send(false, chunk), w.send(true, chunk)
	var b strings.Builder
	for _, o := range without(off, on) {
		fmt.Fprintf(&b, "  without: %s\n", short(o))
	}
	for _, o := range without(on, off) {
		fmt.Fprintf(&b, "  with:    %s\n", short(o))
	}
	return b.String()
}

func short(o outcome) string {
	return fmt.Sprintf("%s %s %d bytes %x", o.port, o.frame, len(o.packet), head(o.packet))
}

func head(b []byte) []byte { return b[:min(len(b), 128)] }

// without gives what of a is not in b, each as often as it is too many.
func without(a, b []outcome) []outcome {
	count := map[string]int{}
	for _, o := range b {
		count[o.String()]++
	}
	var rest []outcome
	for _, o := range a {
		key := o.String()
		if count[key]--; count[key] < 0 {
			rest = append(rest, o)
		}
	}
	return rest
}

// send sends them one way and gives all that came out.
func (w *world) send(on bool, chunk []sent) []outcome {
	w.t.Helper()
	lab.Must(w.t, w.shortcut(on))
	var out []outcome
	for i, s := range chunk {
		if err := s.into.inject(s.packet); err != nil {
			w.t.Fatalf("sending %s into %s: %v", s.packet.What, s.into.name(), err)
		}
		if i%32 == 31 {
			out = append(out, w.drain()...)
		}
	}
	// Twice: the first says that the relay has looked at all, the second that what
	// it then sent back has arrived.
	out = append(out, w.settle()...)
	out = append(out, w.settle()...)
	return slices.DeleteFunc(out, func(o outcome) bool {
		return isNoise(o) || isLate(o.packet) || bytes.Contains(o.packet, []byte(sentinel))
	})
}

func (w *world) drain() []outcome {
	w.t.Helper()
	var all []outcome
	for _, p := range w.ports {
		some, err := p.drain()
		if err != nil {
			w.t.Fatal(err)
		}
		for i := range some {
			normalise(&some[i])
		}
		all = append(all, some...)
	}
	return all
}

// sentinel begins the payload of packets that say: what was sent before me has
// arrived.
const sentinel = "re6st-sentinel"

// settle waits for everything that is on its way. Between each two interfaces one
// packet goes the ordinary way, which a shortcut may take, and one the way of what
// a shortcut leaves to the stack: both keep the order.
func (w *world) settle() []outcome {
	w.t.Helper()
	all, missing := w.flush(lab.Slow(10 * time.Second))
	if len(missing) > 0 {
		w.t.Fatalf("sentinels that did not come: %v", missing)
	}
	return all
}

// establish waits until every tunnel has a session. While both ends make one at the
// same time packets can be lost, so sentinels are sent until all of them come.
func (w *world) establish() {
	w.t.Helper()
	var missing []string
	for range 10 {
		if _, missing = w.flush(lab.Slow(3 * time.Second)); len(missing) == 0 {
			return
		}
	}
	w.t.Fatalf("no session: sentinels that did not come: %v", missing)
}

// flush sends sentinels, and gives what came until the last of them had, and which
// did not come.
func (w *world) flush(patience time.Duration) (all []outcome, late []string) {
	w.t.Helper()
	w.round++
	missing := map[string]bool{}
	for _, from := range w.ingress {
		for _, to := range w.ingress {
			for _, isOrdinary := range []bool{true, false} {
				if from == to {
					continue
				}
				text := fmt.Sprintf("%s %d %s %s %t.", sentinel, w.round, from.name(), to.name(), isOrdinary)
				missing[text] = true
				if err := from.inject(packets.Packet{Bytes: sentinelPacket(from, to, isOrdinary, text)}); err != nil {
					w.t.Fatalf("sending a sentinel into %s: %v", from.name(), err)
				}
			}
		}
	}
	deadline := time.Now().Add(patience)
	for len(missing) > 0 {
		some := w.drain()
		for _, o := range some {
			if i := bytes.Index(o.packet, []byte(sentinel)); i >= 0 {
				delete(missing, string(o.packet[i:]))
			}
		}
		if all = append(all, some...); len(some) > 0 || len(missing) == 0 {
			continue
		}
		if time.Now().After(deadline) {
			break
		}
		w.await()
	}
	return all, slices.Collect(maps.Keys(missing))
}

// await waits a moment, or until something comes out.
func (w *world) await() {
	var fds []unix.PollFd
	for _, p := range w.ports {
		if f, ok := p.(interface{ file() int }); ok {
			fds = append(fds, unix.PollFd{Fd: int32(f.file()), Events: unix.POLLIN})
		}
	}
	_, _ = unix.Poll(fds, 5)
}

func (p *tunPort) file() int { return p.fd }
func (p *lanPort) file() int { return p.fd }

// sentinelPacket is UDP; one that is not ordinary has a hop-by-hop header, which
// routers look at.
func sentinelPacket(from, to port, isOrdinary bool, text string) []byte {
	address := func(p port, host string) netip.Addr {
		if p.name() == lanName {
			return netip.MustParseAddr("2001:db8:42:1::" + host)
		}
		return netip.MustParseAddr("2001:db8:42:1" + p.name()[1:] + "::" + host)
	}
	src, dst := address(from, "10"), address(to, "5e")
	b := make([]byte, 40, 200)
	b[0], b[6], b[7] = 6<<4, 17, 64
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	if !isOrdinary {
		b[6] = 0
		b = append(b, 17, 0, 1, 4, 0, 0, 0, 0)
	}
	length := 8 + len(text)
	b = append(b, 0x12, 0x34, 0x12, 0x35, byte(length>>8), byte(length), 0xab, 0xcd)
	b = append(b, text...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

// normalise takes out what differs by itself: the identification of packets that
// the relay makes, and what follows from it.
func normalise(o *outcome) {
	b := o.packet
	switch {
	case len(b) >= 20 && b[0]>>4 == 4 && slices.Contains(own, netip.AddrFrom4([4]byte(b[12:16]))):
		b[4], b[5], b[10], b[11] = 0, 0, 0, 0
	case len(b) >= 48 && b[0]>>4 == 6 && b[6] == 44 && slices.Contains(own, netip.AddrFrom16([16]byte(b[8:24]))):
		clear(b[44:48])
	}
}

// isNoise recognises what the relay's kernel says by itself: reports of groups,
// discovery, and redirects, which are limited by a clock that cannot be stopped.
func isNoise(o outcome) bool {
	b := o.packet
	if len(b) < 20 {
		return true // ARP is longer, but has no version
	}
	switch b[0] >> 4 {
	case 4:
		return b[9] == 2
	case 6:
		if len(b) < 48 {
			return false
		}
		next, at := b[6], 40
		if next == 0 {
			next, at = b[40], 48
		}
		if next != 58 || len(b) <= at {
			return false
		}
		from := netip.AddrFrom16([16]byte(b[8:24]))
		isOwn := from.IsLinkLocalUnicast() || from.IsUnspecified() || slices.Contains(own, from)
		return isOwn && (b[at] >= 130 && b[at] <= 137 || b[at] == 143)
	}
	return strings.Contains(o.frame, "0806")
}

// isLate recognises the answer that nobody on a link has an address, which comes
// when three solicitations have had none.
func isLate(b []byte) bool {
	switch {
	case len(b) >= 88 && b[0]>>4 == 6:
		return b[6] == 58 && b[40] == 1 && b[41] == 3
	case len(b) >= 48 && b[0]>>4 == 4:
		about := netip.AddrFrom4([4]byte(b[44:48]))
		return b[9] == 1 && b[20] == 3 && b[21] == 1 &&
			(netip.MustParsePrefix("10.42.0.0/20").Contains(about) || netip.MustParsePrefix("192.0.2.0/24").Contains(about))
	}
	return false
}
