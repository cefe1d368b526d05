package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"re6st/addressing"
	"re6st/internal/durable"
	"re6st/registry/api"
)

var network4 = netip.MustParsePrefix("10.42.0.0/16")

// createIPv4 is a store whose nodes get an IPv4 subnet of the length.
func createIPv4(tb testing.TB, dir string, ipv4 netip.Prefix, length int) (*Store, api.Secret) {
	tb.Helper()
	c := config(dir)
	c.Create = true
	s, err := Open(context.Background(), c)
	if err != nil {
		tb.Fatal(err)
	}
	settings := Settings{Prefix: network, IPv4: ipv4, IPv4Prefix: length, NodePrefix: 64, Parameters: []byte("{}"), Version: 1, Issued: start, Document: "signed"}
	if err := s.Init(context.Background(), settings); err != nil {
		tb.Fatal(err)
	}
	return s, s.mustToken(tb, 1, nil)
}

func (s *Store) mustToken(tb testing.TB, number byte, length4 *int) api.Secret {
	tb.Helper()
	secret := api.Secret{number}
	if _, err := s.CreateToken(context.Background(), start, secret, api.TokenRequest{Uses: 1_000_000, TTLSeconds: 3600, PrefixLength: 64, IPv4Length: length4}); err != nil {
		tb.Fatal(err)
	}
	return secret
}

// wantDisjoint gives the subnets by name of the node.
func wantDisjoint(tb testing.TB, nodes []api.NodeInfo) map[string]netip.Prefix {
	tb.Helper()
	taken := addressing.NewSpace(network4)
	all := map[string]netip.Prefix{}
	for _, n := range nodes {
		if n.IPv4 == "" {
			continue
		}
		p := netip.MustParsePrefix(n.IPv4)
		if err := taken.Insert(p); err != nil {
			tb.Errorf("%s of %s: %v", p, n.Name, err)
		}
		all[n.Name] = p
	}
	return all
}

// 40 nodes share 32 subnets: those that come too late are nodes all the same.
func TestZ30_TheLastNodesGoWithoutIPv4(t *testing.T) {
	dir := t.TempDir()
	s, secret := createIPv4(t, dir, network4, 21)
	exhausted := 0
	for i := range 40 {
		out := s.mustIssue(t, secret, i)
		if out.IPv4Exhausted {
			exhausted++
		}
		s.mustRecord(t, out.Sequence)
	}
	got := wantDisjoint(t, s.mustNodes(t))
	if len(got) != 32 || exhausted != 8 {
		t.Errorf("%d nodes have a subnet, %d were told that none is left; want 32 and 8", len(got), exhausted)
	}
	for i := range 40 { // a lost answer is given again, with what it said
		again := s.mustIssue(t, secret, i)
		if again.IPv4Exhausted != (i >= 32) || !again.Repeated {
			t.Errorf("node %d: the repeated answer is %+v", i, again)
		}
	}
	mustClose(t, s)
	s = reopen(t, dir)
	defer mustClose(t, s)
	if !s.mustIssue(t, secret, 99).IPv4Exhausted {
		t.Error("a restart freed a subnet")
	}
	for _, n := range s.mustNodes(t) {
		if n.IPv4Exhausted != (n.IPv4 == "") {
			t.Errorf("node list says of %s: subnet %q, exhausted %v", n.Name, n.IPv4, n.IPv4Exhausted)
		}
		if n.IPv4 == "" {
			continue
		}
		for _, text := range []string{n.IPv4, addressing.NodeAddress(netip.MustParsePrefix(n.IPv4)).String()} {
			if found, err := s.FindNode(context.Background(), text); err != nil || found.Name != n.Name {
				t.Errorf("FindNode(%s) = %s, %v, want %s", text, found.Name, err, n.Name)
			}
		}
	}
}

func TestZ30_ATokenChoosesTheLength(t *testing.T) {
	s, _ := createIPv4(t, t.TempDir(), network4, 24)
	defer mustClose(t, s)
	none, wide := 0, 18
	s.mustIssue(t, s.mustToken(t, 2, &none), 1)
	s.mustIssue(t, s.mustToken(t, 3, &wide), 2)
	for _, n := range s.mustNodes(t) {
		switch {
		case n.Token == 2 && (n.IPv4 != "" || n.IPv4Exhausted):
			t.Errorf("a node that shall have none: %q, exhausted %v", n.IPv4, n.IPv4Exhausted)
		case n.Token == 3 && !strings.HasSuffix(n.IPv4, "/18"):
			t.Errorf("a node that shall have a /18: %q", n.IPv4)
		}
	}
	tokens, err := s.Tokens(context.Background(), start)
	if err != nil || tokens[0].IPv4Length != nil || *tokens[1].IPv4Length != 0 || *tokens[2].IPv4Length != 18 {
		t.Errorf("the list of tokens: %+v, %v", tokens, err)
	}
}

// Whatever is asked for in whatever order, and however often the registry is
// restarted or its database replayed, no address is given twice.
func TestZ30_SubnetsAreDisjoint(t *testing.T) {
	for seed := range uint64(6) { // each is a few hundred syncs of the disk
		r := rand.New(rand.NewPCG(seed, 30))
		dir := t.TempDir()
		s, _ := createIPv4(t, dir, netip.MustParsePrefix("10.42.0.0/24"), 28)
		before := map[string]netip.Prefix{}
		for i := range 20 {
			length := []int{0, 25, 26, 28, 30, 32}[r.IntN(6)]
			s.mustRecord(t, s.mustIssue(t, s.mustToken(t, byte(i+2), &length), i).Sequence)
			if r.IntN(5) == 0 {
				mustClose(t, s)
				s = reopen(t, dir)
			}
			after := wantDisjoint(t, s.mustNodes(t))
			for name, p := range before {
				if after[name] != p {
					t.Errorf("seed %d: %s had %v, now %v", seed, name, p, after[name])
				}
			}
			before = after
		}
		if len(before) == 0 {
			t.Errorf("seed %d: no subnet was given", seed)
		}
		mustClose(t, s)
	}
}

// The schema itself refuses what must never be, whoever asks.
func TestZ30_SchemaRefusesOverlaps(t *testing.T) {
	s, secret := createIPv4(t, t.TempDir(), network4, 24)
	defer mustClose(t, s)
	for i := range 20 {
		s.mustIssue(t, secret, i)
	}
	taken := netip.MustParsePrefix(s.mustNodes(t)[7].IPv4)
	wider, inner := netip.PrefixFrom(taken.Addr(), 20).Masked(), netip.PrefixFrom(taken.Addr().Next(), 32)
	for i, p := range []netip.Prefix{taken, wider, inner} {
		first, last := prefixRange(netip.MustParsePrefix(fmt.Sprintf("2001:db8:43:%d::/64", i)))
		first4, last4, length4 := ipv4Range(p)
		_, err := s.write.Exec(`INSERT INTO nodes (token, key, name, first, last, length, ipv4_first, ipv4_last, ipv4_length, enrolled) VALUES (1, ?, ?, ?, ?, 64, ?, ?, ?, 0)`,
			bytes.Repeat([]byte{byte(i)}, 32), fmt.Sprint("x", i), first[:], last[:], first4, last4, length4)
		if err == nil || !strings.Contains(err.Error(), "overlap") {
			t.Errorf("%s beside %s: %v, want a refusal", p, taken, err)
		}
	}
	if _, err := s.write.Exec("UPDATE nodes SET ipv4_first = zeroblob(4) WHERE id = 3"); err == nil {
		t.Error("a lease is changed")
	}
	// An index that lags behind is not believed.
	s.spaces.ipv4 = addressing.NewSpace(netip.PrefixFrom(taken.Addr(), 23).Masked())
	for i := 100; ; i++ {
		_, err := s.Issue(context.Background(), start, Claim{Secret: secret, Key: key(i)}, prepare)
		if err != nil {
			break // the one that was taken
		}
		s.spaces.ipv4 = addressing.NewSpace(taken)
	}
	wantDisjoint(t, s.mustNodes(t))
}

// The journal alone brings the subnets back.
func TestT24_ReplayPutsBackIPv4(t *testing.T) {
	dir := t.TempDir()
	s, secret := createIPv4(t, dir, network4, 18)
	issueAndRecord(t, s, secret, 0, 2)
	mustClose(t, s)
	old := readFile(t, filepath.Join(dir, databaseFile))
	s = reopen(t, dir)
	issueAndRecord(t, s, secret, 2, 6)
	before := wantDisjoint(t, s.mustNodes(t))
	mustClose(t, s)
	writeFile(t, filepath.Join(dir, databaseFile), old)
	s = reopen(t, dir)
	defer mustClose(t, s)
	if _, err := s.Issue(context.Background(), start, Claim{Secret: secret, Key: key(99)}, prepare); !errors.Is(err, ErrStopped) {
		t.Fatalf("got %v, want ErrStopped", err)
	}
	if count, err := s.Replay(context.Background()); err != nil || count != 4 {
		t.Fatalf("%d replayed, %v; want 4", count, err)
	}
	after := wantDisjoint(t, s.mustNodes(t))
	for name, p := range before {
		if after[name] != p {
			t.Errorf("%s had %v, now %v", name, p, after[name])
		}
	}
	out := s.mustIssue(t, secret, 7)
	s.mustRecord(t, out.Sequence)
	if len(after) != 4 || !s.mustIssue(t, secret, 5).IPv4Exhausted || !out.IPv4Exhausted {
		t.Errorf("%d subnets after the replay, want 4 and none left", len(after))
	}
	wantJournal(t, s, 7)
}

// A database of the version before, with its journal, goes on: records are the
// same bytes, nodes stay without IPv4, and new ones get some.
func TestMigrate_IPv4ComesToAnOlderRegistry(t *testing.T) {
	dir := t.TempDir()
	s, secret := createOld(t, dir)
	for i := range 3 {
		s.mustInsertOld(t, i)
	}
	mustClose(t, s)
	s = reopen(t, dir)
	defer mustClose(t, s)
	settings, err := s.Settings(context.Background())
	if err != nil || settings.IPv4Prefix != 24 {
		t.Errorf("settings %+v, %v; want the usual length", settings, err)
	}
	wantJournal(t, s, 3)
	issueAndRecord(t, s, secret, 10, 12)
	wantJournal(t, s, 5)
	if got := wantDisjoint(t, s.mustNodes(t)); len(got) != 2 {
		t.Errorf("%d nodes have a subnet, want the new ones", len(got))
	}
	for _, n := range s.mustNodes(t) {
		if n.IPv4Exhausted {
			t.Errorf("%s is said to have found none", n.Name)
		}
	}
}

// createOld makes a database of the first version, as it was written then.
func createOld(t *testing.T, dir string) (*Store, api.Secret) {
	t.Helper()
	first, err := fs.ReadFile(migrationFiles, "migrations/0001_first.sql")
	if err != nil {
		t.Fatal(err)
	}
	c := config(dir)
	s := &Store{dir: dir, genesis: c.Genesis, rand: c.Rand, reports: newReports(), trace: func(string) {}}
	for _, step := range []func() error{
		func() (err error) { s.lock, err = durable.NewLock(filepath.Join(dir, lockFile)); return err },
		func() error { return s.openDatabase(t.Context(), true) },
		func() error {
			return s.migrate(t.Context(), fstest.MapFS{"migrations/0001_first.sql": {Data: first}})
		},
		func() error { return s.recover(t.Context()) },
		func() error {
			_, err := s.write.Exec(`INSERT INTO network (id, prefix, ipv4, node_prefix, domain, registries, parameters, version, issued, document)
				VALUES (1, ?, ?, 64, 'mesh', '[]', '{}', 1, 0, 'signed')`, network.String(), network4.String())
			return err
		},
		func() error {
			secret := api.Secret{1}
			hash := secret.Hash()
			_, err := s.write.Exec("INSERT INTO tokens (hash, uses, prefix_length, created, expires) VALUES (?, 100, 64, 0, ?)", hash[:], millis(start)+3_600_000)
			return err
		},
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return s, api.Secret{1}
}

func (s *Store) mustInsertOld(t *testing.T, i int) {
	t.Helper()
	p := netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8:42:%x::", i+1)), 64)
	first, last := prefixRange(p)
	k := key(i)
	var id int64
	if err := s.write.QueryRow("INSERT INTO nodes (token, key, name, first, last, length, enrolled) VALUES (1, ?, ?, ?, ?, 64, 0) RETURNING id",
		k[:], fmt.Sprint("old", i), first[:], last[:]).Scan(&id); err != nil {
		t.Fatal(err)
	}
	secret := api.Secret{1}
	hash := secret.Hash()
	// A record of that time, literally: its bytes are in the chain.
	line := fmt.Appendf(nil, `{"sequence":%d,"previous":"%x","time":"2030-03-17T17:46:40Z","token_hash":"%x","key":"%x","name":"old%d","prefix":"%s","gateway":false,"announce":null,"serial":"%032x","not_before":"2030-03-17T17:46:40Z","not_after":"2030-03-17T18:46:40Z","tbs":"b2xk"}`,
		s.head.sequence+1, s.head.hash, hash, k, i, p, i+1)
	r, next, err := s.head.follow(line)
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.encode()
	if err != nil || !bytes.Equal(again, line) {
		t.Fatalf("a record of that time is written as\n%s, want\n%s", again, line)
	}
	if s.head, err = insertOldIssuance(t, s, id, r); err != nil || s.head != next {
		t.Fatalf("head %v, %v, want %v", s.head, err, next)
	}
	s.mustRecord(t, s.head.sequence)
}

func insertOldIssuance(t *testing.T, s *Store, node int64, r record) (head, error) {
	t.Helper()
	tx, err := s.write.Begin()
	if err != nil {
		return head{}, err
	}
	next, err := insertIssuance(t.Context(), tx, s.head, node, r)
	return next, errors.Join(err, tx.Commit())
}
