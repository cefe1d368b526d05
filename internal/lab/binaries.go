package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

var binaries struct {
	sync.Mutex
	dir   string
	owned bool // built by us, so removed by us
}

// Binary returns the path of re6stnode or re6stregistry: from the directory
// RE6ST_BIN, else built once for this process.
func (l *Lab) Binary(name string) string {
	l.TB.Helper()
	dir, err := binaryDir()
	if err != nil {
		l.TB.Fatalf("building the programs: %v", err)
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		l.TB.Fatalf("looking for a program to run: %v", err)
	}
	return path
}

func binaryDir() (string, error) {
	binaries.Lock()
	defer binaries.Unlock()
	if binaries.dir != "" {
		return binaries.dir, nil
	}
	if dir := os.Getenv("RE6ST_BIN"); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", err
		}
		binaries.dir = abs
		return abs, nil
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir, err := tempDir("bin")
	if err != nil {
		return "", err
	}
	for name, pkg := range map[string]string{"re6stnode": "./cmd/node", "re6stregistry": "./cmd/registry"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			os.RemoveAll(dir)
			return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	}
	binaries.dir, binaries.owned = dir, true
	return dir, nil
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

func removeBinaries() {
	binaries.Lock()
	defer binaries.Unlock()
	if binaries.owned {
		os.RemoveAll(binaries.dir)
		binaries.dir, binaries.owned = "", false
	}
}
