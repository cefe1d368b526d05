package oracle

import (
	"os"
	"testing"

	"re6st/internal/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

// count is a number of packets, and that of make soak.
func count(reduced, full int) int {
	if os.Getenv("RE6ST_SOAK") != "" {
		return full
	}
	return reduced
}

// inLane is a number for the kernel lane, whose machine is slow, unless it has time.
func inLane(elsewhere, there int) int {
	if os.Getenv("RE6ST_LANE") != "" && os.Getenv("RE6ST_SOAK") == "" {
		return there
	}
	return elsewhere
}
