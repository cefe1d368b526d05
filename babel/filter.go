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
		for _, r := range slices.Clone(p.routes) {
			u := r.update()
			r.verdict, r.extra = e.judge(u)
			if r.verdict == Refuse {
				r.n.hasRefused = true
				p.remove(r)
				continue
			}
			r.setMetric(now)
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
		Prefix: p.prefix, From: p.from, RouterID: cur.id, Interface: l.Index,
		Metric: cur.metric, Own: p.own != nil,
	})
	return exported{l, add, ok}
}

// lastExport is what was said there, or will be with the next packet.
func (p *entry) lastExport(l *link) exported {
	for _, x := range p.exports {
		if x.link == l {
			return x
		}
	}
	return exported{l, 0, true}
}

func (p *entry) noteExport(x exported) {
	if p.lastExport(x.link) == x {
		return
	}
	// What was on links that are gone goes too.
	p.exports = slices.DeleteFunc(p.exports, func(old exported) bool {
		return old.link == x.link || p.e.link(old.link.Index) != old.link
	})
	if x.add != 0 || !x.ok {
		p.exports = append(p.exports, x)
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
	for _, p := range e.entries {
		if cur := p.current(); cur.metric != Infinity {
			p.isWithheld(l, &cur, true)
		}
	}
}
