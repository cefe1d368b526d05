// Package solo is for tests of one machine: the edges that talk to the kernel are
// tested in a process with namespaces of their own. It also has what all tests
// that await, skip or need a port share. It makes no networks: internal/lab does,
// and tests that use that one run one package after the other.
package solo

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// TB is what is needed of a test; *testing.T is one.
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// aloneEnv tells a child which test it runs.
const aloneEnv = "RE6ST_TEST_ALONE"

// aloneTime bounds a test in its own process: the parent has other tests.
const (
	aloneTime     = 120 * time.Second
	aloneTimeSoak = 3 * time.Hour
)

// Alone runs the calling test again in a process with network and mount
// namespaces of its own, and gives true there. A whole process, because a
// goroutine may run on any thread, and threads have namespaces. Nothing has to be
// removed: the namespaces end with the process.
//
//	if !solo.Alone(t) { return }
//
// There lo is up, /run is empty, /sys shows the own network, and IPv6 addresses
// are in use at once, on links made later too: duplicate address detection would
// end somewhere in the middle of a test.
func Alone(t TB) bool {
	t.Helper()
	if os.Getenv(aloneEnv) == t.Name() {
		settle(t)
		return true
	}
	if os.Geteuid() != 0 {
		SkipOrFail(t, "this needs root")
	}
	timeout := Slow(aloneTime)
	if os.Getenv("RE6ST_SOAK") != "" {
		timeout = aloneTimeSoak
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v",
		fmt.Sprintf("-test.timeout=%v", timeout))
	cmd.Env = append(os.Environ(), aloneEnv+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	// Pdeathsig is of the thread that started the child.
	runtime.LockOSThread()
	out, err := cmd.CombinedOutput()
	runtime.UnlockOSThread()
	if err != nil {
		t.Fatalf("in its namespace: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	if bytes.Contains(out, []byte("--- SKIP")) {
		t.Skipf("skipped in its namespace")
	}
	return false
}

func settle(t TB) {
	t.Helper()
	Must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	Must(t, unix.Mount("sysfs", "/sys", "sysfs", 0, ""))
	Must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	Must(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0))
	Command(t, "ip link set lo up")
}

// SkipOrFail skips a test that cannot run here, and fails it under CI=true: a
// skip there hides that nothing was tested.
func SkipOrFail(t TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s", why)
	}
	t.Skipf("%s", why)
}

// Batch runs lines of ip(8), of one family, 4 or 6, or each of its own, 0.
func Batch(family int, lines ...string) error {
	args := []string{"-batch", "-"}
	if family != 0 {
		args = append([]string{fmt.Sprintf("-%d", family)}, args...)
	}
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	return nil
}

// Must fails the test at an error.
func Must(t TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// Command runs a program, words separated by spaces, and returns what it said.
func Command(t TB, line string) string {
	t.Helper()
	out, err := TryCommand(line)
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return out
}

// TryCommand is Command for a program that may fail.
func TryCommand(line string) (string, error) {
	words := strings.Fields(line)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// FreePort gives a port that nobody has for TCP or UDP. It is below those that the
// kernel gives to sockets without one, and so free until somebody asks for it.
func FreePort(t TB) uint16 {
	t.Helper()
	const first, count = 10000, 20000
	for range 100 {
		port := uint16(first + rand.IntN(count))
		address := fmt.Sprintf(":%d", port)
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", address)
		tcp.Close()
		if err == nil {
			udp.Close()
			return port
		}
	}
	t.Fatalf("no port is free")
	return 0
}

// Factor is by how much this machine is slower than the bounds of tests assume:
// RE6ST_TIME_FACTOR, 1 unless told.
func Factor() float64 {
	if f, err := strconv.ParseFloat(os.Getenv("RE6ST_TIME_FACTOR"), 64); err == nil && f > 1 {
		return f
	}
	return 1
}

// Slow stretches a bound by Factor.
func Slow(d time.Duration) time.Duration { return time.Duration(float64(d) * Factor()) }

// untilTick is how often Until looks; untilRound is what a look counts for at
// most.
const (
	untilTick  = 5 * time.Millisecond
	untilRound = 250 * time.Millisecond
)

var errNotYet = errors.New("it does not hold")

// Until polls until the claim holds, and fails the test when it does not within
// the bound, stretched by Factor; it returns how long it took. Where the bound is
// the promise itself, a machine that is busy with other tests must not break it:
// a look that takes longer than such looks do counts for untilRound only, so that
// whoever is tested has at least that many rounds.
func Until(t TB, what string, bound time.Duration, holds func() bool) time.Duration {
	t.Helper()
	bound = Slow(bound)
	took, err := Poll(untilTick, untilRound, bound, func() error {
		if holds() {
			return nil
		}
		return errNotYet
	})
	if err != nil {
		t.Fatalf("not within %v (%v of the clock): %s", bound, took.Round(time.Millisecond), what)
	}
	return took
}

// Poll asks cond at each tick until it is content or has been asked for the
// timeout, a round of asking and waiting counting for the given time at most.
func Poll(tick, round, timeout time.Duration, cond func() error) (time.Duration, error) {
	start := time.Now()
	last, spent := start, time.Duration(0)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		err := cond()
		now := time.Now()
		if err == nil {
			return now.Sub(start), nil
		}
		spent += min(now.Sub(last), round)
		last = now
		if spent > timeout {
			return now.Sub(start), err
		}
		<-ticker.C
	}
}
