package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"

	"re6st/internal/durable"
)

// Names in the state directory.
const (
	databaseFile = "registry.db"
	journalFile  = "journal"
	lockFile     = "lock"
	stoppedFile  = "issuing.stopped"
)

// readersMax is the size of the pool of read-only connections.
const readersMax = 4

// Config says which store to open.
type Config struct {
	Dir     string     // the state directory
	Genesis [32]byte   // begins the journal's chain; differs from network to network
	Rand    *rand.Rand // draws prefixes; the Store uses it under its writer's lock
	Create  bool       // make the database; it must not exist
	// Trace, where set, is called with the name of each commit point as it is
	// passed. The crash tests end the process there.
	Trace func(point string)
}

// A Store is an open state directory.
type Store struct {
	dir     string
	genesis [32]byte
	trace   func(string)
	lock    *durable.Lock
	write   *sql.DB // one connection; see writer
	read    *sql.DB

	// writer serialises issuing: SQLite has one writer anyhow, and the order
	// of commits must be that of the journal. It guards what follows.
	writer  sync.Mutex
	rand    *rand.Rand
	spaces  *spaces // nil before Init
	head    head    // of the issuances in the database
	isStale bool    // what is above may lag behind the database

	journal *journal // has its own lock
	reports *reports // has its own lock

	stoppedMu sync.Mutex
	stopped   string // why nothing is issued; empty: it is
}

// Open locks the state directory, opens and migrates the database, and brings
// database and journal together.
func Open(ctx context.Context, c Config) (*Store, error) {
	return open(ctx, c, migrationFiles)
}

func open(ctx context.Context, c Config, migrations fs.FS) (_ *Store, err error) {
	s := &Store{dir: c.Dir, genesis: c.Genesis, rand: c.Rand, trace: c.Trace, reports: newReports()}
	if s.trace == nil {
		s.trace = func(string) {}
	}
	if s.lock, err = durable.NewLock(filepath.Join(c.Dir, lockFile)); err != nil {
		return nil, fmt.Errorf("locking state directory %q: %w", c.Dir, err)
	}
	for _, step := range []func() error{
		func() error { return s.openDatabase(ctx, c.Create) },
		func() error { return s.migrate(ctx, migrations) },
		func() error { return s.checkIntegrity(ctx) },
		func() error { return s.recover(ctx) },
		func() error { return s.loadSpaces(ctx) },
		func() error { return s.loadReports(ctx) },
	} {
		if err := step(); err != nil {
			s.closeAll()
			return nil, err
		}
	}
	s.trace("opened")
	return s, nil
}

// openDatabase creates the file first, so that it and what SQLite puts beside
// it are 0600 whatever the umask.
func (s *Store) openDatabase(ctx context.Context, create bool) error {
	path := filepath.Join(s.dir, databaseFile)
	if create {
		if err := createPrivate(path); err != nil {
			return err
		}
	}
	if err := checkPrivate(path); err != nil {
		return err
	}
	var err error
	if s.write, err = sql.Open("sqlite3", dsn(path, "_journal_mode=WAL&_synchronous=FULL&_txlock=immediate&_foreign_keys=1&_busy_timeout=5000")); err != nil {
		return fmt.Errorf("opening database %q: %w", path, err)
	}
	s.write.SetMaxOpenConns(1)
	if s.read, err = sql.Open("sqlite3", dsn(path, "mode=ro&_query_only=1&_busy_timeout=5000")); err != nil {
		return fmt.Errorf("opening database %q: %w", path, err)
	}
	s.read.SetMaxOpenConns(readersMax)
	s.read.SetMaxIdleConns(readersMax)
	if err := s.write.PingContext(ctx); err != nil {
		return fmt.Errorf("opening database %q: %w", path, classify(err))
	}
	return nil
}

// dsn escapes what a path may have and a URI gives a meaning to.
func dsn(path, parameters string) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: parameters}
	return u.String()
}

// checkIntegrity finds damage before it spreads. quick_check reads the whole
// file: 10,000 nodes take about 0.05 s.
func (s *Store) checkIntegrity(ctx context.Context) error {
	var verdict string
	if err := s.write.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("checking the database: %w", classify(err))
	}
	if verdict != "ok" {
		return fmt.Errorf("checking the database: %w: %s", ErrCorrupt, verdict)
	}
	return nil
}

// inTransaction runs f in one immediate transaction.
func (s *Store) inTransaction(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback() // without effect after the commit
	if err := f(tx); err != nil {
		return err
	}
	return classify(tx.Commit())
}

// Close writes what is pending in the directory, and lets go of everything.
func (s *Store) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.FlushReports(ctx)
	return errors.Join(err, s.closeAll())
}

func (s *Store) closeAll() error {
	var errs []error
	if s.journal != nil {
		errs = append(errs, s.journal.close())
	}
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// createPrivate makes an empty file that only its owner reads.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("creating %q: %w", path, classify(err))
	}
	defer f.Close()
	// The umask takes bits away and never adds any; 0200 might miss.
	if err := f.Chmod(0o600); err != nil {
		return fmt.Errorf("creating %q: %w", path, err)
	}
	return nil
}

// A ModeError says that others can get at a file with secrets.
type ModeError struct {
	Path string
	Mode os.FileMode
}

func (e *ModeError) Error() string {
	return fmt.Sprintf("%q can be used by others (mode %04o)", e.Path, e.Mode)
}

// checkPrivate refuses a file that others can read or write.
func checkPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("opening %q: %w", path, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return &ModeError{Path: path, Mode: mode}
	}
	return nil
}

func syncAndRename(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(to))
}
