package measure

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Host is where figures come from.
type Host struct {
	Date   string `json:"date"`
	Commit string `json:"commit"`
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// ThisHost describes the machine and the tree that it runs.
func ThisHost() Host {
	h := Host{CPUs: runtime.NumCPU(), Go: runtime.Version(), Date: time.Now().UTC().Format(time.RFC3339)}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		h.Commit = strings.TrimSpace(string(out))
	}
	return h
}

func (h Host) String() string {
	return fmt.Sprintf("%s, commit %s, %d CPUs, Linux %s, %s", h.Date, h.Commit, h.CPUs, h.Kernel, h.Go)
}

// WriteJSON stores figures for machines.
func WriteJSON(path string, report any) error {
	data, err := json.MarshalIndent(report, "", "\t")
	if err == nil {
		err = os.WriteFile(path, append(data, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	return nil
}

// Build compiles a command into dir and returns its path.
func Build(dir, name, pkg string) (string, error) {
	path := dir + "/" + name
	if out, err := exec.Command("go", "build", "-trimpath", "-o", path, pkg).CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// BuildWireGuard makes the stock wireguard-go to compare with from the module that we
// use as a library, so the cryptography is the same.
func BuildWireGuard(dir string) (string, error) {
	return Build(dir, "wireguard-go", "golang.zx2c4.com/wireguard")
}

// Table prints the head of a table in markdown.
func Table(w io.Writer, columns ...string) {
	Row(w, columns...)
	fmt.Fprintln(w, strings.Repeat("|---", len(columns))+"|")
}

// Row prints one of its rows.
func Row(w io.Writer, cells ...string) { fmt.Fprintln(w, "| "+strings.Join(cells, " | ")+" |") }

// Number leaves a cell empty where there is nothing to say.
func Number(format string, f float64) string {
	if f == 0 {
		return ""
	}
	return fmt.Sprintf(format, f)
}
