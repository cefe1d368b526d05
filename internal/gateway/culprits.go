package gateway

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// culpritsMax bounds what is told.
const culpritsMax = 4

// Culprits names chains of others that stop some of what is forwarded: where to
// look, when a trial says that packets are blocked. It is a help for people and
// decides nothing. Rules of iptables' older tables are not seen.
func Culprits(instance string) []string {
	conn, err := nftables.New()
	if err != nil {
		return nil
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil
	}
	var names []string
	for _, c := range chains {
		if len(names) == culpritsMax {
			break
		}
		if c.Table == nil || c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Table.Name == tableName(instance) {
			continue
		}
		name := fmt.Sprintf("table %s %s, chain %s", familyName(c.Table.Family), c.Table.Name, c.Name)
		if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
			names = append(names, name+" (policy drop)")
			continue
		}
		if rules, err := conn.GetRules(c.Table, c); err == nil && len(rules) > 0 && stops(rules[len(rules)-1]) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// stops says whether the rule ends in drop or reject.
func stops(r *nftables.Rule) bool {
	return slices.ContainsFunc(r.Exprs, func(e expr.Any) bool {
		switch e := e.(type) {
		case *expr.Reject:
			return true
		case *expr.Verdict:
			return e.Kind == expr.VerdictDrop
		}
		return false
	})
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	case nftables.TableFamilyINet:
		return "inet"
	case nftables.TableFamilyNetdev:
		return "netdev"
	}
	return fmt.Sprintf("family-%d", f)
}
