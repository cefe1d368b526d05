package kernel

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespaceOf tells a child which test it runs in a namespace of its own.
const namespaceOf = "RE6ST_TEST_NAMESPACE"

// inNamespace runs the calling test again in a process with network and mount
// namespaces of its own, and gives true there. A whole process, because a
// goroutine may run on any thread, and threads have namespaces. Nothing has to
// be removed: the namespaces end with the process.
//
//	if !inNamespace(t) { return }
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaceOf) == t.Name() {
		enter(t)
		return true
	}
	if os.Geteuid() != 0 {
		skip(t, "this needs root")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v", "-test.timeout=120s")
	cmd.Env = append(os.Environ(), namespaceOf+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in its namespace: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	if bytes.Contains(out, []byte("--- SKIP")) {
		t.Skip("skipped in its namespace")
	}
	return false
}

// skip fails where everything must be possible.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// enter keeps /run of the host out of reach, and makes the interface lo usable.
func enter(t *testing.T) {
	t.Helper()
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	ip(t, "link set lo up")
	// Duplicate detection would end somewhere in the middle of a test.
	must(t, SetSysctl("net/ipv6/conf/default/accept_dad", "0"))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ip runs iproute2, the second opinion on everything here.
func ip(t *testing.T, args string) string {
	t.Helper()
	out, err := tryIP(args)
	if err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return out
}

func tryIP(args string) (string, error) {
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// timeFactor stretches bounds on machines that are known to be slow.
func timeFactor() time.Duration {
	n, err := strconv.Atoi(os.Getenv("RE6ST_TIME_FACTOR"))
	if err != nil || n < 1 {
		return 1
	}
	return time.Duration(n)
}

// await polls until the claim holds. Events take milliseconds; a second is the
// bound of F-09.
func await(t *testing.T, what string, bound time.Duration, holds func() bool) time.Duration {
	t.Helper()
	bound *= timeFactor()
	start := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Since(start) > bound {
			t.Fatalf("not within %v: %s", bound, what)
		}
		<-tick.C
	}
	return time.Since(start)
}

func open(t *testing.T) *Host {
	t.Helper()
	h, err := Open()
	must(t, err)
	t.Cleanup(func() { must(t, h.Close()) })
	return h
}

// census is everything of a namespace that we may touch, as text.
func census(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, args := range []string{"-o link", "-o addr", "-4 route show table all", "-6 route show table all", "-4 rule", "-6 rule"} {
		fmt.Fprintf(&b, "# ip %s\n%s\n", args, volatile.ReplaceAllString(ip(t, args), ""))
	}
	for _, name := range []string{forwarding4, "net/ipv4/conf/all/accept_redirects"} {
		v, err := Sysctl(name)
		must(t, err)
		fmt.Fprintf(&b, "%s = %s\n", name, v)
	}
	for _, leaf := range []string{"forwarding", acceptRA, "autoconf", "accept_redirects"} {
		for _, dir := range []string{conf4, conf6} {
			values := snapshot(dir, leaf)
			for _, name := range slices.Sorted(maps.Keys(values)) {
				fmt.Fprintf(&b, "%s = %s\n", name, values[name])
			}
		}
	}
	return b.String()
}

// volatile are lifetimes and the order of the caches.
var volatile = regexp.MustCompile(`(expires|valid_lft|preferred_lft) \d+sec`)

// logged collects the log of a Watch.
func logged(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}
