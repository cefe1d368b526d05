package tun

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"re6st/internal/nat64"
)

// inNamespace gives the test a network of its own, on a thread that ends with it.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: make test runs it as root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// A host that is its own Internet: an echo request goes out in IPv6, arrives in
// IPv4, and its answer comes back.
func TestPacketsThroughTheKernel(t *testing.T) {
	inNamespace(t)
	pool := netip.MustParsePrefix(nat64.DefaultPool)
	translator, err := nat64.New(nat64.Config{
		Prefix: netip.MustParsePrefix("64:ff9b::/96"), Pool: pool,
		Sources: []netip.Prefix{netip.MustParsePrefix("2001:db8:42::/48")}, Self: netip.MustParseAddr("2001:db8:42::1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open("re6st-ntest", translator)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open("re6st-ntest", translator); err == nil {
		t.Error("a second device has the same name")
	}
	for _, args := range []string{
		"link set lo up", "addr add 2001:db8:42::1/128 dev lo nodad", "addr add 9.9.9.9/32 dev lo",
		"link set re6st-ntest up", "addr add 240.64.0.1/16 dev re6st-ntest",
		"route add 64:ff9b::/96 dev re6st-ntest src 2001:db8:42::1",
	} {
		ip(t, args)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	for _, size := range []string{"56", "1400"} {
		out, err := exec.Command("ping", "-6", "-c1", "-W5", "-s", size, "64:ff9b::9.9.9.9").CombinedOutput()
		if err != nil {
			t.Errorf("ping of %s bytes: %v\n%s%v", size, err, out, d.Counts())
		}
	}
	if d.Mappings() != 1 || d.Counts()["translated"] < 4 {
		t.Errorf("%d mappings, %v", d.Mappings(), d.Counts())
	}
	// Somebody deletes the device: Run says so, and it can be made again.
	ip(t, "link del re6st-ntest")
	if err := <-done; err == nil {
		t.Error("the device is gone, and nobody says so")
	}
	if d, err = Open("re6st-ntest", translator); err != nil {
		t.Fatal(err)
	}
	go func() { done <- d.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if out, err := exec.Command("ip", "link", "show", "re6st-ntest").CombinedOutput(); err == nil {
		t.Errorf("the device is left: %s", out)
	}
}
