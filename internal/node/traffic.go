package node

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"re6st/addressing"
	"re6st/babel"
	"re6st/ebpf"
	"re6st/internal/kernel"
	"re6st/internal/status"
	"re6st/internal/traffic"
	"re6st/tunnel"
)

// lookEvery is how often the traffic on the tunnels is looked at.
const lookEvery = time.Second

// A flowSource is a part that puts packets into tunnels and counts them.
type flowSource struct {
	name string
	// flows are all counters of now. An error says why there are none.
	flows func() ([]traffic.Flow, error)
}

// flowMeter is what flows through this node, for whoever asks.
type flowMeter struct {
	// kernel are the programs that see what the kernel sends into tunnels; sources
	// are the other ways. Both are set before the tasks run.
	kernel  func() ([]traffic.Flow, error)
	sources []flowSource

	mu     sync.Mutex // guards what follows
	meter  *traffic.Meter
	report traffic.Report

	hadDemand bool // owned by watchTraffic
}

// latest is as of the last look.
func (f *flowMeter) latest() traffic.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.report
}

// observe takes the counters of now.
func (f *flowMeter) observe(now time.Time, s traffic.Sample) traffic.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.meter == nil {
		f.meter = traffic.New(traffic.Config{})
	}
	f.meter.Observe(now, s)
	f.report = f.meter.Report()
	return f.report
}

// read asks all sources. Who cannot answer is named, and the others count.
func (f *flowMeter) read() (flows []traffic.Flow, unknown string) {
	var why []string
	kernel := f.kernel
	if kernel == nil {
		kernel = func() ([]traffic.Flow, error) { return nil, errors.New("no program counts there") }
	}
	for _, s := range append([]flowSource{{"the kernel", kernel}}, f.sources...) {
		some, err := s.flows()
		if err != nil {
			why = append(why, s.name+": "+err.Error())
			continue
		}
		flows = append(flows, some...)
	}
	return flows, strings.Join(why, "; ")
}

// shortcutFlows are what the kernel's programs counted. What this host sends by no
// route of the mesh is left out: Babel's packets, and multicast.
func shortcutFlows(flows []ebpf.Flow) []traffic.Flow {
	all := make([]traffic.Flow, 0, len(flows))
	for _, f := range flows {
		if isControl := !f.To.IsValid() && f.Into != 0 && !f.Transit; isControl {
			continue
		}
		all = append(all, traffic.Flow{
			Way: traffic.Kernel, To: f.To, Into: f.Into, Transit: f.Transit, Count: traffic.Count{Packets: f.Packets, Bytes: f.Bytes},
		})
	}
	return all
}

// watchTraffic looks at the traffic: Babel speaks faster on tunnels that carry
// data, operators see what flows, and much traffic to one node gets a tunnel of
// its own.
func (d *daemon) watchTraffic(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			d.lookAtTraffic(now)
		}
	}
}

func (d *daemon) lookAtTraffic(now time.Time) {
	counters, err := d.host.Counters()
	if err != nil {
		d.log.Debug("looking at the traffic", "err", err)
		return
	}
	packets := make(map[int]uint64, len(counters))
	for index, c := range counters {
		packets[index] = c.RxPackets + c.TxPackets
	}
	d.addRelayed(packets)
	d.routing.observe(now, packets)
	if err := d.counting.follow(d.routing.each, d.speaker.Destinations); err != nil {
		d.log.Debug("looking at the traffic", "err", err)
	}
	s := traffic.Sample{Links: d.linksOf(counters)}
	s.Flows, s.Unknown = d.flows.read()
	d.demand(d.flows.observe(now, s))
}

func (d *daemon) linksOf(counters map[int]kernel.Counters) []traffic.Link {
	var links []traffic.Link
	d.routing.each(func(index int) {
		if c, isThere := counters[index]; isThere {
			links = append(links, traffic.Link{
				Index: index, Rx: traffic.Count{Packets: c.RxPackets, Bytes: c.RxBytes}, Tx: traffic.Count{Packets: c.TxPackets, Bytes: c.TxBytes},
			})
		}
	})
	return links
}

// each calls f for the interfaces of the tunnels. None comes or goes meanwhile.
func (r *routing) each(f func(index int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for index := range r.interfaces {
		f(index)
	}
}

const (
	// demandLeast is not worth telling the selector: far less than what opens a
	// tunnel, and than what keeps one.
	demandLeast = 1000 // bytes per second
	// demandsMax bounds what the selector is told: it opens fewer tunnels.
	demandsMax = 32
)

// demand tells the selector where much goes. As long as there is little, that
// costs nothing.
func (d *daemon) demand(r traffic.Report) {
	var all []tunnel.Demand
	if len(r.Destinations) > 0 && rateOf(r.Destinations[0]) >= demandLeast {
		all = demandOf(r, ownersByPrefix(d.speaker.Destinations()), d.member.self.RouterID)
	}
	if len(all) > 0 || d.flows.hadDemand {
		d.agent.SetDemand(all)
	}
	d.flows.hadDemand = len(all) > 0
}

// ownersByPrefix are the router-ids that originate what packets are sent to. Of
// a prefix with several routes, by source, that for all sources counts.
func ownersByPrefix(destinations []babel.Destination) map[netip.Prefix]addressing.RouterID {
	owners := make(map[netip.Prefix]addressing.RouterID, len(destinations))
	for _, x := range destinations {
		if _, isKnown := owners[x.Prefix]; !isKnown || !x.From.IsValid() {
			owners[x.Prefix] = addressing.RouterID(x.RouterID)
		}
	}
	return owners
}

// demandOf sums up by node what goes to its prefixes, most first.
func demandOf(r traffic.Report, owners map[netip.Prefix]addressing.RouterID, self addressing.RouterID) []tunnel.Demand {
	byPeer := map[tunnel.PeerID]tunnel.Demand{}
	for _, x := range r.Destinations {
		id, isKnown := owners[x.Prefix]
		if !isKnown || id == self {
			continue
		}
		p := byPeer[id]
		p.Peer = id
		p.BytesPerSecond += x.Own.Rate.Bytes
		p.Carried += x.Carried.Rate.Bytes
		byPeer[id] = p
	}
	var all []tunnel.Demand
	for _, p := range byPeer {
		if p.BytesPerSecond+p.Carried >= demandLeast {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b tunnel.Demand) int {
		return cmp.Or(cmp.Compare(b.BytesPerSecond+b.Carried, a.BytesPerSecond+a.Carried), slices.Compare(a.Peer[:], b.Peer[:]))
	})
	return all[:min(len(all), demandsMax)]
}

func rateOf(x traffic.Destination) float64 { return x.Own.Rate.Bytes + x.Carried.Rate.Bytes }

// viewTraffic is what `re6stnode top` shows.
func (d *daemon) viewTraffic() (status.Traffic, error) {
	tunnels, err := d.tunnels()
	if err != nil {
		return status.Traffic{}, err
	}
	r := d.flows.latest()
	peers, names := peerNames(tunnels), map[int]string{}
	for _, t := range tunnels {
		names[t.Index] = t.Interface
	}
	doc := status.Traffic{
		SchemaVersion: status.SchemaVersion, Name: d.member.self.Name, Time: r.At.UTC(), Unknown: r.Unknown,
		Own: viewStream(r.Own), Carried: viewStream(r.Carried),
		Tunnels: []status.TunnelTraffic{}, Destinations: []status.DestinationTraffic{},
	}
	for _, t := range r.Tunnels {
		if _, isKnown := peers[t.Index]; !isKnown {
			continue // it closed since
		}
		doc.Tunnels = append(doc.Tunnels, status.TunnelTraffic{
			Peer: peers[t.Index], Interface: names[t.Index], Received: viewStream(t.Rx), Sent: viewStream(t.Tx),
			Own: viewStream(t.Own), Carried: viewStream(t.Carried),
		})
	}
	slices.SortFunc(doc.Tunnels, func(a, b status.TunnelTraffic) int {
		rate := func(t status.TunnelTraffic) float64 { return t.Received.BytesPerSecond + t.Sent.BytesPerSecond }
		return cmp.Or(cmp.Compare(rate(b), rate(a)), cmp.Compare(a.Peer, b.Peer))
	})
	owners := d.ownerNames(r.Destinations)
	for _, x := range r.Destinations {
		row := viewDestination(x, peers)
		row.Prefix, row.Owner = x.Prefix.String(), owners[x.Prefix]
		doc.Destinations = append(doc.Destinations, row)
	}
	doc.Other = viewDestination(r.Other, nil)
	return doc, nil
}

// ownerNames tells whose the destinations are, as far as certificates are at hand.
func (d *daemon) ownerNames(all []traffic.Destination) map[netip.Prefix]string {
	if len(all) == 0 {
		return nil
	}
	ids := ownersByPrefix(d.speaker.Destinations())
	names := make(map[netip.Prefix]string, len(all))
	for _, x := range all {
		if id, isKnown := ids[x.Prefix]; isKnown {
			names[x.Prefix] = d.ownerName(id)
		} else if n, isMember := d.claims.OwnerOf(x.Prefix.Addr()); isMember { // the route is gone
			names[x.Prefix] = n.Name
		}
	}
	return names
}

func viewDestination(x traffic.Destination, peers map[int]string) status.DestinationTraffic {
	return status.DestinationTraffic{Via: peers[x.Into], Own: viewStream(x.Own), Carried: viewStream(x.Carried)}
}

func viewStream(s traffic.Stream) status.Stream {
	tenth := func(f float64) float64 { return math.Round(10*f) / 10 }
	return status.Stream{
		BytesPerSecond: tenth(s.Rate.Bytes), PacketsPerSecond: tenth(s.Rate.Packets), Bytes: s.Total.Bytes, Packets: s.Total.Packets,
	}
}
