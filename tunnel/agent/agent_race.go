package agent

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"re6st/tunnel"
	"re6st/tunnel/control"
)

// RFC 8305, section 5: attempts start one after the other with a short delay, or at once when the one before failed; the
// first that succeeds ends the others. Through the mesh is tried late, because it says nothing of the direct path.
const (
	attemptDelay = 250 * time.Millisecond
	overlayDelay = 1500 * time.Millisecond
)

// attempt is the end of one of the calls of a race.
type attempt struct {
	target tunnel.Target
	info   control.NodeInfo
	rtt    time.Duration
	err    error
}

// race asks all targets of a probe who is there; the first answer counts.
func (a *Agent) race(ctx context.Context, x tunnel.Probe) tunnel.ProbeResult {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan attempt, len(x.Targets)) // capacity: nobody waits for a race that is over
	var result tunnel.ProbeResult
	result.Err = errNowhere
	next, running := 0, 0
	delay := time.NewTimer(0)
	defer delay.Stop()
	for next < len(x.Targets) || running > 0 {
		select {
		case <-delay.C:
			if next == len(x.Targets) {
				continue
			}
			t := x.Targets[next]
			next++
			running++
			a.workers.Go(func() {
				info, _, rtt, err := a.transport.Node(ctx, targetOf(t, x.Peer))
				results <- attempt{t, info, rtt, err}
			})
			if next < len(x.Targets) {
				delay.Reset(delayBefore(x.Targets[next], next))
			}
		case r := <-results:
			running--
			if r.err == nil {
				result.Target, result.Info, result.RTT, result.Err = r.target, r.info, r.rtt, nil
				return result
			}
			result.Err = r.err
			if !r.target.Overlay && !slices.Contains(result.Failed, r.target.Addr) {
				result.Failed = append(result.Failed, r.target.Addr)
			}
			if running == 0 {
				delay.Reset(0)
			}
		}
	}
	return result
}

func delayBefore(t tunnel.Target, position int) time.Duration {
	if t.Overlay && position > 0 {
		return overlayDelay
	}
	return attemptDelay
}

// callSeeds asks the nodes that the operator named, of which only an address is known, while there is no tunnel.
func (a *Agent) callSeeds() {
	if len(a.neighbours) > 0 {
		return
	}
	for _, e := range a.config.Seeds {
		a.call(func(ctx context.Context) { a.callSeed(ctx, e) })
	}
}

func (a *Agent) callSeed(ctx context.Context, e netip.AddrPort) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	t := target{addr: e}
	info, who, _, err := a.transport.Node(ctx, t)
	if err != nil {
		a.log.Debug("calling a named peer", "endpoint", e, "err", err)
		return
	}
	a.box.post(func(now time.Time) {
		a.manager.LearnPeers(now, []tunnel.Peer{{
			Name: who.Name, Prefix: who.Prefix, Endpoints: append([]netip.AddrPort{e}, info.Endpoints...),
		}}, false)
		a.heard(target{addr: e, want: expectation{prefix: who.Prefix}}, info.Versions)
	})
}
