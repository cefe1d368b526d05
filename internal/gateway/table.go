package gateway

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// content is what our table depends on. Two equal contents make equal tables.
type content struct {
	mesh    []netip.Prefix // sources that may leave, destinations that are ours
	local   []netip.Prefix // of the mesh, on the link of an uplink: neighbours, not the Internet
	uplinks []string
	others  []string // tunnels of other instances on this host
	letIn   bool
	masq4   bool
	masq6   bool
	mss     bool
	bar     bool // nothing else: no packet from tunnel to tunnel
	// Of the prefix translation: its outside, and what it leaves out.
	outside []netip.Prefix
	holes   []Hole
	reject  bool // the kernel can answer
}

func (c content) equal(o content) bool {
	return slices.Equal(c.mesh, o.mesh) && slices.Equal(c.local, o.local) && slices.Equal(c.uplinks, o.uplinks) &&
		slices.Equal(c.others, o.others) && c.letIn == o.letIn && c.masq4 == o.masq4 && c.masq6 == o.masq6 && c.mss == o.mss && c.bar == o.bar &&
		slices.Equal(c.outside, o.outside) && slices.Equal(c.holes, o.holes) && c.reject == o.reject
}

// What our rules count, by the comment of the rule.
const (
	countForeign = "source is not of the mesh"
	countSpoofed = "from outside with a source of the mesh"
	countInbound = "from outside, not asked for"
	countHole    = "source has no counterpart outside"
	countNobody  = "nobody's counterpart"
	countTransit = "in transit, which this node does not carry"
)

// tableName is the instance's.
func tableName(instance string) string { return TunnelPrefix + instance }

// builder puts one table together, for one transaction.
type builder struct {
	conn  *nftables.Conn
	table *nftables.Table
	sets  map[string]*nftables.Set
	size  size
	err   error
}

// size is that of a table, to tell a whole one from one that somebody changed
// before we had looked at it.
type size struct{ rules, elements int }

func (b *builder) set(name string, kind nftables.SetDatatype, isInterval bool, elements []nftables.SetElement) {
	s := &nftables.Set{Table: b.table, Name: name, KeyType: kind, Interval: isInterval}
	if kind == nftables.TypeIFName {
		s.KeyByteOrder = binaryutil.NativeEndian // or nft(8) shows no names
	}
	b.size.elements += len(elements)
	if err := b.conn.AddSet(s, elements); err != nil && b.err == nil {
		b.err = err
	}
	b.sets[name] = s
}

// prefixes makes a set for each family.
func (b *builder) prefixes(name string, all []netip.Prefix) {
	b.set(name+"4", nftables.TypeIPAddr, true, elementsOf(rangesOf(all, true)))
	b.set(name+"6", nftables.TypeIP6Addr, true, elementsOf(rangesOf(all, false)))
}

func (b *builder) rule(chain *nftables.Chain, comment string, parts ...[]expr.Any) {
	r := &nftables.Rule{Table: b.table, Chain: chain, Exprs: slices.Concat(parts...)}
	if comment != "" {
		r.UserData = userdata.AppendString(nil, userdata.TypeComment, comment)
	}
	b.size.rules++
	b.conn.AddRule(r)
}

// put replaces the instance's table, whole and at once.
func put(instance string, c content) (size, error) {
	conn, err := writing()
	if err != nil {
		return size{}, err
	}
	b := &builder{conn: conn, table: &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName(instance)}, sets: map[string]*nftables.Set{}}
	conn.AddTable(b.table) // to delete what is not there is an error
	conn.DelTable(b.table)
	conn.AddTable(b.table)
	b.prefixes("mesh", c.mesh)
	b.prefixes("local", c.local)
	if len(c.holes) > 0 {
		b.prefixes("outside", c.outside)
	}
	b.set("uplinks", nftables.TypeIFName, false, namesOf(c.uplinks))
	b.set("others", nftables.TypeIFName, false, namesOf(c.others))
	b.filter(c)
	if c.mss {
		b.mss()
	}
	if c.masq4 || c.masq6 {
		b.nat(c)
	}
	if b.err != nil {
		return size{}, b.err
	}
	return b.size, conn.Flush()
}

// remove deletes the table, where there is one.
func remove(instance string) error { return removeTable(tableName(instance)) }

func removeTable(name string) error {
	conn, err := writing()
	if err != nil {
		return err
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: name}
	conn.AddTable(t)
	conn.DelTable(t)
	return conn.Flush()
}

func (b *builder) chain(name string) *nftables.Chain {
	return b.conn.AddChain(&nftables.Chain{Table: b.table, Name: name})
}

func (b *builder) hook(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	accept := nftables.ChainPolicyAccept
	return b.conn.AddChain(&nftables.Chain{Table: b.table, Name: name, Type: kind, Hooknum: hook, Priority: priority, Policy: &accept})
}

// filter makes the chains that decide what passes. "accept" ends our table
// alone: the operator's own tables are asked as well.
func (b *builder) filter(c content) {
	if c.bar {
		b.bar()
		return
	}
	inside := b.chain("inside") // from outside, to the mesh
	in := b.chain("in")         // from an uplink
	out := b.chain("out")       // from a tunnel of ours
	forward := b.hook("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)

	b.rule(forward, "", b.in("others"), accept())
	b.rule(forward, "", b.out("others"), accept())
	b.leavesWithout(c, forward)
	b.rule(forward, "", tunnelIn(), jump(out))
	b.rule(forward, "", b.in("uplinks"), jump(in))

	b.rule(out, "", tunnelOut(), accept()) // relayed
	b.eachFamily(func(f family) {
		b.rule(out, "", b.address(f, f.dst, "mesh"), accept()) // to a LAN
		b.rule(out, "", b.address(f, f.src, "mesh"), accept())
	})
	b.rule(out, countForeign, count(), drop())

	b.comesWithout(c, in, b.address(bothFamilies[0], bothFamilies[0].src, "local")...)
	b.eachFamily(func(f family) {
		b.rule(in, "", b.address(f, f.src, "local"), accept())
		b.rule(in, countSpoofed, b.address(f, f.src, "mesh"), count(), drop())
		b.rule(in, "", b.address(f, f.dst, "mesh"), jump(inside))
	})
	b.comesWithout(c, in)
	// What is for the mesh has been decided on: no one outside is to reach another
	// outside through it.
	b.rule(in, countInbound, tunnelOut(), count(), drop())

	if c.letIn {
		b.rule(inside, "", accept())
		return
	}
	b.rule(inside, "", isAnswer(), accept())
	b.eachFamily(func(f family) {
		for _, kind := range f.errors {
			b.rule(inside, "", f.icmp(kind), accept())
		}
	})
	b.rule(inside, countInbound, count(), drop())
}

// bar answers what others send through this node although it announces no way.
func (b *builder) bar() {
	forward := b.hook("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	b.rule(forward, "", b.in("others"), accept())
	b.rule(forward, "", b.out("others"), accept())
	b.rule(forward, countTransit, tunnelIn(), tunnelOut(), count(), reject())
}

func (b *builder) mss() {
	mss := b.hook("mss", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityMangle)
	for _, way := range [][]expr.Any{tunnelIn(), tunnelOut()} {
		b.rule(mss, "", way, isSYN(), clamp())
	}
}

func (b *builder) nat(c content) {
	nat := b.hook("nat", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	b.eachFamily(func(f family) {
		if (f.proto == unix.NFPROTO_IPV4 && !c.masq4) || (f.proto == unix.NFPROTO_IPV6 && !c.masq6) {
			return
		}
		b.rule(nat, "", b.out("uplinks"), b.address(f, f.dst, "mesh"), accept())
		b.rule(nat, "", b.out("uplinks"), b.address(f, f.src, "mesh"), []expr.Any{&expr.Masq{}})
	})
}
