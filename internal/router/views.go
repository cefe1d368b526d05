package router

import (
	"math"
	"net/netip"
	"time"

	"re6st/babel"
	"re6st/internal/status"
)

// views are the documents of the local socket.
func (r *router) views() status.Documents {
	return status.Documents{
		"babel-routes":     func() (any, error) { return r.viewRoutes(), nil },
		"babel-neighbours": func() (any, error) { return r.viewNeighbours(), nil },
	}
}

func (r *router) viewRoutes() status.BabelRoutes {
	s := r.speaker.Snapshot()
	names := interfaceNames(s.Interfaces)
	doc := status.BabelRoutes{
		SchemaVersion: status.SchemaVersion, RouterID: s.RouterID.String(), Seqno: s.Seqno, Table: int(r.Table),
		Routes: make([]status.BabelRoute, 0, len(s.Routes)),
	}
	for _, x := range s.Routes {
		doc.Routes = append(doc.Routes, status.BabelRoute{
			Prefix: x.Prefix.String(), From: textOf(x.From), RouterID: x.RouterID.String(), Metric: int(x.Metric), Received: int(x.Received),
			Seqno: x.Seqno, Via: addressOf(x.NextHop), Neighbour: addressOf(x.Neighbour), Interface: names[x.Interface],
			Own: x.Own, Selected: x.Selected, Installed: x.Installed, Feasible: x.Feasible,
		})
	}
	return doc
}

func (r *router) viewNeighbours() status.BabelNeighbours {
	names := interfaceNames(r.speaker.Interfaces())
	doc := status.BabelNeighbours{SchemaVersion: status.SchemaVersion, Neighbours: []status.BabelNeighbour{}}
	for _, n := range r.speaker.Neighbours() {
		x := status.BabelNeighbour{
			Address: n.Address.String(), Interface: names[n.Interface], Reachable: n.Reachable,
			RxCost: int(n.RxCost), TxCost: int(n.TxCost), Cost: int(n.Cost), Loss: n.Loss,
			Routes: n.Routes, Selected: n.Selected, Since: n.Since.UTC(), Heard: n.Heard.UTC(),
		}
		if n.RTT > 0 {
			ms := math.Round(float64(n.RTT)/float64(time.Microsecond)) / 1000
			x.RTTms = &ms
		}
		doc.Neighbours = append(doc.Neighbours, x)
	}
	return doc
}

func interfaceNames(interfaces []babel.InterfaceState) map[int]string {
	names := make(map[int]string, len(interfaces))
	for _, i := range interfaces {
		names[i.Index] = i.Name
	}
	return names
}

func textOf(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

func addressOf(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
