package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"re6st/internal/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

func TestR7_Demo(t *testing.T) {
	var out bytes.Buffer
	demo(t, config{Nodes: 10, Refresh: 30 * time.Second, Out: &out})
	t.Logf("\n%s", out.String())
}
