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
