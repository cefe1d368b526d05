package kernel

import (
	"slices"
	"sync"
)

// LinkSubscription hands changes of links to one reader, who may be as slow as
// he likes: what he has not fetched is merged, so that he always finds the
// latest state of every link, and the watcher never waits.
type LinkSubscription struct {
	// C has something when there are events to Take. Its capacity is one:
	// it says that, not how often.
	C <-chan struct{}

	signal chan struct{}
	owner  *subscribers

	mu      sync.Mutex
	pending []LinkEvent // one for each link, in the order of the first change
}

// Take fetches what happened since the last call.
func (s *LinkSubscription) Take() []LinkEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.pending
	s.pending = nil
	return events
}

// Close ends the subscription; C is not closed.
func (s *LinkSubscription) Close() {
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	s.owner.all = slices.DeleteFunc(s.owner.all, func(o *LinkSubscription) bool { return o == s })
}

func (s *LinkSubscription) post(e LinkEvent) {
	s.mu.Lock()
	i := slices.IndexFunc(s.pending, func(p LinkEvent) bool { return p.Link.Index == e.Link.Index })
	if i >= 0 {
		s.pending[i] = e
	} else {
		s.pending = append(s.pending, e)
	}
	s.mu.Unlock()
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// SubscribeLinks tells of links from now on, while Watch runs. The present ones
// are there to Take at once.
func (h *Host) SubscribeLinks() (*LinkSubscription, error) {
	signal := make(chan struct{}, 1)
	s := &LinkSubscription{C: signal, signal: signal, owner: &h.subscribers}
	// First subscribe, then list: a change in between is told twice, not never.
	h.subscribers.mu.Lock()
	h.subscribers.all = append(h.subscribers.all, s)
	h.subscribers.mu.Unlock()
	links, err := h.Links()
	if err != nil {
		s.Close()
		return nil, err
	}
	for _, l := range links {
		s.postIfUnknown(LinkEvent{Link: l})
	}
	return s, nil
}

// postIfUnknown does not overwrite what the watcher said meanwhile.
func (s *LinkSubscription) postIfUnknown(e LinkEvent) {
	s.mu.Lock()
	known := slices.ContainsFunc(s.pending, func(p LinkEvent) bool { return p.Link.Index == e.Link.Index })
	s.mu.Unlock()
	if !known {
		s.post(e)
	}
}

// subscribers also remembers the links, so that an event which changes nothing
// (the kernel sends many) is not passed on, and a resynchronisation can tell
// which ones are gone.
type subscribers struct {
	mu    sync.Mutex
	all   []*LinkSubscription
	links map[int]Link
}

// tell passes an event on and says whether the link came up, went down, is new
// or gone.
func (s *subscribers) tell(e LinkEvent) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.links[e.Link.Index]
	if s.links == nil {
		s.links = make(map[int]Link)
	}
	switch {
	case e.Removed && !known, !e.Removed && known && old == e.Link:
		return false
	case e.Removed:
		delete(s.links, e.Link.Index)
	default:
		s.links[e.Link.Index] = e.Link
	}
	for _, o := range s.all {
		o.post(e)
	}
	return true
}

// tellAddress says that addresses of a link changed.
func (s *subscribers) tellAddress(index int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, known := s.links[index]
	if !known {
		return // its subscribers have yet to hear of the link
	}
	for _, o := range s.all {
		o.post(LinkEvent{Link: l})
	}
}

// replace takes the full list after events were lost.
func (s *subscribers) replace(links []Link) {
	s.mu.Lock()
	gone := make(map[int]Link, len(s.links))
	for i, l := range s.links {
		gone[i] = l
	}
	s.mu.Unlock()
	for _, l := range links {
		delete(gone, l.Index)
		if !s.tell(LinkEvent{Link: l}) {
			s.tellAddress(l.Index) // its events may be among those that were lost
		}
	}
	for _, l := range gone {
		s.tell(LinkEvent{Link: l, Removed: true})
	}
}

func (s *subscribers) isUp(index int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.links[index].Up
}
