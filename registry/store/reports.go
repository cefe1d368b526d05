package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"re6st/addressing"
	"re6st/registry/api"
)

// A NodeReport is a node's entry in the directory.
type NodeReport struct {
	ID             int64
	Peer           api.Peer
	Protocol       int
	Version        string
	NetworkVersion uint64
	Tunnels        int
	Routes         int
	Seen           time.Time
}

// reports is the directory: in memory, written now and then. A node reports
// every few minutes, so that losing it costs nothing but some patience.
type reports struct {
	mu    sync.Mutex
	byID  map[int64]int // index in all
	all   []NodeReport
	dirty map[int64]bool
}

func newReports() *reports {
	return &reports{byID: map[int64]int{}, dirty: map[int64]bool{}}
}

func (d *reports) of(id int64) (NodeReport, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, ok := d.byID[id]
	if !ok {
		return NodeReport{}, false
	}
	return d.all[i], true
}

func (d *reports) putLocked(r NodeReport) {
	if i, ok := d.byID[r.ID]; ok {
		d.all[i] = r
		return
	}
	d.byID[r.ID] = len(d.all)
	d.all = append(d.all, r)
}

// PutReport replaces what the directory knows of a node.
func (s *Store) PutReport(r NodeReport) {
	d := s.reports
	d.mu.Lock()
	defer d.mu.Unlock()
	d.putLocked(r)
	d.dirty[r.ID] = true
}

// Sample draws up to count nodes with endpoints, uniformly, of those that were
// seen since, without the one of the name. r has no other user.
func (s *Store) Sample(r *rand.Rand, count int, since time.Time, without string) []api.Peer {
	d := s.reports
	d.mu.Lock()
	defer d.mu.Unlock()
	peers := make([]api.Peer, 0, min(count, len(d.all)))
	// A partial Fisher-Yates shuffle over indices: only what was swapped is
	// kept, so that a sample of 50 costs the same in 100 nodes and in 10,000.
	swapped := map[int]int{}
	at := func(i int) int {
		if j, ok := swapped[i]; ok {
			return j
		}
		return i
	}
	for i := 0; i < len(d.all) && len(peers) < count; i++ {
		j := i + r.IntN(len(d.all)-i)
		chosen := at(j)
		swapped[j] = at(i)
		n := &d.all[chosen]
		if n.Peer.Name != without && !n.Seen.Before(since) && len(n.Peer.Endpoints) > 0 {
			peers = append(peers, n.Peer)
		}
	}
	return peers
}

// FlushReports writes what has changed since the last time.
func (s *Store) FlushReports(ctx context.Context) error {
	changed := s.reports.takeDirty()
	if len(changed) == 0 {
		return nil
	}
	s.writer.Lock()
	defer s.writer.Unlock()
	err := s.inTransaction(ctx, func(tx *sql.Tx) error {
		for _, r := range changed {
			if err := writeReport(ctx, tx, r); err != nil {
				return classify(err)
			}
		}
		return nil
	})
	if err != nil {
		s.reports.markDirty(changed)
		return fmt.Errorf("writing the directory: %w", err)
	}
	return nil
}

func (d *reports) takeDirty() []NodeReport {
	d.mu.Lock()
	defer d.mu.Unlock()
	changed := make([]NodeReport, 0, len(d.dirty))
	for id := range d.dirty {
		changed = append(changed, d.all[d.byID[id]])
	}
	clear(d.dirty)
	return changed
}

func (d *reports) markDirty(changed []NodeReport) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range changed {
		d.dirty[r.ID] = true
	}
}

func writeReport(ctx context.Context, tx *sql.Tx, r NodeReport) error {
	endpoints, err := json.Marshal(r.Peer.Endpoints)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO reports (node, endpoints, protocol, version, network_version, tunnels, routes, seen)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		r.ID, string(endpoints), r.Protocol, r.Version, int64(r.NetworkVersion), r.Tunnels, r.Routes, millis(r.Seen))
	return err
}

func (s *Store) loadReports(ctx context.Context) error {
	rows, err := s.write.QueryContext(ctx, `SELECT nodes.id, nodes.name, nodes.first, nodes.length,
		reports.endpoints, reports.protocol, reports.version, reports.network_version, reports.tunnels, reports.routes, reports.seen
		FROM reports JOIN nodes ON nodes.id = reports.node`)
	if err != nil {
		return fmt.Errorf("reading the directory: %w", classify(err))
	}
	defer rows.Close()
	s.reports.mu.Lock()
	defer s.reports.mu.Unlock()
	for rows.Next() {
		r, err := scanReport(rows)
		if err != nil {
			return fmt.Errorf("reading the directory: %w", classify(err))
		}
		s.reports.putLocked(r)
	}
	return classify(rows.Err())
}

func scanReport(row scanner) (NodeReport, error) {
	var r NodeReport
	var first []byte
	var length int
	var networkVersion, seen int64
	var endpoints string
	if err := row.Scan(&r.ID, &r.Peer.Name, &first, &length, &endpoints, &r.Protocol, &r.Version, &networkVersion, &r.Tunnels, &r.Routes, &seen); err != nil {
		return NodeReport{}, err
	}
	prefix, err := makePrefix(first, length)
	if err != nil {
		return NodeReport{}, err
	}
	r.Peer = PeerOf(r.Peer.Name, prefix, nil)
	if err := json.Unmarshal([]byte(endpoints), &r.Peer.Endpoints); err != nil {
		return NodeReport{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	r.NetworkVersion, r.Seen = uint64(networkVersion), fromMillis(seen)
	return r, nil
}

// PeerOf is the directory's entry of a node.
func PeerOf(name string, prefix netip.Prefix, endpoints []netip.AddrPort) api.Peer {
	return api.Peer{
		Name: name, Prefix: prefix, Address: addressing.NodeAddress(prefix),
		RouterID: addressing.RouterIDOf(prefix).String(), Endpoints: endpoints,
	}
}
