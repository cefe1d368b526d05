package ebpf

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"re6st/internal/fib"
	"re6st/internal/kernel"
	"re6st/internal/lab/solo"
	"re6st/internal/measure"
)

// TestKernelWireGuardCost reports what the shortcut saves between two tunnels of the
// kernel's WireGuard, in the one place that has it:
//
//	scripts/kernel-lane --only ./ebpf=TestKernelWireGuardCost
//
// Four tunnels on one machine, over its loopback, are a sender, a relay and a receiver:
//
//	wga ═══ wg0 ── rules, routes or the shortcut ── wg1 ═══ wgb, where packets end
//
// Encryption runs in the kernel's own threads, so the figures are the whole machine's,
// which has nothing else to do. Packets that end at wg0 cost one encryption and one
// decryption; what the others cost beyond them is a relay.
func TestKernelWireGuardCost(t *testing.T) {
	if os.Getenv("RE6ST_LANE") != "kernel" {
		t.Skip("a figure for docs/benchmarks.md, as make bench-dataplane prints them, but of a kernel with WireGuard")
	}
	needsKernel(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread is not given back: it dies with its namespace
		must(t, unix.Unshare(unix.CLONE_NEWNET))
		w := newFour(t)
		defer w.close()
		w.report()
	}()
	<-done
}

type four struct {
	testing.TB
	host     *kernel.Host
	shortcut *Shortcut
	fd, in   int // packets are given to wga
}

func newFour(t testing.TB) *four {
	w := &four{TB: t}
	for path, value := range map[string]string{"ipv6/conf/all/forwarding": "1", "ipv6/conf/default/accept_dad": "0"} {
		must(t, os.WriteFile("/proc/sys/net/"+path, []byte(value), 0))
	}
	keys := map[string][2]string{}
	names := []string{"wga", "wg0", "wg1", "wgb"}
	lines := []string{"link set lo up"}
	for _, name := range names {
		private := strings.TrimSpace(solo.Command(t, "wg genkey"))
		public := exec.Command("wg", "pubkey")
		public.Stdin = strings.NewReader(private + "\n")
		out, err := public.Output()
		must(t, err)
		keys[name] = [2]string{private, strings.TrimSpace(string(out))}
		lines = append(lines, "link add "+name+" type wireguard")
	}
	must(t, solo.Batch(0, lines...))
	peers := map[string]string{"wga": "wg0", "wg0": "wga", "wg1": "wgb", "wgb": "wg1"}
	for i, name := range names {
		peer := peers[name]
		config := fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = %d\n[Peer]\nPublicKey = %s\nAllowedIPs = ::/0\nEndpoint = [::1]:%d\n",
			keys[name][0], 51000+i, keys[peer][1], 51000+slices.Index(names, peer))
		file := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(file, []byte(config), 0o600))
		solo.Command(t, "wg setconf "+name+" "+file)
	}
	lines = nil
	for _, name := range names {
		lines = append(lines, "link set "+name+" mtu 1420 txqueuelen 1000 addrgenmode none up")
	}
	must(t, solo.Batch(0, lines...))
	must(t, solo.Batch(6, "rule add pref 100 iif wgb blackhole",
		fmt.Sprintf("rule add pref 26001 to %v lookup %d", testNetwork, benchTable), fmt.Sprintf("rule add pref 26002 from %v lookup %d", testNetwork, benchTable),
		fmt.Sprintf("route add 2001:db8:42:2::/64 dev wg1 table %d", benchTable)))
	var err error
	w.host, err = kernel.Open()
	must(t, err)
	w.shortcut, err = NewShortcut(ShortcutConfig{Clsact: w.host.Filters(testInstance), NoTCX: !haveTCX()})
	must(t, err)
	wg0, err := net.InterfaceByName("wg0")
	must(t, err)
	wg1, err := net.InterfaceByName("wg1")
	must(t, err)
	for _, i := range []*net.Interface{wg0, wg1} {
		must(t, w.shortcut.Attach(Port{Index: i.Index, Kind: fib.Raw}))
	}
	f := fib.New()
	f.Apply(fib.Snapshot{
		Rules: []fib.Rule{{To: testNetwork, Lookup: true}, {From: testNetwork, Lookup: true}, {}},
		Links: []fib.Link{{Index: wg1.Index, Kind: fib.Raw, Up: true, MTU: 1420}},
	})
	f.Apply(via("2001:db8:42:2::/64", wg1.Index))
	_, add, remove := f.Compile()
	must(t, w.shortcut.Update(add, remove))
	wga, err := net.InterfaceByName("wga")
	must(t, err)
	w.in = wga.Index
	w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	return w
}

func (w *four) close() {
	unix.Close(w.fd)
	w.shortcut.Close()
	w.host.Close()
}

// received counts the packets that have come to an interface.
func (w *four) received(name string) int {
	w.Helper()
	data, err := os.ReadFile("/proc/thread-self/net/dev")
	must(w, err)
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[1])
			must(w, err)
			return n
		}
	}
	w.Fatalf("no interface %s", name)
	return 0
}

// cost is CPU time of the machine in ns for each packet from wga that comes to an
// interface. Few are on the way at once: nothing is lost.
func (w *four) cost(b []byte, to string) float64 {
	w.Helper()
	const count, window = 6400, 400
	dst := &unix.SockaddrLinklayer{Ifindex: w.in, Protocol: unix.ETH_P_IPV6>>8 | unix.ETH_P_IPV6<<8&0xff00}
	before, err := measure.ReadMachine()
	must(w, err)
	first := w.received(to)
	for sent := 0; sent < count; sent += window {
		for range window {
			must(w, unix.Sendto(w.fd, b, 0, dst))
		}
		w.await(to, first+sent+window)
	}
	after, err := measure.ReadMachine()
	must(w, err)
	return float64((after.Busy - before.Busy).Nanoseconds()) / count
}

func (w *four) await(name string, packets int) {
	w.Helper()
	solo.Until(w, fmt.Sprintf("%d packets at %s", packets, name), 60*time.Second, func() bool { return w.received(name) >= packets })
}

func (w *four) report() {
	// Handshakes.
	dst := &unix.SockaddrLinklayer{Ifindex: w.in, Protocol: unix.ETH_P_IPV6>>8 | unix.ETH_P_IPV6<<8&0xff00}
	small := packet(src6, dst6, protoUDP, udp(16))
	must(w, unix.Sendto(w.fd, small, 0, dst))
	w.await("wgb", 1)
	for _, l := range []struct {
		name string
		b    []byte
	}{{"64 bytes", small}, {"1400 bytes", packet(src6, dst6, protoUDP, udp(1352))}} {
		var pair, stack, short []float64
		for range 4 {
			must(w, w.shortcut.SetOn(false))
			must(w, solo.Batch(6, "rule add pref 99 iif wg0 blackhole"))
			pair = append(pair, w.cost(l.b, "wg0"))
			must(w, solo.Batch(6, "rule del pref 99"))
			stack = append(stack, w.cost(l.b, "wgb"))
			must(w, w.shortcut.SetOn(true))
			short = append(short, w.cost(l.b, "wgb"))
		}
		p, s, c := measure.Median(pair), measure.Median(stack), measure.Median(short)
		w.Logf("KERNEL-LANE cost kernel WireGuard, %s: a tunnel %.0f ns a packet, a relay by the stack %.0f, by the shortcut %.0f: × %.2f (of all that ran × %.2f)",
			l.name, p, s-p, c-p, measure.Ratio(c-p, s-p), measure.Ratio(c, s))
	}
	stats, err := w.shortcut.Stats()
	must(w, err)
	if stats.Packets["forwarded"] < 40000 {
		w.Errorf("the shortcut forwarded %d packets: %v", stats.Packets["forwarded"], stats.Packets)
	}
}
