package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"re6st/internal/lab"
	"re6st/internal/measure"
)

// maxLoss is the share of small packets that may be lost.
const maxLoss = 0.01

// once is one measurement of a path.
type once struct {
	Mbit float64 `json:"mbit"` // TCP, one flow
	PPS  float64 `json:"pps"`  // 64-byte packets, without loss beyond 1 %
	RTT  float64 `json:"rtt_us"`
	// CPU seconds per GB of the daemons: of both ends, of all relays between.
	Ends   float64 `json:"ends_cpu_s_per_gb"`
	Relays float64 `json:"relays_cpu_s_per_gb"`
	// Rest is what the machine used beyond daemons and load: softirqs on no
	// process's account, and whatever else ran.
	Rest float64 `json:"rest_cpu_s_per_gb"`
	// SmallCPU is µs of CPU per small packet, of all daemons; SmallRelay of relays.
	SmallCPU   float64 `json:"small_cpu_us"`
	SmallRelay float64 `json:"small_relay_cpu_us"`
}

// timing says how long to measure.
type timing struct {
	tcp, warm, train time.Duration
	pings, turns     int // of the round trip
}

// path is a way over so many relays in one mode of the underlay, in all rounds.
type path struct {
	System   string `json:"system"`
	Underlay string `json:"underlay"` // offload or plain
	Relays   int    `json:"relays"`
	Rounds   []once `json:"rounds"`

	of *system
}

func (p *path) String() string {
	return fmt.Sprintf("%s, %s, %d relays", p.System, p.Underlay, p.Relays)
}

// spent is the CPU time of daemons, the first and last of which are ends.
type spent struct{ ends, relays, all, machine time.Duration }

func (p *path) spent() (s spent, err error) {
	if p.of.daemons != nil {
		for i := range p.Relays + 2 {
			d, err := measure.CPUTime(p.of.daemons[i].PID)
			if err != nil {
				return s, fmt.Errorf("%v: %w", p, err)
			}
			if i == 0 || i == p.Relays+1 {
				s.ends += d
			} else {
				s.relays += d
			}
		}
	}
	sink, err := measure.CPUTime(p.of.loads[p.Relays+1].PID)
	if err != nil {
		return s, fmt.Errorf("%v: the load's receiver: %w", p, err)
	}
	s.all = s.ends + s.relays + sink
	m, err := measure.ReadMachine()
	s.machine = m.Busy
	return s, err
}

// ping is the median round trip in µs of echo requests that do not wait for each other.
func (p *path) ping(count int) (float64, error) {
	out, err := p.of.hosts[0].Try("ping", "-n", "-c", strconv.Itoa(count), "-i", "0.005", "-W", "1", p.of.address[p.Relays+1].String())
	if err != nil {
		return 0, err
	}
	return measure.PingMedian(out)
}

// measure is one round of the path, without the round trip. The small packets' rate is looked for from start.
func (p *path) measure(self string, t timing, start float64) (o once, err error) {
	from, to := p.of.hosts[0], p.of.address[p.Relays+1]
	before, err := p.spent()
	if err != nil {
		return o, err
	}
	var tcp transferred
	if err := load(&tcp, from, self, "tcp", to.String(), t.tcp.String(), strconv.FormatInt(t.warm.Milliseconds(), 10)); err != nil {
		return o, err
	}
	after, err := p.spent()
	if err != nil {
		return o, err
	}
	o.Mbit = tcp.Mbit
	if gb := float64(tcp.Bytes) / 1e9; gb > 0 {
		o.Ends = (after.ends - before.ends).Seconds() / gb
		o.Relays = (after.relays - before.relays).Seconds() / gb
		o.Rest = max(0, (after.machine-before.machine-(after.all-before.all)).Seconds()-tcp.Sending) / gb
	}
	if t.train == 0 {
		return o, nil
	}
	rate, err := fastest(start, func(rate int) (float64, error) {
		var c counted
		if err := load(&c, from, self, "udp", to.String(), t.train.String(), strconv.Itoa(rate)); err != nil {
			return 0, err
		}
		if c.Seconds > 0 && float64(c.Sent) < 0.97*float64(rate)*c.Seconds {
			return 1, nil // the sender could not keep up: no such rate here
		}
		return c.lost(), nil
	})
	if err != nil {
		return o, err
	}
	o.PPS = rate
	return o, p.small(self, t, to.String(), &o)
}

// small weighs the packets at a rate that all can do; at their greatest rates batches
// differ.
func (p *path) small(self string, t timing, to string, o *once) error {
	const rate = 15000
	before, err := p.spent()
	if err != nil {
		return err
	}
	var c counted
	if err := load(&c, p.of.hosts[0], self, "udp", to, t.train.String(), strconv.Itoa(rate)); err != nil {
		return err
	}
	after, err := p.spent()
	if err != nil {
		return err
	}
	if c.Received > 0 {
		n := float64(c.Received)
		o.SmallCPU = float64((after.ends - before.ends + after.relays - before.relays).Nanoseconds()) / 1e3 / n
		o.SmallRelay = float64((after.relays - before.relays).Nanoseconds()) / 1e3 / n
	}
	return nil
}

// load runs a sender on a host.
func load(into any, h *lab.Host, self string, args ...string) error {
	out, err := h.Try(append([]string{self, "load"}, args...)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("the load says %q: %w", out, err)
	}
	return nil
}

// Steps of the search: first in jumps, then halving what is open.
const (
	jump    = 1.5
	jumps   = 16
	halving = 3
	// restarts bounds how often a rate that was found bad may turn out good.
	restarts = 1
)

// fastest looks for the greatest rate at which at most maxLoss is lost. A rate counts
// as too much when it failed twice, and the least of those once more at the end: a
// moment in which the machine did something else says nothing.
func fastest(start float64, try func(rate int) (lost float64, err error)) (float64, error) {
	good, bad, err := between(start, try)
	for range restarts {
		if err != nil || good == 0 || bad == 0 {
			break
		}
		lost, failed := try(int(bad))
		if failed != nil || lost > maxLoss {
			err = failed
			break
		}
		good = bad
		var further float64
		further, bad, err = between(good*jump, try)
		good = max(good, further)
	}
	return good, err
}

// twice gives the better of two trains, if the first lost too much.
func twice(rate float64, try func(rate int) (float64, error)) (float64, error) {
	lost, err := try(int(rate))
	if err == nil && lost > maxLoss {
		var second float64
		second, err = try(int(rate))
		lost = min(lost, second)
	}
	return lost, err
}

// between gives the greatest rate that was found good and the least that was not; 0 for
// none.
func between(start float64, try func(rate int) (float64, error)) (good, bad float64, err error) {
	rate := start
	for range jumps {
		lost, err := twice(rate, try)
		if err != nil {
			return 0, 0, err
		}
		if lost <= maxLoss {
			good = rate
			rate *= jump
		} else {
			bad = rate
			rate *= min(1/jump, max(0.1, 1-lost))
		}
		if good > 0 && bad > 0 {
			break
		}
	}
	for range halving {
		if good == 0 || bad == 0 {
			break
		}
		rate = (good + bad) / 2
		lost, err := twice(rate, try)
		if err != nil {
			return 0, 0, err
		}
		if lost <= maxLoss {
			good = rate
		} else {
			bad = rate
		}
	}
	return good, bad, nil
}
