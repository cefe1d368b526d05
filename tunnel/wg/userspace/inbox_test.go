package userspace

import "testing"

func TestInboxIsBounded(t *testing.T) {
	q := newInbox(nil)
	put := func(size, count int, isHandshake bool) bool {
		b := lend(largeBuffers)
		if size*count <= smallMax {
			b.release()
			b = lend(smallBuffers)
		}
		return q.put(run{buffer: b, data: b.data[:size*count], size: size, from: &endpoint{}}, isHandshake)
	}
	for i := range inboxPackets / 4 {
		if !put(100, 1, true) {
			t.Fatalf("only %d handshakes fit", i)
		}
	}
	if put(100, 1, true) {
		t.Error("handshakes may take more than a quarter")
	}
	large := 0
	for put(1452, 10, false) {
		large++
	}
	if large != inboxLarge {
		t.Errorf("%d large ones fit, want %d", large, inboxLarge)
	}
	runs, ok := q.take()
	total := 0
	for _, r := range runs {
		total += r.count()
		r.buffer.release()
	}
	if want := inboxPackets/4 + 10*inboxLarge; !ok || total != want {
		t.Errorf("%d datagrams are taken, want %d", total, want)
	}
	if !put(1452, 10, false) {
		t.Error("nothing fits after all was taken")
	}
	q.close()
	if _, ok := q.take(); ok {
		t.Error("one takes from a closed one")
	}
	if put(100, 1, false) {
		t.Error("a closed one is filled")
	}
}

// Who has something does the work himself only where nobody else does and nothing
// waits, and close waits for him.
func TestInboxDirect(t *testing.T) {
	q := newInbox(nil)
	if q.begin() {
		t.Error("nobody would take what comes meanwhile")
	}
	taken := make(chan int)
	go func() {
		defer close(taken)
		for {
			runs, ok := q.take()
			if !ok {
				return
			}
			for _, r := range runs {
				r.buffer.release()
			}
			taken <- len(runs)
		}
	}()
	await(t, "an idle one", q.begin)
	if q.begin() {
		t.Error("two at once")
	}
	b := lend(smallBuffers)
	q.put(run{buffer: b, data: b.data[:100], size: 100, from: &endpoint{}}, false)
	select {
	case <-taken:
		t.Error("taken out of turn")
	default:
	}
	q.end()
	if n := <-taken; n != 1 {
		t.Errorf("%d taken", n)
	}
	await(t, "an idle one again", q.begin)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		q.close()
	}()
	<-taken
	select {
	case <-closed:
		t.Error("closed while somebody works")
	default:
	}
	q.end()
	<-closed
	if q.begin() {
		t.Error("a closed one begins")
	}
}
