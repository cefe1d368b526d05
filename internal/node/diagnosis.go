package node

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"re6st/internal/status"
	"re6st/registry/api"
)

const (
	// clockNotice and clockProblem are differences between our clock and the
	// registry's: certificates and documents begin and end by it.
	clockNotice  = 30 * time.Second
	clockProblem = 5 * time.Minute
	// namedAtMost is how many of a kind a finding names.
	namedAtMost = 5
)

// findings are what an examination has found so far. The judgements of what was
// seen are apart from the looking: no I/O here.
type findings []status.Finding

func (f *findings) good(code, format string, args ...any) {
	*f = append(*f, status.Finding{Level: status.Good, Code: code, Text: fmt.Sprintf(format, args...)})
}

func (f *findings) notice(code, do, format string, args ...any) {
	*f = append(*f, status.Finding{Level: status.Notice, Code: code, Do: do, Text: fmt.Sprintf(format, args...)})
}

func (f *findings) problem(code, do, format string, args ...any) {
	*f = append(*f, status.Finding{Level: status.Problem, Code: code, Do: do, Text: fmt.Sprintf(format, args...)})
}

// judgeRunning says what the documents of a running daemon tell. registryAnswers:
// the registry was just asked, so what the daemon last saw of it is old.
func (f *findings) judgeRunning(n status.Node, tunnels []status.Tunnel, peers []status.Peer, registryAnswers bool) {
	f.good("daemon", "%s runs since %s, with the address %s", n.Name, n.Started.Format(time.RFC3339), n.Address)
	f.judgeTunnels(n.Backend, tunnels)
	f.judgePeers(peers)
	f.judgeShortcut(n.Shortcut)
	for _, h := range n.Health {
		if h.Code == "registry-unreachable" && registryAnswers {
			f.notice(h.Code, "", "it answers now; the daemon will find out: %s", h.Text)
			continue
		}
		f.problem(h.Code, "", "%s", h.Text)
	}
}

func (f *findings) judgeTunnels(backend string, tunnels []status.Tunnel) {
	var not []string
	for _, t := range tunnels {
		if t.State != stateUp {
			not = append(not, fmt.Sprintf("%s (%s: %s)", t.Peer, t.State, cmp.Or(t.Reason, "no reason given")))
		}
	}
	if up := len(tunnels) - len(not); up > 0 {
		f.good("tunnels", "%s up (%s WireGuard)", plural(up, "tunnel is", "tunnels are"), backend)
	}
	if len(not) > 0 {
		f.notice("tunnels", "if it stays so: are the peers' ports open, and this host's (README, Firewalls)?", "not up: %s", someOf(not))
	}
}

func (f *findings) judgePeers(peers []status.Peer) {
	var not []string
	for _, p := range peers {
		if !p.Reachable {
			not = append(not, p.Name)
		}
	}
	switch {
	case len(peers) == 0:
		f.notice("peers", "a second node joins with a token of its own; else: re6stnode run --peer ADDR:PORT", "no other node is known")
	case len(not) > 0:
		f.notice("peers", "they may be off; what the way to one was: re6stnode trace NAME", "no route to %d of %d nodes: %s", len(not), len(peers), someOf(not))
	default:
		f.good("peers", "there is a route to each of the %s", plural(len(peers), "node that is known", "nodes that are known"))
	}
}

func (f *findings) judgeShortcut(s *status.Shortcut) {
	switch {
	case s == nil:
	case s.On && s.Lost > 0:
		f.notice("shortcut", "", "%v; %s no room in its map and go by the stack", s, plural(s.Lost, "destination has", "destinations have"))
	case s.On:
		f.good("shortcut", "%v", s)
	case s.Mode == bypassOn: // health says so
	case len(s.Foreign) > 0:
		f.notice("shortcut", "nothing, if those rules are wanted; --shortcut on sends packets in transit past them", "%v", s)
	default:
		f.notice("shortcut", "", "%v", s)
	}
}

// judgeRegistry says what an answer of the registry tells.
func (f *findings) judgeRegistry(h api.Health, sent, received time.Time) {
	if h.Issuing {
		f.good("registry", "it answers (after %v) and issues certificates", received.Sub(sent).Round(time.Millisecond))
	} else {
		f.notice("registry", "its operator's log says more", "it answers, and issues no certificates: %s", h.Reason)
	}
	if h.Time.IsZero() {
		return // one that does not tell yet
	}
	// Half of the exchange had passed when it looked at its clock, more or less.
	off := sent.Add(received.Sub(sent) / 2).Sub(h.Time)
	const do = "synchronize the clocks of both hosts, for example with chrony or systemd-timesyncd"
	switch size := off.Abs(); {
	case size > clockProblem:
		f.problem("clock", do, "this host's clock and the registry's differ by %v", size.Round(time.Second))
	case size > clockNotice:
		f.notice("clock", do, "this host's clock and the registry's differ by %v", size.Round(time.Second))
	default:
		f.good("clock", "it agrees with the registry's")
	}
}

// someOf names the first few.
func someOf(names []string) string {
	slices.Sort(names)
	if more := len(names) - namedAtMost; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:namedAtMost], ", "), more)
	}
	return strings.Join(names, ", ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
