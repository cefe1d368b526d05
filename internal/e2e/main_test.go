package e2e

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"re6st/internal/lab"
)

// sideBySide is how many scenarios run at once, unless -parallel says: they
// mostly wait. Those that assert short times are not parallel and run alone.
const sideBySide = "4"

func TestMain(m *testing.M) {
	flag.Set("test.parallel", sideBySide)
	os.Exit(lab.Main(m.Run))
}

// measured reports a figure that no test asserts.
func measured(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("measured: "+format, args...)
}

// ring lets node i talk to its two neighbours among n.
func ring(n int) func(i, j int) bool {
	return func(i, j int) bool {
		d := (i - j + n) % n
		return d == 1 || d == n-1
	}
}

// soak says whether the full counts of the rows are asked for: hours.
func soak() bool { return os.Getenv("RE6ST_SOAK") != "" }

// pause lets real time pass where time itself is what is tested.
func pause(d time.Duration) { <-time.After(d) }

// wantNoPanic looks for crashes that a restart could hide.
func wantNoPanic(t *testing.T, m *lab.Mesh) {
	t.Helper()
	for _, n := range m.Nodes {
		if n.Proc == nil {
			continue
		}
		out := n.Proc.Output()
		if i := strings.Index(out, "panic:"); i >= 0 {
			t.Errorf("%s panicked: %s", n.Name, out[i:min(len(out), i+2000)])
		}
		if strings.Contains(out, "DATA RACE") {
			t.Errorf("%s has a data race", n.Name)
		}
	}
}

// settle waits until every node has at least one tunnel and all pairs answer,
// twice in a row: what answers once could be on its way out.
func settle(m *lab.Mesh, timeout time.Duration, nodes ...*lab.Node) lab.Reach {
	m.Lab.TB.Helper()
	first := m.AllPairs(timeout, nodes...)
	m.AllPairs(timeout, nodes...)
	return first
}
