package lab

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// RouterConfig says how a Babel router runs, whichever program it is. The zero
// value of a field leaves the program its default.
type RouterConfig struct {
	Interfaces []string
	Kind       string // "wired" unless told; "tunnel" or "wireless"
	Announce   []netip.Prefix
	// AnnounceFrom are source-specific: destination and source.
	AnnounceFrom [][2]netip.Prefix
	Hello        time.Duration
	Update       time.Duration
	RTT          bool
	// Keys are "hmac-sha256:HEX" or "blake2s128:HEX"; the HEX of at least 16
	// octets, which is what bird can read.
	Keys           []string
	AcceptUnsigned bool
	RouterID       string // eight octets in colon hex; drawn by chance unless told
	// SourceSpecific lets bird take source-specific routes, with a table of
	// another kind. The others always do.
	SourceSpecific bool
	// Extra is passed on as it is: flags to ours, lines before all others to
	// babeld's configuration, options to each interface of bird's.
	Extra []string
}

// Router is a Babel router on a host: a program that can be ended and started
// again, and asked what it knows.
type Router struct {
	Host   *Host
	Config RouterConfig
	Proc   *Proc
	program
}

// program is what is particular to one implementation.
type program interface {
	Name() string
	// command writes the configuration and returns what to run.
	command(h *Host, c RouterConfig) ([]string, error)
	reload(h *Host, p *Proc) error
	ready(h *Host) error
	neighbours(h *Host) ([]RouterNeighbour, error)
	routes(h *Host) ([]RouterRoute, error)
}

// RouterNeighbour is a neighbour as a router sees it; -1 stands for what it does
// not tell.
type RouterNeighbour struct {
	Interface      string
	Address        netip.Addr
	RxCost, TxCost int
	Cost           int
	RTT            time.Duration
}

// RouterRoute is a route that a router has learned.
type RouterRoute struct {
	Prefix    netip.Prefix
	From      netip.Prefix // ::/0 is left out
	RouterID  string       // as the router writes it
	Metric    int
	Via       netip.Addr
	Interface string
	Installed bool
}

// readyTimeout bounds the start of a router, until it answers.
const readyTimeout = 20 * time.Second

// StartOurs runs re6stnode babel.
func StartOurs(h *Host, c RouterConfig) *Router {
	h.Lab.TB.Helper()
	return startRouter(h, ours{h.Lab.Binary("re6stnode")}, c)
}

// StartBabeld runs Debian's babeld.
func StartBabeld(h *Host, c RouterConfig) *Router {
	h.Lab.TB.Helper()
	needProgram(h.Lab.TB, "babeld")
	return startRouter(h, babeld{}, c)
}

// StartBird runs Debian's bird2.
func StartBird(h *Host, c RouterConfig) *Router {
	h.Lab.TB.Helper()
	needProgram(h.Lab.TB, "bird")
	return startRouter(h, bird{}, c)
}

// Routers are the ways to start one, by the program's name.
var Routers = map[string]func(*Host, RouterConfig) *Router{
	"ours": StartOurs, "babeld": StartBabeld, "bird": StartBird,
}

// needProgram skips where a program is missing, and fails where it should be.
func needProgram(t TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed: see scripts/setup", name)
	}
	t.Skipf("%s is not installed: see scripts/setup", name)
}

func startRouter(h *Host, p program, c RouterConfig) *Router {
	h.Lab.TB.Helper()
	r := &Router{Host: h, Config: c, program: p}
	for _, family := range []string{"ipv6/conf/all/forwarding", "ipv4/ip_forward"} {
		h.Sysctl("net/"+family, "1")
	}
	r.Start()
	return r
}

// Start runs the program again, with the configuration as it is now, and waits
// until it answers.
func (r *Router) Start() {
	r.Host.Lab.TB.Helper()
	r.Launch()
	r.Host.Lab.Await(r.Proc.Name+" to answer", readyTimeout, func() error {
		if r.Proc.Exited() {
			return nil // no use in waiting
		}
		return r.ready(r.Host)
	})
	if r.Proc.Exited() {
		r.Host.Lab.TB.Fatalf("%s ended: %s", r.Proc.Name, r.Proc.Status())
	}
}

// Launch is Start that does not wait.
func (r *Router) Launch() {
	r.Host.Lab.TB.Helper()
	args, err := r.command(r.Host, r.Config)
	if err != nil {
		r.Host.Lab.TB.Fatalf("configuring %s on %s: %v", r.Name(), r.Host.Name, err)
	}
	for _, socket := range []string{babeld{}.socket(r.Host), bird{}.socket(r.Host)} {
		_ = os.Remove(socket) // what a killed one has left would keep the new one from listening
	}
	r.Proc = r.Host.Start(r.Name(), args...)
}

// Reload brings a change of the configuration's keys to the running program.
func (r *Router) Reload() error {
	if _, err := r.command(r.Host, r.Config); err != nil {
		return fmt.Errorf("configuring %v: %w", r, err)
	}
	if err := r.reload(r.Host, r.Proc); err != nil {
		return fmt.Errorf("reloading %v: %w", r, err)
	}
	return nil
}

// Stop ends the program in an orderly way.
func (r *Router) Stop() error {
	_, err := r.Proc.Stop(syscall.SIGTERM)
	return err
}

// Kill ends the program with no chance to say so.
func (r *Router) Kill() { r.Proc.Kill() }

// Neighbours asks the program.
func (r *Router) Neighbours() ([]RouterNeighbour, error) { return r.neighbours(r.Host) }

// Routes asks the program for what it has learned; its own routes are left out.
func (r *Router) Routes() ([]RouterRoute, error) { return r.routes(r.Host) }

// Route returns the selected route; from is the zero value for one that is not
// source-specific.
func (r *Router) Route(p, from netip.Prefix) (RouterRoute, error) {
	all, err := r.Routes()
	if err != nil {
		return RouterRoute{}, err
	}
	for _, route := range all {
		if route.Installed && route.Prefix == p && route.From == from {
			return route, nil
		}
	}
	return RouterRoute{}, fmt.Errorf("%s (%s) has selected no route to %v from %v: %v", r.Host.Name, r.Name(), p, from, all)
}

// Metric is the selected route's.
func (r *Router) Metric(p netip.Prefix) (int, error) {
	route, err := r.Route(p, netip.Prefix{})
	return route.Metric, err
}

func (r *Router) String() string { return r.Host.Name + " (" + r.Name() + ")" }

// key is one of RouterConfig.Keys.
func key(s string) (algorithm, secret string, err error) {
	algorithm, secret, ok := strings.Cut(s, ":")
	if !ok || algorithm != "hmac-sha256" && algorithm != "blake2s128" {
		return "", "", fmt.Errorf("key of no algorithm that is known here: %q", algorithm)
	}
	return algorithm, secret, nil
}

// source leaves out the source prefix that all routes have.
func source(p netip.Prefix) netip.Prefix {
	if p.Bits() == 0 {
		return netip.Prefix{}
	}
	return p
}
