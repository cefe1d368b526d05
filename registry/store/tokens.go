package store

import (
	"context"
	"fmt"
	"time"

	"re6st/registry/api"
)

// CreateToken stores a token by the hash of its secret, and tells its id.
// ErrNameTaken: a node has the name already, so that nobody could use the token.
func (s *Store) CreateToken(ctx context.Context, now time.Time, secret api.Secret, t api.TokenRequest) (int64, error) {
	announce, err := encodePrefixes(t.Announce)
	if err != nil {
		return 0, fmt.Errorf("storing token: %w", err)
	}
	hash := secret.Hash()
	s.writer.Lock()
	defer s.writer.Unlock()
	result, err := s.write.ExecContext(ctx, `INSERT INTO tokens (hash, name, uses, prefix_length, ipv4_length, gateway, announce, created, expires)
		SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM nodes WHERE name = ?)`,
		hash[:], t.Name, t.Uses, t.PrefixLength, t.IPv4Length, t.Gateway, announce, millis(now), millis(now)+t.TTLSeconds*1000, t.Name)
	if err != nil {
		return 0, fmt.Errorf("storing token: %w", classify(err))
	}
	if count, err := result.RowsAffected(); err != nil || count != 1 {
		return 0, ErrNameTaken
	}
	return result.LastInsertId()
}

// RevokeToken ends a token; certificates that it gave stay. To revoke twice
// keeps the first time.
func (s *Store) RevokeToken(ctx context.Context, now time.Time, id int64) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	result, err := s.write.ExecContext(ctx, "UPDATE tokens SET revoked = coalesce(revoked, ?) WHERE id = ?", millis(now), id)
	if err != nil {
		return fmt.Errorf("revoking token %d: %w", id, classify(err))
	}
	if count, err := result.RowsAffected(); err != nil || count != 1 {
		return ErrNotFound
	}
	return nil
}

const tokenColumns = "id, name, uses, used, prefix_length, ipv4_length, gateway, announce, created, expires, revoked"

// Tokens lists all tokens, the newest last.
func (s *Store) Tokens(ctx context.Context, now time.Time) ([]api.TokenInfo, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT "+tokenColumns+" FROM tokens ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("listing tokens: %w", classify(err))
	}
	defer rows.Close()
	all := []api.TokenInfo{}
	for rows.Next() {
		t, err := scanToken(rows, now)
		if err != nil {
			return nil, fmt.Errorf("listing tokens: %w", classify(err))
		}
		all = append(all, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing tokens: %w", classify(err))
	}
	return all, nil
}

// Token is one token by its id.
func (s *Store) Token(ctx context.Context, now time.Time, id int64) (api.TokenInfo, error) {
	t, err := scanToken(s.read.QueryRowContext(ctx, "SELECT "+tokenColumns+" FROM tokens WHERE id = ?", id), now)
	if err != nil {
		return api.TokenInfo{}, fmt.Errorf("reading token %d: %w", id, classify(err))
	}
	return t, nil
}

func scanToken(row scanner, now time.Time) (api.TokenInfo, error) {
	var t api.TokenInfo
	var announce string
	var created, expires int64
	var revoked *int64
	if err := row.Scan(&t.ID, &t.Name, &t.Uses, &t.Used, &t.PrefixLength, &t.IPv4Length, &t.Gateway, &announce, &created, &expires, &revoked); err != nil {
		return api.TokenInfo{}, err
	}
	var err error
	if t.Announce, err = decodePrefixes(announce); err != nil {
		return api.TokenInfo{}, err
	}
	t.Created, t.Expires = fromMillis(created), fromMillis(expires)
	t.State = api.TokenValid
	switch {
	case revoked != nil:
		at := fromMillis(*revoked)
		t.State, t.Revoked = api.TokenRevoked, &at
	case t.Used >= t.Uses:
		t.State = api.TokenUsed
	case !t.Expires.After(now):
		t.State = api.TokenExpired
	}
	return t, nil
}
