package kernel

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"re6st/internal/lab/solo"
)

// Tests of the kernel run in a process of their own, with a second opinion.
var (
	inNamespace = solo.Alone
	must        = solo.Must
	await       = solo.Until
)

// ip runs iproute2, the second opinion on everything here.
func ip(t *testing.T, args string) string {
	t.Helper()
	return solo.Command(t, "ip "+args)
}

func tryIP(args string) (string, error) { return solo.TryCommand("ip " + args) }

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
