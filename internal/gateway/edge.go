package gateway

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// EdgeConfig says which sources may enter the mesh at this node, and what its
// own outer packets may not have as one.
type EdgeConfig struct {
	Instance string
	Networks []netip.Prefix // of the mesh
	Own      []netip.Prefix // sources that this host and its LANs may use
	// Guests are sources beyond it that machines on one interface may use: those of
	// other members on the same LAN.
	Guests []Guest
	// Exempt are interfaces that someone else judges: a gateway's uplinks. Only,
	// unless empty, names those that are judged at all: to a gateway the Internet
	// may come in by several.
	Exempt, Only []string
	Mark         uint32 // of our own packets, which stay outside the mesh
	// Group is that of our tunnels' interfaces: those of another instance on this
	// host carry another mesh. 0: all tunnels are ours.
	Group uint32
}

// Guest is a prefix of another member on the LAN behind an interface.
type Guest struct {
	Interface string
	Prefix    netip.Prefix
}

func (c EdgeConfig) equal(o EdgeConfig) bool {
	return c.Instance == o.Instance && c.Mark == o.Mark && c.Group == o.Group && slices.Equal(c.Networks, o.Networks) &&
		slices.Equal(c.Own, o.Own) && slices.Equal(c.Guests, o.Guests) && slices.Equal(c.Exempt, o.Exempt) && slices.Equal(c.Only, o.Only)
}

// Comments of the rules that count.
const (
	countEdge  = "source is not of this node"
	countOuter = "outer packet with a source of the mesh"
	countAbout = "error about an outer packet"
)

// afterNAT is behind srcnat: what the operator masquerades into the mesh has a
// good source by then.
const afterNAT = 200

// Edge binds sources at the node: whatever goes into a tunnel of ours and did not
// come out of one has a source of the node's, of one of its LANs, or of another
// member on the LAN that it comes from. ICMP errors pass, as routers on a LAN send
// them with addresses of their own. And our outer packets never have a source of
// the mesh: on a node behind another node's LAN they would run through the mesh
// that they carry.
//
//	table inet re6st-1f2e3d4c-edge {
//	  chain entry   filter, postrouting, after NAT; also errors about outer packets
//	  chain outer   filter, output
//	}
//
// It is a table of its own beside the gateway's, as every node has it.
type Edge struct {
	now  EdgeConfig
	set  bool
	text string // of the table as we put it
	// before are the counts of tables that were replaced, last those of the last
	// look, this table's included.
	before, last map[string]uint64
}

func edgeTable(instance string) string { return tableName(instance) + "-edge" }

// Put makes the table say this; it does nothing where it does already. To call it
// now and then puts back what another program flushed.
func (e *Edge) Put(c EdgeConfig) error {
	_, _ = e.Dropped() // to lose little when the table goes
	if e.set && e.now.equal(c) {
		if text, err := inventoryOf(edgeTable(c.Instance)); err == nil && text == e.text {
			return nil
		}
	}
	err := c.put()
	if err == nil {
		e.now, e.set, e.before = c, true, e.last
		e.text, err = inventoryOf(edgeTable(c.Instance))
	}
	if err != nil {
		return fmt.Errorf("binding sources with nftables: %w", err)
	}
	return nil
}

// Remove deletes the table.
func (e *Edge) Remove() error {
	if !e.set {
		return nil
	}
	if err := removeTable(edgeTable(e.now.Instance)); err != nil {
		return fmt.Errorf("removing nftables table %s: %w", edgeTable(e.now.Instance), err)
	}
	e.set = false
	return nil
}

// Dropped says how many packets were refused since the first Put, by why: those
// that wanted into the mesh, and outer ones. It is nil before that. What was
// counted between the last look and another program's flush is lost.
func (e *Edge) Dropped() (map[string]uint64, error) {
	if !e.set {
		return nil, nil
	}
	all, err := countsOf(edgeTable(e.now.Instance))
	if err != nil {
		return nil, fmt.Errorf("reading the counters of nftables table %s: %w", edgeTable(e.now.Instance), err)
	}
	now := map[string]uint64{}
	for _, why := range []string{countEdge, countOuter, countAbout} {
		now[why] = max(e.last[why], e.before[why]+all[why])
	}
	e.last = now
	return maps.Clone(now), nil
}

// RemoveEdge deletes the table of an instance that is dead; where the kernel has
// no nftables there is nothing to delete.
func RemoveEdge(instance string) error {
	conn, err := nftables.New()
	if err != nil {
		return nil
	}
	if isThere, err := exists(conn, edgeTable(instance)); err != nil || !isThere {
		return nil
	}
	if err := removeTable(edgeTable(instance)); err != nil {
		return fmt.Errorf("removing nftables table %s that an earlier run left: %w", edgeTable(instance), err)
	}
	return nil
}

func (c EdgeConfig) put() error {
	conn, err := writing()
	if err != nil {
		return err
	}
	b := &builder{conn: conn, table: &nftables.Table{Family: nftables.TableFamilyINet, Name: edgeTable(c.Instance)}, sets: map[string]*nftables.Set{}}
	conn.AddTable(b.table) // to delete what is not there is an error
	conn.DelTable(b.table)
	conn.AddTable(b.table)
	for name, prefixes := range map[string][]netip.Prefix{"mesh": c.Networks, "own": c.Own} {
		b.set(name+"4", nftables.TypeIPAddr, true, elementsOf(rangesOf(prefixes, true)))
		b.set(name+"6", nftables.TypeIP6Addr, true, elementsOf(rangesOf(prefixes, false)))
	}
	b.set("exempt", nftables.TypeIFName, false, namesOf(c.Exempt))
	b.set("only", nftables.TypeIFName, false, namesOf(c.Only))
	b.entry(c)
	b.outer(c)
	if b.err != nil {
		return b.err
	}
	return conn.Flush()
}

func (b *builder) entry(c EdgeConfig) {
	chain := b.hook("entry", nftables.ChainTypeFilter, nftables.ChainHookPostrouting, nftables.ChainPriorityRef(afterNAT))
	b.rule(chain, "", c.notTunnelOut(), accept())
	b.rule(chain, "", c.tunnelIn(), accept()) // relayed
	b.errors(chain)
	b.rule(chain, "", b.in("exempt"), accept())
	if len(c.Only) > 0 {
		b.rule(chain, "", []expr.Any{meta(expr.MetaKeyIIFNAME), b.lookup("only", true)}, accept())
	}
	b.eachFamily(func(f family) {
		b.rule(chain, "", b.address(f, f.src, "own"), accept())
		for _, kind := range f.errors {
			b.rule(chain, "", f.icmp(kind), accept())
		}
	})
	linkLocal := netip.MustParsePrefix("fe80::/10") // Babel's, which stay on the tunnel
	b.rule(chain, "", bothFamilies[0].sourceIn(linkLocal), accept())
	b.rule(chain, "", bothFamilies[0].sourceIn(netip.PrefixFrom(netip.IPv6Unspecified(), 128)), accept()) // MLD's first
	for _, g := range c.Guests {
		name := make([]byte, nameSize)
		copy(name[:nameSize-1], g.Interface)
		f := bothFamilies[0]
		if g.Prefix.Addr().Is4() {
			f = bothFamilies[1]
		}
		b.rule(chain, "", []expr.Any{meta(expr.MetaKeyIIFNAME), equals(name...)}, f.sourceIn(g.Prefix), accept())
	}
	b.rule(chain, countEdge, count(), drop())
}

// errors drops what this host's kernel says of packets that were for one of its
// addresses outside the mesh and found nobody: those are outer packets, and it says so
// without our mark. Where the host has no default route the mesh's would take it, to a
// gateway that drops it. Of IPv4 alone: there is no way in the mesh from such a source
// of IPv6. What a router says of packets that it forwards is let through: it may bear
// any address of the host.
func (b *builder) errors(chain *nftables.Chain) {
	f := bothFamilies[1]
	for _, what := range [][]byte{{3, 2}, {3, 3}, {11, 1}} { // RFC 792: protocol and port unreachable, reassembly
		b.rule(chain, countAbout,
			[]expr.Any{meta(expr.MetaKeyIIF), equals(0, 0, 0, 0)}, // of its own making
			f.address(f.src), []expr.Any{b.lookup("own"+f.suffix, true), meta(expr.MetaKeyL4PROTO), equals(f.l4)},
			[]expr.Any{&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2}, equals(what...)},
			count(), drop())
	}
}

func (b *builder) outer(c EdgeConfig) {
	chain := b.hook("outer", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	b.rule(chain, "", []expr.Any{
		meta(expr.MetaKeyMARK),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: binaryutil.NativeEndian.PutUint32(c.Mark)},
	}, accept())
	b.eachFamily(func(f family) { b.rule(chain, countOuter, b.address(f, f.src, "mesh"), count(), drop()) })
}

func (c EdgeConfig) tunnelIn() []expr.Any {
	if c.Group == 0 {
		return tunnelIn()
	}
	return []expr.Any{meta(expr.MetaKeyIIFGROUP), equals(binaryutil.NativeEndian.PutUint32(c.Group)...)}
}

func (c EdgeConfig) notTunnelOut() []expr.Any {
	if c.Group != 0 {
		return []expr.Any{meta(expr.MetaKeyOIFGROUP), &expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: binaryutil.NativeEndian.PutUint32(c.Group)}}
	}
	return []expr.Any{meta(expr.MetaKeyOIFNAME), &expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: []byte(TunnelPrefix)}}
}

// sourceIn: the source is in the prefix.
func (f family) sourceIn(p netip.Prefix) []expr.Any {
	mask := make([]byte, f.size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	m, _ := netip.AddrFromSlice(mask)
	return f.masked(f.src, m, p.Masked().Addr())
}
