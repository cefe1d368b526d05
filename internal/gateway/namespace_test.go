package gateway

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
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
// namespaces of its own, and gives true there.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaceOf) == t.Name() {
		must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		must(t, unix.Mount("sysfs", "/sys", "sysfs", 0, ""))
		must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0))
		run(t, "ip", "link set lo up")
		return true
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this needs root")
		}
		t.Skip("this needs root")
	}
	t.Parallel() // most of the time is waiting
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run executes a program, the second opinion on everything here.
func run(t *testing.T, name, args string) string {
	t.Helper()
	out, err := exec.Command(name, strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// nft runs a script as one transaction.
func nft(t *testing.T, script string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s\n%s", err, out, script)
	}
}

func ruleset(t *testing.T) string {
	t.Helper()
	return regexp.MustCompile(`packets \d+ bytes \d+`).ReplaceAllString(run(t, "nft", "-s list ruleset"), "")
}

// await polls until the claim holds.
func await(t *testing.T, what string, bound time.Duration, holds func() bool) time.Duration {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("RE6ST_TIME_FACTOR")); err == nil && n > 1 {
		bound *= time.Duration(n)
	}
	start := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Since(start) > bound {
			t.Fatalf("not within %v: %s", bound, what)
		}
		<-tick.C
	}
	return time.Since(start)
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}
