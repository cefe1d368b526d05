package trace

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Limits on a Ping, which keeps a socket as long as it runs.
const (
	CountMax     = 100
	pingInterval = 200 * time.Millisecond
)

// Reply is what became of one request.
type Reply struct {
	Kind Kind
	From netip.Addr // who answered
	RTT  time.Duration
}

// Ping sends count requests, 200 ms apart, and waits a second for the last
// answer. An error is one of this host: it has no way, or may not send.
func Ping(ctx context.Context, target, source netip.Addr, count int) ([]Reply, error) {
	s, err := open(target, source)
	if err != nil {
		return nil, err
	}
	defer s.close()
	count = min(max(count, 1), CountMax)
	replies, sent := make([]Reply, 0, count), make([]time.Time, 0, count)
	first := uint16(rand.Uint32())
	open := count
	timer := time.NewTimer(0)
	defer timer.Stop()
	for open > 0 {
		select {
		case <-ctx.Done():
			return replies, ctx.Err()
		case <-timer.C:
			if len(sent) == count {
				return replies, nil
			}
			sent, replies = append(sent, time.Now()), append(replies, Reply{})
			if err := s.send(defaultLimit, first+uint16(len(sent)-1)); err != nil {
				return replies, err
			}
			timer.Reset(pingInterval)
			if len(sent) == count {
				timer.Reset(patience)
			}
		case h := <-s.heard:
			i := int(h.seq - first)
			if i < len(sent) && replies[i].Kind == Silence {
				replies[i] = Reply{h.kind, h.from, h.at.Sub(sent[i])}
				open--
			}
		}
	}
	return replies, nil
}
