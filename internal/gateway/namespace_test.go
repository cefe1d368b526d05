package gateway

import (
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"re6st/internal/lab/solo"
)

var (
	must  = solo.Must
	await = solo.Until
)

// inNamespace runs the calling test again in a process of its own, beside
// others: most of the time is waiting. There it is true.
func inNamespace(t *testing.T) bool {
	t.Helper()
	t.Parallel()
	return solo.Alone(t)
}

// run executes a program, the second opinion on everything here.
func run(t *testing.T, name, args string) string {
	t.Helper()
	return solo.Command(t, name+" "+args)
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

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}
