package interop

import (
	"fmt"
	"net/netip"
	"time"

	"re6st/internal/lab"
)

// costs are what the nodes say of each link.
type costs map[[2]*node]lab.RouterNeighbour

func (w *world) costs() (costs, error) {
	all := costs{}
	for _, n := range w.nodes {
		neighbours, err := n.router.Neighbours()
		if err != nil {
			return nil, err
		}
		for _, x := range neighbours {
			if peer := n.ports[x.Interface]; peer != nil {
				all[[2]*node{n, peer}] = x
			}
		}
	}
	for _, l := range w.links {
		for _, ends := range [][2]*node{{l.a, l.b}, {l.b, l.a}} {
			if _, ok := all[ends]; !ok {
				return nil, fmt.Errorf("%v does not know its neighbour %v", ends[0].router, ends[1].router)
			}
		}
	}
	return all, nil
}

// metricsAgree says whether what one end of each link sends as its rxcost is the
// other's txcost, and whether the metric of each route is the sum of the costs
// on its way, as each hop has computed its own.
func (w *world) metricsAgree() error {
	costs, err := w.costs()
	if err != nil {
		return err
	}
	for ends, x := range costs {
		y := costs[[2]*node{ends[1], ends[0]}]
		if x.RxCost >= 0 && y.TxCost >= 0 && x.RxCost != y.TxCost {
			return fmt.Errorf("rxcost %d at %v, txcost %d at %v", x.RxCost, ends[0].router, y.TxCost, ends[1].router)
		}
	}
	tables, err := w.tables()
	if err != nil {
		return err
	}
	for _, from := range w.nodes {
		if err := w.metricsOf(from, tables, costs); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) metricsOf(from *node, tables tables, costs costs) error {
	routes, err := from.router.Routes()
	if err != nil {
		return err
	}
	for _, to := range w.nodes {
		if to == from {
			continue
		}
		way, err := w.walk(tables, from, to, to.prefix(), netip.Prefix{})
		if err != nil {
			return err
		}
		sum := 0
		for i := range way[1:] {
			sum += costs[[2]*node{way[i], way[i+1]}].Cost
		}
		found := -1
		for _, r := range routes {
			if r.Installed && r.Prefix == to.prefix() {
				found = r.Metric
			}
		}
		if found != sum {
			return fmt.Errorf("%v has a route to %s of metric %d; the costs of its way make %d", from.router, to.Name, found, sum)
		}
	}
	return nil
}

// rttsWithin says whether all nodes measure such RTTs, and have such costs.
func (w *world) rttsWithin(least, most time.Duration, cheapest, dearest int) error {
	costs, err := w.costs()
	if err != nil {
		return err
	}
	for ends, x := range costs {
		if x.RTT < least || x.RTT > most {
			return fmt.Errorf("%v measures an RTT of %v to %v", ends[0].router, x.RTT, ends[1].router)
		}
		if x.Cost < cheapest || x.Cost > dearest {
			return fmt.Errorf("%v makes a cost of %d from an RTT of %v to %v", ends[0].router, x.Cost, x.RTT, ends[1].router)
		}
	}
	return nil
}
