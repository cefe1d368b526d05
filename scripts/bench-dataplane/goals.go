package main

import "fmt"

// goal is one figure to reach.
type goal struct {
	What    string  `json:"what"`
	Goal    float64 `json:"goal"`
	AtMost  bool    `json:"at_most"` // else at least
	Reached float64 `json:"reached"` // 0: not measured
	Met     bool    `json:"met"`
	Unit    string  `json:"unit,omitempty"`
}

func (g goal) limit() string {
	word := "at least"
	if g.AtMost {
		word = "at most"
	}
	return fmt.Sprintf("%s %g%s", word, g.Goal, g.Unit)
}

func (g goal) reached() string {
	if g.Reached == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f%s", g.Reached, g.Unit)
}

func (g goal) verdict() string {
	switch {
	case g.Reached == 0:
		return "not measured"
	case g.Met:
		return "met"
	default:
		return "not met"
	}
}

// judge compares; a figure at the goal has reached it.
func judge(g goal) goal {
	if g.AtMost {
		g.Met = g.Reached > 0 && g.Reached <= g.Goal
	} else {
		g.Met = g.Reached >= g.Goal
	}
	return g
}

// goals are those of the data plane: × stock wireguard-go in the same run, where no
// unit stands beside the figure.
func goals(r *report) []goal {
	figure := func(system, underlay string, relays int, pick func(*line) float64) float64 {
		if l := r.line(system, underlay, relays); l != nil {
			return pick(l)
		}
		return 0
	}
	mbit := func(l *line) float64 { return l.MbitWG }
	pps := func(l *line) float64 { return l.PPSWG }
	rtt := func(l *line) float64 { return l.AddedWG }
	share := func(l *line) float64 { return l.RAC }
	var out []goal
	if len(r.Paths) > 0 {
		out = []goal{
			{What: "TCP direct, offload", Goal: 1.10, Reached: figure(nameNode, "offload", 0, mbit)},
			{What: "TCP direct, plain", Goal: 1.4, Reached: figure(nameNode, "plain", 0, mbit)},
			{What: "TCP over one relay, offload", Goal: 1.35, Reached: figure(nameNode, "offload", 1, mbit)},
			{What: "TCP over one relay, plain", Goal: 1.95, Reached: figure(nameNode, "plain", 1, mbit)},
			{What: "TCP over two relays, offload", Goal: 1.25, Reached: figure(nameNode, "offload", 2, mbit)},
			{What: "R/(A+C), stock ends, offload", Goal: 0.62, AtMost: true, Reached: figure(nameRelay, "offload", 1, share)},
			{What: "R/(A+C), stock ends, plain", Goal: 0.52, AtMost: true, Reached: figure(nameRelay, "plain", 1, share)},
			{What: "small packets, direct", Goal: 1.9, Reached: figure(nameNode, "offload", 0, pps)},
			{What: "small packets, one relay", Goal: 1.4, Reached: figure(nameNode, "offload", 1, pps)},
			{What: "added RTT, direct", Goal: 0.5, AtMost: true, Reached: figure(nameNode, "offload", 0, rtt)},
			{What: "added RTT, one relay", Goal: 0.48, AtMost: true, Reached: figure(nameNode, "offload", 1, rtt)},
		}
	}
	out = append(out, tunnelGoals(r.Tunnels)...)
	for i := range out {
		out[i] = judge(out[i])
	}
	return out
}

// tunnelGoals are those of memory, of our tunnels in a process of their own.
func tunnelGoals(all []*manyTunnels) []goal {
	for _, m := range all {
		if m.Kind != ours {
			continue
		}
		return []goal{
			{What: "an idle tunnel, of 20", Goal: 0.25, AtMost: true, Unit: " MB", Reached: (m.Idle20.RSSMB - m.Base.RSSMB) / 20},
			{What: "20 tunnels, all were busy", Goal: 100, AtMost: true, Unit: " MB", Reached: m.Busy20.RSSMB},
			{What: "100 idle tunnels", Goal: 35, AtMost: true, Unit: " MB", Reached: m.Idle100.RSSMB},
			{What: "100 idle tunnels, threads", Goal: 15, AtMost: true, Reached: float64(m.Idle100.Threads)},
			{What: "100 idle tunnels, CPU", Goal: 0.15, AtMost: true, Unit: " %", Reached: m.IdleCPU100},
		}
	}
	return nil
}
