package ebpf

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"re6st/internal/lab/solo"
)

// What is committed is what the sources make, byte for byte and in any
// directory. The compiler's version shows in the object, so only the right one
// can tell.
func TestGenerated(t *testing.T) {
	version, err := exec.Command("clang-14", "--version").Output()
	if err != nil {
		solo.SkipOrFail(t, "no clang-14 here; whoever changes ebpf/bpf has it: apt-get install clang-14 llvm-14 libbpf-dev && make generate")
	}
	const want = "14.0.6" // Debian 12's
	if !strings.Contains(string(version), want) {
		t.Skipf("clang-14 is not %s: it writes another object; make generate needs Debian 12's", want)
	}
	dir := t.TempDir()
	for _, name := range []string{"../go.mod", "../go.sum"} {
		copyFile(t, name, filepath.Join(dir, filepath.Base(name)))
	}
	made := filepath.Join(dir, "ebpf")
	for _, pattern := range []string{"generate.go", "bpf/*"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			copyFile(t, name, filepath.Join(made, name))
		}
	}
	cmd := exec.Command("go", "generate", "./ebpf")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go generate: %v\n%s", err, out)
	}
	for _, name := range []string{
		"translate_bpfel.go", "translate_bpfel.o", "shortcut_bpfel.go", "shortcut_bpfel.o",
		"variant_trie_bpfel_test.go", "variant_trie_bpfel_test.o", "variant_kernel_bpfel_test.go", "variant_kernel_bpfel_test.o",
	} {
		committed, fresh := read(t, name), read(t, filepath.Join(made, name))
		if !bytes.Equal(committed, fresh) {
			t.Errorf("%s is not what bpf/ makes: run make generate", name)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, read(t, from), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
