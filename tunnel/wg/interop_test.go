package wg

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Our userspace tunnels with a peer that is the kernel's.
func TestInteropWithKernel(t *testing.T) {
	if kind() != Kernel {
		t.Skip("make test-kernel runs this: it needs WireGuard in the kernel")
	}
	if !inNamespace(t) {
		return
	}
	ours, theirs := newNodeOf(t, "a", Userspace), newNodeOf(t, "b", Kernel)
	join(t, ours, theirs)
	a, b := ours.create("re6st-0000000a", "fe80::a:1"), theirs.create("re6st-0000000b", "fe80::b:1")
	psk := newKey(t)
	b.peer(a, psk, "")
	a.peer(b, psk, "192.0.2.2:%d")
	a.awaitHandshake(time.Time{})
	ours.run("ip addr add 10.42.0.1/24 dev re6st-0000000a")
	theirs.run("ip addr add 10.42.0.2/24 dev re6st-0000000b")

	t.Log("packets of all sizes, both ways")
	for _, size := range []int{0, 1, 15, 16, 17, 100, 1391, 1392, 1393, 4000} { // 1392: the MTU
		ours.run(fmt.Sprintf("ping -c 2 -i 0.2 -W 5 -s %d 10.42.0.2", size))
		theirs.run(fmt.Sprintf("ping -c 2 -i 0.2 -W 5 -s %d 10.42.0.1", size))
	}

	t.Log("streams, whose segments travel joined")
	theirs.run("iperf3 -s -D")
	for _, way := range []string{"", "-R"} {
		if out := ours.run("iperf3 -c 10.42.0.2 -n 4M " + way); !strings.Contains(out, "receiver") {
			t.Errorf("iperf3 %s: %s", way, out)
		}
	}

	t.Log("both say the same")
	await(t, "the same counters", 60*time.Second, func() bool {
		x, y := a.stats(), b.stats()
		return x.RxBytes == y.TxBytes && x.TxBytes == y.RxBytes
	})

	// First the old address goes: another of the same subnet would go with it.
	t.Log("the kernel's end moves, and then ours")
	theirs.run("ip addr del 192.0.2.2/24 dev eth0")
	theirs.run("ip addr add 192.0.2.3/24 dev eth0")
	await(t, "it is found again", 60*time.Second, func() bool {
		return theirs.ask(request{Op: "run", Command: "ping -c 1 -W 1 10.42.0.1"}).Error == ""
	})
	if got := a.stats().Endpoint.Addr().String(); got != "192.0.2.3" {
		t.Errorf("we know its end at %s", got)
	}
	ours.run("ip addr del 192.0.2.1/24 dev eth0")
	ours.run("ip addr add 192.0.2.4/24 dev eth0")
	await(t, "we are found again", 60*time.Second, func() bool {
		return ours.ask(request{Op: "run", Command: "ping -c 1 -W 1 10.42.0.2"}).Error == ""
	})
	if got := b.stats().Endpoint.Addr().String(); got != "192.0.2.4" {
		t.Errorf("it knows our end at %s", got)
	}
}
