package gateway

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"re6st/internal/border"
)

const (
	// lookInterval is for what no event told.
	lookInterval = 30 * time.Second
	// checkPause is between two comparisons of our table: on a host with
	// containers other tables change all the time.
	checkPause = time.Second
	// retryPause is between two attempts at what the kernel refused.
	retryPause = 2 * time.Second
	// targetsMax bounds the hosts that are asked for echoes, of both families.
	targetsMax = 16
)

// Gateway is one instance's. Its methods may be called by several goroutines.
type Gateway struct {
	config Config
	log    *slog.Logger
	poke   chan struct{} // capacity 1: something below changed

	mu       sync.Mutex
	admitted []netip.Prefix
	nat64    netip.Prefix
	blocked  [2]string // why the host does not forward, by family
	answers  []answer
	dirty    bool // look again
	foreign  bool // another changed nftables
	untold   bool // tell of the uplinks again
	status   Status

	// Owned by the loop.
	machine  *border.Machine
	can      Capabilities
	sight    sight
	isSeen   bool
	nextLook time.Time
	lanes    [2]lane
	keeper   keeper
	trouble  string // why the uplinks' owner is not ready
	told     [2]string
	facing   []string // nil: not told
	isTold   bool
	open     [2]bool
	isOpened bool
}

// lane is one family's way out.
type lane struct {
	upstream  border.Upstream
	hop       defaultRoute
	isLink    bool // no neighbour to ask
	echoer    *echoer
	neighbour border.Probe
	asked     bool
	checks    []border.Probe // beside the family's Config.Checks
	missing   string         // of the kernel, for good
}

type answer struct {
	family border.Family
	from   netip.Addr
}

// New makes a gateway. Nothing happens before Run.
func New(c Config) (*Gateway, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	c.Checks = c.Checks[:min(len(c.Checks), targetsMax)]
	g := &Gateway{config: c, log: c.Log, nat64: c.NAT64, poke: make(chan struct{}, 1), keeper: keeper{instance: c.Instance, log: c.Log}}
	g.machine = border.New(border.Config{
		Networks: c.Networks, NAT64: c.NAT64,
		IPv6: c.IPv6 != Off && c.has(border.IPv6), IPv4: c.IPv4 != Off && c.has(border.IPv4),
	})
	g.status = Status{Families: g.families()}
	return g, nil
}

func (g *Gateway) String() string { return "gateway" }

// Admit says which announced prefixes may leave beside the network's.
func (g *Gateway) Admit(prefixes []netip.Prefix) {
	g.change(func() { g.admitted = slices.Clone(prefixes) })
}

// Translate replaces Config.NAT64: the network's prefix may change.
func (g *Gateway) Translate(prefix netip.Prefix) { g.change(func() { g.nat64 = prefix }) }

// Reopen says that what Config.Uplinks prepared is no longer in place: it is
// called again, and the way is closed as long as it fails.
func (g *Gateway) Reopen() { g.change(func() { g.untold = true }) }

// SetBlocked says that the host does not forward what it should, and why; empty:
// it does.
func (g *Gateway) SetBlocked(v4, v6 string) {
	g.change(func() { g.blocked = [2]string{border.IPv4: v4, border.IPv6: v6} })
}

func (g *Gateway) change(f func()) {
	g.mu.Lock()
	f()
	g.mu.Unlock()
	select {
	case g.poke <- struct{}{}:
	default:
	}
}

// Run is a gateway until ctx ends; then nothing of it is left in the kernel.
func (g *Gateway) Run(ctx context.Context) (err error) {
	if _, err := RemoveLeftovers(g.config.Instance); err != nil {
		return err
	}
	g.can = Probe(g.config.Instance)
	g.lanes[border.IPv4].missing, g.lanes[border.IPv6].missing = g.config.missing(g.can)
	for why, families := range g.missing() {
		g.log.Error("cannot be a gateway", "families", families, "why", why)
	}
	var watchers sync.WaitGroup
	own, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		watchers.Wait()
		err = errors.Join(err, g.end())
	}()
	watchers.Go(func() {
		again(own, g.log, func() error { return watchNetwork(own, func() { g.change(func() { g.dirty = true }) }) })
	})
	if g.can.Tables == nil {
		watchers.Go(func() {
			again(own, g.log, func() error { return watchTables(own, func() { g.change(func() { g.foreign = true }) }) })
		})
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.poke:
		case <-timer.C:
		}
		now := time.Now()
		g.step(now)
		timer.Reset(max(time.Until(g.deadline(now)), 0))
	}
}

// missing groups the families by what of the kernel they lack.
func (g *Gateway) missing() map[string][]string {
	all := map[string][]string{}
	for f, l := range g.lanes {
		if l.missing != "" {
			all[l.missing] = append(all[l.missing], border.Family(f).String())
		}
	}
	return all
}

// again runs a watcher until ctx ends.
func again(ctx context.Context, log *slog.Logger, watch func() error) {
	for ctx.Err() == nil {
		if err := watch(); err != nil {
			log.Debug("watching for the gateway; beginning anew", "err", err)
			wait(ctx, retryPause)
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// step does all that is due.
func (g *Gateway) step(now time.Time) {
	g.mu.Lock()
	answers, admitted, blocked, isDirty, isForeign := g.answers, g.admitted, g.blocked, g.dirty, g.foreign
	g.answers, g.dirty, g.foreign = nil, false, false
	nat64 := g.nat64
	g.isTold = g.isTold && !g.untold
	g.untold = false
	g.mu.Unlock()
	for _, a := range answers {
		g.heard(now, a)
	}
	if isDirty || !g.isSeen || !now.Before(g.nextLook) {
		g.look(now)
	}
	if isForeign {
		g.keeper.heed(now)
	}
	g.refresh(now, admitted)
	g.machine.Admit(admitted)
	g.machine.Translate(nat64)
	for f := range g.lanes {
		g.ask(now, border.Family(f))
		u := g.judged(now, border.Family(f))
		u.Missing = cmp.Or(u.Missing, blocked[f])
		isWell, why := border.Judge(u)
		g.machine.Report(now, border.Family(f), isWell, why)
	}
	g.machine.Advance(now)
	g.carryOut()
	g.show()
}

func (g *Gateway) heard(now time.Time, a answer) {
	l := &g.lanes[a.family]
	if a.from == l.hop.nextHop.WithZone("") {
		l.neighbour.Answered(now)
	}
	for i, target := range g.targets(a.family) {
		if target == a.from {
			l.checks[i].Answered(now)
		}
	}
}

func (g *Gateway) targets(f border.Family) []netip.Addr {
	var all []netip.Addr
	for _, a := range g.config.Checks {
		if border.Of(a) == f {
			all = append(all, a)
		}
	}
	return all
}

// look sees links and routes anew. A way that is another one is probed from the
// beginning.
func (g *Gateway) look(now time.Time) {
	g.nextLook = now.Add(lookInterval)
	seen, err := look()
	if err != nil {
		g.log.Warn("looking for the way out", "err", err)
		g.nextLook = now.Add(retryPause)
		return
	}
	g.sight, g.isSeen = seen, true
	for f := range g.lanes {
		l := &g.lanes[f]
		was, hop := l.upstream.Interface, l.hop
		l.upstream, l.hop, l.isLink = seen.upstream(border.Family(f), g.config.Uplink)
		if l.hop != hop || l.upstream.Interface != was {
			l.neighbour, l.asked = border.Probe{}, false
			l.checks = make([]border.Probe, len(g.targets(border.Family(f))))
		}
		if l.echoer != nil && (l.hop.ifindex != hop.ifindex || !l.upstream.Default) {
			l.echoer.close()
			l.echoer = nil
		}
	}
}

// ask sends what echoes are due.
func (g *Gateway) ask(now time.Time, f border.Family) {
	l := &g.lanes[f]
	if !l.upstream.Default || !l.upstream.Carrier || !g.isOffered(f) {
		return
	}
	if l.echoer == nil {
		e, err := openEchoer(f, l.upstream.Interface, g.config.Mark, func(from netip.Addr) {
			g.change(func() {
				if len(g.answers) < 4*targetsMax { // the loop takes them within moments
					g.answers = append(g.answers, answer{f, from})
				}
			})
		})
		if err != nil {
			g.log.Debug("probing the way out", "err", err)
			l.neighbour.Sent(now)
			for i := range l.checks {
				l.checks[i].Sent(now)
			}
			return
		}
		l.echoer = e
	}
	if !l.isLink && !l.neighbour.Next(now).After(now) {
		inDoubt := l.neighbour.IsInDoubt(now) || l.neighbour.Sign(now) != border.Alive
		if hears(l.hop.ifindex, l.hop.nextHop, l.asked, inDoubt) {
			l.neighbour.Answered(now)
		}
		l.asked = inDoubt
		l.echoer.send(l.hop.nextHop)
		l.neighbour.Sent(now)
	}
	for i, target := range g.targets(f) {
		if p := &l.checks[i]; !p.Next(now).After(now) {
			l.echoer.send(target)
			p.Sent(now)
		}
	}
}

func (g *Gateway) isOffered(f border.Family) bool { return g.machine.States()[f].Offered }

// judged is what is known of a family's upstream.
func (g *Gateway) judged(now time.Time, f border.Family) border.Upstream {
	l := &g.lanes[f]
	u := l.upstream
	u.Missing = l.missing
	if u.Missing == "" {
		u.Missing = cmp.Or(g.keeper.trouble, g.trouble)
	}
	u.Neighbour = l.neighbour.Sign(now)
	if l.isLink {
		u.Neighbour = border.Alive
	}
	for i, target := range g.targets(f) {
		if i < len(l.checks) {
			u.Checks = append(u.Checks, border.Check{Target: target, Sign: l.checks[i].Sign(now)})
		}
	}
	return u
}

// deadline is when step has something to do.
func (g *Gateway) deadline(now time.Time) time.Time {
	at := g.nextLook
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	sooner(g.machine.Deadline())
	sooner(g.keeper.deadline())
	for f := range g.lanes {
		l := &g.lanes[f]
		if l.echoer == nil {
			continue
		}
		if !l.isLink {
			sooner(l.neighbour.Next(now))
		}
		for i := range l.checks {
			sooner(l.checks[i].Next(now))
		}
	}
	if g.isRefused() {
		sooner(now.Add(retryPause))
	}
	// Silence is judged by the hundred milliseconds.
	if least := now.Add(50 * time.Millisecond); at.Before(least) {
		return least
	}
	return at
}

func (g *Gateway) isRefused() bool { return !g.isOpened || g.trouble != "" }

// refresh keeps the table as it must be, before anything may leave by it.
func (g *Gateway) refresh(now time.Time, admitted []netip.Prefix) {
	if !g.isSeen {
		return
	}
	c := g.config
	uplinks := g.sight.uplinks(c.Uplink)
	if g.facing == nil || !slices.Equal(g.facing, uplinks) {
		g.config.Facing(uplinks)
		g.facing = append([]string{}, uplinks...)
	}
	if g.can.Tables != nil {
		return
	}
	mesh := slices.Concat(c.Networks, admitted)
	if c.Pool.IsValid() {
		mesh = append(mesh, c.Pool)
	}
	slices.SortFunc(mesh, netip.Prefix.Compare)
	local, wide := g.sight.local(mesh, uplinks)
	wants := content{
		mesh: slices.Compact(mesh), local: local, uplinks: uplinks, others: g.sight.others(c.Instance), letIn: c.LetIn,
		masq4: c.masquerades4() && g.can.NAT4 == nil, masq6: c.IPv6 == Masquerade && g.can.NAT6 == nil, mss: g.can.MSS == nil,
		outside: c.Outside, holes: c.Holes, reject: g.can.Reject == nil,
	}
	g.setWide(wide)
	g.keeper.keep(now, wants)
	g.tellUplinks()
}

func (g *Gateway) setTrouble(why string) {
	if why != "" && why != g.trouble {
		g.log.Error("the gateway is closed", "why", why)
	}
	g.trouble = why
}

// tellUplinks comes before the guards open.
func (g *Gateway) tellUplinks() {
	now := [2]string{}
	for f := range g.lanes {
		if u := g.lanes[f].upstream; u.Exists {
			now[f] = u.Interface
		}
	}
	if g.isTold && now == g.told {
		return
	}
	if err := g.config.Uplinks(now[border.IPv4], now[border.IPv6]); err != nil {
		g.isTold = false
		g.setTrouble(err.Error())
		return
	}
	g.told, g.isTold = now, true
	g.setTrouble("")
}

// carryOut does what the machine decided: first the guards, so that packets find
// either a way or an answer, then what the mesh is told.
func (g *Gateway) carryOut() {
	out := g.machine.Output()
	open := [2]bool{out.Open[border.IPv4], out.Open[border.IPv6]}
	if !g.isOpened || open != g.open {
		if err := g.config.Open(open[border.IPv4], open[border.IPv6]); err != nil {
			g.log.Error("opening or closing the way out", "err", err)
			g.isOpened = false
		} else {
			g.open, g.isOpened = open, true
		}
	}
	for _, c := range out.Changes {
		g.config.Originate(c.Prefix, c.From, c.On)
		verb := "withdrawing"
		if c.On {
			verb = "originating"
		}
		g.log.Info("gateway: "+verb+" a default route", "prefix", c.Prefix, "from", c.From)
	}
}

// end closes everything in the order opposite to its opening.
func (g *Gateway) end() error {
	g.machine.Stop()
	g.carryOut()
	for f := range g.lanes {
		if e := g.lanes[f].echoer; e != nil {
			e.close()
			g.lanes[f].echoer = nil
		}
	}
	var err error
	if g.can.Tables == nil {
		err = remove(g.config.Instance)
	}
	g.show()
	if err != nil {
		g.log.Error("removing our nftables table", "err", err)
	}
	return err
}
