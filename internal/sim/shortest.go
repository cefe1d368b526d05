package sim

import (
	"fmt"
	"math"
	"time"

	"re6st/babel"
)

// What a route costs at best, and what the mesh makes of it.

// Constants of the engine's costs (appendix B, and the cost of a tunnel).
const (
	costNominal   = 96
	costTunnelHop = 4
	costTunnelMs  = 4
	costTunnelMax = 2000
)

// cost is what sending from one end of the link to another costs by the link's
// true latency, without loss.
func (l *Link) cost(from, to int) int {
	there, back := l.path(from, to), l.path(to, from)
	extra := int(l.config.Interface.ExtraCost) + int(l.ends[from].extra)
	if l.config.Interface.Kind != babel.Tunnel {
		return costNominal + extra
	}
	rtt := there.Latency + back.Latency + (there.Jitter+back.Jitter)/2
	ms := float64(rtt) / float64(time.Millisecond)
	return int(math.Round(min(costTunnelHop+costTunnelMs*ms, costTunnelMax))) + extra
}

const far = math.MaxInt / 4

// distances is Dijkstra's algorithm from the owners of a destination.
func (w *World) distances(d *destination) []int {
	dist := make([]int, len(w.nodes))
	for i := range dist {
		dist[i] = far
	}
	var open frontier
	for _, o := range d.owners {
		if w.nodes[o].isAlive {
			dist[o] = 0
			open.push(step{0, o})
		}
	}
	for len(open) > 0 {
		s := open.pop()
		if s.dist > dist[s.node] {
			continue
		}
		for _, p := range w.nodes[s.node].ports {
			l := p.link
			for _, e := range l.ends {
				if e == p || !l.carries(e.end, p.end) || !l.carries(p.end, e.end) {
					continue
				}
				if x := s.dist + l.cost(e.end, p.end); x < dist[e.n.Index] {
					dist[e.n.Index] = x
					open.push(step{x, int32(e.n.Index)})
				}
			}
		}
	}
	return dist
}

type step struct {
	dist int
	node int32
}

// frontier is a heap of steps.
type frontier []step

func (f *frontier) push(s step) {
	*f = append(*f, s)
	h := *f
	for i := len(h) - 1; i > 0 && h[i].dist < h[(i-1)/2].dist; i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
}

func (f *frontier) pop() step {
	h := *f
	first, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	*f = h
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if h[child].dist < h[least].dist {
				least = child
			}
		}
		if least == i {
			return first
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// Stretch compares the ways of packets, and the metrics that nodes believe, with
// the shortest ways.
type Stretch struct {
	Pairs     int
	Mean      float64 // cost of the way over that of the shortest
	Worst     float64 // the same; what damping leaves on each hop is taken off
	WorstPair string
	Metric    float64 // largest error of a metric, relative to the way's true cost
	MetricAt  string
}

// Slack is by how much a way may be longer without that being worth a change:
// on each hop what is not worth telling (max(16, 1/16)) and what hysteresis
// keeps.
const (
	slackHop   = 16
	slackShare = 0.25
)

// Stretch is over all pairs of living nodes and destinations.
func (w *World) Stretch() Stretch {
	w.settle()
	s := Stretch{Worst: 1, Mean: 1}
	sum := 0.0
	metrics := w.metrics()
	for i, d := range w.fib.all {
		dist := w.distances(d)
		for _, n := range w.nodes {
			best := dist[n.Index]
			if !n.isAlive || best == far || best == 0 || best >= babel.Infinity {
				continue
			}
			way, hops, ok := w.wayCost(d, int32(n.Index))
			if !ok {
				continue // that is for AllReach
			}
			s.Pairs++
			sum += float64(way) / float64(best)
			if x := float64(way-slackHop*hops) / float64(best); x > s.Worst {
				s.Worst = x
				s.WorstPair = fmt.Sprintf("node %d to %v: %d, shortest %d: %s", n.Index, d, way, best, w.fib.walk(d, int32(n.Index)))
			}
			metric := metrics[n.Index][i]
			wrong := math.Abs(float64(metric-way)) - float64(slackHop*hops)
			if x := wrong / float64(way); x > s.Metric {
				s.Metric = x
				s.MetricAt = fmt.Sprintf("node %d to %v: metric %d, way %d", n.Index, d, metric, way)
			}
		}
	}
	if s.Pairs > 0 {
		s.Mean = sum / float64(s.Pairs)
	}
	return s
}

// metrics is what each node believes, by destination.
func (w *World) metrics() [][]int {
	all := make([][]int, len(w.nodes))
	for i, n := range w.nodes {
		all[i] = make([]int, len(w.fib.all))
		if !n.isAlive {
			continue
		}
		for _, d := range n.engine.Destinations() {
			all[i][w.fib.find(d.Prefix, d.From)] = int(d.Metric)
		}
	}
	return all
}

// wayCost is what the way of packets costs, and how many hops it has.
func (w *World) wayCost(d *destination, n int32) (cost, hops int, ok bool) {
	for range w.nodes {
		to := w.fib.lookup(d, n)
		if to < 0 {
			for _, o := range d.owners {
				if o == n {
					return cost, hops, true
				}
			}
			return 0, 0, false
		}
		p := w.nodes[n].ports[w.fib.portOf(d, n)-1]
		end := p.link.end(w.nodes[to].address)
		if end == nil {
			return 0, 0, false
		}
		cost += p.link.cost(p.end, end.end)
		hops++
		n = to
	}
	return 0, 0, false
}
