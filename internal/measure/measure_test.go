package measure

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMedianAndRatios(t *testing.T) {
	if got := Median([]float64{5, 1, 3}); got != 3 {
		t.Errorf("median of three: %v", got)
	}
	if got := Median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("median of four: %v", got)
	}
	if got := Median(nil); got != 0 {
		t.Errorf("median of none: %v", got)
	}
	// Round by round: a machine that was slow in the second round was slow for both.
	if got := Median(Ratios([]float64{90, 9, 91}, []float64{100, 10, 100})); got != 0.9 {
		t.Errorf("ratio %v", got)
	}
	if got := Ratios([]float64{1, 0, 3, 4}, []float64{2, 2, 0}); !slices.Equal(got, []float64{0.5}) {
		t.Errorf("ratios %v: a round that failed counts", got)
	}
	if got := Ratio(1, 0); got != 0 {
		t.Errorf("ratio to nothing: %v", got)
	}
	if got := Spread([]float64{90, 100, 110}); got != 0.1 {
		t.Errorf("spread %v", got)
	}
	if got := Spread([]float64{90}); got != 0 {
		t.Errorf("spread of one: %v", got)
	}
}

func TestPing(t *testing.T) {
	const out = "PING fd00::1(fd00::1) 56 data bytes\n64 bytes from fd00::1: icmp_seq=1 ttl=64 time=0.100 ms\n" +
		"64 bytes from fd00::1: icmp_seq=2 ttl=64 time=0.900 ms\n64 bytes from fd00::1: icmp_seq=3 ttl=64 time=0.200 ms\n\n" +
		"3 packets transmitted\nrtt min/avg/max/mdev = 0.100/0.400/0.900/0.050 ms"
	if got, err := PingMean(out); err != nil || got != 400 {
		t.Errorf("mean %v, %v", got, err)
	}
	if got, err := PingMedian(out); err != nil || got != 200 {
		t.Errorf("median %v, %v", got, err)
	}
	if _, err := PingMean("0 received"); err == nil {
		t.Error("a silent ping has a mean")
	}
	if _, err := PingMedian("0 received"); err == nil {
		t.Error("a silent ping has a median")
	}
}

func TestParsers(t *testing.T) {
	if got, err := parseSchedstat("2000000 17 4\n"); err != nil || got != 2*time.Millisecond {
		t.Errorf("CPU time %v, %v", got, err)
	}
	if _, err := parseSchedstat(""); err == nil {
		t.Error("an empty file is a result")
	}
	if got, err := parseStatus("VmRSS:\t   20480 kB\nThreads:\t7\n", "VmRSS"); err != nil || got != 20480 {
		t.Errorf("memory %v, %v", got, err)
	}
	if got, err := parseStatus("VmRSS:\t   20480 kB\nThreads:\t7\n", "Threads"); err != nil || got != 7 {
		t.Errorf("threads %v, %v", got, err)
	}
	if _, err := parseStatus("", "VmRSS"); err == nil {
		t.Error("no field is a result")
	}
	m, err := parseMachine("cpu  100 20 30 1000 5 1 40 2 0 0\ncpu0 1 1 1\n")
	if err != nil || m.Busy != 1910*time.Millisecond || m.SoftIRQ != 400*time.Millisecond {
		t.Errorf("machine %+v, %v", m, err)
	}
	if _, err := parseMachine("intr 5"); err == nil {
		t.Error("another line is a result")
	}
}

func TestThisProcess(t *testing.T) {
	if used, err := CPUTime(os.Getpid()); err != nil || used <= 0 {
		t.Errorf("CPU time %v, %v", used, err)
	}
	if mb, err := Memory(os.Getpid(), "VmRSS"); err != nil || mb <= 0 {
		t.Errorf("memory %v, %v", mb, err)
	}
	if n, err := Threads(os.Getpid()); err != nil || n < 1 {
		t.Errorf("threads %v, %v", n, err)
	}
	if _, err := CPUTime(1 << 30); err == nil {
		t.Error("a process that is not there has used CPU")
	}
	if m, err := ReadMachine(); err != nil || m.Busy <= 0 {
		t.Errorf("machine %+v, %v", m, err)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	Table(&b, "a", "b")
	Row(&b, "1", Number("%.1f", 0))
	if want := "| a | b |\n|---|---|\n| 1 |  |\n"; b.String() != want {
		t.Errorf("table\n%swant\n%s", &b, want)
	}
}

func TestParseBench(t *testing.T) {
	const out = "goos: linux\nBenchmarkLookup/10000-2   \t 100\t  52.5 ns/op\t 0 B/op\t 0 allocs/op\n" +
		"BenchmarkLookup/10000-2   \t 100\t  50.5 ns/op\t 0 B/op\t 1 allocs/op\nBenchmarkRelay \t 1\t 7 packets/s\nPASS\n"
	got := ParseBench(out)
	if len(got) != 2 || got[0].Name != "Lookup/10000" || got[1].Name != "Relay" {
		t.Fatalf("%+v", got)
	}
	if f := got[0].Figures; f["ns/op"] != 50.5 || f["allocs/op"] != 0 || len(f) != 3 {
		t.Errorf("the least of each: %v", f)
	}
	if got := ParseBench("BenchmarkX \t lots of text\nok re6st/babel 1.2s"); len(got) != 0 {
		t.Errorf("no benchmark: %+v", got)
	}
}
