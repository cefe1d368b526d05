package tunnel

import "testing"

func allStates() []State {
	return []State{None, Candidate, Negotiating, Handshaking, Up, Draining, Closed}
}

func allCauses() []Cause {
	var out []Cause
	for c := range causeNames {
		out = append(out, Cause(c))
	}
	return out
}

// Every state but up and closed ends by itself.
func TestEveryStateButUpAndClosedIsBounded(t *testing.T) {
	for _, s := range allStates()[1:] {
		bound, bounded := bounds[s]
		if want := s != Up && s != Closed; bounded != want {
			t.Errorf("%v: bounded %v, want %v", s, bounded, want)
		}
		if to, ok := next(s, TimedOut); bounded && (!ok || to != Closed || bound <= 0) {
			t.Errorf("%v does not close when its time is over", s)
		}
	}
}

// What the table says, for all pairs of state and cause.
func TestTransitions(t *testing.T) {
	seen := make(map[[2]int]bool)
	for _, x := range transitions {
		key := [2]int{int(x.from), int(x.on)}
		if seen[key] {
			t.Errorf("%v on %v is listed twice", x.from, x.on)
		}
		seen[key] = true
	}
	for _, s := range allStates() {
		for _, c := range allCauses() {
			to, ok := next(s, c)
			switch {
			case !ok && to != s:
				t.Errorf("%v on %v: not listed, but leads to %v", s, c, to)
			case s == Closed && ok:
				t.Errorf("closed on %v leads to %v: closed is the end", c, to)
			case c == Stopped && s != None && s != Closed && to != Closed:
				t.Errorf("%v survives a stop", s)
			case c == Replaced && s != None && s != Closed && to != Closed:
				t.Errorf("%v survives its replacement", s)
			case ok && to < s:
				t.Errorf("%v on %v goes back to %v", s, c, to)
			}
		}
	}
}

// From everywhere there is a way to closed, and to up from where a tunnel begins.
func TestEveryStateIsReachedAndLeft(t *testing.T) {
	reached := map[State]bool{None: true}
	for range allStates() {
		for _, x := range transitions {
			if reached[x.from] {
				reached[x.to] = true
			}
		}
	}
	for _, s := range allStates() {
		if !reached[s] {
			t.Errorf("%v cannot be reached", s)
		}
	}
}
