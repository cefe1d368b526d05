package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"re6st/registry/api"
)

// issueAndRecord makes nodes from..to and gives what they got.
func issueAndRecord(t *testing.T, s *Store, secret api.Secret, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		s.mustRecord(t, s.mustIssue(t, secret, i).Sequence)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantJournal: whole, and the same as the database.
func wantJournal(t *testing.T, s *Store, records uint64) {
	t.Helper()
	found, err := s.journal.read(genesis, records, nil)
	if err != nil {
		t.Fatal(err)
	}
	if found.torn || found.head.sequence != records || found.head != s.head {
		t.Errorf("the journal ends at %d (torn %t), the database at %d; want %d", found.head.sequence, found.torn, s.head.sequence, records)
	}
}

func TestJournal_ADatabaseThatIsAheadIsAppended(t *testing.T) {
	dir := t.TempDir()
	s, secret := create(t, dir)
	issueAndRecord(t, s, secret, 0, 3)
	for i := 3; i < 600; i++ { // more than one append takes
		s.mustIssue(t, secret, i)
	}
	mustClose(t, s)
	s = reopen(t, dir)
	defer mustClose(t, s)
	wantJournal(t, s, 600)
	if s.Stopped() != "" {
		t.Errorf("issuing is stopped: %s", s.Stopped())
	}
}

// A crash of the machine can leave any part of the last record.
func TestJournal_ATornEndIsWrittenAnew(t *testing.T) {
	dir := t.TempDir()
	s, secret := create(t, dir)
	issueAndRecord(t, s, secret, 0, 2)
	mustClose(t, s)
	path := filepath.Join(dir, journalFile)
	whole := readFile(t, path)
	first := bytes.IndexByte(whole, '\n') + 1
	for _, left := range []int{0, 1, first - 1, first, first + 1, first + 200, len(whole) - 1} {
		writeFile(t, path, whole[:left])
		s := reopen(t, dir)
		wantJournal(t, s, 2)
		mustClose(t, s)
		if !bytes.Equal(readFile(t, path), whole) {
			t.Fatalf("cut to %d bytes, it is written differently", left)
		}
	}
	// Old blocks of the disk in its place, with a line end by chance.
	writeFile(t, path, append(bytes.Clone(whole[:first]), "garbage\n"...))
	s = reopen(t, dir)
	defer mustClose(t, s)
	wantJournal(t, s, 2)
}

func TestJournal_DamageWithinIsRefusedAndKept(t *testing.T) {
	dir := t.TempDir()
	s, secret := create(t, dir)
	issueAndRecord(t, s, secret, 0, 4)
	mustClose(t, s)
	path := filepath.Join(dir, journalFile)
	whole := readFile(t, path)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	changed := bytes.Clone(whole)
	changed[bytes.Index(changed, []byte(`"name":"`))+8] ^= 1
	for name, data := range map[string][]byte{
		"a changed name":   changed,
		"a record dropped": bytes.Join([][]byte{lines[0], lines[2], lines[3]}, nil),
		"two swapped":      bytes.Join([][]byte{lines[1], lines[0], lines[2]}, nil),
		"garbage at its end, which the database has not": append(bytes.Clone(whole), "garbage\n"...),
		"one twice": bytes.Join([][]byte{lines[0], lines[0], lines[1], lines[2]}, nil),
	} {
		writeFile(t, path, data)
		if _, err := Open(context.Background(), config(dir)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v, want ErrCorrupt", name, err)
		}
		if !bytes.Equal(readFile(t, path), data) {
			t.Errorf("%s: the journal was changed", name)
		}
	}
	// Of another network: not one record fits.
	writeFile(t, path, whole)
	c := config(dir)
	c.Genesis = [32]byte{1}
	if _, err := Open(context.Background(), c); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another network's: got %v, want ErrCorrupt", err)
	}
}

// restored is a state directory with the database of an earlier day.
func restored(t *testing.T, before, after int) (dir string, secret api.Secret, lost []api.NodeInfo) {
	t.Helper()
	dir = t.TempDir()
	s, secret := create(t, dir)
	issueAndRecord(t, s, secret, 0, before)
	mustClose(t, s)
	old := readFile(t, filepath.Join(dir, databaseFile))
	s = reopen(t, dir)
	issueAndRecord(t, s, secret, before, before+after)
	all := s.mustNodes(t)
	mustClose(t, s)
	writeFile(t, filepath.Join(dir, databaseFile), old)
	return dir, secret, all
}

func TestT24_AnOlderDatabaseStopsIssuingUntilReplay(t *testing.T) {
	dir, secret, all := restored(t, 3, 4)
	s := reopen(t, dir)
	if s.Stopped() == "" {
		t.Fatal("issuing goes on with an older database")
	}
	if _, err := s.Issue(context.Background(), start, Claim{Secret: secret, Key: key(99)}, prepare); !errors.Is(err, ErrStopped) {
		t.Fatalf("got %v, want ErrStopped", err)
	}
	count, err := s.Replay(context.Background())
	if err != nil || count != 4 {
		t.Fatalf("%d replayed, %v; want 4", count, err)
	}
	nodes := s.mustNodes(t)
	if len(nodes) != len(all) {
		t.Fatalf("%d nodes, want %d", len(nodes), len(all))
	}
	for i, n := range nodes {
		if n.Prefix != all[i].Prefix || n.Serial != all[i].Serial || n.Key != all[i].Key || n.Name != all[i].Name {
			t.Errorf("got %+v, want %+v", n, all[i])
		}
	}
	issueAndRecord(t, s, secret, 100, 103)
	wantJournal(t, s, 10)
	tokens, err := s.Tokens(context.Background(), start)
	if err != nil || tokens[0].Used != 10 {
		t.Errorf("%d uses, %v; want 10", tokens[0].Used, err)
	}
	mustClose(t, s)
	s = reopen(t, dir)
	defer mustClose(t, s)
	wantJournal(t, s, 10)
}

// A token that only the lost database knew comes back used up; its holder's
// retry still gets its certificate.
func TestT24_ReplayPutsBackWhatALostTokenGave(t *testing.T) {
	dir := t.TempDir()
	s, _ := create(t, dir)
	mustClose(t, s)
	old := readFile(t, filepath.Join(dir, databaseFile))
	s = reopen(t, dir)
	single := api.Secret{9}
	if _, err := s.CreateToken(context.Background(), start, single, api.TokenRequest{Uses: 1, TTLSeconds: 3600, PrefixLength: 60}); err != nil {
		t.Fatal(err)
	}
	first := s.mustIssue(t, single, 1)
	s.mustRecord(t, first.Sequence)
	mustClose(t, s)
	writeFile(t, filepath.Join(dir, databaseFile), old)
	s = reopen(t, dir)
	defer mustClose(t, s)
	if count, err := s.Replay(context.Background()); err != nil || count != 1 {
		t.Fatalf("%d replayed, %v", count, err)
	}
	again := s.mustIssue(t, single, 1)
	if !again.Repeated || !bytes.Equal(again.TBS, first.TBS) {
		t.Errorf("the retry got %+v", again)
	}
	if _, err := s.Issue(context.Background(), start, Claim{Secret: single, Key: key(2)}, prepare); !errors.Is(err, ErrToken) {
		t.Errorf("another key got %v, want ErrToken", err)
	}
}

// Two registries on two copies: both issued, and no program can tell whose is right.
func TestT24_ADatabaseThatWentItsOwnWayIsRefused(t *testing.T) {
	dir, secret, _ := restored(t, 2, 2)
	aside := filepath.Join(dir, "journal.aside")
	if err := os.Rename(filepath.Join(dir, journalFile), aside); err != nil {
		t.Fatal(err)
	}
	s := reopen(t, dir) // without its journal nothing shows
	issueAndRecord(t, s, secret, 50, 53)
	mustClose(t, s)
	if err := os.Rename(aside, filepath.Join(dir, journalFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), config(dir)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

func TestStop_LastsUntilItsFileIsRemoved(t *testing.T) {
	dir := t.TempDir()
	s, secret := create(t, dir)
	issueAndRecord(t, s, secret, 0, 1)
	sequence, hash := s.Head()
	if known, err := s.KnowsHead(context.Background(), sequence, hash); err != nil || !known {
		t.Errorf("the own head is not known: %v", err)
	}
	if known, err := s.KnowsHead(context.Background(), sequence+1, hash); err != nil || known {
		t.Errorf("a head of the future is known: %v", err)
	}
	if err := s.Stop("a node knows more"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = reopen(t, dir)
	if s.Stopped() != "a node knows more" {
		t.Errorf("after a restart: %q", s.Stopped())
	}
	mustClose(t, s)
	if err := os.Remove(filepath.Join(dir, stoppedFile)); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir)
	defer mustClose(t, s)
	issueAndRecord(t, s, secret, 1, 2)
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"sequence":1,"previous":"00"}` + "\n"))
	f.Add([]byte("\n\n"))
	f.Add([]byte("{"))
	dir := f.TempDir()
	j, err := openJournal(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { j.close() })
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(j.path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := j.read(genesis, 0, nil)
		if err == nil && found.size > int64(len(data)) {
			t.Errorf("%d bytes of %d are whole records", found.size, len(data))
		}
	})
}
