package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	os.Exit(Main(func() int {
		if os.Getenv("RE6ST_LAB_VICTIM") != "" {
			return victim()
		}
		return m.Run()
	}))
}

// pair is two hosts with a cable between them.
func pair(t *testing.T) (l *Lab, a, b *Host, link *Link) {
	t.Helper()
	l = New(t)
	a, b = l.Host("a"), l.Host("b")
	link = l.Connect(a, b)
	link.A.Add(addr4a, addr6a)
	link.B.Add(addr4b, addr6b)
	return l, a, b, link
}

var (
	addr4a = netip.MustParsePrefix("192.0.2.1/24")
	addr4b = netip.MustParsePrefix("192.0.2.2/24")
	addr6a = netip.MustParsePrefix("2001:db8:1::1/64")
	addr6b = netip.MustParsePrefix("2001:db8:1::2/64")
)

func wantPing(t *testing.T, from *Host, to netip.Addr) {
	t.Helper()
	if err := from.Ping(to); err != nil {
		t.Errorf("%v", err)
	}
}

func wantSilence(t *testing.T, from *Host, to netip.Addr) {
	t.Helper()
	if res, err := from.PingAll([]netip.Addr{to}, 2*time.Second); err != nil || res[0].OK {
		t.Errorf("%v answers %s, though it must not", to, from.Name)
	}
}

func TestHostsAreMachinesOfTheirOwn(t *testing.T) {
	_, a, b, _ := pair(t)
	wantPing(t, a, addr4b.Addr())
	wantPing(t, b, addr6a.Addr())
	if got := a.Run("hostname"); got != "a\n" {
		t.Errorf("host name %q", got)
	}
	a.Run("touch", "/run/mine")
	if _, err := b.Try("ls", "/run/mine"); err == nil {
		t.Error("/run is shared between hosts")
	}
	if _, err := os.Stat("/run/mine"); err == nil {
		t.Error("/run is shared with the lab")
	}
	if ps := a.Run("sh", "-c", "ls -d /proc/[0-9]* | wc -l"); strings.TrimSpace(ps) > "5" {
		t.Errorf("host sees %s processes: /proc is not its own", ps)
	}
}

func TestProcLifeAndDeath(t *testing.T) {
	l := New(t)
	h := l.Host("h")
	p := h.Start("trap", "sh", "-c", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done")
	l.Await("the program to be ready", 5*time.Second, func() error {
		if !strings.Contains(p.Output(), "ready") {
			return fmt.Errorf("log is %q", p.Output())
		}
		return nil
	})
	if _, err := p.Stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if got := p.Output(); got != "ready\nbye\n" {
		t.Errorf("log is %q", got)
	}
	q := h.Start("sleep", "sleep", "1000")
	q.Kill()
	if code, err := q.Wait(10 * time.Second); code != -1 || err != nil {
		t.Errorf("killed program: status %d, %v", code, err)
	}
	if _, err := h.TryStart("none", "/no/such/program"); err == nil {
		t.Error("a program that does not exist was started")
	}
}

func TestInternetFirewall(t *testing.T) {
	l := New(t)
	in := l.Internet("core")
	a, b, c := in.Attach(l.Host("a"), Dual), in.Attach(l.Host("b"), Dual), in.Attach(l.Host("c"), IPv6)
	wantPing(t, a.Host, b.V4)
	wantPing(t, a.Host, b.V6)
	wantPing(t, a.Host, c.V6)
	in.Only(func(x, y *Host) bool { return x == c.Host || y == c.Host })
	wantSilence(t, a.Host, b.V4)
	wantSilence(t, b.Host, a.V6)
	wantPing(t, a.Host, c.V6)
	in.Allow(a, b)
	wantPing(t, a.Host, b.V6)
	in.Deny(a, b)
	wantSilence(t, a.Host, b.V6)
}

func TestNATHidesItsHosts(t *testing.T) {
	l := New(t)
	in := l.Internet("core")
	web := in.Attach(l.Host("web"), Dual)
	home, up := in.NAT("nat")
	inside := home.Attach(l.Host("inside"), Dual)
	web.Host.Serve(":80")
	seen, err := inside.Host.Call(netip.AddrPortFrom(web.V4, 80), 2*time.Second)
	if err != nil || seen.Addr() != up.V4 {
		t.Errorf("seen as %v (%v), want %v", seen, err, up.V4)
	}
	seen, err = inside.Host.Call(netip.AddrPortFrom(web.V6, 80), 2*time.Second)
	if err != nil || seen.Addr() != inside.V6 {
		t.Errorf("seen as %v (%v), want %v", seen, err, inside.V6)
	}
	wantSilence(t, web.Host, inside.V6)
}

func TestLinkFaults(t *testing.T) {
	l, a, b, link := pair(t)
	before := l.Census(a, b)
	link.CutFrom(a)
	wantSilence(t, a, addr4b.Addr())
	link.Restore()
	wantPing(t, a, addr4b.Addr())

	link.Hole(1300)
	passes := func(size int) bool {
		res, err := a.PingSize([]netip.Addr{addr4b.Addr()}, time.Second, size)
		return err == nil && res[0].OK
	}
	if big, small := passes(1400), passes(1100); big || !small {
		t.Errorf("hole at 1300: 1400 passes %t, 1100 passes %t", big, small)
	}

	// Who is looking for his neighbour loses a second and all that he sent in it.
	wantPing(t, a, addr6b.Addr())
	wantPing(t, b, addr6a.Addr())
	link.Lose(20)
	s := l.Stream(500, []End{{a, addr6a.Addr()}, {b, addr6b.Addr()}}, nil)
	<-time.After(2 * time.Second)
	lost, sent := Lost(s.Stop())
	if share := float64(lost) / float64(sent); share < 0.1 || share > 0.3 {
		t.Errorf("20 %% loss: %d of %d lost", lost, sent)
	}
	// Faults are the lab's, not the programs': no leak.
	l.WantClean(before, a, b)
	link.Cut()
	wantSilence(t, b, addr6a.Addr())
}

// A host must not hear late of a lost carrier because another host has just lost
// one: see Lab.nextEnd.
func TestEndsOfCablesHaveDifferentIndexes(t *testing.T) {
	_, a, b, link := pair(t)
	for _, end := range []Interface{link.A, link.B} {
		var shown []struct {
			Index int `json:"ifindex"`
			Peer  int `json:"link_index"`
		}
		out := end.Host.Run("ip", "-j", "link", "show", "dev", end.Name)
		if err := json.Unmarshal([]byte(out), &shown); err != nil || len(shown) != 1 {
			t.Fatalf("%s of %s: %v in %q", end.Name, end.Host.Name, err, out)
		}
		if s := shown[0]; s.Index == s.Peer || s.Peer == 0 {
			t.Errorf("%s of %s has the index %d, its other end %d", end.Name, end.Host.Name, s.Index, s.Peer)
		}
	}
	wantPing(t, a, addr4b.Addr())
	wantPing(t, b, addr4a.Addr())
}

func TestStreamMeasuresTheGap(t *testing.T) {
	l, a, b, link := pair(t)
	s := l.Stream(100, []End{{a, addr6a.Addr()}, {b, addr6b.Addr()}}, nil)
	<-time.After(500 * time.Millisecond)
	start := time.Now()
	link.Cut()
	<-time.After(700 * time.Millisecond)
	link.Restore()
	cut := time.Since(start)
	<-time.After(500 * time.Millisecond)
	for _, f := range s.Stop() {
		t.Log(f)
		if f.Gap < 600*time.Millisecond || f.Gap > cut+2*time.Second || f.Lost == 0 {
			t.Errorf("cut for %v: %v", cut, f)
		}
	}
	// Control: without a fault nothing is lost.
	s = l.Stream(100, []End{{a, addr6a.Addr()}, {b, addr6b.Addr()}}, nil)
	<-time.After(2 * time.Second)
	if lost, sent := Lost(s.Stop()); lost != 0 || sent < 50 {
		t.Errorf("%d of %d lost on a whole cable", lost, sent)
	}
}

func TestRelaySameSeedSameFate(t *testing.T) {
	l := New(t)
	a, b := l.Host("a"), l.Host("b")
	const count = 400
	run := func(seed uint64) []uint64 {
		r := l.Relay(a, b, Weather{}, seed, "w0", "w0")
		defer r.Close()
		r.A.Add(addr6a)
		r.B.Add(addr6b)
		l.Await("the relay", 5*time.Second, func() error { return a.Ping(addr6b.Addr()) })
		r.Set(Weather{Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.3})
		if err := b.call("StreamListen", struct{}{}, &struct{}{}); err != nil {
			t.Fatal(err)
		}
		args := StreamSendArgs{ID: 1, To: []netip.Addr{addr6b.Addr()}, Interval: time.Millisecond, Count: count}
		if err := a.call("StreamSend", args, &struct{}{}); err != nil {
			t.Fatal(err)
		}
		var sent SentReply
		var got ReceivedReply
		if err := a.call("StreamStop", uint32(1), &sent); err != nil {
			t.Fatal(err)
		}
		r.Set(Weather{Delay: 20 * time.Millisecond}) // longer than any was delayed
		wantPing(t, a, addr6b.Addr())
		if err := b.call("StreamReceived", struct{}{}, &got); err != nil {
			t.Fatal(err)
		}
		if len(got.From) != 1 || sent.Sent[0].Packets != count {
			t.Fatalf("sent %+v, received from %d", sent.Sent, len(got.From))
		}
		t.Logf("seed %d: %d of %d arrived", seed, got.From[0].Packets, count)
		return got.From[0].Seen
	}
	one, two, other := run(7), run(7), run(8)
	if !slices.Equal(one, two) {
		t.Errorf("the same seed dropped other packets: %x and %x", one, two)
	}
	if slices.Equal(one, other) {
		t.Error("two seeds dropped the same packets: the seed has no effect")
	}
}

func TestRelayDelays(t *testing.T) {
	l := New(t)
	a, b := l.Host("a"), l.Host("b")
	r := l.Relay(a, b, Weather{Delay: 25 * time.Millisecond}, 1)
	r.A.Add(addr6a)
	r.B.Add(addr6b)
	wantPing(t, a, addr6b.Addr())
	// A busy machine is late now and then, and never early.
	l.Await("a round trip of twice 25 ms, and not much more", 10*time.Second, func() error {
		res, err := a.PingAll([]netip.Addr{addr6b.Addr()}, time.Second)
		if err != nil {
			return err
		}
		rtt := res[0].RTT
		if rtt > 0 && rtt < 50*time.Millisecond {
			t.Errorf("round trip %v for twice 25 ms", rtt)
		}
		if rtt == 0 || rtt > 150*time.Millisecond {
			return fmt.Errorf("it takes %v", rtt)
		}
		t.Logf("round trip %v for twice 25 ms", rtt)
		return nil
	})
	r.SetFrom(a, Weather{Cut: true})
	wantSilence(t, a, addr6b.Addr())
}

func TestCensusFindsAPlantedLeak(t *testing.T) {
	l, a, _, link := pair(t)
	before := l.Census(a)
	l.WantClean(before, a)
	plants := []struct{ kind, make, undo string }{
		{"link", "ip link add leak type veth peer name leak2", "ip link del leak"},
		{"link", "ip link set " + link.A.Name + " mtu 1400", "ip link set " + link.A.Name + " mtu 1500"},
		{"address", "ip addr add 2001:db8:9::1/128 dev lo", "ip addr del 2001:db8:9::1/128 dev lo"},
		{"route 6", "ip -6 route add unreachable 2001:db8:8::/48 table 326 proto 42", "ip -6 route del unreachable 2001:db8:8::/48 table 326"},
		{"route 6", "ip -6 route add default from 2001:db8:8::/48 dev lo table 326", "ip -6 route del default from 2001:db8:8::/48 dev lo table 326"},
		{"route 4", "ip -4 route add 10.0.0.0/8 dev lo table 326", "ip -4 route del 10.0.0.0/8 dev lo table 326"},
		{"rule 6", "ip -6 rule add priority 26001 to 2001:db8:8::/48 lookup 326", "ip -6 rule del priority 26001"},
		{"rule 4", "ip -4 rule add priority 32800 not fwmark 0x6e36 lookup 326", "ip -4 rule del priority 32800"},
		{"nftables", "nft add table inet leak", "nft delete table inet leak"},
		{"hook", "tc qdisc add dev " + link.A.Name + " clsact", "tc qdisc del dev " + link.A.Name + " clsact"},
		{"sysctl", "sysctl -w net.ipv6.conf.all.forwarding=1", "sysctl -w net.ipv6.conf.all.forwarding=0"},
		{"file", "touch /run/left.sock", "rm /run/left.sock"},
	}
	for _, p := range plants {
		a.Run(strings.Fields(p.make)...)
		diff := strings.Join(before.Diff(l.Census(a)), "\n")
		if !strings.Contains(diff, "a: "+p.kind) {
			t.Errorf("%s: not found in the census; it says %q", p.make, diff)
		}
		a.Run(strings.Fields(p.undo)...)
		l.WantClean(before, a)
	}
	sleeper := a.Start("sleep", "sleep", "1000")
	// Its arguments are there a moment after Start's return.
	l.Await("a process is found in the census", 5*time.Second, func() error {
		if diff := strings.Join(before.Diff(l.Census(a)), "\n"); !strings.Contains(diff, "process left: sleep 1000") {
			return fmt.Errorf("it says %q", diff)
		}
		return nil
	})
	sleeper.Kill()
	a.Serve("[::1]:8080")
	if diff := strings.Join(before.Diff(l.Census(a)), "\n"); !strings.Contains(diff, "socket left: tcp6") {
		t.Errorf("a listener is not found in the census; it says %q", diff)
	}
	a.Unserve()
	l.WantClean(before, a)
}

// victim builds a lab, says so, and waits to be killed.
func victim() int {
	Standalone("victim", os.Stderr, func(t TB) {
		l := New(t)
		h := l.Host("victim")
		h.Start("sleep", "sleep", "1000")
		fmt.Println(l.Dir, h.PID)
		select {}
	})
	return 0
}

func TestKilledLabLeavesNothing(t *testing.T) {
	needRoot(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "RE6ST_LAB_VICTIM=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var dir string
	var pid int
	if _, err := fmt.Fscan(out, &dir, &pid); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := Await(5*time.Second, func() error {
		if syscall.Kill(pid, 0) == nil {
			return fmt.Errorf("agent %d lives on", pid)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the victim's directory should wait for the sweep: %v", err)
	}
	sweep(filepath.Dir(dir))
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is left after the sweep", dir)
	}
}
