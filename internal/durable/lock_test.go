package durable

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := NewLock(path)
	if err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(os.Getpid())
	wantContent(t, path, pid+"\n")
	if _, err := NewLock(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "(pid "+pid+")") {
		t.Errorf("a second lock: %v", err)
	}
	wantContent(t, path, pid+"\n") // who was refused changed nothing
	for range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	wantContent(t, path, "")
	again, err := NewLock(path)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	again.Close()
}

// The kernel frees the lock of a process that is killed.
func TestLockOfKilledProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	c := helper(t, "lock", path)
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	_, err = NewLock(path)
	if want := "(pid " + strconv.Itoa(c.Process.Pid) + ")"; !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	_ = c.Process.Kill()
	_ = c.Wait() // "signal: killed"
	l, err := NewLock(path)
	if err != nil {
		t.Fatalf("after the holder was killed: %v", err)
	}
	l.Close()
}

// What is in the file does not matter: a leftover of any content is no lock.
func TestLockIgnoresContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	for _, content := range []string{"", "1\n", "not a number", strings.Repeat("9", 100), "-5"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := NewLock(path)
		if err != nil {
			t.Fatalf("with %.20q in it: %v", content, err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewLock(path); !errors.Is(err, ErrLocked) {
			t.Errorf("with %.20q in it, a second lock: %v", content, err)
		}
		l.Close()
	}
	if _, err := NewLock(filepath.Join(path, "absent")); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("below a file: %v", err)
	}
}
