package sim

import (
	"time"
)

// What can happen to a node.

// Kill takes the node away without a word to anyone, and its forwarding table
// with it: a power cut.
func (n *Node) Kill() {
	n.Crash()
	n.flush()
}

// Crash ends the program only: the kernel goes on forwarding as it did.
func (n *Node) Crash() {
	n.isAlive, n.pending = false, nil
	n.trace("dies")
	n.w.touch(n)
}

// Stop ends the program in order: it retracts first.
func (n *Node) Stop() {
	n.act(func(now time.Time) { n.engine.Stop(now) })
	n.Crash()
}

// CrashAt lets the program die within one of its next Outputs.
func (n *Node) CrashAt(point CrashPoint) { n.crash = point }

// Start begins a new life, with the disk of the last one. What a crashed program
// left in the kernel is taken out first.
func (n *Node) Start() {
	if n.isAlive {
		return
	}
	n.flush()
	n.trace("starts")
	n.boot()
}

// LoseDisk forgets the reservation of seqnos.
func (n *Node) LoseDisk() { n.disk = disk{isBroken: n.disk.isBroken} }

// BreakDisk makes reservations fail, or work again.
func (n *Node) BreakDisk(isBroken bool) { n.disk.isBroken = isBroken }

// StepClock moves the node's clock: forward as after a suspend, or back.
func (n *Node) StepClock(by time.Duration) {
	n.clock += by
	n.trace("clock steps by %v", by)
	n.act(func(time.Time) {})
}

// SlowFIB makes the kernel take its time for each batch of route changes. The
// node does nothing else meanwhile, as its loop does not.
func (n *Node) SlowFIB(delay time.Duration) { n.fibDelay = delay }

// RefuseRoutes makes the kernel refuse a share of the routes.
func (n *Node) RefuseRoutes(share float64) { n.refuse = share }

// SetExtraCost drains a link at this end.
func (n *Node) SetExtraCost(l *Link, cost uint16) {
	for _, p := range l.ends {
		if p.n == n {
			p.extra = cost
			n.act(func(now time.Time) { n.engine.SetExtraCost(now, p.index, l.config.Interface.ExtraCost+cost) })
		}
	}
}

// SetIntervals changes the Hello and Update intervals of all its interfaces.
func (n *Node) SetIntervals(hello, update time.Duration) {
	for _, p := range n.ports {
		if p.isUp {
			n.act(func(now time.Time) { n.engine.SetIntervals(now, p.index, hello, update) })
		}
	}
}

// Announce originates one more prefix, or one again.
func (n *Node) Announce(o Origin) {
	n.Withdraw(o)
	n.origins = append(n.origins, o)
	n.w.fib.addOrigin(o, n)
	n.act(func(now time.Time) { n.engine.Originate(now, o.Prefix, o.From, o.Metric) })
}

// Withdraw ends the announcement of a prefix.
func (n *Node) Withdraw(o Origin) {
	for i, x := range n.origins {
		if x.Prefix == o.Prefix && x.From == o.From {
			n.origins = append(n.origins[:i:i], n.origins[i+1:]...)
			n.w.fib.removeOrigin(x, n)
			n.act(func(now time.Time) { n.engine.Withdraw(now, o.Prefix, o.From) })
			return
		}
	}
}

func (n *Node) flush() {
	n.changes = append(n.changes, change{at: max(n.now, n.w.now), node: int32(n.Index), flush: true})
	n.w.touch(n)
}

// Partition cuts every link between the two sides; Heal mends them.
func (w *World) Partition(isLeft func(n *Node) bool, isCut bool) {
	for _, l := range w.links {
		for i, a := range l.ends {
			for j, b := range l.ends {
				if isLeft(a.n) != isLeft(b.n) {
					l.path(i, j).Cut = isCut
				}
			}
		}
	}
}
