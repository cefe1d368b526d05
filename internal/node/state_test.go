package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func openTest(t *testing.T, dir string) (*state, *[]string) {
	t.Helper()
	var said []string
	s, err := createState(dir, func(text string, args ...any) { said = append(said, text+" "+fmt.Sprint(args...)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s, &said
}

func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Failed
}

func TestStateDirectoryThatCannotBeUsed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    string
		kind    Kind
	}{
		{"absent", func(t *testing.T, dir string) { must(t, os.Remove(dir)) }, "does not exist", BadState},
		{"a file", func(t *testing.T, dir string) { must(t, os.Remove(dir)); must(t, os.WriteFile(dir, nil, 0o600)) }, "is not a directory", BadState},
		{"writable by all", func(t *testing.T, dir string) { must(t, os.Chmod(dir, 0o777)) }, "mode 0777", BadState},
		{"of a newer version", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, versionFile), []byte("9\n"), 0o600))
		}, "has format 9", BadState},
		{"without a key", func(*testing.T, string) {}, "has no key", BadState},
		{"key for all to read", func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, keyFile), nil, 0o644)) }, "mode 0644", BadState},
		{"key half written", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, keyFile), []byte("-----BEGIN PRIV"), 0o600))
		}, "no PEM private key", BadState},
		{"without certificate", func(t *testing.T, dir string) {
			s, _ := openTest(t, dir)
			_, err := s.makeKey()
			must(t, err)
			s.close()
		}, "ca.pem", BadState},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			must(t, os.Mkdir(dir, 0o700))
			tt.prepare(t, dir)
			s, err := openState(dir, func(string, ...any) {})
			if err == nil {
				defer s.close()
				_, err = s.loadMembership(testTime)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || kindOf(err) != tt.kind {
				t.Fatalf("error %v of kind %d, want %q of kind %d", err, kindOf(err), tt.want, tt.kind)
			}
			var e *Error
			if !errors.As(err, &e) || e.Hint == "" {
				t.Errorf("%v has no hint", err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	openTest(t, dir)
	if _, err := openState(dir, func(string, ...any) {}); !errors.Is(err, ErrBusy) {
		t.Errorf("error %v, want ErrBusy", err)
	}
}

// The key must be the same at each repeat, or a repeated join is another node.
func TestZ8_RepeatedJoinHasTheSameKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, _ := openTest(t, dir)
	first, err := s.makeKey()
	must(t, err)
	second, err := s.makeKey()
	must(t, err)
	if !first.Equal(second) {
		t.Error("the second join made another key")
	}
	info, err := os.Stat(s.path(keyFile))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("key has mode %v", info.Mode())
	}
}

func TestSeqnoOverRestarts(t *testing.T) {
	s, _ := openTest(t, filepath.Join(t.TempDir(), "state"))
	must(t, s.reserveSeqno(65535))
	if got := s.loadSeqno(); got != 65535 {
		t.Errorf("seqno %d, want the reserved one", got)
	}
}

// F-06: whatever a file holds, the node does without it, keeps it aside and
// says so.
func TestF06_DamagedFilesAreSetAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, said := openTest(t, dir)
	rapid.Check(t, func(r *rapid.T) {
		*said = nil
		data := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(r, "content")
		if err := os.WriteFile(s.path(seqnoFile), data, 0o600); err != nil {
			r.Fatal(err)
		}
		s.loadSeqno()
		_, err := os.Stat(s.path(seqnoFile))
		if kept := err == nil; kept == (len(*said) > 0) {
			r.Fatalf("content %q: kept %v, said %q", data, kept, *said)
		}
	})
	must(t, os.WriteFile(s.path(versionFile), []byte("\x00\xff"), 0o600))
	must(t, s.checkVersion())
}

func TestF06_FileIsReadFromItsCopy(t *testing.T) {
	s, said := openTest(t, filepath.Join(t.TempDir(), "state"))
	must(t, s.writeTwice(caFile, []byte("good"), 0o644))
	parse := func(data []byte) error {
		if string(data) != "good" {
			return errors.New("not good")
		}
		return nil
	}
	for _, damage := range []func() error{
		func() error { return os.WriteFile(s.path(caFile), []byte("goo"), 0o644) },
		func() error { return os.WriteFile(s.path(caFile), nil, 0o644) },
		func() error { return os.Remove(s.path(caFile)) },
	} {
		*said = nil
		must(t, damage())
		must(t, s.loadWithCopy(caFile, 0o644, parse))
		if data, err := s.read(caFile); err != nil || string(data) != "good" {
			t.Errorf("after the repair: %q, %v", data, err)
		}
		if len(*said) == 0 {
			t.Error("nothing was said")
		}
	}
	must(t, os.Remove(s.path(caFile)))
	must(t, os.Remove(s.path(caFile+copySuffix)))
	if err := s.loadWithCopy(caFile, 0o644, parse); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that it is absent", err)
	}
}

var testTime = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
