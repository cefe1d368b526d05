package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"re6st/addressing"
	"re6st/internal/durable"
	"re6st/registry/api"
)

var (
	start   = time.UnixMilli(1_900_000_000_000).UTC()
	genesis = sha256.Sum256([]byte("test"))
	network = netip.MustParsePrefix("2001:db8:42::/48")
)

func config(dir string) Config {
	return Config{Dir: dir, Genesis: genesis, Rand: rand.New(rand.NewPCG(1, 2))}
}

// create makes a store with a network and one token of many uses.
func create(tb testing.TB, dir string) (*Store, api.Secret) {
	tb.Helper()
	c := config(dir)
	c.Create = true
	s, err := Open(context.Background(), c)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Init(context.Background(), Settings{Prefix: network, NodePrefix: 64, Parameters: []byte("{}"), Version: 1, Issued: start, Document: "signed"}); err != nil {
		tb.Fatal(err)
	}
	secret := api.Secret{1}
	if _, err := s.CreateToken(context.Background(), start, secret, api.TokenRequest{Uses: 1_000_000, TTLSeconds: 3600, PrefixLength: 64}); err != nil {
		tb.Fatal(err)
	}
	return s, secret
}

func reopen(tb testing.TB, dir string) *Store {
	tb.Helper()
	s, err := Open(context.Background(), config(dir))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func mustClose(tb testing.TB, s *Store) {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Error(err)
	}
}

var serials uint64

// prepare stands for the CA: the store does not look into what it stores.
func prepare(g Grant) (Prepared, error) {
	serials++
	p := Prepared{TBS: []byte(g.Name + " " + g.Prefix.String()), NotBefore: start, NotAfter: start.Add(time.Hour)}
	copy(p.Serial[:], fmt.Sprintf("%016d", serials))
	return p, nil
}

func key(i int) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "key %d", i)) }

func (s *Store) mustIssue(tb testing.TB, secret api.Secret, i int) Issuance {
	tb.Helper()
	out, err := s.Issue(context.Background(), start, Claim{Secret: secret, Key: key(i)}, prepare)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func (s *Store) mustRecord(tb testing.TB, sequence uint64) {
	tb.Helper()
	if err := s.Record(context.Background(), sequence); err != nil {
		tb.Fatal(err)
	}
}

func (s *Store) mustNodes(tb testing.TB) []api.NodeInfo {
	tb.Helper()
	nodes, err := s.Nodes(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	return nodes
}

func TestOpen_ASecondOneIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, _ := create(t, dir)
	defer mustClose(t, s)
	if _, err := Open(context.Background(), config(dir)); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
}

// T-20: whatever the umask, nobody else reads the database and what is beside it.
func TestT20_FilesArePrivate(t *testing.T) {
	for _, mask := range []int{0, 0o077} {
		old := syscall.Umask(mask)
		dir := t.TempDir()
		s, secret := create(t, dir)
		s.mustRecord(t, s.mustIssue(t, secret, 1).Sequence)
		for _, name := range []string{"registry.db", "registry.db-wal", "registry.db-shm", "journal", "lock"} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("umask %03o: %s: %v, %v", mask, name, info, err)
			}
		}
		mustClose(t, s)
		syscall.Umask(old)
	}
}

func TestOpen_TheDatabaseIsAsDesigned(t *testing.T) {
	s, _ := create(t, t.TempDir())
	defer mustClose(t, s)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000"} {
		var got string
		if err := s.write.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", pragma, got, err, want)
		}
	}
	if _, err := s.read.Exec("DELETE FROM reports"); err == nil {
		t.Error("a reader may write")
	}
	rows, err := s.read.Query("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(text, "STRICT") {
			t.Errorf("table %s is not STRICT", name)
		}
	}
}

// The schema itself refuses what must never be, whoever asks.
func TestSchema_LeasesAreDisjointAndForLife(t *testing.T) {
	s, secret := create(t, t.TempDir())
	defer mustClose(t, s)
	for i := range 20 {
		s.mustIssue(t, secret, i)
	}
	taken := s.mustNodes(t)[7].Prefix
	wider := netip.PrefixFrom(taken.Addr(), 60).Masked()
	inner := netip.PrefixFrom(addressing.NodeAddress(taken), 128)
	for i, p := range []netip.Prefix{taken, wider, inner} {
		first, last := prefixRange(p)
		_, err := s.write.Exec(`INSERT INTO nodes (token, key, name, first, last, length, enrolled) VALUES (1, ?, ?, ?, ?, ?, 0)`,
			make([]byte, 32), fmt.Sprint("x", i), first[:], last[:], p.Bits())
		if err == nil || !strings.Contains(err.Error(), "overlap") {
			t.Errorf("%s beside %s: %v, want a refusal", p, taken, err)
		}
	}
	for _, query := range []string{
		"DELETE FROM nodes", "DELETE FROM issuances", "UPDATE nodes SET first = zeroblob(16)", "UPDATE nodes SET length = 1",
		"UPDATE tokens SET used = uses + 1", "UPDATE network SET version = 1", "UPDATE network SET version = 0",
	} {
		if _, err := s.write.Exec(query); err == nil {
			t.Errorf("%s: is done", query)
		}
	}
}

// A mistaken index must not give a lease twice: the table decides, and the next
// attempt knows better.
func TestIssue_AWrongIndexIsNotBelieved(t *testing.T) {
	dir := t.TempDir()
	s, _ := create(t, dir)
	defer mustClose(t, s)
	secret := api.Secret{2}
	if _, err := s.CreateToken(context.Background(), start, secret, api.TokenRequest{Uses: 10, TTLSeconds: 3600, PrefixLength: 49}); err != nil {
		t.Fatal(err)
	}
	s.mustIssue(t, secret, 1) // the only /49 that there is
	s.spaces.ipv6 = addressing.NewSpace(network)
	_, err := s.Issue(context.Background(), start, Claim{Secret: secret, Key: key(2)}, prepare)
	if err == nil {
		t.Fatal("the same lease twice")
	}
	if n := len(s.mustNodes(t)); n != 1 {
		t.Errorf("%d nodes, want 1", n)
	}
	if _, err = s.Issue(context.Background(), start, Claim{Secret: secret, Key: key(2)}, prepare); !errors.Is(err, ErrExhausted) {
		t.Errorf("the next attempt: %v, want ErrExhausted", err)
	}
}

func TestMigrate_ANewerDatabaseIsRefusedAndUnchanged(t *testing.T) {
	dir := t.TempDir()
	s, _ := create(t, dir)
	if _, err := s.write.Exec("PRAGMA user_version = 7"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	before, _ := os.ReadFile(filepath.Join(dir, databaseFile))
	if _, err := Open(context.Background(), config(dir)); !errors.Is(err, ErrNewer) {
		t.Errorf("got %v, want ErrNewer", err)
	}
	after, _ := os.ReadFile(filepath.Join(dir, databaseFile))
	if string(before) != string(after) {
		t.Error("the database has changed")
	}
}

// withMigration adds one more migration to the real ones.
func withMigration(t *testing.T, sql string) fs.FS {
	t.Helper()
	files := fstest.MapFS{"migrations/0003_third.sql": {Data: []byte(sql)}}
	for _, name := range []string{"migrations/0001_first.sql", "migrations/0002_ipv4.sql"} {
		text, err := fs.ReadFile(migrationFiles, name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: text}
	}
	return files
}

func TestMigrate_ACopyIsMadeBeforeEachStep(t *testing.T) {
	dir := t.TempDir()
	s, secret := create(t, dir)
	s.mustRecord(t, s.mustIssue(t, secret, 1).Sequence)
	mustClose(t, s)
	// One that fails in the middle changes nothing, and can be repeated.
	for range 2 {
		if _, err := open(context.Background(), config(dir), withMigration(t, "CREATE TABLE extra (a INTEGER) STRICT; INSERT INTO nowhere VALUES (1);")); err == nil {
			t.Fatal("a broken migration passes")
		}
	}
	s = reopen(t, dir)
	mustClose(t, s)
	s, err := open(context.Background(), config(dir), withMigration(t, "CREATE TABLE extra (a INTEGER) STRICT;"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.mustNodes(t)); n != 1 {
		t.Errorf("%d nodes after the migration, want 1", n)
	}
	mustClose(t, s)
	backup := filepath.Join(dir, "registry.db.before-0003")
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the backup: %v, %v", info, err)
	}
	// The backup is a whole database of the version before.
	data, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, databaseFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, other)
	defer mustClose(t, s)
	if n := len(s.mustNodes(t)); n != 1 {
		t.Errorf("%d nodes in the backup, want 1", n)
	}
}

func TestReadMigrations_GapsAreRefused(t *testing.T) {
	if _, err := readMigrations(fstest.MapFS{"migrations/0002_x.sql": {}}); err == nil {
		t.Error("a gap passes")
	}
	if _, err := readMigrations(fstest.MapFS{"migrations/first.sql": {}}); err == nil {
		t.Error("a file without a number passes")
	}
}

func TestSample_IsRandomRecentAndWithoutTheAsker(t *testing.T) {
	s, _ := create(t, t.TempDir())
	defer mustClose(t, s)
	const nodes = 200
	for i := range nodes {
		r := NodeReport{ID: int64(i), Seen: start, Peer: api.Peer{Name: fmt.Sprint("n", i), Endpoints: make([]netip.AddrPort, 1)}}
		switch {
		case i%10 == 1:
			r.Seen = start.Add(-time.Hour)
		case i%10 == 2:
			r.Peer.Endpoints = nil
		}
		s.PutReport(r)
	}
	random := rand.New(rand.NewPCG(3, 4))
	seen := map[string]int{}
	for range 400 {
		peers := s.Sample(random, 50, start.Add(-10*time.Minute), "n0")
		if len(peers) != 50 {
			t.Fatalf("%d peers, want 50", len(peers))
		}
		inThis := map[string]bool{}
		for _, p := range peers {
			if inThis[p.Name] {
				t.Fatalf("%s twice in one sample", p.Name)
			}
			inThis[p.Name] = true
			seen[p.Name]++
		}
	}
	// 159 nodes may come, each in 50 of 159 samples: 126 of 400, deviation 9.
	if len(seen) != nodes/10*8-1 {
		t.Errorf("%d nodes were ever drawn, want %d", len(seen), nodes/10*8-1)
	}
	for name, count := range seen {
		if count < 126-55 || count > 126+55 {
			t.Errorf("%s was drawn %d times of 400, want about 126", name, count)
		}
	}
	if len(s.Sample(random, 1000, start.Add(-10*time.Minute), "")) != nodes/10*8 {
		t.Error("a large sample is not all that there are")
	}
	s.reports = newReports() // these nodes are not in the database
}

func TestReports_SurviveARestart(t *testing.T) {
	dir := t.TempDir()
	s, secret := create(t, dir)
	s.mustRecord(t, s.mustIssue(t, secret, 1).Sequence)
	id, err := s.NodeID(context.Background(), key(1))
	if err != nil {
		t.Fatal(err)
	}
	n := s.mustNodes(t)[0]
	endpoint := netip.MustParseAddrPort("192.0.2.1:6326")
	s.PutReport(NodeReport{ID: id, Peer: PeerOf(n.Name, n.Prefix, []netip.AddrPort{endpoint}), Protocol: 1, Version: "v", NetworkVersion: 3, Tunnels: 4, Routes: 5, Seen: start})
	mustClose(t, s)
	s = reopen(t, dir)
	defer mustClose(t, s)
	peers := s.Sample(rand.New(rand.NewPCG(1, 1)), 50, start, "")
	if len(peers) != 1 || peers[0].Endpoints[0] != endpoint || peers[0].Check() != nil {
		t.Errorf("got %+v", peers)
	}
	if n := s.mustNodes(t)[0]; n.LastReport == nil || n.Version != "v" || n.Endpoints[0] != endpoint.String() {
		t.Errorf("got %+v", n)
	}
}

func TestFindNode(t *testing.T) {
	s, secret := create(t, t.TempDir())
	defer mustClose(t, s)
	for i := range 5 {
		s.mustIssue(t, secret, i)
	}
	n := s.mustNodes(t)[2]
	for _, text := range []string{n.Name, n.Serial, n.Prefix.String(), n.Address.String()} {
		found, err := s.FindNode(context.Background(), text)
		if err != nil || found.Name != n.Name {
			t.Errorf("%q finds %q, %v", text, found.Name, err)
		}
	}
	outside := netip.PrefixFrom(n.Prefix.Addr(), 65).String()
	for _, text := range []string{"", "nobody", outside, "2001:db8:99::1", "10.0.0.1", strings.Repeat("0", 32), "' OR 1=1 --"} {
		if found, err := s.FindNode(context.Background(), text); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q finds %q, %v", text, found.Name, err)
		}
	}
}
