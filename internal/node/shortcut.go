package node

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"re6st/internal/fib"
	"re6st/internal/gateway"
	"re6st/internal/kernel"
	"re6st/internal/status"
	"re6st/tunnel/wg"
)

// Values of --shortcut.
const (
	bypassAuto = "auto"
	bypassOn   = "on"
	bypassOff  = "off"
)

// shortcut decides whether packets in transit go past the IP stack: by the programs
// in the kernel, and from userspace tunnel to userspace tunnel inside the process.
// One switch is for both. The programs are those that count.
type shortcut struct {
	mu    sync.Mutex // guards what follows
	fib   *fib.FIB
	table *fib.Table // nil: not known yet
	// foreign are rules of others that would be bypassed; isJudged says that it is
	// known whether there are any.
	foreign  []string
	isJudged bool
	problem  error // why it cannot be
	isOn     bool
	isTold   bool   // the log has been
	why      string // it is off
}

// openShortcut settles what can never change.
func (d *daemon) openShortcut() (func(), error) {
	switch d.options.Shortcut {
	case bypassAuto, bypassOn, bypassOff:
	default:
		return nil, fail(Usage, "--shortcut is auto, on or off", "--shortcut %q: not known", d.options.Shortcut)
	}
	d.shortcut.fib = fib.New()
	d.shortcut.why = d.shortcutNever()
	if d.shortcut.why == "" {
		d.shortcut.why = "the kernel's routes are not read yet"
		d.counting.isFed = true
	}
	return func() {}, nil
}

// shortcutNever says why there is none as long as the node runs.
func (d *daemon) shortcutNever() string {
	_, isRelay := d.backend.(wg.Relayer)
	switch {
	case d.options.Shortcut == bypassOff:
		return "--shortcut off"
	case d.options.NoTransit:
		return "--no-transit: there are no packets in transit"
	case d.counting.programs == nil && !isRelay:
		return "the kernel cannot: " + d.counting.why.Error()
	}
	return ""
}

// runShortcut follows the kernel's routes and others' rules.
func (d *daemon) runShortcut(ctx context.Context) error {
	if !d.counting.isFed {
		<-ctx.Done()
		return nil
	}
	defer d.shortcut.end(d)
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return kernel.FollowFIB(ctx, d.options.Table, d.log, d.followed) })
	all.Go(func() error { return d.lanPorts.watch(ctx, d) })
	if d.options.Shortcut == bypassAuto {
		all.Go(func() error {
			gateway.WatchForeign(ctx, d.lanPlan.interfaces(), d.log, d.judgeForeign)
			return nil
		})
	}
	return all.Wait()
}

func (s *shortcut) end(d *daemon) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table = nil
	s.decideLocked(d)
}

// followed takes what changed in the kernel.
func (d *daemon) followed(events ...fib.Event) {
	s := &d.shortcut
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fib.Apply(events...)
	table, add, remove := s.fib.Compile()
	if p := d.counting.programs; p != nil {
		// What fails once may be half done: nothing is sent by it any more.
		if err := p.Update(add, remove); err != nil && s.problem == nil {
			s.problem = err
		}
	}
	s.table = table
	s.decideLocked(d)
}

// judgeForeign takes what others have put where packets in transit pass.
func (d *daemon) judgeForeign(foreign []string, err error) {
	s := &d.shortcut
	s.mu.Lock()
	defer s.mu.Unlock()
	s.foreign, s.isJudged = foreign, err == nil
	if err != nil {
		d.log.Debug("looking for rules of others", "err", err)
	}
	s.decideLocked(d)
}

// decideLocked turns both ways on or off: off, every packet is the stack's.
func (s *shortcut) decideLocked(d *daemon) {
	why := ""
	switch {
	case s.problem != nil:
		why = s.problem.Error()
	case s.table == nil:
		why = "the kernel's routes are not known"
	case d.options.Shortcut == bypassAuto && !s.isJudged:
		why = "it is not known whether others have rules that it would bypass"
	case d.options.Shortcut == bypassAuto && len(s.foreign) > 0:
		why = "rules of others would be bypassed: " + strings.Join(s.foreign, "; ")
	}
	isOn := why == ""
	if isOn {
		d.forwarding.Store(s.table)
	} else {
		d.forwarding.Store(nil)
	}
	if p := d.counting.programs; p != nil && isOn != s.isOn {
		if err := p.SetOn(isOn); err != nil {
			d.forwarding.Store(nil)
			isOn, why, s.problem = false, err.Error(), err
		}
	}
	isNews := isOn != s.isOn || (s.isTold && why != s.why)
	s.isOn, s.why = isOn, why
	if isNews && isOn {
		d.log.Info("packets in transit go past the IP stack")
	} else if isNews || (!s.isTold && len(s.foreign) > 0) {
		d.log.Info("packets in transit go by the IP stack", "why", why)
	}
	s.isTold = s.isTold || isOn || len(s.foreign) > 0
}

// tunnelGoes is told before a tunnel's interface goes: no packet is sent there any
// more when it returns.
func (d *daemon) tunnelGoes(index int) {
	if p := d.counting.programs; p != nil {
		if err := p.Detach(index); err != nil {
			d.log.Debug("taking the programs from a tunnel", "err", err)
		}
	}
}

func (d *daemon) viewShortcut() *status.Shortcut {
	s := &d.shortcut
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &status.Shortcut{Mode: d.options.Shortcut, On: s.isOn, Why: s.why, Foreign: s.foreign}
	if s.table != nil {
		v.Entries = s.table.Len()
	}
	var methods []string
	if p := d.counting.programs; p != nil {
		if st, err := p.Stats(); err == nil {
			v.Lost, v.Packets = st.Lost, st.Packets
			if st.Method != "" {
				methods = append(methods, st.Method)
			}
		}
	}
	if _, isRelay := d.backend.(wg.Relayer); isRelay {
		methods = append(methods, "process")
	}
	v.Method = strings.Join(methods, ", ")
	return v
}

// shortcutHealth: that it is off is no fault, unless the operator wants it on.
func (d *daemon) shortcutHealth() []status.Health {
	v := d.viewShortcut()
	if v.Mode != bypassOn || v.On {
		return nil
	}
	return []status.Health{{Code: "shortcut-off", Text: fmt.Sprintf("--shortcut on, and packets in transit go by the IP stack: %s", v.Why)}}
}
