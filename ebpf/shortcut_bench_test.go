package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"re6st/internal/fib"
	"re6st/internal/lab/solo"
)

// forwarder is a machine that forwards from a tunnel or a LAN into a tunnel, on a
// thread in a namespace of its own. Both TUNs are this thread's, so that its CPU time
// is all that a packet costs: one write, and what the kernel does in it, up to the
// queue of the tunnel to which it goes.
//
//	tun0 ──┐
//	far0 ──┴── lan0 ── here ── tun1   2001:db8:42:0::/64 and so many more
type forwarder struct {
	testing.TB
	in, out, lan *int // descriptors
	far, near    *net.Interface
	index        map[string]int
	fib          *fib.FIB
	shortcut     *Shortcut
}

const (
	benchTable = 6326
	benchVnet  = 10 // octets of the header before each packet of a TUN
)

// asForwarder runs on a thread that is given away with its namespace.
func asForwarder(b *testing.B, routes int, run func(*forwarder)) {
	b.Helper()
	needsKernel(b)
	if !haveTCX() {
		b.Skip("clsact needs the kernel's filters, which tests of the lane have")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		must(b, unix.Unshare(unix.CLONE_NEWNET))
		f := &forwarder{TB: b, index: map[string]int{}, fib: fib.New()}
		defer f.close()
		f.setUp(routes)
		run(f)
	}()
	<-done
}

func (f *forwarder) setUp(routes int) {
	for _, path := range []string{"net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/accept_dad"} {
		value := []byte("1")
		if strings.HasSuffix(path, "dad") {
			value = []byte("0")
		}
		must(f, os.WriteFile("/proc/sys/"+path, value, 0))
	}
	f.in, f.out = f.tun("tun0"), f.tun("tun1")
	f.ip("link add lan0 type veth peer name far0", "link set lo up", "link set lan0 up", "link set far0 up")
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(f, err)
	f.lan = &fd
	f.far, err = net.InterfaceByName("far0")
	must(f, err)
	f.near, err = net.InterfaceByName("lan0")
	must(f, err)
	// As a node has it: rules that lead to a table of its own, and there a /64 each.
	lines := []string{
		fmt.Sprintf("rule add pref 26001 to %v lookup %d", testNetwork, benchTable),
		fmt.Sprintf("rule add pref 26002 from %v lookup %d", testNetwork, benchTable),
	}
	snapshot := fib.Snapshot{
		Rules: []fib.Rule{{To: testNetwork, Lookup: true}, {From: testNetwork, Lookup: true}, {}},
		Links: []fib.Link{{Index: f.index["tun1"], Kind: fib.Raw, Up: true, MTU: 1420}},
	}
	for i := range routes {
		to := netip.PrefixFrom(benchAddress(i), 64).Masked()
		lines = append(lines, fmt.Sprintf("route add %v dev tun1 table %d", to, benchTable))
		snapshot.Routes = append(snapshot.Routes, fib.Route{RouteKey: fib.RouteKey{Dst: to, Priority: 1024}, Ordinary: true, Interface: f.index["tun1"]})
	}
	f.ip(lines...)
	f.shortcut, err = NewShortcut(ShortcutConfig{})
	must(f, err)
	f.fib.Apply(snapshot)
	_, add, remove := f.fib.Compile()
	for _, p := range []Port{
		{Index: f.index["tun0"], Kind: fib.Raw},
		{Index: f.index["tun1"], Kind: fib.Raw},
		{Index: f.near.Index, Kind: fib.Ethernet, Sources: []netip.Prefix{testNetwork}},
	} {
		must(f, f.shortcut.Attach(p))
	}
	must(f, f.shortcut.Update(add, remove))
	if s, err := f.shortcut.Stats(); err != nil || s.Lost > 0 {
		f.Fatalf("%d routes have no room: %v", s.Lost, err)
	}
}

func (f *forwarder) close() {
	if f.shortcut != nil {
		f.shortcut.Close()
	}
	for _, fd := range []*int{f.in, f.out, f.lan} {
		if fd != nil {
			unix.Close(*fd)
		}
	}
}

// ip's child has the namespace of this thread.
func (f *forwarder) ip(lines ...string) {
	must(f, solo.Batch(6, lines...))
}

// tun makes one with offloads, as our tunnels have it.
func (f *forwarder) tun(name string) *int {
	fd, err := unix.Open("/dev/net/tun", os.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	must(f, err)
	request, err := unix.NewIfreq(name)
	must(f, err)
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	must(f, unix.IoctlIfreq(fd, unix.TUNSETIFF, request))
	must(f, unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6))
	f.ip("link set " + name + " mtu 1420 txqueuelen 10000 addrgenmode none up")
	link, err := net.InterfaceByName(name)
	must(f, err)
	f.index[name] = link.Index
	return &fd
}

// benchAddress is of node i.
func benchAddress(i int) netip.Addr {
	a := testNetwork.Addr().As16()
	a[6], a[7], a[15] = byte(i>>8), byte(i), 1
	return netip.AddrFrom16(a)
}

// load is a kind of packets.
type load struct {
	name string
	size int // of a packet, headers in it
	gso  int // of each segment; 0: none
	lan  bool
}

// packets go to all of the routes in turn, at most so many: far apart.
func (l load) packets(f *forwarder, routes, count int) [][]byte {
	var out [][]byte
	for i := range count {
		to, from := benchAddress(i*routes/count), benchAddress(routes+7)
		next, payload := byte(protoUDP), udp(l.size-48)
		head := make([]byte, benchVnet)
		if l.gso > 0 {
			next, payload = protoTCP, tcp(l.size-60)
			payload[13] = 0x10                            // ACK
			head[0], head[1] = 1, 4                       // VIRTIO_NET_HDR_F_NEEDS_CSUM, GSO_TCPV6
			for at, v := range []int{60, l.gso, 40, 16} { // header, segment, checksum's start and place in it
				binary.NativeEndian.PutUint16(head[2+2*at:], uint16(v))
			}
		}
		if l.lan {
			head = append(append([]byte{}, f.near.HardwareAddr...), f.far.HardwareAddr...)
			head = binary.BigEndian.AppendUint16(head, unix.ETH_P_IPV6)
		}
		out = append(out, append(head, packet(from, to, next, payload)...))
	}
	return out
}

// send gives the CPU time of this thread that one packet took, the receiver's part left
// out: it takes them from the queue afterwards.
func (f *forwarder) send(l load, packets [][]byte, batches int) float64 {
	f.Helper()
	var used time.Duration
	buffer := make([]byte, 1<<17)
	to := &unix.SockaddrLinklayer{Ifindex: f.far.Index, Protocol: unix.ETH_P_IPV6>>8 | unix.ETH_P_IPV6<<8&0xff00}
	for range batches {
		before := threadCPU(f)
		for _, p := range packets {
			var err error
			if l.lan {
				err = unix.Sendto(*f.lan, p, 0, to)
			} else {
				_, err = unix.Write(*f.in, p)
			}
			must(f, err)
		}
		used += threadCPU(f) - before
		f.drain(l, len(packets), buffer)
	}
	return float64(used.Nanoseconds()) / float64(batches*len(packets))
}

// drain wants all of them, whole and forwarded; what the kernel does in another context
// may be late.
func (f *forwarder) drain(l load, count int, buffer []byte) {
	f.Helper()
	for deadline := time.Now().Add(10 * time.Second); count > 0; {
		n, err := unix.Read(*f.out, buffer)
		switch {
		case errors.Is(err, unix.EAGAIN) && time.Now().Before(deadline):
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(*f.out), Events: unix.POLLIN}}, 100) // the deadline decides
		case err != nil:
			f.Fatalf("%d packets of %s did not come: %v", count, l.name, err)
		case n == benchVnet+l.size && buffer[benchVnet]>>4 == 6 && buffer[benchVnet+7] == 63:
			count--
		}
	}
}

func threadCPU(t testing.TB) time.Duration {
	var ts unix.Timespec
	must(t, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts))
	return time.Duration(ts.Nano())
}

// BenchmarkShortcut compares, in one run, what a packet costs that is forwarded: by the
// stack, by the stack with a stateful filter, with the programs there and off, and by
// the shortcut. The variants take turns, and the best turn of each counts. The figures
// hold the write of the packet, which is the same in all. Run with -benchtime=1x.
func BenchmarkShortcut(b *testing.B) {
	const turns, count = 10, 256
	filter := []string{
		"add table inet bench", "add chain inet bench f { type filter hook forward priority 0; }",
		"add rule inet bench f ct state established,related accept",
	}
	variants := []struct {
		name                   string
		attached, on, firewall bool
	}{
		{name: "stack"},
		{name: "stack+conntrack", firewall: true},
		{name: "attached-off", attached: true},
		{name: "shortcut", attached: true, on: true},
	}
	loads := []load{
		{name: "tun-64", size: 64},
		{name: "tun-1400", size: 1400},
		{name: "tun-GSO-56k", size: 60 + 40*1360, gso: 1360},
		{name: "lan-64", size: 64, lan: true},
		{name: "lan-1400", size: 1400, lan: true},
	}
	for _, routes := range []int{10, 10000} {
		asForwarder(b, routes, func(f *forwarder) {
			best := map[string]float64{}
			for turn := range turns {
				for _, v := range variants {
					if v.firewall {
						must(b, nft(filter...))
					}
					f.attach(v.attached)
					must(b, f.shortcut.SetOn(v.on))
					for _, l := range loads {
						batches := 12
						if l.gso > 0 {
							batches = 2
						}
						ns := f.send(l, l.packets(f, routes, min(count, 256)), batches)
						if key := v.name + l.name; turn == 1 || turn > 1 && ns < best[key] {
							best[key] = ns // the first turn warms up
						}
					}
					if v.firewall {
						must(b, nft("delete table inet bench"))
					}
				}
			}
			for _, l := range loads {
				for _, v := range variants {
					b.Run(fmt.Sprintf("%d-routes/%s/%s", routes, l.name, v.name), func(b *testing.B) {
						ns, plain := best[v.name+l.name], best["stack"+l.name]
						b.ReportMetric(0, "ns/op")
						b.ReportMetric(ns, "ns/packet")
						b.ReportMetric(1e9/ns, "packets/s")
						b.ReportMetric(ns/plain, "times-stack")
					})
				}
			}
		})
	}
}

// attach puts the programs on the interfaces, or takes them off: what counts where
// packets go out, too.
func (f *forwarder) attach(wanted bool) {
	f.Helper()
	for _, p := range []Port{{Index: f.index["tun1"], Kind: fib.Raw}, {Index: f.index["tun0"], Kind: fib.Raw}, {Index: f.near.Index, Kind: fib.Ethernet, Sources: []netip.Prefix{testNetwork}}} {
		if wanted {
			must(f, f.shortcut.Attach(p))
		} else {
			must(f, f.shortcut.Detach(p.Index))
		}
	}
}

func nft(lines ...string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}
