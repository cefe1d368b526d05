package sim

import (
	"net/netip"
	"time"
)

// delivery is a packet on its way to a node.
type delivery struct {
	at     time.Duration
	from   int32 // index of the sending node
	serial uint32
	port   int32 // interface index at the receiver
	dst    netip.Addr
	data   []byte
}

func (d *delivery) before(o *delivery) bool {
	if d.at != o.at {
		return d.at < o.at
	}
	if d.from != o.from {
		return d.from < o.from
	}
	return d.serial < o.serial
}

// outgoing is a delivery with its receiver.
type outgoing struct {
	to *Node
	delivery
}

// queue is a heap of deliveries. container/heap would box each.
type queue []delivery

func (q *queue) push(d delivery) {
	*q = append(*q, d)
	h := *q
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].before(&h[parent]) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (q *queue) pop() delivery {
	h := *q
	first, last := h[0], len(h)-1
	h[0], h[last] = h[last], delivery{}
	h = h[:last]
	*q = h
	i := 0
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if h[child].before(&h[least]) {
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

// dropUntil forgets what has arrived so far.
func (q *queue) dropUntil(now time.Duration) {
	for len(*q) > 0 && (*q)[0].at <= now {
		q.pop()
	}
}

// schedule is a heap of nodes by the time of their next event.
type schedule []*Node

func (s schedule) next() time.Duration {
	if len(s) == 0 {
		return never
	}
	return s[0].wakeAt
}

func (s schedule) less(i, j int) bool {
	if s[i].wakeAt != s[j].wakeAt {
		return s[i].wakeAt < s[j].wakeAt
	}
	return s[i].Index < s[j].Index
}

func (s schedule) swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].place, s[j].place = i, j
}

func (s *schedule) pop() *Node {
	n := (*s)[0]
	s.remove(n)
	return n
}

// set puts the node in, moves it, or takes it out.
func (s *schedule) set(n *Node, at time.Duration) {
	if at == never {
		s.remove(n)
		return
	}
	n.wakeAt = at
	if n.place < 0 {
		n.place = len(*s)
		*s = append(*s, n)
	}
	s.down(n.place)
	s.up(n.place)
}

func (s *schedule) remove(n *Node) {
	i, last := n.place, len(*s)-1
	if i < 0 {
		return
	}
	s.swap(i, last)
	(*s)[last] = nil
	*s = (*s)[:last]
	n.place = -1
	if i < last {
		s.down(i)
		s.up(i)
	}
}

func (s schedule) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !s.less(i, parent) {
			return
		}
		s.swap(i, parent)
		i = parent
	}
}

func (s schedule) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s); child++ {
			if s.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		s.swap(i, least)
		i = least
	}
}
