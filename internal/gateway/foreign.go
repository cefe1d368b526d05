package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// foreignMax bounds what is told.
	foreignMax = 8
	// foreignInterval is how often that is looked at of which the kernel tells
	// nothing: iptables' older tables and IPsec's policies.
	foreignInterval = 500 * time.Millisecond
	// foreignPause is at least between two looks at nftables, on a host where rules
	// change all day.
	foreignPause = 200 * time.Millisecond
)

// Foreign names what others have put where packets in transit pass the IP stack:
// what a shortcut from interface to interface would go around. interfaces are
// those of ours beside the tunnels between which packets pass. Chains without
// rules that accept do nothing and are not named, nor rules that begin by asking for another
// interface. An error means that it is not known.
func Foreign(interfaces []string) ([]string, error) {
	chains, err := foreignChains(interfaces)
	if err != nil {
		return nil, err
	}
	unheard, err := foreignUnheard()
	return append(chains, unheard...), err
}

// WatchForeign tells what Foreign says, at once and within a second of each
// change, until ctx ends.
func WatchForeign(ctx context.Context, interfaces []string, log *slog.Logger, tell func([]string, error)) {
	poke := make(chan struct{}, 1)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	watcher.Go(func() {
		WatchRules(ctx, log, func() {
			select {
			case poke <- struct{}{}:
			default:
			}
		})
	})
	tick := time.NewTicker(foreignInterval)
	defer tick.Stop()
	chains, err := foreignChains(interfaces)
	var last time.Time
	for {
		unheard, failure := foreignUnheard()
		if err != nil {
			failure = err
		}
		tell(append(slices.Clip(chains), unheard...), failure)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			continue
		case <-poke:
		}
		wait(ctx, time.Until(last.Add(foreignPause)))
		last = time.Now()
		chains, err = foreignChains(interfaces)
	}
}

// foreignChains looks at nftables, which iptables' newer variety is too.
func foreignChains(interfaces []string) ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("looking for rules of others: %w", err)
	}
	chains, err := conn.ListChains()
	if isMissing(err) {
		return nil, nil // no nftables, no rules
	}
	if err != nil {
		return nil, fmt.Errorf("looking for rules of others: %w", err)
	}
	var names []string
	for _, c := range chains {
		if !isInTransit(c) || isOurs(c.Table) || len(names) == foreignMax {
			continue
		}
		does := c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
		if !does {
			rules, err := conn.GetRules(c.Table, c)
			if err != nil {
				return nil, fmt.Errorf("reading the rules of chain %s: %w", c.Name, err)
			}
			does = slices.ContainsFunc(rules, func(r *nftables.Rule) bool { return !isElsewhere(r, interfaces) })
		}
		if does {
			names = append(names, fmt.Sprintf("table %s %s, chain %s", familyName(c.Table.Family), c.Table.Name, c.Name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// isOurs: of any instance.
func isOurs(t *nftables.Table) bool {
	return t.Family == nftables.TableFamilyINet && strings.HasPrefix(t.Name, TunnelPrefix)
}

// isInTransit says whether packets in transit meet the chain. The devices of a
// netdev chain are not told apart.
func isInTransit(c *nftables.Chain) bool {
	if c.Table == nil || c.Hooknum == nil {
		return false
	}
	switch c.Table.Family {
	case nftables.TableFamilyNetdev:
		return true
	case nftables.TableFamilyINet, nftables.TableFamilyIPv4, nftables.TableFamilyIPv6:
		// Of inet's ingress too, which has a number of its own.
		return *c.Hooknum != *nftables.ChainHookInput && *c.Hooknum != *nftables.ChainHookOutput
	}
	return false
}

// isElsewhere says whether a rule begins by asking for an interface that is not
// ours: "oifname eth0 masquerade" is met by nothing between tunnels.
func isElsewhere(r *nftables.Rule, interfaces []string) bool {
	if len(r.Exprs) < 2 {
		return false
	}
	key, isMeta := r.Exprs[0].(*expr.Meta)
	is, isCmp := r.Exprs[1].(*expr.Cmp)
	if !isMeta || !isCmp || is.Op != expr.CmpOpEq || (key.Key != expr.MetaKeyIIFNAME && key.Key != expr.MetaKeyOIFNAME) {
		return false
	}
	// A whole name ends in a zero octet; without, it is the beginning of names.
	name, _, isWhole := strings.Cut(string(is.Data), "\x00")
	if !isWhole {
		return false
	}
	return !strings.HasPrefix(name, TunnelPrefix) && !slices.Contains(interfaces, name)
}

// foreignUnheard looks at what changes without an event.
func foreignUnheard() ([]string, error) {
	names, err := legacyTables()
	if err != nil {
		return nil, err
	}
	policies, err := netlink.XfrmPolicyList(netlink.FAMILY_ALL)
	if err != nil && !isMissing(err) {
		return nil, fmt.Errorf("looking for IPsec policies: %w", err)
	}
	// Policies of sockets have other directions.
	if slices.ContainsFunc(policies, func(p netlink.XfrmPolicy) bool { return p.Dir <= netlink.XFRM_DIR_FWD }) {
		names = append(names, "IPsec policies (ip xfrm policy)")
	}
	return names, nil
}

// isMissing says whether the kernel has no such subsystem at all.
func isMissing(err error) bool {
	return errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EINVAL)
}
