package durable

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %.40q, %v, want %.40q", filepath.Base(path), got, err, want)
	}
}

// wantNames checks the whole directory: nothing else may be left in it.
func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the directory has %q, want %q", got, want)
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	for _, step := range []struct {
		data string
		perm os.FileMode
	}{
		{"one", 0o600}, {"a longer one", 0o644}, {"", 0o600}, {strings.Repeat("x", 1<<20), 0o640},
	} {
		if err := WriteFile(path, []byte(step.data), step.perm); err != nil {
			t.Fatal(err)
		}
		wantContent(t, path, step.data)
		info, err := os.Stat(path)
		if err != nil || info.Mode() != step.perm {
			t.Errorf("mode %v, %v, want %v whatever the umask", info.Mode(), err, step.perm)
		}
		wantNames(t, dir, "f")
	}
}

func TestWriteFileReplacesSymbolicLink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(target, []byte("target"), 0o600), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(link, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantContent(t, target, "target")
	wantContent(t, link, "new")
}

func TestWriteFileFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "occupied")
	if err := os.MkdirAll(filepath.Join(path, "child"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	wantNames(t, dir, "occupied") // no temporary file stays
	err := WriteFile(filepath.Join(dir, "absent", "f"), nil, 0o600)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "absent") {
		t.Errorf("in an absent directory: %v", err)
	}
}

// helper runs this test binary again, as a process that can be killed or limited.
func helper(t *testing.T, mode, path string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$")
	c.Env = append(os.Environ(), "DURABLE_HELPER="+mode, "DURABLE_PATH="+path)
	return c
}

func TestHelperProcess(t *testing.T) {
	path := os.Getenv("DURABLE_PATH")
	switch os.Getenv("DURABLE_HELPER") {
	case "":
		t.Skip("only as a child of TestWriteFile and its like")
	case "write": // the same bytes all over, longer each time, until killed
		for n := 1; ; n++ {
			if err := WriteFile(path, bytes.Repeat([]byte{byte('a' + n%26)}, 1+n*977%100_000), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	case "full": // no file may grow beyond 8 KiB: a write is cut off in its middle
		limit := &unix.Rlimit{Cur: 8 << 10, Max: 8 << 10}
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, limit); err != nil {
			t.Fatal(err)
		}
		if err := AppendSync(path, bytes.Repeat([]byte("y"), 6<<10), 0o600); !errors.Is(err, unix.EFBIG) {
			t.Errorf("AppendSync: %v, want EFBIG", err)
		}
		if err := WriteFile(path, bytes.Repeat([]byte("z"), 9<<10), 0o600); !errors.Is(err, unix.EFBIG) {
			t.Errorf("WriteFile: %v, want EFBIG", err)
		}
	case "lock":
		l, err := NewLock(path)
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("locked\n")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until killed
		l.Close()
	}
}

// A writer that is killed at any moment leaves one whole content, and nothing
// that Clean does not remove.
func TestWriteFileKilled(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	var seen string
	for range 10 {
		c := helper(t, "write", path)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for changes := 0; changes < 3; { // it is in full swing
			if time.Since(start) > 30*time.Second {
				_ = c.Process.Kill()
				t.Fatal("the other process writes nothing")
			}
			if data, _ := os.ReadFile(path); len(data) > 0 && string(data) != seen {
				seen, changes = string(data), changes+1
			}
		}
		_ = c.Process.Kill()
		_ = c.Wait() // "signal: killed"
		data, err := os.ReadFile(path)
		if err != nil || len(data) == 0 || len(bytes.Trim(data, string(data[:1]))) != 0 {
			t.Fatalf("after a kill the file has %d bytes, not of one content: %v", len(data), err)
		}
		if err := Clean(dir); err != nil {
			t.Fatal(err)
		}
		wantNames(t, dir, "f")
	}
}

func TestWritesCutOff(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	before := strings.Repeat("x", 5<<10)
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := helper(t, "full", path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wantContent(t, path, before)
	wantNames(t, dir, "f")
}

func TestAppendSync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	want := ""
	for i := range 20 {
		record := strconv.Itoa(i) + "\n"
		if err := AppendSync(path, []byte(record), 0o600); err != nil {
			t.Fatal(err)
		}
		want += record
	}
	wantContent(t, path, want)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := AppendSync(filepath.Dir(path), []byte("x"), 0o600); err == nil {
		t.Error("appended to a directory")
	}
	if err := AppendSync(filepath.Join(path, "f"), []byte("x"), 0o600); err == nil {
		t.Error("appended below a file")
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := ReadFile(path, 5); err != nil || string(data) != "12345" {
		t.Errorf("as long as allowed: %q, %v", data, err)
	}
	if data, err := ReadFile(path, 4); !errors.Is(err, ErrTooLarge) || data != nil {
		t.Errorf("one byte too long: %q, %v", data, err)
	}
	if _, err := ReadFile(filepath.Join(dir, "absent"), 5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if _, err := ReadFile(dir, 5); err == nil {
		t.Error("a directory was read")
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(pipe, 5); err == nil {
		t.Error("a pipe was read")
	}
	if _, err := ReadFile("/dev/zero", 5); err == nil {
		t.Error("a device was read")
	}
}

func TestClean(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{temporary + "1", "f"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, temporary+"dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Clean(dir); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, temporary+"dir", "f")
	if err := Clean(filepath.Join(dir, "absent")); err == nil {
		t.Error("an absent directory is clean")
	}
}
