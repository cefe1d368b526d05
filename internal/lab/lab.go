package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"re6st/internal/lab/solo"
)

// Lab is one small world. Its methods that make things are for the goroutine
// of the test; those that look (Try, Ping, Await) may be called from others.
type Lab struct {
	TB  TB
	Dir string // temporary: logs in Dir/logs, one directory for each host's files

	mu    sync.Mutex // guards what follows
	hosts []*Host
	procs []*Proc

	internets int // how many: each has addresses of its own
	ends      int // of cables: each has an index of its own
	relays    []*Relay
}

// tailBytes is how much of each log a failure shows.
const tailBytes = 3000

// New makes an empty lab that ends with the test.
func New(t TB) *Lab {
	t.Helper()
	needRoot(t)
	if !prepared.Load() {
		t.Fatalf("lab.New without lab.Main: agents could not be started")
	}
	dir, err := tempDir("lab")
	if err != nil {
		t.Fatalf("making the lab's directory: %v", err)
	}
	l := &Lab{TB: t, Dir: dir}
	if err := os.Mkdir(l.logDir(), 0o755); err != nil {
		t.Fatalf("making the lab's directory: %v", err)
	}
	t.Cleanup(l.close)
	return l
}

func (l *Lab) logDir() string { return filepath.Join(l.Dir, "logs") }

// close ends all processes and keeps only logs, and these only of a failure.
func (l *Lab) close() {
	l.mu.Lock()
	procs, hosts, relays := l.procs, l.hosts, l.relays
	l.mu.Unlock()
	failed := l.TB.Failed()
	if failed {
		l.showLogs(procs)
	}
	for _, r := range relays {
		r.Close()
	}
	for _, p := range procs {
		p.Kill()
	}
	for _, h := range hosts {
		h.close()
	}
	if failed || os.Getenv("RE6ST_LAB_LOGS") != "" {
		l.keepLogs()
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		l.TB.Errorf("removing the lab's directory: %v", err)
	}
}

func (l *Lab) showLogs(procs []*Proc) {
	for _, p := range procs {
		l.TB.Logf("--- %s (%s), end of its log:\n%s", p.Name, p.Status(), p.tail(tailBytes))
	}
}

// keepLogs copies the logs to a place that no sweep touches: of failures, or
// of all tests to the directory RE6ST_LAB_LOGS.
func (l *Lab) keepLogs() {
	parent := os.Getenv("RE6ST_LAB_LOGS")
	if parent == "" {
		parent = os.TempDir()
	}
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' {
			return '_'
		}
		return r
	}, l.TB.Name())
	kept := filepath.Join(parent, fmt.Sprintf("re6st-logs-%s-%d", name, time.Now().UnixNano()))
	if err := os.CopyFS(kept, os.DirFS(l.logDir())); err != nil {
		l.TB.Logf("keeping the logs: %v", err)
		return
	}
	l.TB.Logf("logs are kept in %s", kept)
}

// What tests share that have no lab.
var (
	Factor     = solo.Factor
	Slow       = solo.Slow
	Alone      = solo.Alone
	Until      = solo.Until
	Must       = solo.Must
	Batch      = solo.Batch
	Command    = solo.Command
	TryCommand = solo.TryCommand
	SkipOrFail = solo.SkipOrFail
	FreePort   = solo.FreePort
)

// Await polls until cond is content, and fails the test with its last
// complaint when it is not so in time, stretched by Factor. It returns how long
// it took.
func (l *Lab) Await(what string, timeout time.Duration, cond func() error) time.Duration {
	l.TB.Helper()
	timeout = Slow(timeout)
	took, err := Await(timeout, cond)
	if err != nil {
		l.TB.Fatalf("waiting %v for %s: %v", timeout, what, err)
	}
	return took
}

// Await polls cond until it returns nil or the time is over.
func Await(timeout time.Duration, cond func() error) (time.Duration, error) {
	return solo.Poll(50*time.Millisecond, timeout, timeout, cond)
}

// Hosts returns the hosts in the order of their making.
func (l *Lab) Hosts() []*Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.hosts)
}

func (l *Lab) addHost(h *Host) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = append(l.hosts, h)
}

func (l *Lab) addProc(p *Proc) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.procs = append(l.procs, p)
	return len(l.procs)
}
