package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"re6st/internal/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

func TestR7_Z4_Demo(t *testing.T) {
	var out bytes.Buffer
	demo(t, config{Others: 5, Refresh: 30 * time.Second, Out: &out})
	t.Logf("\n%s", out.String())
}
