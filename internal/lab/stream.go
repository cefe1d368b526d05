package lab

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Stream sends numbered UDP packets between hosts at a steady rate and counts
// what arrives.
type Stream struct {
	lab      *Lab
	interval time.Duration
	ends     []End
	pairs    map[int][]int // sender to receivers, indexes of ends
}

// End is a host with the address that others send to.
type End struct {
	Host *Host
	Addr netip.Addr
}

// Flow is what became of the packets from one host to another.
type Flow struct {
	From, To   string
	Sent, Lost uint64
	Refused    uint64 // of the lost, those that the sender's own kernel refused
	Duplicates uint64
	Reordered  uint64
	// Gap is the longest time without connectivity: between two arrivals, or
	// an arrival and an end of the stream, less the sending interval.
	Gap      time.Duration
	GapStart time.Time
}

func (f Flow) String() string {
	return fmt.Sprintf("%s to %s: %d of %d lost, longest time without connectivity %v", f.From, f.To, f.Lost, f.Sent, f.Gap.Round(time.Millisecond))
}

// Stream starts sending perSecond packets between the pairs for which want
// answers yes; nil means all.
func (l *Lab) Stream(perSecond int, ends []End, want func(from, to string) bool) *Stream {
	l.TB.Helper()
	return l.StreamSize(perSecond, 0, ends, want)
}

// StreamSize is Stream with so many bytes of payload, at most 2,048; 0: as few as
// can be.
func (l *Lab) StreamSize(perSecond, size int, ends []End, want func(from, to string) bool) *Stream {
	l.TB.Helper()
	s := &Stream{lab: l, interval: time.Second / time.Duration(perSecond), ends: ends, pairs: map[int][]int{}}
	for i, from := range ends {
		for j, to := range ends {
			if i != j && (want == nil || want(from.Host.Name, to.Host.Name)) {
				s.pairs[i] = append(s.pairs[i], j)
			}
		}
	}
	for _, e := range ends {
		if err := e.Host.call("StreamListen", struct{}{}, &struct{}{}); err != nil {
			l.TB.Fatalf("%v", err)
		}
	}
	for i, receivers := range s.pairs {
		args := StreamSendArgs{ID: uint32(i), Interval: s.interval, Size: size}
		for _, j := range receivers {
			args.To = append(args.To, ends[j].Addr)
		}
		if err := ends[i].Host.call("StreamSend", args, &struct{}{}); err != nil {
			l.TB.Fatalf("%v", err)
		}
	}
	return s
}

// inFlight is how long packets may take after the last was sent.
const inFlight = time.Second

// Stop ends the stream and reports, worst flow first.
func (s *Stream) Stop() []Flow {
	t := s.lab.TB
	t.Helper()
	sent := make([]SentReply, len(s.ends))
	got := make([]map[uint32]Received, len(s.ends))
	var wg sync.WaitGroup
	for i := range s.pairs {
		wg.Go(func() {
			if err := s.ends[i].Host.call("StreamStop", uint32(i), &sent[i]); err != nil {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	<-time.After(inFlight)
	for i, e := range s.ends {
		var reply ReceivedReply
		if err := e.Host.call("StreamReceived", struct{}{}, &reply); err != nil {
			t.Errorf("%v", err)
		}
		got[i] = map[uint32]Received{}
		for _, r := range reply.From {
			got[i][r.From] = r
		}
	}
	var flows []Flow
	for i, receivers := range s.pairs {
		for k, j := range receivers {
			if k >= len(sent[i].Sent) {
				continue // the sender could not be asked; that was reported
			}
			f := s.flow(sent[i], sent[i].Sent[k], got[j][uint32(i)])
			f.From, f.To = s.ends[i].Host.Name, s.ends[j].Host.Name
			flows = append(flows, f)
		}
	}
	slices.SortFunc(flows, func(a, b Flow) int {
		return cmp.Or(cmp.Compare(b.Gap, a.Gap), cmp.Compare(b.Lost, a.Lost), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return flows
}

func (s *Stream) flow(run SentReply, sent Sent, got Received) Flow {
	f := Flow{
		Sent: sent.Packets, Lost: sent.Packets - min(got.Packets, sent.Packets), Refused: sent.Refused,
		Duplicates: got.Duplicates, Reordered: got.Reordered, Gap: got.Gap, GapStart: got.GapStart,
	}
	if got.Packets == 0 {
		f.Gap, f.GapStart = run.Stop.Sub(run.Start), run.Start
		return f
	}
	if first := got.First.Sub(run.Start); first > f.Gap {
		f.Gap, f.GapStart = first, run.Start
	}
	if last := run.Stop.Sub(got.Last); last > f.Gap {
		f.Gap, f.GapStart = last, got.Last
	}
	f.Gap = max(0, f.Gap-s.interval)
	return f
}

// Lost sums over flows.
func Lost(flows []Flow) (lost, sent uint64) {
	for _, f := range flows {
		lost += f.Lost
		sent += f.Sent
	}
	return lost, sent
}
