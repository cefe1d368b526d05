package status

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// runDir holds the sockets of all instances on the host.
	runDir = "/run/re6st"
	// group may use the sockets beside root, where it exists.
	group = "re6st"
	// listenAttempts is more than enough for two instances that start and end at
	// one moment.
	listenAttempts = 5
	// maxDocumentBytes bounds what a client reads: 100,000 routes are 20 MB.
	maxDocumentBytes = 256 << 20
)

// Hash is the name of an instance on this host: 16 hex digits of the SHA-256 of
// its state directory's absolute path. Socket paths end at 108 bytes, so the
// path itself cannot be used.
func Hash(stateDir string) (string, error) {
	abs, err := filepath.Abs(stateDir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real // two names of one directory are one instance
	}
	sum := sha256.Sum256([]byte(abs))
	return hex.EncodeToString(sum[:8]), nil
}

// SocketPath is where the daemon of a state directory listens.
func SocketPath(stateDir string) (string, error) {
	hash, err := Hash(stateDir)
	if err != nil {
		return "", err
	}
	return filepath.Join(runDir, hash+".sock"), nil
}

// Listen makes the socket of a state directory. A socket file that an earlier
// daemon left is replaced: the caller holds the lock on the state directory, so
// nobody listens there.
func Listen(stateDir string) (net.Listener, error) {
	path, err := SocketPath(stateDir)
	if err != nil {
		return nil, err
	}
	l, err := listen(path)
	if err != nil {
		return nil, err
	}
	if err := protect(path); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// listen makes the directory, too. Another instance that ends may remove the
// empty directory just before we use it: then once more.
func listen(path string) (l net.Listener, err error) {
	for range listenAttempts {
		if err = os.MkdirAll(runDir, 0o755); err != nil {
			return nil, err
		}
		if err = os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if l, err = net.Listen("unix", path); !errors.Is(err, os.ErrNotExist) {
			return l, err
		}
	}
	return nil, err
}

// protect lets root and the group in, nobody else.
func protect(path string) error {
	if g, err := user.LookupGroup(group); err == nil {
		gid, err := strconv.Atoi(g.Gid)
		if err == nil {
			if err := os.Chown(path, -1, gid); err != nil {
				return err
			}
		}
	}
	return os.Chmod(path, 0o660)
}

// Documents are what a node answers, by name: the last part of the path.
type Documents map[string]func() (any, error)

// Questions are what takes arguments, or time, to answer; by name, as documents.
// The context ends with the question.
type Questions map[string]func(ctx context.Context, q url.Values) (any, error)

// Refusal is an answer that is none: the question cannot be answered as it is.
type Refusal struct{ Text string }

func (r *Refusal) Error() string { return r.Text }

// Bad makes a Refusal.
func Bad(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// Serve answers on l until ctx ends, and removes the socket.
func Serve(ctx context.Context, l net.Listener, documents Documents, questions Questions) error {
	mux := http.NewServeMux()
	for name, get := range documents {
		mux.HandleFunc("GET /v1/"+name, func(w http.ResponseWriter, _ *http.Request) { answer(w, get) })
	}
	for name, ask := range questions {
		mux.HandleFunc("GET /v1/"+name, func(w http.ResponseWriter, r *http.Request) {
			answer(w, func() (any, error) { return ask(r.Context(), r.URL.Query()) })
		})
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		server.Close()
	})
	err := server.Serve(l)
	if !stop() {
		<-done
	}
	if errors.Is(err, http.ErrServerClosed) {
		_ = os.Remove(runDir) // only where it is empty: the last one out
		return nil
	}
	return fmt.Errorf("serving the local socket: %w", err)
}

func answer(w http.ResponseWriter, get func() (any, error)) {
	doc, err := get()
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		http.Error(w, refusal.Text, http.StatusUnprocessableEntity)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(doc) // the client is gone: nobody to tell
}

// ErrNotRunning says that no daemon answers for the state directory.
var ErrNotRunning = errors.New("no daemon is running for this state directory")

// Get asks the daemon of a state directory for a document and decodes it into
// out; the name of a question has its query appended, "name?key=value". It answers ErrNotRunning where there is no daemon, and an error that
// is os.ErrPermission where the caller may not ask.
func Get(ctx context.Context, stateDir, name string, out any) error {
	path, err := SocketPath(stateDir)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/v1/"+name, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("opening %s: %w", path, os.ErrPermission)
	case err != nil && ctx.Err() == nil:
		return fmt.Errorf("%w (%s)", ErrNotRunning, stateDir)
	case err != nil:
		return err
	}
	defer response.Body.Close()
	return decode(response, out)
}

func decode(response *http.Response, out any) error {
	body := io.LimitReader(response.Body, maxDocumentBytes)
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, 1<<10))
		if response.StatusCode == http.StatusUnprocessableEntity {
			return &Refusal{strings.TrimSpace(string(text))}
		}
		return fmt.Errorf("the daemon answers %s: %s", response.Status, text)
	}
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return fmt.Errorf("reading the daemon's answer: %w", err)
	}
	return nil
}
