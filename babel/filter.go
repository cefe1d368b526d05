package babel

import (
	"slices"
	"time"

	"re6st/babel/wire"
)

// FilterChanged judges everything anew: the stored routes, what is announced over
// each link, and, by asking their neighbours to say them again, the Updates that
// were refused.
func (e *Engine) FilterChanged(now time.Time) {
	if !e.begin(now) {
		return
	}
	for _, p := range e.sortedEntries() {
		for i := len(p.routes) - 1; i >= 0; i-- {
			r := &p.routes[i]
			verdict, cost := e.judge(p.update(r))
			if verdict == Refuse {
				p.neighbour(r).hasRefused = true
				p.remove(r)
				continue
			}
			r.setVerdict(verdict)
			p.setImportCost(r, cost)
			p.setMetric(now, r)
		}
		p.reconsider(now)
		p.reexport(now)
	}
	for _, l := range e.links {
		for _, n := range l.neighbours {
			if n.hasRefused {
				n.hasRefused = false
				n.ask(now, &wire.RouteRequest{})
			}
		}
	}
}

// judge says whether a route is admitted, and what is added to its metric.
func (e *Engine) judge(u Update) (Verdict, uint16) {
	verdict := Accept
	if e.Import != nil {
		verdict = e.Import(u)
	}
	if verdict == Refuse || e.ImportCost == nil {
		return verdict, 0
	}
	return verdict, e.ImportCost(u)
}

// importCost is what Config.ImportCost adds to the metric of a neighbour's route.
// It lies beside the routes, of which few have any.
type importCost struct {
	n   uint16 // number of the neighbour
	add uint16
}

func (p *entry) importCost(r *route) uint16 {
	if r.is(costly) {
		for _, c := range p.x.costs {
			if c.n == r.n {
				return c.add
			}
		}
	}
	return 0
}

func (p *entry) setImportCost(r *route, add uint16) {
	if !r.is(costly) && add == 0 {
		return
	}
	x := p.extra()
	x.costs = slices.DeleteFunc(x.costs, func(c importCost) bool { return c.n == r.n })
	if add != 0 {
		x.costs = append(x.costs, importCost{r.n, add})
	}
	r.set(costly, add != 0)
}

// exported is what an ExportFilter last said of an entry on a link. What is
// announced without additions has none.
type exported struct {
	link *link
	add  uint16
	ok   bool
}

// judgeExport asks the filter about what the entry is now.
func (p *entry) judgeExport(l *link, cur *advertised) exported {
	if p.e.Export == nil || cur.metric == Infinity {
		return exported{l, 0, true}
	}
	add, ok := p.e.Export(Announcement{
		Prefix: p.prefix(), From: p.from(), RouterID: cur.id, Interface: l.Index,
		Metric: cur.metric, Own: p.own() != nil,
	})
	return exported{l, add, ok}
}

// lastExport is what was said there, or will be with the next packet.
func (p *entry) lastExport(l *link) exported {
	if p.x != nil {
		for _, x := range p.x.exports {
			if x.link == l {
				return x
			}
		}
	}
	return exported{l, 0, true}
}

func (p *entry) noteExport(x exported) {
	if p.lastExport(x.link) == x {
		return
	}
	// What was on links that are gone goes too.
	px := p.extra()
	px.exports = slices.DeleteFunc(px.exports, func(old exported) bool {
		return old.link == x.link || p.e.link(old.link.Index) != old.link
	})
	if x.add != 0 || !x.ok {
		px.exports = append(px.exports, x)
	}
}

// isWithheld tells whether there is nothing to say of the entry on the link: the
// filter forbids it, and did so when something could have been said before.
func (p *entry) isWithheld(l *link, cur *advertised, wasSilent bool) bool {
	if p.e.Export == nil {
		return false
	}
	last := p.lastExport(l)
	if cur.metric == Infinity {
		return !last.ok
	}
	x := p.judgeExport(l, cur)
	if x.ok || last.ok && !wasSilent {
		return false
	}
	p.noteExport(x)
	return true
}

// isHushed is isWithheld for a dump.
func (p *entry) isHushed(l *link) bool {
	cur := p.current()
	return p.isWithheld(l, &cur, false)
}

// reexport announces what the filter wants said differently now.
func (p *entry) reexport(now time.Time) {
	cur := p.current()
	if p.e.Export == nil || cur.metric == Infinity {
		return
	}
	for _, l := range p.e.links {
		was, is := p.lastExport(l), p.judgeExport(l, &cur)
		if was != is && (was.ok || is.ok) {
			l.announce(now, p, was.ok != is.ok)
		}
	}
}

// withholdAll is for a link that is new: nothing was said there that would have
// to be retracted.
func (e *Engine) withholdAll(l *link) {
	if e.Export == nil {
		return
	}
	for p := range e.entries.each() {
		if cur := p.current(); cur.metric != Infinity {
			p.isWithheld(l, &cur, true)
		}
	}
}
