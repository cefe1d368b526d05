package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Faults is which kinds of faults a storm may bring.
type Faults uint32

const (
	CutLinks Faults = 1 << iota
	CutOneWay
	LoseCarrier
	LosePackets
	ChangeLatency
	Disorder // jitter, reordering, duplicates
	ShrinkMTU
	KillNodes  // and start them with their seqno
	LoseSeqnos // start them without
	CrashNodes // the program only
	CrashAmid  // within an Output
	Partitions
	StepClocks
	SlowFIBs
	RefuseRoutes
	BreakDisks
	Drain
	WithdrawPrefixes
	ChangeIntervals
	faultsEnd

	AllFaults = faultsEnd - 1
	// LinkFaults leave nodes alone.
	LinkFaults = CutLinks | CutOneWay | LoseCarrier | LosePackets | ChangeLatency | Disorder
)

var faultNames = []string{
	"cut", "oneway", "carrier", "loss", "latency", "disorder", "mtu", "kill", "seqno", "crash", "amid", "partition",
	"clock", "slowfib", "refuse", "disk", "drain", "withdraw", "intervals",
}

func (f Faults) String() string {
	var names []string
	for i, name := range faultNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// ParseFaults reads what String writes; "all" and "links" too.
func ParseFaults(s string) (Faults, error) {
	var f Faults
	for _, name := range strings.Split(s, ",") {
		switch i := slices.Index(faultNames, name); {
		case name == "all":
			f |= AllFaults
		case name == "links":
			f |= LinkFaults
		case i >= 0:
			f |= 1 << i
		case name != "":
			return 0, fmt.Errorf("fault %q is none of %s", name, strings.Join(faultNames, ","))
		}
	}
	return f, nil
}

// storm is faults under way, and how to end each.
type storm struct {
	w     *World
	kinds []Faults
	calm  []func() // what ends the faults under way, in the order of their begin
	ended map[int]bool
}

// Storm schedules faults at random for the time, then ends all. The gap between
// two is random below the one given.
func (w *World) Storm(d, gap time.Duration, faults Faults) {
	s := &storm{w: w, ended: map[int]bool{}}
	for i := range faultNames {
		if f := Faults(1) << i; faults&f != 0 {
			s.kinds = append(s.kinds, f)
		}
	}
	until := w.now + d
	if len(s.kinds) == 0 {
		w.Run(d)
		return
	}
	for w.now < until {
		w.Run(min(time.Duration(w.rand.Int64N(int64(gap))), until-w.now))
		s.one(s.kinds[w.rand.IntN(len(s.kinds))])
	}
	for i := range s.calm {
		s.end(i)
	}
	w.Tell("the storm is over")
}

// begin notes how a fault ends; that may be before the storm does.
func (s *storm) begin(undo func(), format string, args ...any) {
	s.w.Tell(format, args...)
	i := len(s.calm)
	s.calm = append(s.calm, undo)
	if s.w.rand.IntN(4) > 0 {
		s.w.After(time.Duration(s.w.rand.Int64N(int64(40*time.Second))), func() { s.end(i) })
	}
}

func (s *storm) end(i int) {
	if !s.ended[i] {
		s.ended[i] = true
		s.calm[i]()
	}
}

func (s *storm) one(kind Faults) {
	w := s.w
	r := w.rand
	l := w.links[r.IntN(len(w.links))]
	n := w.nodes[r.IntN(len(w.nodes))]
	switch kind {
	case CutLinks, CutOneWay, LoseCarrier, LosePackets, ChangeLatency, Disorder, ShrinkMTU:
		s.disturbLink(kind, l)
	case Partitions:
		side := make([]bool, len(w.nodes))
		for i := range side {
			side[i] = r.IntN(2) == 0
		}
		isLeft := func(n *Node) bool { return side[n.Index] }
		w.Partition(isLeft, true)
		s.begin(func() { w.Tell("heal"); w.Partition(isLeft, false) }, "partition %v", side)
	default:
		s.disturbNode(kind, n, l)
	}
}

func (s *storm) disturbLink(kind Faults, l *Link) {
	r := s.w.rand
	usual := l.config.Path
	path := l.Path(0, 1)
	switch kind {
	case CutLinks:
		l.Cut(true)
		s.begin(func() { s.w.Tell("link %d mended", l.Index); l.Cut(false) }, "link %d cut", l.Index)
		return
	case CutOneWay:
		from := r.IntN(len(l.ends))
		to := (from + 1 + r.IntN(len(l.ends)-1)) % len(l.ends)
		l.CutOneWay(from, to, true)
		s.begin(func() { s.w.Tell("link %d mended", l.Index); l.CutOneWay(from, to, false) },
			"link %d cut from node %d to node %d", l.Index, l.ends[from].n.Index, l.ends[to].n.Index)
		return
	case LoseCarrier:
		l.SetCarrier(false)
		s.begin(func() { s.w.Tell("link %d up", l.Index); l.SetCarrier(true) }, "link %d down", l.Index)
		return
	case LosePackets:
		path.Loss = r.Float64() * 0.6
	case ChangeLatency:
		path.Latency = time.Duration(float64(usual.Latency) * (0.5 + 4*r.Float64()))
	case Disorder:
		path.Jitter = time.Duration(r.Int64N(int64(50 * time.Millisecond)))
		path.Reorder, path.Duplicate = r.Float64()*0.25, r.Float64()*0.1
	case ShrinkMTU:
		path.MTU = 600 + r.IntN(400)
	}
	l.Set(path)
	s.begin(func() { l.Set(usual) }, "link %d: latency %v, jitter %v, loss %.2f, reordering %.2f, duplicates %.2f, MTU %d",
		l.Index, path.Latency, path.Jitter, path.Loss, path.Reorder, path.Duplicate, path.MTU)
}

func (s *storm) disturbNode(kind Faults, n *Node, l *Link) {
	r := s.w.rand
	switch kind {
	case KillNodes:
		n.Kill()
		s.begin(n.Start, "node %d killed", n.Index)
	case LoseSeqnos:
		n.Kill()
		n.LoseDisk()
		s.begin(n.Start, "node %d killed, its disk lost", n.Index)
	case CrashNodes:
		n.Crash()
		s.begin(n.Start, "node %d crashed", n.Index)
	case CrashAmid:
		point := BeforeReserve + CrashPoint(r.IntN(int(AmidPackets)))
		n.CrashAt(point)
		s.begin(func() { n.CrashAt(NoCrash); n.Start() }, "node %d will crash at point %d", n.Index, point)
	case StepClocks:
		by := time.Duration(r.Int64N(int64(20 * time.Minute)))
		n.StepClock(by)
		s.w.Tell("node %d: clock steps by %v", n.Index, by)
	case SlowFIBs:
		delay := time.Duration(r.Int64N(int64(500 * time.Millisecond)))
		n.SlowFIB(delay)
		s.begin(func() { n.SlowFIB(0) }, "node %d: the kernel takes %v for routes", n.Index, delay)
	case RefuseRoutes:
		n.RefuseRoutes(r.Float64() / 2)
		s.begin(func() { n.RefuseRoutes(0) }, "node %d: the kernel refuses %.2f of the routes", n.Index, n.refuse)
	case BreakDisks:
		n.BreakDisk(true)
		s.begin(func() { n.BreakDisk(false) }, "node %d: the disk fails", n.Index)
	case Drain:
		end := l.ends[r.IntN(len(l.ends))].n
		end.SetExtraCost(l, 8000)
		s.begin(func() { end.SetExtraCost(l, 0) }, "node %d drains link %d", end.Index, l.Index)
	case WithdrawPrefixes:
		if len(n.origins) > 0 {
			o := n.origins[r.IntN(len(n.origins))]
			n.Withdraw(o)
			s.begin(func() { n.Announce(o) }, "node %d withdraws %v", n.Index, o.Prefix)
		}
	case ChangeIntervals:
		hello := 200*time.Millisecond + time.Duration(r.Int64N(int64(8*time.Second)))
		n.SetIntervals(hello, 0)
		usual := l.config.Interface
		s.begin(func() { n.SetIntervals(usual.HelloInterval, usual.UpdateInterval) }, "node %d: Hellos every %v", n.Index, hello)
	}
}
