package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"re6st/internal/lab/solo"
	"re6st/internal/status"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"re6stregistry": main})
}

// TestCommands runs a page of shell-like lines for each behaviour.
func TestCommands(t *testing.T) {
	if os.Geteuid() != 0 {
		solo.SkipOrFail(t, "the socket is below /run: root is needed")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PORT", fmt.Sprint(solo.FreePort(t)))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":  wantStatus,
			"serving": waitUntilServing,
			"chmod":   changeMode,
			"occupy":  occupyPort,
			"lock":    lockDatabase,
			"schema":  setSchema,
		},
	})
}

// wantStatus runs a command: status 78 re6stregistry serve ...
func wantStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status STATUS COMMAND [ARGUMENT...]")
	}
	got := 0
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

// waitUntilServing: serving DIR, or ! serving DIR.
func waitUntilServing(ts *testscript.TestScript, neg bool, args []string) {
	path, err := status.SocketPath(ts.MkAbs(args[0]))
	ts.Check(err)
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			conn.Close()
		}
		if (err != nil) == neg {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("waited 20 s for %s: %v", path, err)
		}
	}
}

func changeMode(ts *testscript.TestScript, _ bool, args []string) {
	mode, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	ts.Check(os.Chmod(ts.MkAbs(args[1]), os.FileMode(mode)))
}

func occupyPort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:"+args[0])
	ts.Check(err)
	ts.Defer(func() { l.Close() })
}

// lockDatabase holds a write lock as another program would.
func lockDatabase(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(ts.MkAbs(args[0]), "registry.db")+"?_locking_mode=EXCLUSIVE&_journal_mode=DELETE")
	ts.Check(err)
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(context.Background())
	ts.Check(err)
	_, err = conn.ExecContext(context.Background(), "BEGIN EXCLUSIVE")
	ts.Check(err)
	ts.Defer(func() { conn.Close(); db.Close() })
}

// setSchema pretends that another version wrote the database.
func setSchema(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(ts.MkAbs(args[0]), "registry.db"))
	ts.Check(err)
	defer db.Close()
	version, err := strconv.Atoi(args[1])
	ts.Check(err)
	_, err = db.Exec("PRAGMA user_version = " + strconv.Itoa(version))
	ts.Check(err)
}
