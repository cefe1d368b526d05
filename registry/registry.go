package registry

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"re6st/internal/identity"
	"re6st/registry/store"
)

// Options say which registry to open.
type Options struct {
	State string
	Log   *slog.Logger     // nil: none
	Now   func() time.Time // nil: the system's clock

	trace func(string) // commit points, for the crash tests
}

// A Registry is an open state directory. It is safe for use by several
// goroutines.
type Registry struct {
	dir       string
	log       *slog.Logger
	now       func() time.Time
	trace     func(string)
	authority *authority
	store     *store.Store
	sample    *mathrand.Rand // used by Store.Sample, under its lock
	failures  *budgets       // has its own lock

	settings atomic.Pointer[store.Settings] // as in the database
	networks []netip.Prefix                 // of both families; they never change
}

// Open takes the state directory. Where another process has it, the error is
// ErrRunning.
func Open(ctx context.Context, o Options) (*Registry, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.trace == nil {
		o.trace = func(string) {}
	}
	if err := checkState(o.State); err != nil {
		return nil, err
	}
	a, err := loadCA(o.State)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, store.Config{Dir: o.State, Genesis: a.genesis(), Rand: newRand(), Trace: o.trace})
	if err != nil {
		return nil, explain(o.State, err)
	}
	r := &Registry{
		dir: o.State, log: o.Log, now: o.Now, trace: o.trace, authority: a, store: s,
		sample: newRand(), failures: newBudgets(),
	}
	if err := r.loadSettings(ctx); err != nil {
		s.Close()
		return nil, explain(o.State, err)
	}
	return r, nil
}

func (r *Registry) loadSettings(ctx context.Context) error {
	settings, err := r.store.Settings(ctx)
	if err != nil {
		return err
	}
	// A CA beside the database of another network would sign nonsense.
	if _, err := r.authority.identity.Document(settings.Document); err != nil {
		return fail(BadState, "restore ca.key, ca.pem and registry.db of one network", "the database in %q does not belong to its CA: %w", r.dir, err)
	}
	r.settings.Store(&settings)
	r.networks = []netip.Prefix{settings.Prefix}
	if settings.IPv4.IsValid() {
		r.networks = append(r.networks, settings.IPv4)
	}
	return nil
}

// Close ends the Registry. Nothing may use it any more.
func (r *Registry) Close() error { return r.store.Close() }

// Authority is the network's CA, for who connects to this registry.
func (r *Registry) Authority() *identity.Authority { return r.authority.identity }

// Replay puts into the database what only the journal has.
func (r *Registry) Replay(ctx context.Context) (int, error) {
	count, err := r.store.Replay(ctx)
	if err != nil {
		return 0, explain(r.dir, fmt.Errorf("replaying the journal: %w", err))
	}
	return count, nil
}

// newRand is seeded by the system: prefixes must not be foreseen by an observer.
func newRand() *mathrand.Rand {
	var seed [32]byte
	rand.Read(seed[:])
	return mathrand.New(mathrand.NewChaCha8(seed))
}
