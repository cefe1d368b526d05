package store

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"re6st/addressing"
	"re6st/registry/api"
)

// retryGrace is how long after its expiry a token still answers a repeated
// request of a key that enrolled with it in time.
const retryGrace = 24 * time.Hour

// nameAttemptsMax bounds the search for a free name that the registry makes up.
const nameAttemptsMax = 8

// A Claim asks for an issuance.
type Claim struct {
	Secret api.Secret
	Key    [32]byte // SHA-256 of the SubjectPublicKeyInfo
	Name   string   // wanted; empty: the registry makes one up
}

// A Grant is what the transaction gives.
type Grant struct {
	Name     string
	Prefix   netip.Prefix
	IPv4     netip.Prefix // zero: none
	Gateway  bool
	Announce []netip.Prefix

	ipv4Wanted int // length; 0: none was asked for
}

// A Prepared certificate waits for its signature.
type Prepared struct {
	Serial    [16]byte
	TBS       []byte
	NotBefore time.Time
	NotAfter  time.Time
}

// An Issuance is durable. Record must come before its certificate leaves.
type Issuance struct {
	Sequence uint64
	TBS      []byte
	Repeated bool // an earlier request of this key with this token made it
	// IPv4Exhausted: the node was to have an IPv4 subnet, and none was left.
	IPv4Exhausted bool
}

// token is what the transaction needs of a row in tokens.
type token struct {
	id           int64
	name         string
	prefixLength int
	ipv4Length   sql.NullInt64 // NULL: the network's; 0: none
	gateway      bool
	announce     []netip.Prefix
	expires      time.Time
	isRevoked    bool
}

// Issue answers a claim in one transaction. The same key with the same token
// gets the same issuance, also when the token is used up by now. On any error
// nothing has changed: no use of the token is gone.
func (s *Store) Issue(ctx context.Context, now time.Time, c Claim, prepare func(Grant) (Prepared, error)) (Issuance, error) {
	s.writer.Lock()
	defer s.writer.Unlock()
	if s.spaces == nil {
		return Issuance{}, fmt.Errorf("%w: the network is not set up", ErrStopped)
	}
	if reason := s.Stopped(); reason != "" {
		return Issuance{}, fmt.Errorf("%w: %s", ErrStopped, reason)
	}
	if err := s.refreshLocked(ctx); err != nil {
		return Issuance{}, err
	}
	var out Issuance
	var lease Grant
	var next head
	// Until the end is known, what we hold in memory may lag behind.
	s.isStale = true
	err := s.inTransaction(ctx, func(tx *sql.Tx) error {
		s.trace("transaction-begun")
		var refused error
		out, lease, next, refused = s.issueIn(ctx, tx, now, c, prepare)
		s.trace("transaction-ending")
		s.isStale = refused == nil // a rollback is certain, the end of a commit is not
		return classify(refused)
	})
	if isTrigger(err, "leases overlap") || isTrigger(err, "IPv4 leases overlap") {
		s.isStale = true // the index offered what is taken: the table decides
	}
	if err != nil {
		return Issuance{}, err
	}
	s.isStale = false
	if out.Repeated {
		return out, nil
	}
	s.trace("committed")
	s.head = next
	if err := s.spaces.insert(lease.Prefix, lease.IPv4); err != nil {
		s.isStale = true // the table decides
		return Issuance{}, fmt.Errorf("indexing lease %s: %w", lease.Prefix, err)
	}
	s.trace("indexed")
	return out, nil
}

// refreshLocked reads again what is kept in memory, when the outcome of a
// transaction was not known.
func (s *Store) refreshLocked(ctx context.Context) error {
	if !s.isStale {
		return nil
	}
	h, err := s.databaseHead(ctx, s.genesis)
	if err != nil {
		return err
	}
	if err := s.loadSpacesLocked(ctx, s.spaces.networks); err != nil {
		return err
	}
	s.head, s.isStale = h, false
	return nil
}

func (s *Store) issueIn(ctx context.Context, tx *sql.Tx, now time.Time, c Claim, prepare func(Grant) (Prepared, error)) (Issuance, Grant, head, error) {
	none := func(err error) (Issuance, Grant, head, error) {
		return Issuance{}, Grant{}, head{}, err
	}
	t, err := findToken(ctx, tx, c.Secret)
	if err != nil {
		return none(err)
	}
	repeated, isKnown, err := findRepeated(ctx, tx, t, c.Key, now)
	if err != nil || (isKnown && repeated.Repeated) {
		return repeated, Grant{}, s.head, err
	}
	if err := consumeToken(ctx, tx, t.id, now); err != nil {
		return none(err)
	}
	s.trace("token-consumed")
	if isKnown {
		return none(ErrKeyTaken) // told to none but the holder of a valid token
	}
	grant, err := s.chooseGrant(ctx, tx, t, c.Name)
	if err != nil {
		return none(err)
	}
	node, err := insertNode(ctx, tx, t.id, c.Key, grant, now)
	if err != nil {
		return none(err)
	}
	s.trace("node-inserted")
	prepared, err := prepare(grant)
	if err != nil {
		return none(err)
	}
	s.trace("prepared")
	hash := c.Secret.Hash()
	next, err := insertIssuance(ctx, tx, s.head, node, record{
		Sequence: s.head.sequence + 1, Previous: hex.EncodeToString(s.head.hash[:]), Time: now.UTC().Truncate(time.Millisecond),
		TokenHash: hex.EncodeToString(hash[:]), Key: hex.EncodeToString(c.Key[:]),
		Name: grant.Name, Prefix: grant.Prefix, IPv4: grant.IPv4, IPv4Wanted: grant.ipv4Wanted, Gateway: grant.Gateway, Announce: grant.Announce,
		Serial: hex.EncodeToString(prepared.Serial[:]), NotBefore: prepared.NotBefore.UTC(), NotAfter: prepared.NotAfter.UTC(), TBS: prepared.TBS,
	})
	if err != nil {
		return none(err)
	}
	s.trace("issuance-inserted")
	return Issuance{Sequence: next.sequence, TBS: prepared.TBS, IPv4Exhausted: grant.isExhausted()}, grant, next, nil
}

func (g Grant) isExhausted() bool { return g.ipv4Wanted > 0 && !g.IPv4.IsValid() }

// findToken looks a token up by the hash of its secret, and compares without
// a hint in the time that it takes.
func findToken(ctx context.Context, tx *sql.Tx, secret api.Secret) (token, error) {
	var t token
	var stored []byte
	var announce string
	var expires int64
	hash := secret.Hash()
	err := tx.QueryRowContext(ctx, "SELECT id, hash, name, prefix_length, ipv4_length, gateway, announce, expires, revoked IS NOT NULL FROM tokens WHERE hash = ?", hash[:]).
		Scan(&t.id, &stored, &t.name, &t.prefixLength, &t.ipv4Length, &t.gateway, &announce, &expires, &t.isRevoked)
	if errors.Is(err, sql.ErrNoRows) {
		return token{}, ErrToken
	}
	if err != nil {
		return token{}, fmt.Errorf("reading token: %w", err)
	}
	if subtle.ConstantTimeCompare(stored, hash[:]) != 1 {
		return token{}, ErrToken
	}
	t.expires = fromMillis(expires)
	if err := json.Unmarshal([]byte(announce), &t.announce); err != nil {
		return token{}, fmt.Errorf("reading rights of token %d: %w: %w", t.id, ErrCorrupt, err)
	}
	return t, nil
}

// findRepeated looks for what the key already has. It answers the issuance
// again if this token made it and is not revoked; isKnown alone says that the
// key belongs to a node that another token made.
func findRepeated(ctx context.Context, tx *sql.Tx, t token, key [32]byte, now time.Time) (out Issuance, isKnown bool, err error) {
	var madeBy int64
	row := tx.QueryRowContext(ctx, `SELECT nodes.token, nodes.ipv4_wanted > 0 AND nodes.ipv4_first IS NULL, issuances.sequence, issuances.tbs FROM nodes
		JOIN issuances ON issuances.node = nodes.id WHERE nodes.key = ? ORDER BY issuances.sequence LIMIT 1`, key[:])
	scanErr := row.Scan(&madeBy, &out.IPv4Exhausted, &out.Sequence, &out.TBS)
	switch {
	case errors.Is(scanErr, sql.ErrNoRows):
		return Issuance{}, false, nil
	case scanErr != nil:
		return Issuance{}, false, fmt.Errorf("looking for the key: %w", scanErr)
	case madeBy != t.id:
		return Issuance{}, true, nil
	case t.isRevoked || now.After(t.expires.Add(retryGrace)):
		return Issuance{}, false, ErrToken
	}
	out.Repeated = true
	return out, true, nil
}

// MayEnrol answers for most bad tokens, without the writer: whatever is bad about
// a token, it takes this one query. Only Issue decides.
func (s *Store) MayEnrol(ctx context.Context, now time.Time, c Claim) error {
	hash := c.Secret.Hash()
	var count int
	err := s.read.QueryRowContext(ctx, `SELECT count(*) FROM tokens LEFT JOIN nodes ON nodes.key = ? AND nodes.token = tokens.id
		WHERE tokens.hash = ? AND revoked IS NULL AND ((used < uses AND expires > ?) OR (nodes.id IS NOT NULL AND expires >= ?))`,
		c.Key[:], hash[:], millis(now), millis(now.Add(-retryGrace))).Scan(&count)
	if err != nil {
		return fmt.Errorf("looking for the token: %w", classify(err))
	}
	if count == 0 {
		return ErrToken
	}
	return nil
}

// consumeToken takes one use. The condition and the count of rows are the
// decision; what was read before decides nothing.
func consumeToken(ctx context.Context, tx *sql.Tx, id int64, now time.Time) error {
	result, err := tx.ExecContext(ctx, "UPDATE tokens SET used = used + 1 WHERE id = ? AND used < uses AND revoked IS NULL AND expires > ?", id, millis(now))
	if err != nil {
		return fmt.Errorf("consuming token %d: %w", id, err)
	}
	count, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("consuming token %d: %w", id, err)
	}
	if count != 1 {
		return ErrToken
	}
	return nil
}

func (s *Store) chooseGrant(ctx context.Context, tx *sql.Tx, t token, wanted string) (Grant, error) {
	prefix, err := s.spaces.ipv6.Pick(s.rand, t.prefixLength)
	if errors.Is(err, addressing.ErrExhausted) {
		return Grant{}, fmt.Errorf("%w: /%d", ErrExhausted, t.prefixLength)
	}
	if err != nil {
		return Grant{}, fmt.Errorf("drawing a /%d: %w", t.prefixLength, err)
	}
	length4 := s.spaces.ipv4Length
	if t.ipv4Length.Valid {
		length4 = int(t.ipv4Length.Int64)
	}
	ipv4, err := s.pickIPv4(length4)
	if err != nil {
		return Grant{}, err
	}
	s.trace("prefix-drawn")
	name := t.name
	if name == "" {
		name = wanted
	}
	if name == "" {
		if name, err = s.inventName(ctx, tx); err != nil {
			return Grant{}, err
		}
	}
	s.trace("named")
	return Grant{Name: name, Prefix: prefix, IPv4: ipv4, ipv4Wanted: length4, Gateway: t.gateway, Announce: t.announce}, nil
}

func (s *Store) inventName(ctx context.Context, tx *sql.Tx) (string, error) {
	for range nameAttemptsMax {
		name := fmt.Sprintf("node-%08x", s.rand.Uint32())
		var count int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM nodes WHERE name = ?", name).Scan(&count); err != nil {
			return "", fmt.Errorf("looking for a free name: %w", err)
		}
		if count == 0 {
			return name, nil
		}
	}
	return "", errors.New("no free name was found")
}

func insertNode(ctx context.Context, tx *sql.Tx, token int64, key [32]byte, g Grant, now time.Time) (int64, error) {
	first, last := prefixRange(g.Prefix)
	first4, last4, length4 := ipv4Range(g.IPv4)
	announce, err := encodePrefixes(g.Announce)
	if err != nil {
		return 0, err
	}
	var id int64
	err = tx.QueryRowContext(ctx, `INSERT INTO nodes (token, key, name, first, last, length, ipv4_first, ipv4_last, ipv4_length, ipv4_wanted, gateway, announce, enrolled)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		token, key[:], g.Name, first[:], last[:], g.Prefix.Bits(), first4, last4, length4, g.ipv4Wanted, g.Gateway, announce, millis(now)).Scan(&id)
	switch {
	case isUnique(err, "nodes.name"):
		return 0, ErrNameTaken
	case isUnique(err, "nodes.key"):
		return 0, ErrKeyTaken
	case err != nil:
		return 0, fmt.Errorf("storing node %q with %s: %w", g.Name, g.Prefix, err)
	}
	return id, nil
}
