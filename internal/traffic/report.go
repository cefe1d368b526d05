package traffic

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Destination is what went to one prefix.
type Destination struct {
	Prefix  netip.Prefix
	Own     Stream // this node's
	Carried Stream // for others
	Into    int    // the interface that took it last
}

func (d *Destination) add(k key, fresh Count) {
	streamOf(&d.Own, &d.Carried, k.transit).add(fresh)
	d.Into = k.into
}

// rate is in bytes per second.
func (d *Destination) rate() float64 { return d.Own.Rate.Bytes + d.Carried.Rate.Bytes }

// load is the rate, or what came since the last sample where that is more: one
// that just begins has no rate yet.
func (d *Destination) load(seconds float64) float64 {
	return max(d.rate(), float64(d.Own.fresh.Bytes+d.Carried.fresh.Bytes)/seconds)
}

// compare sorts by what flows now, then by what has.
func (d *Destination) compare(o *Destination) int {
	return cmp.Or(
		cmp.Compare(o.rate(), d.rate()),
		cmp.Compare(o.Own.Total.Bytes+o.Carried.Total.Bytes, d.Own.Total.Bytes+d.Carried.Total.Bytes),
		d.Prefix.Compare(o.Prefix),
	)
}

// Tunnel is what one interface carried.
type Tunnel struct {
	Index        int
	Rx, Tx       Stream // all that it carried, ours and others'
	Own, Carried Stream // of Tx, as far as destinations are counted
}

// Report is what a Meter knows.
type Report struct {
	At time.Time // of the last sample; zero: there was none
	// Unknown says why destinations are not counted, or not all; empty: they are.
	Unknown      string
	Own, Carried Stream
	Tunnels      []Tunnel      // by index
	Destinations []Destination // those that carry most first
	Other        Destination   // all that are not told apart
}

// Report is as of the last sample.
func (m *Meter) Report() Report {
	r := Report{At: m.at, Unknown: m.unknown, Own: m.own, Carried: m.carried, Other: m.other}
	for _, d := range m.byRate() {
		r.Destinations = append(r.Destinations, *d)
	}
	for _, l := range m.links {
		r.Tunnels = append(r.Tunnels, l.Tunnel)
	}
	slices.SortFunc(r.Tunnels, func(a, b Tunnel) int { return cmp.Compare(a.Index, b.Index) })
	return r
}
