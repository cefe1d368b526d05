package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"re6st/internal/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

// Ten nodes, as row R7 has it; half of them in the kernel lane, whose guest is
// slow.
func TestR7_Z4_Demo(t *testing.T) {
	others, isEmulated := 5, os.Getenv("RE6ST_LANE") != ""
	if isEmulated {
		others = 0
	}
	var out bytes.Buffer
	defer func() { t.Logf("\n%s", out.String()) }()
	demo(t, config{Others: others, Refresh: 30 * time.Second, Emulated: isEmulated, Out: &out})
}
