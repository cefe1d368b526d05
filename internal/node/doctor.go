package node

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"re6st/ebpf"
	"re6st/internal/gateway"
	"re6st/internal/kernel"
	"re6st/internal/status"
	"re6st/registry/client"
	"re6st/tunnel/wg"
)

// askPatience bounds what the doctor waits for the registry.
const askPatience = 5 * time.Second

// Examine looks at a node and its host as an operator would who wonders what is
// wrong: at the state directory, the daemon, the registry, and where no daemon
// runs at what one would find in the kernel. It changes nothing, but for an
// interface and a table that are tried and gone at once.
func Examine(ctx context.Context, dir string) status.Doctor {
	var found findings
	if os.Geteuid() != 0 {
		found.notice("user", "run it as root", "not all can be seen as another user than root")
	}
	member := found.examineState(dir)
	answers := member != nil && found.examineRegistry(ctx, member)
	isRunning := found.examineDaemon(ctx, dir, answers)
	if !isRunning {
		found.examineKernel(dir)
	}
	return status.Doctor{SchemaVersion: status.SchemaVersion, Running: isRunning, Findings: found}
}

// examineState gives what the state directory proves; nil: nothing.
func (f *findings) examineState(dir string) *membership {
	s, err := readState(dir, func(text string, args ...any) {
		f.notice("state", "the next start sets it aside and does without, or takes the copy", "%s%s", text, Pairs(args))
	})
	var m *membership
	if err == nil {
		m, err = s.loadMembership(time.Now())
	}
	if err != nil {
		hint := ""
		if known, ok := errors.AsType[*Error](err); ok {
			hint = known.Hint
		}
		f.problem("state", hint, "%v", err)
		return nil
	}
	f.good("state", "%q is that of %s, with the prefix %v", dir, m.self.Name, m.self.Prefix)
	f.good("certificate", "it is valid until %s", m.self.NotAfter.UTC().Format(time.RFC3339))
	return m
}

func (f *findings) examineRegistry(ctx context.Context, m *membership) (answers bool) {
	c, err := client.New(client.Options{
		URLs: m.registry.URLs, Authority: m.authority, Certificate: &m.certificate, Dial: dialer(), Now: time.Now,
	})
	if err != nil {
		f.problem("registry", "join again with a new token", "its URLs %q: %v", m.registry.URLs, err)
		return false
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	sent := time.Now()
	h, err := c.Health(ctx)
	if err != nil {
		hint := ""
		if known, ok := errors.AsType[*client.Error](err); ok {
			hint = known.Hint
		}
		f.problem("registry", hint, "the mesh goes on without it, but nobody joins: %v", err)
		return false
	}
	f.judgeRegistry(h, sent, time.Now())
	return true
}

func (f *findings) examineDaemon(ctx context.Context, dir string, registryAnswers bool) (isRunning bool) {
	var n status.Node
	var tunnels status.Tunnels
	var peers status.Peers
	err := status.Get(ctx, dir, "status", &n)
	if err == nil {
		err = errors.Join(status.Get(ctx, dir, "tunnels", &tunnels), status.Get(ctx, dir, "peers", &peers))
	}
	switch {
	case err == nil:
		f.judgeRunning(n, tunnels.Tunnels, peers.Peers, registryAnswers)
		return true
	case errors.Is(err, os.ErrPermission):
		f.problem("daemon", "run it as root, or as a member of the group re6st", "%v", err)
		return true // it cannot be told
	case !errors.Is(err, status.ErrNotRunning):
		f.problem("daemon", "its log says more; if it hangs: kill -QUIT gives its stacks", "it does not answer: %v", err)
		return true
	}
	f.problem("daemon", "re6stnode run --state "+dir, "none runs with this state directory")
	if _, err := os.Stat((&state{dir: dir}).path(undoFile)); err == nil {
		f.notice("leftovers", "start it: what it left is taken back at the next start", "an earlier daemon was killed, and may have left interfaces, routes and rules")
	}
	return false
}

// examineKernel says what a daemon would find here. A running one has found it:
// its health tells.
func (f *findings) examineKernel(dir string) {
	if _, err := kernel.Sysctl("net/ipv6/conf/all/forwarding"); errors.Is(err, fs.ErrNotExist) {
		f.problem("ipv6", "boot without ipv6.disable=1", "the kernel has no IPv6")
	}
	if os.Geteuid() != 0 {
		return // what follows can only be tried as root
	}
	b, why, err := wg.Select(wg.Auto, wg.DefaultPorts, slog.New(slog.DiscardHandler))
	if err != nil {
		f.problem("wireguard", "one of the two is enough: modprobe wireguard, or modprobe tun", "%v", err)
	} else {
		f.good("wireguard", "%s", why)
		_ = b.Close()
	}
	if err := ebpf.Supported(); err != nil {
		f.notice("ebpf", "", "packets in transit would go by the IP stack, unless from one userspace tunnel to another, and traffic would not be counted: %v", err)
	} else {
		f.good("ebpf", "programs can be loaded")
	}
	instance, err := status.Hash(dir)
	if err != nil {
		return
	}
	if err := gateway.Probe(instance[:8]).Tables; err != nil {
		f.problem("nftables", "modprobe nf_tables", "packets with any source could enter the mesh here: %v", err)
		return
	}
	f.good("nftables", "tables can be made")
	foreign, err := gateway.Foreign(nil)
	if err == nil && len(foreign) > 0 {
		f.notice("shortcut", "nothing, if those rules are wanted; --shortcut on sends packets in transit past them",
			"with --shortcut auto it would stay off: rules of others would be bypassed: %s", someOf(foreign))
	}
}
