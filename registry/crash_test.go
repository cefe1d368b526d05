package registry

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"re6st/addressing"
	"re6st/registry/api"
)

// The crash tests run this test binary again as a registry, and kill it: at a
// named point, which it does itself, or at a random time.
const (
	crashStateEnv = "RE6ST_TEST_CRASH_STATE" // serve this state directory
	crashPointEnv = "RE6ST_TEST_CRASH_POINT" // and die at this point
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashStateEnv); dir != "" {
		os.Exit(serveUntilKilled(dir, os.Getenv(crashPointEnv)))
	}
	os.Exit(m.Run())
}

// serveUntilKilled is the server's process: it prints its URL when it is ready.
func serveUntilKilled(dir, point string) int {
	die := func(at string) {
		if at == point {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	r, err := Open(context.Background(), Options{State: dir, Log: log, trace: die})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	socket, err := net.Listen("unix", "") // an abstract address: nothing is left over
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	err = r.Serve(context.Background(), public, socket, func() { fmt.Println("https://" + public.Addr().String()) })
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// A child is a registry in a process of its own.
type child struct {
	cmd    *exec.Cmd
	url    string // empty: it died before it was ready
	stderr *strings.Builder
}

func startChild(t *testing.T, dir, point string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0]), stderr: new(strings.Builder)}
	c.cmd.Env = append(os.Environ(), crashStateEnv+"="+dir, crashPointEnv+"="+point)
	c.cmd.Stderr = c.stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	c.url = strings.TrimSpace(line)
	return c
}

// kill ends it, if it has not done so itself, and waits.
func (c *child) kill(t *testing.T) {
	t.Helper()
	_ = c.cmd.Process.Kill()
	err := c.cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the registry ended by itself: %v\n%s", err, c.stderr)
	}
}

// A joiner is one machine that wants in, and keeps trying with its key and token.
type joiner struct {
	secret api.SecretText
	key    *ecdsa.PrivateKey
	csr    []byte
	got    []byte // the certificate, once acknowledged
}

func newJoiner(t *testing.T, token api.Token) *joiner {
	key := newKey(t)
	return &joiner{secret: token.SecretText(), key: key, csr: newCSR(t, key)}
}

// try sends one request. A lost connection is no error: that is what is tested.
func (j *joiner) try(t *testing.T, c *http.Client, url string) bool {
	var out api.EnrolResponse
	err := call(c, http.MethodPost, url+api.PathEnrol, api.EnrolRequest{Secret: j.secret, CSR: j.csr}, &out)
	var p *api.Problem
	switch {
	case errors.As(err, &p):
		t.Errorf("the registry refuses: %v", p)
	case err == nil && j.got != nil && string(j.got) != string(out.Certificate):
		t.Error("the same key and token got two certificates")
	case err == nil:
		j.got = out.Certificate
	}
	return err == nil
}

// inspect opens what is left and proves it: acknowledged is a part of the
// database, journal and database are the same, nothing is double, and no token
// lost a use without a certificate.
func inspect(t *testing.T, dir string, acknowledged []*joiner) (faults []string) {
	t.Helper()
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	r := openRegistry(t, Options{State: dir})
	defer r.Close()
	nodes, err := r.Nodes(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	space := addressing.NewSpace(r.networks[0])
	byKey, serials := map[string]api.NodeInfo{}, map[string]bool{}
	for _, n := range nodes.Nodes {
		if err := space.Insert(n.Prefix); err != nil {
			fault("double: %v", err)
		}
		if serials[n.Serial] {
			fault("serial %s twice", n.Serial)
		}
		byKey[n.Key], serials[n.Serial] = n, true
	}
	for _, j := range acknowledged {
		n := r.nodeOf(t, j.got)
		row, ok := byKey[fmt.Sprintf("%x", n.Key)]
		if !ok || row.Prefix != n.Prefix || row.Serial != n.Serial {
			fault("%s with %s was acknowledged, the database has %+v", n.Name, n.Prefix, row)
		}
	}
	tokens, err := r.Tokens(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	used := 0
	for _, token := range tokens.Tokens {
		used += token.Used
	}
	if used != len(nodes.Nodes) {
		fault("%d uses of tokens are gone for %d nodes", used, len(nodes.Nodes))
	}
	sequence, _ := r.store.Head()
	if lines := journalLines(t, dir); len(lines) != len(nodes.Nodes) || int(sequence) != len(lines) {
		fault("the journal has %d records and head %d, the database %d nodes", len(lines), sequence, len(nodes.Nodes))
	}
	if reason := r.store.Stopped(); reason != "" {
		fault("issuing is stopped: %s", reason)
	}
	return faults
}

func checkWorld(t *testing.T, dir string, acknowledged []*joiner) {
	t.Helper()
	for _, fault := range inspect(t, dir, acknowledged) {
		t.Error(fault)
	}
}

func journalLines(t *testing.T, dir string) []json.RawMessage {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []json.RawMessage
	for line := range strings.Lines(string(data)) {
		lines = append(lines, json.RawMessage(line))
	}
	return lines
}

// crashPoints are found by passing them once: from start to the end of one
// enrolment.
func crashPoints(t *testing.T) []string {
	t.Helper()
	dir, token := newState(t, nil)
	var mu sync.Mutex
	var points []string
	r := openRegistry(t, Options{State: dir, trace: func(p string) {
		mu.Lock()
		defer mu.Unlock()
		if !slices.Contains(points, p) {
			points = append(points, p)
		}
	}})
	s := serve(t, r)
	if !newJoiner(t, token).try(t, browser(t, token.Pin, nil), s.url) {
		t.Fatal("enrolling without a crash fails")
	}
	s.stop()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return points
}

func TestT23_KilledAtEachNamedPointTheRetryEndsWithOneCertificate(t *testing.T) {
	points := crashPoints(t)
	if len(points) < 20 {
		t.Fatalf("%d points: %v, want at least 20", len(points), points)
	}
	dir, token := newState(t, nil)
	var done []*joiner
	for i, point := range points {
		if i > 0 {
			r := openRegistry(t, Options{State: dir})
			token = r.mustToken(t, api.TokenRequest{})
			r.Close()
		}
		j := newJoiner(t, token)
		c := startChild(t, dir, point)
		if c.url != "" && j.try(t, browser(t, token.Pin, nil), c.url) && !strings.HasPrefix(point, "answer") {
			t.Errorf("%s: answered, though the point comes before the answer", point)
		}
		c.kill(t)
		c = startChild(t, dir, "none")
		if !j.try(t, browser(t, token.Pin, nil), c.url) || j.got == nil {
			t.Errorf("%s: the retry fails", point)
		}
		c.kill(t)
		done = append(done, j)
		checkWorld(t, dir, done)
		if t.Failed() {
			t.Fatalf("%s: see above", point)
		}
	}
}

// TestF02_KilledAtRandomAndAtNamedPoints lets four clients enrol without pause,
// while the registry is killed again and again.
//
//re6st:reduced 300 of 10000 kills; full in make soak
func TestF02_KilledAtRandomAndAtNamedPoints(t *testing.T) {
	kills := rounds(t, 10, 300, 10_000)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("RE6ST_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("replay with RE6ST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	points := crashPoints(t)
	dir, _ := newState(t, nil)
	r := openRegistry(t, Options{State: dir})
	token := r.mustToken(t, api.TokenRequest{Uses: 1_000_000, TTLSeconds: 365 * 24 * 3600})
	r.Close()
	var acknowledged []*joiner
	pending := make([]*joiner, 4)
	slowest := time.Duration(0)
	const between = 25 // kills from one look at the whole to the next: recovery is the next registry's
	for kill := range kills {
		if kill%between == 0 {
			checkWorld(t, dir, acknowledged)
		}
		point, after := "none", time.Duration(0)
		if kill%2 == 0 {
			point = points[random.IntN(len(points))]
		} else {
			after = time.Duration(random.IntN(250_000)) * time.Microsecond
		}
		started := time.Now()
		c := startChild(t, dir, point)
		if c.url != "" {
			slowest = max(slowest, time.Since(started))
			acknowledged = append(acknowledged, enrolUntilDead(t, c, pending, token, after)...)
		}
		c.kill(t)
		if t.Failed() {
			t.Fatalf("kill %d at %s after %v", kill, point, after)
		}
	}
	c := startChild(t, dir, "none")
	for _, j := range pending {
		if j != nil && j.try(t, browser(t, token.Pin, nil), c.url) {
			acknowledged = append(acknowledged, j)
		}
	}
	c.kill(t)
	checkWorld(t, dir, acknowledged)
	t.Logf("%d kills, %d certificates acknowledged, ready again in at most %v", kills, len(acknowledged), slowest)
}

// enrolUntilDead has each client finish what it began before, then go on with
// new machines, until the registry is gone.
func enrolUntilDead(t *testing.T, c *child, pending []*joiner, token api.Token, after time.Duration) []*joiner {
	var mu sync.Mutex
	var got []*joiner
	var wait sync.WaitGroup
	if after > 0 {
		timer := time.AfterFunc(after, func() { _ = c.cmd.Process.Kill() })
		defer timer.Stop()
	}
	for i := range pending {
		http := browser(t, token.Pin, nil)
		wait.Go(func() {
			// At a point of the start none comes this far; those of enrolment
			// end it at the first. Without a kill it would go on: bounded.
			for range 200 {
				if pending[i] == nil {
					pending[i] = newJoiner(t, token)
				}
				if !pending[i].try(t, http, c.url) {
					return
				}
				mu.Lock()
				got = append(got, pending[i])
				mu.Unlock()
				pending[i] = nil
			}
		})
	}
	wait.Wait()
	return got
}

// The check must catch what it is for: here a certificate that left, and that a
// database from before does not have.
func TestF02_TheCheckCatchesALostIssuance(t *testing.T) {
	dir, token := newState(t, nil)
	before, err := os.ReadFile(filepath.Join(dir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	j := newJoiner(t, token)
	r := openRegistry(t, Options{State: dir})
	answer, err := enrol(r, j.secret, j.csr, "")
	if err != nil {
		t.Fatal(err)
	}
	j.got = answer.Certificate
	r.Close()
	if faults := inspect(t, dir, []*joiner{j}); len(faults) != 0 {
		t.Fatalf("before the fault: %v", faults)
	}
	if err := os.WriteFile(filepath.Join(dir, "registry.db"), before, 0o600); err != nil {
		t.Fatal(err)
	}
	if faults := inspect(t, dir, []*joiner{j}); len(faults) < 2 {
		t.Errorf("a lost issuance gives only %v", faults)
	}
}
