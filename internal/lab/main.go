package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// agentEnv tells a re-executed program that it is the agent of a host.
const agentEnv = "RE6ST_LAB_AGENT"

// tempPrefix begins the name of every temporary directory; the pid follows.
const tempPrefix = "re6stlab-"

var prepared atomic.Bool

// Main is to be called first by every program that uses the lab: it becomes an
// agent if it was started as one, else it removes what killed labs have left,
// and returns run's status after removing what was made for this process.
func Main(run func() int) int {
	if name := os.Getenv(agentEnv); name != "" {
		if err := agentMain(name); err != nil {
			fmt.Fprintln(os.Stderr, "lab agent "+name+":", err)
			return 1
		}
		return 0
	}
	prepared.Store(true)
	sweep(os.TempDir())
	defer removeBinaries()
	return run()
}

// sweep removes the temporary directories of processes that are no more.
func sweep(dir string) {
	found, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"[0-9]*"))
	for _, path := range found {
		rest := strings.TrimPrefix(filepath.Base(path), tempPrefix)
		digits, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(digits)
		if err != nil || pid == os.Getpid() {
			continue
		}
		if syscall.Kill(pid, 0) == syscall.ESRCH {
			os.RemoveAll(path)
		}
	}
}

// tempDir makes a directory that sweep will find.
func tempDir(what string) (string, error) {
	return os.MkdirTemp("", fmt.Sprintf("%s%d-%s-", tempPrefix, os.Getpid(), what))
}
