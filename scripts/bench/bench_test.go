package main

import (
	"strings"
	"testing"
	"time"
)

func TestMedianAndRatios(t *testing.T) {
	if got := median([]float64{5, 1, 3}); got != 3 {
		t.Errorf("median of three: %v", got)
	}
	if got := median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("median of four: %v", got)
	}
	if got := median(nil); got != 0 {
		t.Errorf("median of none: %v", got)
	}
	// Round by round: a machine that was slow in the second round was slow for both.
	if got := ratios([]float64{90, 9, 91}, []float64{100, 10, 100}); got != 0.9 {
		t.Errorf("ratio %v", got)
	}
}

func TestParsers(t *testing.T) {
	mbit, bytes, err := parseIperf([]byte(`{"end":{"sum_received":{"bytes":5e8,"bits_per_second":1e9}}}`))
	if err != nil || mbit != 1000 || bytes != 5e8 {
		t.Errorf("iperf3: %v Mbit/s, %v bytes, %v", mbit, bytes, err)
	}
	if _, _, err := parseIperf([]byte(`{"error":"unable to connect"}`)); err == nil {
		t.Error("iperf3's error is a result")
	}
	rtt, err := parsePing("200 packets transmitted\nrtt min/avg/max/mdev = 0.100/0.250/0.900/0.050 ms")
	if err != nil || rtt != 250 {
		t.Errorf("ping: %v, %v", rtt, err)
	}
	if _, err := parsePing("0 received"); err == nil {
		t.Error("a silent ping is a result")
	}
	cpu, err := parseCPU("17 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0")
	if err != nil || cpu != 2*time.Second {
		t.Errorf("CPU time %v, %v", cpu, err)
	}
	if _, err := parseCPU("17 (x"); err == nil {
		t.Error("half a line is a result")
	}
	mb, err := parseMemory("VmRSS:\t   20480 kB\nRssAnon:\t  10240 kB\n", "RssAnon")
	if err != nil || mb != 10 {
		t.Errorf("memory %v, %v", mb, err)
	}
	if _, err := parseMemory("", "VmRSS"); err == nil {
		t.Error("no field is a result")
	}
}

func TestReportShowsRatios(t *testing.T) {
	bare := &transfer{Name: "bare link", Mbit: []float64{10, 10, 10}}
	wg := &transfer{Name: "wireguard-go", Mbit: []float64{2, 2, 2}}
	ours := &transfer{Name: "re6st", Mbit: []float64{2.2, 2, 1.9}, via: wg}
	r := &report{Transfers: []*transfer{bare, wg, ours}}
	r.finish(bare)
	var b strings.Builder
	r.markdown(&b)
	if want := "| re6st | 2 | 0.200 | 1.00 |"; !strings.Contains(b.String(), want) {
		t.Errorf("no line %q in\n%s", want, &b)
	}
}

func TestChoose(t *testing.T) {
	if got, err := choose("idle,start"); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := choose("nothing"); err == nil {
		t.Error("an unknown part was chosen")
	}
}
