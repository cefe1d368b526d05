package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// A migration brings the schema from version-1 to version.
type migration struct {
	version int
	name    string
	sql     string
}

// readMigrations reads NNNN_name.sql in order; the numbers have no gap.
func readMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	var all []migration
	for i, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("migration %q is not number %d", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		all = append(all, migration{version: version, name: path.Base(name), sql: string(text)})
	}
	return all, nil
}

// migrate brings the database to the newest version that we know. Each step is
// one transaction, with a copy of the database before it. A database that
// is newer is left alone: to guess at it could lose what only the newer
// version understands.
func (s *Store) migrate(ctx context.Context, files fs.FS) error {
	all, err := readMigrations(files)
	if err != nil {
		return err
	}
	var version int
	if err := s.write.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("reading the schema's version: %w", classify(err))
	}
	if version > len(all) {
		return fmt.Errorf("%w: schema %d, this program knows up to %d", ErrNewer, version, len(all))
	}
	for _, m := range all[version:] {
		if version > 0 {
			if err := s.backupBefore(ctx, m); err != nil {
				return err
			}
		}
		if err := s.applyMigration(ctx, m); err != nil {
			return fmt.Errorf("migrating the database with %s: %w", m.name, classify(err))
		}
		s.trace("migrated")
	}
	return nil
}

// backupBefore keeps the database as it was. An older backup of the same step
// stays if it is whole: it comes from a migration that failed, and the database
// is still the same.
func (s *Store) backupBefore(ctx context.Context, m migration) error {
	name := filepath.Join(s.dir, fmt.Sprintf("%s.before-%04d", databaseFile, m.version))
	partial := name + ".partial"
	if err := os.Remove(partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %q: %w", partial, err)
	}
	// VACUUM INTO takes an empty file and keeps its mode.
	if err := createPrivate(partial); err != nil {
		return err
	}
	if _, err := s.write.ExecContext(ctx, "VACUUM INTO ?", partial); err != nil {
		return fmt.Errorf("backing up the database to %q: %w", partial, classify(err))
	}
	if err := syncAndRename(partial, name); err != nil {
		return fmt.Errorf("backing up the database to %q: %w", name, classify(err))
	}
	return nil
}

func (s *Store) applyMigration(ctx context.Context, m migration) error {
	return s.inTransaction(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, m.sql); err != nil {
			return err
		}
		// PRAGMA takes no parameters; the number is ours.
		_, err := tx.ExecContext(ctx, "PRAGMA user_version = "+strconv.Itoa(m.version))
		return err
	})
}
