package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"re6st/internal/durable"
)

// recordsAtOnce bounds how many records one append takes.
const recordsAtOnce = 256

// recover brings journal and database together, or stops issuing where that
// would take a decision.
func (s *Store) recover(ctx context.Context) error {
	var err error
	if s.journal, err = openJournal(s.dir); err != nil {
		return err
	}
	s.trace("journal-opened")
	if s.head, err = s.databaseHead(ctx, s.genesis); err != nil {
		return err
	}
	found, err := s.journal.read(s.genesis, s.head.sequence, nil)
	if err != nil {
		return err
	}
	s.trace("journal-read")
	if found.whole && found.head.sequence >= s.head.sequence {
		return fmt.Errorf("reading journal %q: %w: its last record cannot be read, and the database does not have it", s.journal.path, ErrCorrupt)
	}
	if err := s.checkSameChain(ctx, found); err != nil {
		return err
	}
	if err := s.journal.accept(found); err != nil {
		return err
	}
	if err := s.readStopped(); err != nil {
		return err
	}
	if found.head.sequence > s.head.sequence {
		s.setStopped(fmt.Sprintf("the journal has %d issuances that the database lacks: the database is an older copy", found.head.sequence-s.head.sequence))
		return nil
	}
	if err := s.Record(ctx, s.head.sequence); err != nil {
		return fmt.Errorf("bringing the journal up to the database: %w", err)
	}
	s.trace("recovered")
	return nil
}

func (s *Store) databaseHead(ctx context.Context, genesis [32]byte) (head, error) {
	h := head{hash: genesis}
	var hash []byte
	err := s.write.QueryRowContext(ctx, "SELECT sequence, hash FROM issuances ORDER BY sequence DESC LIMIT 1").Scan(&h.sequence, &hash)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return h, nil
	case err != nil:
		return head{}, fmt.Errorf("reading the last issuance: %w", classify(err))
	}
	copy(h.hash[:], hash)
	return h, nil
}

// checkSameChain compares journal and database where both have records. A
// difference is that of two registries, or of a copy that went its own way: no
// program can tell which one the nodes know.
func (s *Store) checkSameChain(ctx context.Context, found scan) error {
	common := found.head
	if found.head.sequence > s.head.sequence {
		common = found.at
	}
	known, err := s.hasRecord(ctx, s.write, common)
	if err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("%w: journal and database differ at issuance %d", ErrCorrupt, common.sequence)
	}
	return nil
}

func (s *Store) hasRecord(ctx context.Context, db *sql.DB, h head) (bool, error) {
	if h.sequence == 0 {
		return true, nil
	}
	var count int
	err := db.QueryRowContext(ctx, "SELECT count(*) FROM issuances WHERE sequence = ? AND hash = ?", h.sequence, h.hash[:]).Scan(&count)
	if err != nil {
		return false, fmt.Errorf("reading issuance %d: %w", h.sequence, classify(err))
	}
	return count == 1, nil
}

// Record makes sure that the journal has the issuance with the sequence, and
// all before it, on disk. Only then may the answer leave. Of several callers
// one writes for all.
func (s *Store) Record(ctx context.Context, sequence uint64) error {
	j := s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.head.sequence < sequence {
		records, next, err := s.recordsAfter(ctx, j.head)
		if err != nil {
			return err
		}
		if err := j.appendLocked(joinLines(records), next, s.trace); err != nil {
			return err
		}
		s.trace("journal-synced")
	}
	return nil
}

// recordsAfter reads what follows h in the database, and checks the chain once
// more before it is made permanent.
func (s *Store) recordsAfter(ctx context.Context, h head) ([][]byte, head, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT record FROM issuances WHERE sequence > ? ORDER BY sequence LIMIT ?", h.sequence, recordsAtOnce)
	if err != nil {
		return nil, head{}, fmt.Errorf("reading issuances: %w", classify(err))
	}
	defer rows.Close()
	var records [][]byte
	for rows.Next() {
		var line []byte
		if err := rows.Scan(&line); err != nil {
			return nil, head{}, fmt.Errorf("reading issuances: %w", classify(err))
		}
		_, next, err := h.follow(line)
		if err != nil {
			return nil, head{}, fmt.Errorf("reading issuances: %w: %w", ErrCorrupt, err)
		}
		h, records = next, append(records, line)
	}
	if err := rows.Err(); err != nil {
		return nil, head{}, fmt.Errorf("reading issuances: %w", classify(err))
	}
	if len(records) == 0 {
		return nil, head{}, fmt.Errorf("%w: no issuance follows %d", ErrCorrupt, h.sequence)
	}
	return records, h, nil
}

// Head is the end of the journal: how many issuances it has, and its hash.
func (s *Store) Head() (sequence uint64, hash [32]byte) {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.head.sequence, s.journal.head.hash
}

// KnowsHead says whether the database has the issuance with this hash. A head
// that once left us and is not known tells that the database is an older copy.
func (s *Store) KnowsHead(ctx context.Context, sequence uint64, hash [32]byte) (bool, error) {
	return s.hasRecord(ctx, s.read, head{sequence: sequence, hash: hash})
}

// Stopped tells why nothing is issued; it is empty when all is well.
func (s *Store) Stopped() string {
	s.stoppedMu.Lock()
	defer s.stoppedMu.Unlock()
	return s.stopped
}

func (s *Store) setStopped(reason string) {
	s.stoppedMu.Lock()
	defer s.stoppedMu.Unlock()
	s.stopped = reason
}

// Stop ends issuing, also after a restart: until the database is put right and
// the file that says so is removed.
func (s *Store) Stop(reason string) error {
	s.setStopped(reason)
	if err := durable.WriteFile(s.stoppedPath(), []byte(reason+"\n"), 0o600); err != nil {
		return fmt.Errorf("noting that issuing is stopped: %w", err)
	}
	return nil
}

func (s *Store) stoppedPath() string { return filepath.Join(s.dir, stoppedFile) }

func (s *Store) readStopped() error {
	data, err := os.ReadFile(s.stoppedPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading why issuing is stopped: %w", err)
	}
	s.setStopped(strings.TrimSpace(string(data)))
	return nil
}

// Replay puts what the journal has and the database lacks back into the
// database: nodes, leases, certificates. It tells how many. Tokens that only
// the lost database knew come back used up.
func (s *Store) Replay(ctx context.Context) (int, error) {
	s.writer.Lock()
	defer s.writer.Unlock()
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	var missing []record
	if _, err := s.journal.read(s.genesis, 0, func(r record) error {
		if r.Sequence > s.head.sequence {
			missing = append(missing, r)
		}
		return nil
	}); err != nil {
		return 0, err
	}
	at := s.head
	err := s.inTransaction(ctx, func(tx *sql.Tx) error {
		for _, r := range missing {
			next, err := replayRecord(ctx, tx, at, r)
			if err != nil {
				return fmt.Errorf("replaying issuance %d: %w", r.Sequence, classify(err))
			}
			at = next
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	s.head = at
	s.setStopped("")
	if s.spaces == nil {
		return len(missing), s.readStopped()
	}
	return len(missing), errors.Join(s.readStopped(), s.loadSpacesLocked(ctx, s.spaces.networks))
}

func replayRecord(ctx context.Context, tx *sql.Tx, at head, r record) (head, error) {
	tokenHash, err := decodeHex(r.TokenHash, 32)
	if err != nil {
		return head{}, err
	}
	token, err := replayToken(ctx, tx, tokenHash, r)
	if err != nil {
		return head{}, err
	}
	key, err := decodeHex(r.Key, 32)
	if err != nil {
		return head{}, err
	}
	node, err := insertNode(ctx, tx, token, [32]byte(key), Grant{Name: r.Name, Prefix: r.Prefix, IPv4: r.IPv4, ipv4Wanted: r.IPv4Wanted, Gateway: r.Gateway, Announce: r.Announce}, r.Time)
	if err != nil {
		return head{}, err
	}
	return insertIssuance(ctx, tx, at, node, r)
}

// replayToken takes a use from the token, or puts back one that is used up.
func replayToken(ctx context.Context, tx *sql.Tx, hash []byte, r record) (int64, error) {
	var id int64
	err := tx.QueryRowContext(ctx, "UPDATE tokens SET used = min(uses, used + 1) WHERE hash = ? RETURNING id", hash).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, err
	}
	at := millis(r.Time)
	err = tx.QueryRowContext(ctx, "INSERT INTO tokens (hash, uses, used, prefix_length, created, expires) VALUES (?, 1, 1, ?, ?, ?) RETURNING id",
		hash, r.Prefix.Bits(), at, at).Scan(&id)
	return id, err
}

// insertIssuance stores a record and gives the chain's new end.
func insertIssuance(ctx context.Context, tx *sql.Tx, at head, node int64, r record) (head, error) {
	line, err := r.encode()
	if err != nil {
		return head{}, err
	}
	serial, err := hex.DecodeString(r.Serial)
	if err != nil {
		return head{}, err
	}
	next := head{sequence: at.sequence + 1, hash: sha256.Sum256(line)}
	_, err = tx.ExecContext(ctx, `INSERT INTO issuances (sequence, node, serial, tbs, record, hash, issued, not_before, not_after)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		next.sequence, node, serial, r.TBS, line, next.hash[:], millis(r.Time), millis(r.NotBefore), millis(r.NotAfter))
	return next, err
}
