package node

import (
	"net/netip"
	"sync"
	"time"

	"re6st/addressing"
	"re6st/babel"
	"re6st/babel/speaker"
	"re6st/internal/kernel"
	"re6st/registry/network"
	"re6st/tunnel/agent"
)

// routing is the speaker as the tunnels' agent sees it: the two know each other
// only here.
type routing struct {
	speaker *speaker.Speaker
	goes    func(index int) // is told before an interface goes

	mu         sync.Mutex
	parameters network.Parameters
	interfaces map[int]bool // whether it is busy
	activity   babel.Activity
}

func newRouting(s *speaker.Speaker, p network.Parameters) *routing {
	return &routing{speaker: s, parameters: p, interfaces: map[int]bool{}}
}

// setParameters brings the network's intervals to the interfaces of now and of
// later.
func (r *routing) setParameters(p network.Parameters) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parameters = p
	for index, isBusy := range r.interfaces {
		hello, update := r.intervalsLocked(isBusy)
		r.speaker.SetIntervals(index, hello, update)
	}
}

func (r *routing) intervalsLocked(isBusy bool) (hello, update time.Duration) {
	hello = time.Duration(r.parameters.HelloIdle)
	if isBusy {
		hello = time.Duration(r.parameters.HelloActive)
	}
	return hello, time.Duration(r.parameters.UpdateInterval)
}

func (r *routing) AddInterface(index int, name string, mtu int, linkLocal netip.Addr) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	hello, update := r.intervalsLocked(false)
	err := r.speaker.AddInterface(babel.InterfaceConfig{
		Index: index, Name: name, MTU: mtu, LinkLocal: linkLocal, Kind: babel.Tunnel, HelloInterval: hello, UpdateInterval: update,
	})
	if err == nil {
		r.interfaces[index] = false
		// A kernel without IPv4, or a link that has just gone: nothing is lost.
		_ = kernel.AllowAsymmetry(name)
	}
	return err
}

func (r *routing) RemoveInterface(index int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.interfaces, index)
	r.activity.Forget(index)
	if r.goes != nil {
		r.goes(index)
	}
	r.speaker.RemoveInterface(index)
}

// observe looks at the traffic of each interface, given all packets that it has
// carried, and lets Babel speak faster where there is some.
func (r *routing) observe(now time.Time, packets map[int]uint64) {
	own := map[int]uint64{}
	for _, i := range r.speaker.Interfaces() {
		own[i.Index] = i.PacketsIn + i.PacketsOut
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for index, wasBusy := range r.interfaces {
		all := packets[index]
		isBusy := r.activity.Observe(now, index, all-min(all, own[index]))
		if isBusy == wasBusy {
			continue
		}
		r.interfaces[index] = isBusy
		hello, update := r.intervalsLocked(isBusy)
		r.speaker.SetIntervals(index, hello, update)
	}
}

func (r *routing) SetExtraCost(index, cost int) {
	r.speaker.SetExtraCost(index, uint16(min(max(cost, 0), babel.Infinity)))
}

func (r *routing) Destinations() []agent.Destination {
	all := r.speaker.Destinations()
	out := make([]agent.Destination, 0, len(all))
	for _, d := range all {
		if d.From.IsValid() {
			continue // no node lies behind a source-specific route
		}
		out = append(out, agent.Destination{
			Prefix: d.Prefix, RouterID: addressing.RouterID(d.RouterID), Metric: int(d.Metric), Interface: d.Interface, Alternate: int(d.Alternative),
		})
	}
	return out
}

func (r *routing) Links() map[int]agent.Link {
	links := map[int]agent.Link{}
	for _, n := range r.speaker.Neighbours() {
		links[n.Interface] = agent.Link{RTT: n.RTT, Loss: n.Loss, Cost: int(n.Cost)}
	}
	return links
}
