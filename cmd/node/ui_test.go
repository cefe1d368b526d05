package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"re6st/internal/config"
	"re6st/internal/node"
	"re6st/internal/status"
)

// R6: every kind of failure has its exit status and one line of cause.
func TestR6_ExitStatus(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{errors.New("plain"), 1, "error: plain\n"},
		{&node.Error{Kind: node.Usage, Err: errors.New("bad token"), Hint: "copy it"}, 2, "error: bad token\nhint: copy it\n"},
		{usage(errors.New("bad flag")), 2, "error: bad flag\n"},
		{&node.Error{Kind: node.Unreachable, Err: errors.New("nobody")}, 3, "error: nobody\n"},
		{fmt.Errorf("%w (x)", status.ErrNotRunning), 3, "error: no daemon is running for this state directory (x)\nhint: start it: re6stnode run --state DIR; or name its state directory with --state\n"},
		{&node.Error{Kind: node.Refused, Err: errors.New("no")}, 4, "error: no\n"},
		{&node.Error{Kind: node.BadState, Err: errors.New("damaged")}, 78, "error: damaged\n"},
		{&config.FileError{Path: "a.toml", Err: errors.New("line 1")}, 78, "error: configuration file \"a.toml\": line 1\n"},
		{fmt.Errorf("opening: %w", os.ErrPermission), 1, "error: opening: permission denied\nhint: run as root, or as a member of the group re6st\n"},
	} {
		var out bytes.Buffer
		if code := report(&out, tt.err); code != tt.code || out.String() != tt.text {
			t.Errorf("%v: status %d, %q; want %d, %q", tt.err, code, out.String(), tt.code, tt.text)
		}
	}
}

// R6: whatever the configuration holds, there is one line of cause and never a
// panic.
func TestR6_BrokenConfigurations(t *testing.T) {
	names := []string{"state", "port", "tunnels", "refresh", "endpoint", "tunnel-ports", "wireguard", "absent"}
	values := []string{"", "=", "= ", "= 70000", "= -1", "= 'x'", "= [", "= [[1]]", "= {}", "= 1e400", "= 0x", "= 1979-05-27", "= \"\\q\""}
	tried := 0
	for _, name := range names {
		for _, value := range values {
			path := t.TempDir() + "/c.toml"
			if err := os.WriteFile(path, []byte(name+" "+value+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			root := rootCommand()
			root.SetArgs([]string{"run", "--state", t.TempDir() + "/absent", "--config", path})
			var out bytes.Buffer
			code := report(&out, root.ExecuteContext(context.Background()))
			if code != 78 && code != 2 && code != 1 || strings.Count(out.String(), "error: ") != 1 || strings.Count(strings.TrimSpace(out.String()), "\n") > 1 {
				t.Errorf("%s %s: status %d, output %q", name, value, code, out.String())
			}
			tried++
		}
	}
	if tried < 100 {
		t.Errorf("%d configurations tried, want 100", tried)
	}
}
