package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"re6st/internal/fib"
	"re6st/internal/kernel"
	"re6st/internal/lab"
)

// asShortcut makes the test program attach a shortcut to the interface that it
// names, by clsact or tcx ("name clsact"), and wait for its end.
const asShortcut = "RE6ST_TEST_SHORTCUT"

func beShortcut(text string) error {
	name, method, _ := strings.Cut(text, " ")
	host, err := kernel.Open()
	if err != nil {
		return err
	}
	s, err := NewShortcut(ShortcutConfig{Clsact: host.Filters(testInstance), NoTCX: method == "clsact"})
	if err != nil {
		return err
	}
	link, err := net.InterfaceByName(name)
	if err == nil {
		err = s.Attach(Port{Index: link.Index, Kind: fib.Raw})
	}
	if err != nil {
		return err
	}
	fmt.Println("attached")
	select {}
}

// bench is a machine with TUNs, of which this process has the other ends, and a
// LAN. The stack knows the same routes as the shortcut.
//
//	tuna ──┐        ┌── tunb  2001:db8:42:2::/64, 10.42.2.0/24
//	lan0 ──┴─ here ─┴── tunc  2001:db8:42:3::/64
type bench struct {
	testing.TB
	s       *Shortcut
	fib     *fib.FIB
	a, b, c *tunnel
}

type tunnel struct {
	*os.File
	index int
}

func newBench(t testing.TB, clsact bool) *bench {
	t.Helper()
	needsKernel(t)
	host, err := kernel.Open()
	must(t, err)
	t.Cleanup(func() { host.Close() })
	x := &bench{TB: t, fib: fib.New()}
	x.s, err = NewShortcut(ShortcutConfig{Clsact: host.Filters(testInstance), NoTCX: clsact})
	must(t, err)
	t.Cleanup(func() { x.s.Close() })
	for _, name := range []string{"net/ipv6/conf/all/forwarding", "net/ipv4/ip_forward"} {
		must(t, os.WriteFile("/proc/sys/"+name, []byte("1"), 0))
	}
	x.a, x.b, x.c = x.tun("tuna"), x.tun("tunb"), x.tun("tunc")
	for _, tn := range []*tunnel{x.a, x.b, x.c} {
		must(t, x.s.Attach(Port{Index: tn.index, Kind: fib.Raw}))
	}
	x.apply(fib.RulesChanged{Rules: []fib.Rule{{To: testNetwork, Lookup: true}, {IPv4: true, To: testNetwork4, Lookup: true}}})
	x.route("2001:db8:42:2::/64", x.b, "tunb")
	x.route("10.42.2.0/24", x.b, "tunb")
	x.route("2001:db8:42:3::/64", x.c, "tunc")
	must(t, x.s.SetOn(true))
	return x
}

// tun makes one with vnet header and segmentation offload, as our tunnels have it.
func (x *bench) tun(name string) *tunnel {
	x.Helper()
	fd, err := unix.Open("/dev/net/tun", os.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	must(x, err)
	request, err := unix.NewIfreq(name)
	must(x, err)
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	must(x, unix.IoctlIfreq(fd, unix.TUNSETIFF, request))
	must(x, unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6))
	lab.Command(x, "ip link set "+name+" mtu 1420 txqueuelen 10000 addrgenmode none up")
	link, err := net.InterfaceByName(name)
	must(x, err)
	f := os.NewFile(uintptr(fd), name)
	x.Cleanup(func() { f.Close() })
	return &tunnel{f, link.Index}
}

func (x *bench) apply(events ...fib.Event) {
	x.Helper()
	x.fib.Apply(events...)
	_, add, remove := x.fib.Compile()
	must(x, x.s.Update(add, remove))
}

func (x *bench) route(dst string, out *tunnel, name string) {
	x.Helper()
	lab.Command(x, "ip route replace "+dst+" dev "+name)
	x.apply(fib.LinkChanged{Link: fib.Link{Index: out.index, Kind: fib.Raw, Up: true, MTU: 1420}}, via(dst, out.index))
}

const vnetLen = 10

func (tn *tunnel) send(t testing.TB, vnet, packet []byte) {
	t.Helper()
	b := append(make([]byte, vnetLen), packet...)
	copy(b, vnet)
	if _, err := tn.Write(b); err != nil {
		t.Fatalf("writing to %s: %v", tn.Name(), err)
	}
}

// next reads packets until one is to the address, within a bound.
func (tn *tunnel) next(to netip.Addr, bound time.Duration) (vnet, packet []byte, err error) {
	if err := tn.SetReadDeadline(time.Now().Add(bound)); err != nil {
		return nil, nil, err
	}
	b := make([]byte, 1<<16+100)
	for {
		n, err := tn.Read(b)
		if err != nil {
			return nil, nil, err
		}
		if p := b[vnetLen:n]; len(p) >= 20 && destinationOf(p) == to {
			return b[:vnetLen], p, nil
		}
	}
}

func destinationOf(p []byte) netip.Addr {
	switch {
	case p[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(p[16:20]))
	case len(p) >= 40:
		return netip.AddrFrom16([16]byte(p[24:40]))
	}
	return netip.Addr{}
}

func (x *bench) verdicts() map[string]uint64 {
	x.Helper()
	st, err := x.s.Stats()
	must(x, err)
	return st.Packets
}

// eachMethod runs a test in a namespace of its own, with each way of attaching that
// this kernel has.
func eachMethod(t *testing.T, run func(t *testing.T, clsact bool)) {
	for name, clsact := range map[string]bool{"clsact": true, "tcx": false} {
		t.Run(name, func(t *testing.T) {
			if !clsact && !haveTCX() {
				return // the kernel lane's: there is one way only
			}
			if lab.Alone(t) {
				run(t, clsact)
			}
		})
	}
}

// Row A14: turning the shortcut on and off loses no packet, and none overtakes
// another.
func TestA14_OnAndOffLosesNothing(t *testing.T) {
	eachMethod(t, func(t *testing.T, clsact bool) {
		x := newBench(t, clsact)
		const packets, window = 20000, 256
		room := make(chan struct{}, window)
		end := make(chan struct{})
		var others sync.WaitGroup
		others.Go(func() {
			ticks := time.NewTicker(time.Millisecond)
			defer ticks.Stop()
			for on := false; ; on = !on {
				select {
				case <-end:
					return
				case <-ticks.C:
					if err := x.s.SetOn(on); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
		others.Go(func() {
			for i := range packets {
				select {
				case room <- struct{}{}:
				case <-end:
					return
				}
				p := append(udp(8), 0)
				binary.BigEndian.PutUint64(p[8:], uint64(i))
				x.a.send(t, nil, packet(src6, dst6, protoUDP, p))
			}
		})
		for i := range packets {
			_, p, err := x.b.next(dst6, lab.Slow(10*time.Second))
			if err != nil {
				t.Errorf("packet %d of %d did not come: %v", i, packets, err)
				break
			}
			if n := binary.BigEndian.Uint64(p[48:]); n != uint64(i) || p[7] != 63 {
				t.Errorf("packet %d came with hop limit %d, want %d with 63", n, p[7], i)
				break
			}
			<-room
		}
		close(end)
		others.Wait()
		if v := x.verdicts(); v["forwarded"] < packets/20 || v["off"] < packets/20 {
			t.Errorf("forwarded %d, off %d: it was not turned on and off", v["forwarded"], v["off"])
		}
	})
}

// A tunnel that goes while packets are sent to it: they are lost, as they would be
// with the stack, and none goes into another interface. The kernel gives the next
// interface another index.
func TestShortcutEgressGoes(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	x := newBench(t, !haveTCX())
	dst := addr("2001:db8:42:7::1")
	b := packet(src6, dst, protoUDP, udp(8))
	seen := map[int]bool{}
	for i := range 12 {
		out := x.tun(fmt.Sprintf("out%d", i))
		if seen[out.index] {
			t.Fatalf("the kernel used index %d again at once", out.index)
		}
		seen[out.index] = true
		must(t, x.s.Attach(Port{Index: out.index, Kind: fib.Raw}))
		x.apply(fib.LinkChanged{Link: fib.Link{Index: out.index, Kind: fib.Raw, Up: true, MTU: 1420}}, via("2001:db8:42:7::/64", out.index))
		x.a.send(t, nil, b)
		if _, _, err := out.next(dst, lab.Slow(10*time.Second)); err != nil {
			t.Fatalf("before: %v", err)
		}
		before := x.verdicts()["forwarded"]
		out.Close()
		x.a.send(t, nil, b) // at once: nobody knows yet
		other := x.tun(fmt.Sprintf("other%d", i))
		for range 50 {
			x.a.send(t, nil, b)
		}
		if n := x.verdicts()["forwarded"] - before; n != 51 {
			t.Fatalf("%d packets were sent to the interface that is gone", n)
		}
		must(t, x.s.Detach(out.index))
		x.a.send(t, nil, b)
		if n := x.verdicts()["forwarded"] - before; n != 51 {
			t.Errorf("still sent to an interface that was detached")
		}
		for _, wrong := range []*tunnel{other, x.a, x.b, x.c} {
			if _, _, err := wrong.next(dst, 5*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("a packet came out of %s (%v)", wrong.Name(), err)
			}
		}
		other.Close()
	}
}

// vnet header of TCP over IPv6 to be cut into segments.
func tso(segment int) []byte {
	b := make([]byte, vnetLen)
	b[0], b[1] = 1, 4 // needs a checksum; TCPv6
	binary.NativeEndian.PutUint16(b[2:], 60)
	binary.NativeEndian.PutUint16(b[4:], uint16(segment))
	binary.NativeEndian.PutUint16(b[6:], 40)
	binary.NativeEndian.PutUint16(b[8:], 16)
	return b
}

// Large packets stay whole, and are counted by what they are on the wire; one whose
// segments are too long gets its answer from the stack.
func TestShortcutLargePackets(t *testing.T) {
	eachMethod(t, func(t *testing.T, clsact bool) {
		x := newBench(t, clsact)
		lab.Command(t, "ip addr add 2001:db8:42:f::1/128 dev lo")
		lab.Command(t, "ip route add 2001:db8:42:1::/64 dev tuna")
		const payload = 40000
		large := packet(src6, dst6, protoTCP, tcp(payload))
		x.a.send(t, tso(1360), large)
		vnet, p, err := x.b.next(dst6, lab.Slow(10*time.Second))
		must(t, err)
		if len(p) != len(large) || p[7] != 63 || binary.NativeEndian.Uint16(vnet[4:]) != 1360 {
			t.Errorf("%d bytes in segments of %d came out, hop limit %d", len(p), binary.NativeEndian.Uint16(vnet[4:]), p[7])
		}
		segments := uint64(payload+1359) / 1360
		flows, err := x.s.Flows()
		must(t, err)
		want := Flow{prefix("2001:db8:42:2::/64"), x.b.index, true, segments, payload + segments*60}
		if !slices.Contains(flows, want) {
			t.Errorf("counted %+v, want %+v", flows, want)
		}
		x.a.send(t, tso(1361), large)
		_, p, err = x.a.next(src6, lab.Slow(10*time.Second))
		if err != nil || p[6] != protoICMP || p[40] != 2 || binary.BigEndian.Uint32(p[44:]) != 1420 {
			t.Errorf("no packet too big: %x, %v", p[:min(len(p), 60)], err)
		}
		if v := x.verdicts(); v["forwarded"] != 1 || v["too_big"] != 1 {
			t.Errorf("verdicts %v", v)
		}
	})
}

// What the host sends itself is counted as its own, what the stack forwards as
// transit, and nothing twice.
func TestShortcutCountsOnce(t *testing.T) {
	eachMethod(t, func(t *testing.T, clsact bool) {
		x := newBench(t, clsact)
		lab.Command(t, "ip addr add 2001:db8:42:f::1/128 dev lo")
		conn, err := net.Dial("udp6", netip.AddrPortFrom(dst6, 9).String())
		must(t, err)
		defer conn.Close()
		for range 3 {
			_, err := conn.Write(make([]byte, 100))
			must(t, err)
		}
		transit := packet(src6, dst6, protoUDP, udp(52))
		for range 5 {
			x.a.send(t, nil, transit)
		}
		must(t, x.s.SetOn(false))
		for range 7 {
			x.a.send(t, nil, transit)
		}
		for range 15 {
			_, _, err := x.b.next(dst6, lab.Slow(10*time.Second))
			must(t, err)
		}
		flows, err := x.s.Flows()
		must(t, err)
		to := prefix("2001:db8:42:2::/64")
		want := map[Flow]bool{{to, x.b.index, false, 3, 3 * 148}: true, {to, x.b.index, true, 12, 12 * 100}: true}
		found := 0
		for _, f := range flows {
			if want[f] {
				found++
			} else if f.Into == x.b.index && f.To.IsValid() {
				t.Errorf("counted %+v", f)
			}
		}
		if found != len(want) {
			t.Errorf("counted %+v, want %+v", flows, want)
		}
	})
}

// From a LAN: what its machines may send goes the short way, all else to the stack.
func TestShortcutOnLAN(t *testing.T) {
	eachMethod(t, func(t *testing.T, clsact bool) {
		x := newBench(t, clsact)
		lab.Command(t, "ip link add lan0 type veth peer name far0")
		for _, name := range []string{"lan0", "far0"} {
			lab.Command(t, "ip link set "+name+" up")
		}
		lan, err := net.InterfaceByName("lan0")
		must(t, err)
		far, err := net.InterfaceByName("far0")
		must(t, err)
		must(t, x.s.Attach(Port{Index: lan.Index, Kind: fib.Ethernet, Sources: []netip.Prefix{prefix("2001:db8:42:1::/64"), prefix("10.42.1.0/24")}}))
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(fd)
		send := func(to net.HardwareAddr, kind uint16, p []byte) {
			frame := binary.BigEndian.AppendUint16(append(append([]byte{}, to...), far.HardwareAddr...), kind)
			must(t, unix.Sendto(fd, append(frame, p...), 0, &unix.SockaddrLinklayer{Ifindex: far.Index, Protocol: kind>>8 | kind<<8}))
		}
		await := func(verdict string, n uint64) {
			t.Helper()
			lab.Until(t, verdict, 10*time.Second, func() bool { return x.verdicts()[verdict] == n })
		}
		send(lan.HardwareAddr, 0x86dd, packet(src6, dst6, protoUDP, udp(8)))
		_, p, err := x.b.next(dst6, lab.Slow(10*time.Second))
		if err != nil || p[7] != 63 || len(p) != 56 {
			t.Errorf("from the LAN came %x, %v", p, err)
		}
		await("forwarded", 1)
		send(lan.HardwareAddr, 0x0800, packet4(src4, dst4, protoUDP, udp(8)))
		_, p, err = x.b.next(dst4, lab.Slow(10*time.Second))
		if err != nil || p[8] != 63 || len(p) != 36 {
			t.Errorf("from the LAN came %x, %v", p, err)
		}
		await("forwarded", 2)
		send(lan.HardwareAddr, 0x86dd, packet(addr("2001:db8:42:8::1"), dst6, protoUDP, udp(8)))
		await("source", 1)
		others := x.verdicts()["not_ours"]
		send(outsideMAC[:], 0x86dd, packet(src6, dst6, protoUDP, udp(8))) // somebody else's
		await("not_ours", others+1)
		if v := x.verdicts()["forwarded"]; v != 2 {
			t.Errorf("forwarded %d", v)
		}
		must(t, x.s.Detach(lan.Index))
		send(lan.HardwareAddr, 0x86dd, packet(src6, dst6, protoUDP, udp(8)))
		if _, p, err = x.b.next(dst6, lab.Slow(10*time.Second)); err != nil || p[7] != 63 {
			t.Errorf("by the stack came %x, %v", p, err)
		}
	})
}

// What others take away is found, and Close leaves nothing.
func TestShortcutAttached(t *testing.T) {
	eachMethod(t, func(t *testing.T, clsact bool) {
		x := newBench(t, clsact)
		if !x.s.Attached(x.b.index) {
			t.Error("not attached")
		}
		if clsact {
			lab.Command(t, "tc filter del dev tunb ingress")
		} else {
			x.b.Close()
		}
		if x.s.Attached(x.b.index) || x.s.Attached(999) {
			t.Error("attached to what is gone")
		}
		if clsact { // and put back
			must(t, x.s.Attach(Port{Index: x.b.index, Kind: fib.Raw}))
			if !x.s.Attached(x.b.index) {
				t.Error("not attached again")
			}
		}
		must(t, x.s.Close())
		for _, name := range []string{"tuna", "tunb", "tunc"} {
			if out, _ := lab.TryCommand("tc qdisc show dev " + name); strings.Contains(out, "clsact") {
				t.Errorf("left on %s: %s", name, out)
			}
		}
	})
}

// After a SIGKILL tcx leaves nothing; what clsact leaves is found by its name.
func TestShortcutKilled(t *testing.T) {
	eachMethod(t, func(t *testing.T, clsact bool) {
		x := newBench(t, clsact)
		must(t, x.s.Close())
		method := map[bool]string{true: "clsact", false: "tcx"}[clsact]
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), asShortcut+"=tunb "+method)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		b := make([]byte, 8)
		if _, err := out.Read(b); err != nil || string(b) != "attached" {
			t.Errorf("the child says %q, %v", b, err)
		}
		must(t, cmd.Process.Kill())
		cmd.Wait()
		left := lab.Command(t, "tc qdisc show dev tunb")
		if strings.Contains(left, "clsact") != clsact {
			t.Errorf("after SIGKILL: %s", left)
		}
		host, err := kernel.Open()
		must(t, err)
		defer host.Close()
		names, err := host.RemoveFilters(testInstance)
		if err != nil || (len(names) == 2) != clsact {
			t.Errorf("removed %q, %v", names, err)
		}
		if left := lab.Command(t, "tc qdisc show dev tunb"); strings.Contains(left, "clsact") {
			t.Errorf("at the end: %s", left)
		}
	})
}
