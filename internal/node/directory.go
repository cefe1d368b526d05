package node

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"re6st/registry/api"
)

const (
	// reportFirst is the wait after the first report. In a mesh that has just
	// started the directory fills within seconds, so a young node asks often.
	reportFirst = 2 * time.Second
	// reportMax is the wait in the long run; a registry of 10,000 nodes then
	// answers 33 reports a second.
	reportMax = 5 * time.Minute
	// reportTimeout bounds one report.
	reportTimeout = 15 * time.Second
)

// directory tells the registry where this node is, now and then, and learns
// peers and the network document from it. The mesh goes on without it.
type directory struct {
	send    func(context.Context, api.Report) (api.ReportResponse, error)
	content func() api.Report
	learned func(api.ReportResponse)
	rand    *rand.Rand
	log     *slog.Logger

	mu          sync.Mutex
	lastContact time.Time
	lastError   error
}

// Run reports until ctx ends.
func (d *directory) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	wait := reportFirst
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		d.once(ctx)
		// Full jitter: after an outage of the registry its nodes do not return
		// all at once.
		timer.Reset(wait/2 + time.Duration(d.rand.Int64N(int64(wait))))
		wait = min(2*wait, reportMax)
	}
}

func (d *directory) once(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	answer, err := d.send(ctx, d.content())
	d.note(err)
	if err == nil {
		d.learned(answer)
	}
}

// note keeps the outcome and logs it where it changed.
func (d *directory) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err != nil && d.lastError == nil:
		d.log.Warn("the registry is not reachable; the mesh goes on without it", "err", err)
	case err == nil && (d.lastError != nil || d.lastContact.IsZero()):
		d.log.Info("the registry is reachable")
	}
	d.lastError = err
	if err == nil {
		d.lastContact = time.Now()
	}
}

// contact is the time of the last answer, zero if there was none, and why the
// last attempt failed, nil if it did not.
func (d *directory) contact() (time.Time, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lastContact, d.lastError
}
