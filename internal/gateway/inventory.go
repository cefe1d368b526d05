package gateway

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// inventory is what of our table the kernel has, as text: equal texts, equal
// tables. The numbers that the kernel gives make it tell a rule from one like it
// that someone else put in its place. Empty: the table is not there.
func inventory(instance string) (string, error) { return inventoryOf(tableName(instance)) }

func inventoryOf(table string) (string, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return "", err
	}
	defer conn.CloseLasting()
	if isThere, err := exists(conn, table); err != nil || !isThere {
		return "", err
	}
	var lines []string
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: table}
	chains, err := ownChains(conn, t.Name)
	if err != nil {
		return "", err
	}
	for _, c := range chains {
		policy := "none"
		if c.Policy != nil {
			policy = fmt.Sprint(*c.Policy)
		}
		lines = append(lines, fmt.Sprintf("chain %s policy %s", c.Name, policy))
		rules, err := conn.GetRules(t, c)
		if err != nil {
			return "", err
		}
		for _, r := range rules {
			lines = append(lines, fmt.Sprintf("rule %s %d", c.Name, r.Handle))
		}
	}
	sets, err := conn.GetSets(t)
	if err != nil {
		return "", err
	}
	for _, s := range sets {
		elements, err := conn.GetSetElements(s)
		if err != nil {
			return "", err
		}
		keys := make([]string, 0, len(elements))
		for _, e := range elements {
			keys = append(keys, hex.EncodeToString(e.Key))
		}
		slices.Sort(keys)
		lines = append(lines, fmt.Sprintf("set %s %s", s.Name, strings.Join(keys, " ")))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), nil
}

// sizeOf reads it from an inventory.
func sizeOf(text string) (n size) {
	for line := range strings.Lines(text) {
		switch words := strings.Fields(line); words[0] {
		case "rule":
			n.rules++
		case "set":
			n.elements += len(words) - 2
		}
	}
	return n
}

func exists(conn *nftables.Conn, table string) (bool, error) {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == table }), err
}

func ownChains(conn *nftables.Conn, table string) ([]*nftables.Chain, error) {
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	return slices.DeleteFunc(chains, func(c *nftables.Chain) bool { return c.Table == nil || c.Table.Name != table }), err
}

// counts reads how many packets our rules dropped, by why.
func counts(instance string) (map[string]uint64, error) { return countsOf(tableName(instance)) }

func countsOf(table string) (map[string]uint64, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, err
	}
	defer conn.CloseLasting()
	chains, err := ownChains(conn, table)
	if err != nil {
		return nil, err
	}
	all := map[string]uint64{}
	for _, c := range chains {
		rules, err := conn.GetRules(c.Table, c)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			comment, ok := userdata.GetString(r.UserData, userdata.TypeComment)
			if !ok {
				continue
			}
			for _, e := range r.Exprs {
				if n, ok := e.(*expr.Counter); ok {
					all[comment] += n.Packets
				}
			}
		}
	}
	return all, nil
}

// RemoveLeftovers deletes the table of an instance that is dead. Where the kernel
// has no nftables there is nothing to delete.
func RemoveLeftovers(instance string) (removed bool, err error) {
	conn, err := nftables.New()
	if err != nil {
		return false, nil
	}
	if isThere, err := exists(conn, tableName(instance)); err != nil || !isThere {
		return false, nil
	}
	if err := remove(instance); err != nil {
		return false, fmt.Errorf("removing nftables table %s that an earlier run left: %w", tableName(instance), err)
	}
	return true, nil
}

// Probe tries what the kernel has, each in a transaction that leaves nothing.
func Probe(instance string) Capabilities {
	try := func(fill func(b *builder)) error {
		conn, err := writing()
		if err != nil {
			return err
		}
		b := &builder{conn: conn, table: &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName(instance) + "-try"}, sets: map[string]*nftables.Set{}}
		conn.AddTable(b.table)
		fill(b)
		conn.DelTable(b.table)
		if b.err != nil {
			return b.err
		}
		return conn.Flush()
	}
	filter := func(b *builder, parts ...[]expr.Any) {
		b.rule(b.hook("try", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter), "", parts...)
	}
	nat := func(proto byte) func(b *builder) {
		return func(b *builder) {
			b.rule(b.hook("try", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource), "",
				[]expr.Any{meta(expr.MetaKeyNFPROTO), equals(proto), &expr.Masq{}})
		}
	}
	return Capabilities{
		Tables: try(func(b *builder) {
			b.set("try", nftables.TypeIFName, false, namesOf([]string{"lo"}))
			filter(b, b.in("try"), count(), drop())
		}),
		Conntrack: try(func(b *builder) { filter(b, isAnswer(), accept()) }),
		NAT4:      try(nat(unix.NFPROTO_IPV4)),
		NAT6:      try(nat(unix.NFPROTO_IPV6)),
		MSS:       try(func(b *builder) { filter(b, isSYN(), clamp()) }),
		Reject:    try(func(b *builder) { filter(b, reject()) }),
	}
}
