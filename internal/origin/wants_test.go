package origin

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"re6st/addressing"
)

// hunt is a node that looks for certificates: what it does is printed as it goes.
type hunt struct {
	t testing.TB
	*Wants
	now        time.Time
	neighbours []int
}

func newHunt(t testing.TB, neighbours ...int) *hunt {
	return &hunt{t: t, Wants: NewWants(4), now: start, neighbours: neighbours}
}

func routerID(i int) addressing.RouterID {
	return addressing.RouterID{0x20, 1, 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i)}
}

func (h *hunt) wants(neighbour int, urgent bool, ids ...int) {
	for _, i := range ids {
		h.Want(h.now, routerID(i), neighbour, urgent)
	}
}

// asks wants the next question to be this one.
func (h *hunt) asks(neighbour int, ids ...int) Question {
	h.t.Helper()
	q, ok := h.Next(h.now, h.neighbours, false)
	if !ok {
		h.t.Fatalf("asks nothing, want %d about %v", neighbour, ids)
	}
	want := Question{Neighbour: neighbour}
	for _, i := range ids {
		want.IDs = append(want.IDs, routerID(i))
	}
	if q.Neighbour != neighbour || !slices.Equal(q.IDs, want.IDs) {
		h.t.Fatalf("asks %v, want %v", q, want)
	}
	return q
}

func (h *hunt) isQuiet(why string) {
	h.t.Helper()
	if q, ok := h.Next(h.now, h.neighbours, false); ok {
		h.t.Fatalf("asks %v: %s", q, why)
	}
}

func (h *hunt) answer(q Question, got ...int) []addressing.RouterID {
	var ids []addressing.RouterID
	for _, i := range got {
		ids = append(ids, routerID(i))
		h.Got(routerID(i))
	}
	return h.Answered(h.now, q, ids, false)
}

func TestTheSenderIsAskedFirstAndInBatches(t *testing.T) {
	h := newHunt(t, 7, 8)
	h.wants(8, false, 1, 2)
	h.wants(8, true, 3, 4, 5)
	if q, ok := h.Next(h.now, []int{7}, true); ok && len(q.IDs) != 3 {
		t.Errorf("pressing: %v", q)
	} else {
		h.Answered(h.now, q, nil, true)
		h.now = h.now.Add(backoffMin)
	}
	q := h.asks(8, 3, 4, 5, 1)
	h.isQuiet("one question at a time")
	h.wants(7, true, 9)
	h.answer(h.asks(7, 9), 9)
	h.answer(q, 1, 3, 4, 5)
	h.answer(h.asks(8, 2), 2)
	h.isQuiet("all is there")
	if h.Len() != 0 {
		t.Errorf("%d wanted still", h.Len())
	}
}

// Who has nothing to show for what it announced is known by it; the others are
// asked all the same, more and more rarely.
func TestWhoCannotProve(t *testing.T) {
	h := newHunt(t, 6, 7, 8)
	h.wants(8, true, 1)
	if unproved := h.answer(h.asks(8, 1)); !slices.Equal(unproved, []addressing.RouterID{routerID(1)}) {
		t.Errorf("unproved: %v", unproved)
	}
	if !h.Want(h.now, routerID(1), 8, true) {
		t.Error("it is forgotten that 8 has none")
	}
	h.isQuiet("right after the answer")
	if h.Want(h.now, routerID(1), 7, true) {
		t.Error("7 was not asked yet")
	}
	h.answer(h.asks(7, 1)) // a new sender: at once
	var rounds []string
	at := h.now
	for h.now = h.Deadline(); h.now.Sub(at) < 20*time.Minute; h.now = h.Deadline() {
		q, ok := h.Next(h.now, h.neighbours, false)
		if !ok {
			t.Fatal("gives up")
		}
		rounds = append(rounds, fmt.Sprintf("%d", q.Neighbour))
		h.answer(q)
		h.Want(h.now, routerID(1), 8, true)
	}
	if n := len(rounds); n < 9 || n > 14 || rounds[0] == rounds[1] {
		t.Errorf("asked in 20 minutes: %v", rounds)
	}
}

// No answer says nothing about what the neighbour has.
func TestUnreachedNeighbour(t *testing.T) {
	h := newHunt(t, 7, 8)
	h.wants(8, true, 1)
	h.wants(7, true, 1)
	q := h.asks(8, 1)
	if unproved := h.Answered(h.now, q, nil, true); len(unproved) != 0 {
		t.Errorf("unproved: %v", unproved)
	}
	h.isQuiet("before the back-off")
	h.now = h.Deadline()
	h.answer(h.asks(7, 1), 1)
}

func TestANeighbourThatIsGone(t *testing.T) {
	h := newHunt(t, 7, 8)
	h.wants(8, true, 1)
	q := h.asks(8, 1)
	h.neighbours = []int{7}
	h.Tidy(h.now, h.neighbours)
	h.Answered(h.now, q, nil, true)
	h.now = h.Deadline()
	h.asks(7, 1)
	h.neighbours = nil
	h.wants(9, false, 2)
	h.isQuiet("there is nobody")
}

func TestForgotten(t *testing.T) {
	h := newHunt(t, 7)
	h.wants(7, true, 1)
	h.now = h.now.Add(forgottenAfter + time.Second)
	h.wants(7, false, 2)
	h.Tidy(h.now, h.neighbours)
	if h.Len() != 1 || !h.Deadline().Equal(h.now) {
		t.Errorf("%d wanted", h.Len())
	}
}

// A neighbour that makes up router-ids has a share, and leaves the others theirs.
func TestT12_MadeUpRouterIDs(t *testing.T) {
	h := newHunt(t, 7, 8)
	for i := range 3 * wantsOfOneMax {
		h.Want(h.now, routerID(i), 7, true)
	}
	if h.Len() != wantsOfOneMax {
		t.Errorf("%d wanted", h.Len())
	}
	h.wants(8, true, 1<<20)
	h.answer(h.asks(7, 0, 1, 2, 3))
	h.asks(7, 4, 5, 6, 7)
	h.asks(8, 1<<20) // not behind 7's
}

// Whatever happens: one question for each neighbour at a time, none about what is
// there, none to who is not there, and no certificate that somebody has is missed
// for ever.
func TestWantsAlwaysEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &hunt{Wants: NewWants(rapid.IntRange(1, 5).Draw(t, "batch")), now: start}
		all := []int{1, 2, 3, 4}
		has := map[int][]int{} // neighbour to router-ids
		wanted := map[int]bool{}
		for i := range rapid.IntRange(1, 20).Draw(t, "ids") {
			has[rapid.SampledFrom(all).Draw(t, "holder")] = append(has[rapid.SampledFrom(all).Draw(t, "another")], i)
			h.Want(h.now, routerID(i), rapid.SampledFrom(all).Draw(t, "sender"), rapid.Bool().Draw(t, "urgent"))
			wanted[i] = true
		}
		held := map[int]bool{}
		for _, ids := range has {
			for _, i := range ids {
				held[i] = true
			}
		}
		for range 400 {
			h.neighbours = all
			if rapid.IntRange(0, 4).Draw(t, "away") == 0 {
				h.neighbours = all[:rapid.IntRange(0, 4).Draw(t, "left")]
			}
			var open []Question
			for {
				q, ok := h.Next(h.now, h.neighbours, false)
				if !ok {
					break
				}
				if len(q.IDs) == 0 || len(q.IDs) > h.batch || !slices.Contains(h.neighbours, q.Neighbour) ||
					slices.ContainsFunc(open, func(o Question) bool { return o.Neighbour == q.Neighbour }) {
					t.Fatalf("asks %v with %v open", q, open)
				}
				open = append(open, q)
			}
			for _, q := range open {
				unreached := rapid.IntRange(0, 9).Draw(t, "lost") == 0
				var got []int
				for i := range wanted {
					if !unreached && slices.Contains(has[q.Neighbour], i) && slices.Contains(q.IDs, routerID(i)) {
						got = append(got, i)
						delete(wanted, i)
						h.Got(routerID(i))
					}
				}
				var ids []addressing.RouterID
				for _, i := range got {
					ids = append(ids, routerID(i))
				}
				h.Answered(h.now, q, ids, unreached)
			}
			h.now = h.now.Add(backoffMax)
		}
		for i := range wanted {
			if held[i] {
				t.Fatalf("%d was never found, though %v", i, has)
			}
		}
		if h.Len() != len(wanted) {
			t.Fatalf("%d wanted, want %d", h.Len(), len(wanted))
		}
	})
}
