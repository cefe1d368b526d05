package main

import (
	"strings"
	"testing"
)

func TestParsers(t *testing.T) {
	mbit, bytes, err := parseIperf([]byte(`{"end":{"sum_received":{"bytes":5e8,"bits_per_second":1e9}}}`))
	if err != nil || mbit != 1000 || bytes != 5e8 {
		t.Errorf("iperf3: %v Mbit/s, %v bytes, %v", mbit, bytes, err)
	}
	if _, _, err := parseIperf([]byte(`{"error":"unable to connect"}`)); err == nil {
		t.Error("iperf3's error is a result")
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
