package registry

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"re6st/internal/lab/solo"
	"re6st/registry/api"
)

// TestF04_AFullDiskRefusesAndLosesNothing fills a small file system, and makes
// room again.
func TestF04_AFullDiskRefusesAndLosesNothing(t *testing.T) {
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=2m,mode=0700"); err != nil {
		solo.SkipOrFail(t, "mounting a small tmpfs: "+err.Error())
	}
	t.Cleanup(func() { _ = syscall.Unmount(mount, syscall.MNT_DETACH) })
	source, _ := newState(t, nil)
	dir := filepath.Join(mount, "state")
	if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.key", "registry.db", "journal", "lock"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r := openRegistry(t, Options{State: dir})
	token := r.mustToken(t, api.TokenRequest{Uses: 1000})
	ballast := filepath.Join(mount, "ballast")
	var done []*joiner
	for cycle := range 5 {
		fill(t, ballast)
		j := newJoiner(t, token)
		var refusal error
		for range 200 { // what is mapped already may still take a few
			if _, refusal = enrol(r, j.secret, j.csr, ""); refusal != nil {
				break
			}
			j = newJoiner(t, token)
		}
		wantCode(t, refusal, api.CodeStorageFull)
		if _, err := r.Nodes(context.Background()); err != nil {
			t.Errorf("cycle %d: reading while the disk is full: %v", cycle, err)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		answer, err := enrol(r, j.secret, j.csr, "")
		if err != nil {
			t.Fatalf("cycle %d: after room was made: %v", cycle, err)
		}
		j.got = answer.Certificate
		done = append(done, j)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, fault := range inspect(t, dir, done) {
		t.Error(fault)
	}
}

// fill writes until nothing goes in any more.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); err != nil {
			return
		}
	}
}
