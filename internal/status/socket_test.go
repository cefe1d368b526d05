package status

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"re6st/internal/lab/solo"
)

// dialEnv makes the test binary dial a socket and say how that went: the child
// of TestN13_LocalSocketIsForItsOwners.
const dialEnv = "RE6ST_TEST_DIAL"

func TestMain(m *testing.M) {
	if path := os.Getenv(dialEnv); path != "" {
		c, err := net.Dial("unix", path)
		if err != nil {
			os.Stdout.WriteString(err.Error())
			os.Exit(0)
		}
		c.Close()
		os.Stdout.WriteString("connected")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		solo.SkipOrFail(t, "the local socket lies in /run: root is needed")
	}
}

// serve runs a server for a state directory until the test ends.
func serve(t *testing.T, state string, documents Documents) {
	t.Helper()
	l, err := Listen(state)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, documents, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		path, _ := SocketPath(state)
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
	})
}

func TestDocumentOverTheSocket(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	want := Routes{SchemaVersion: SchemaVersion, Table: 326, Routes: []Route{{Prefix: "2001:db8:42:1::/64", Metric: 100}}}
	serve(t, state, Documents{
		"routes": func() (any, error) { return want, nil },
		"peers":  func() (any, error) { return nil, errors.New("the loop is gone") },
	})
	var got Routes
	if err := Get(t.Context(), state, "routes", &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if err := Get(t.Context(), state, "peers", &got); err == nil || !strings.Contains(err.Error(), "the loop is gone") {
		t.Errorf("error %v, want the daemon's", err)
	}
	if err := Get(t.Context(), state, "tunnels", &got); err == nil {
		t.Error("a document that nobody serves is answered")
	}
}

func TestNoDaemon(t *testing.T) {
	err := Get(t.Context(), t.TempDir(), "status", new(Node))
	if !errors.Is(err, ErrNotRunning) {
		t.Errorf("error %v, want ErrNotRunning", err)
	}
}

func TestSocketLeftByADeadDaemonIsReplaced(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	l, err := Listen(state)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	serve(t, state, Documents{"status": func() (any, error) { return Node{Name: "a"}, nil }})
	var n Node
	if err := Get(t.Context(), state, "status", &n); err != nil || n.Name != "a" {
		t.Errorf("got %+v, %v", n, err)
	}
}

func TestTwoNamesOfOneDirectoryAreOneInstance(t *testing.T) {
	real := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	a, _ := SocketPath(real)
	b, _ := SocketPath(link)
	if a != b || len(a) > 107 {
		t.Errorf("sockets %q and %q", a, b)
	}
}

// N13: who is neither root nor of the group may not ask.
func TestN13_LocalSocketIsForItsOwners(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	serve(t, state, Documents{})
	path, _ := SocketPath(state)
	dial := func(uid uint32) string {
		bin := filepath.Join("/tmp", filepath.Base(path)+".test") // where nobody may read
		data, err := os.ReadFile(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(bin, data, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(bin)
		cmd := exec.Command(bin)
		cmd.Dir, cmd.Env = "/", []string{dialEnv + "=" + path}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if got := dial(0); got != "connected" {
		t.Errorf("root: %s", got)
	}
	if got := dial(65534); !strings.Contains(got, "permission denied") {
		t.Errorf("nobody: %s", got)
	}
}

// The field names are what scripts rely on.
func TestFieldNamesAreStable(t *testing.T) {
	data, err := json.Marshal(Tunnel{})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"","peer":"","peer_address":"","interface":"","backend":"","direction":"","state":"","reason":"","transport":"","endpoint":"","rtt_ms":null,"loss":0,"cost":0,"mtu":0,"routes_via":0,"rx_bytes":0,"tx_bytes":0,"since":"0001-01-01T00:00:00Z"}`
	if string(data) != want {
		t.Errorf("tunnel\n got %s\nwant %s", data, want)
	}
}
