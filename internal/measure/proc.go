package measure

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CPUTime is what a process has used so far, all its threads, to the nanosecond. It
// contains the system calls, and, on kernels without CONFIG_IRQ_TIME_ACCOUNTING, the
// softirqs that ran on top of it. Threads that have ended are not in it: daemons keep
// theirs.
func CPUTime(pid int) (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("reading the CPU time of process %d: it has ended", pid)
	}
	var sum time.Duration
	for _, task := range tasks {
		data, err := os.ReadFile(task)
		if err != nil {
			continue // a thread that has just ended
		}
		d, err := parseSchedstat(string(data))
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", task, err)
		}
		sum += d
	}
	return sum, nil
}

// parseSchedstat reads the first of its three fields: nanoseconds on a CPU.
func parseSchedstat(text string) (time.Duration, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return 0, fmt.Errorf("no field in %q", text)
	}
	ns, err := strconv.ParseInt(fields[0], 10, 64)
	return time.Duration(ns), err
}

// Machine is the CPU time of all CPUs so far, as proc_stat(5) tells it, in ticks of
// 10 ms.
type Machine struct {
	Busy    time.Duration // not idle and not waiting for a disk
	SoftIRQ time.Duration // of it; only what found no process to run on top of
}

// ReadMachine reads it.
func ReadMachine() (Machine, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Machine{}, err
	}
	return parseMachine(string(data))
}

func parseMachine(stat string) (m Machine, err error) {
	const idle, wait, softirq, steal = 3, 4, 6, 7
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(strings.TrimPrefix(line, "cpu "))
	if len(fields) <= steal || !strings.HasPrefix(line, "cpu ") {
		return m, fmt.Errorf("the machine's CPU time is %.60q", line)
	}
	for i, f := range fields[:steal] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return m, fmt.Errorf("the machine's CPU time: %w", err)
		}
		d := time.Duration(n) * time.Second / 100 // USER_HZ is 100 wherever we build for
		if i != idle && i != wait {
			m.Busy += d
		}
		if i == softirq {
			m.SoftIRQ = d
		}
	}
	return m, nil
}

// Memory is a field of proc_pid_status(5) in megabytes, such as VmRSS.
func Memory(pid int, field string) (float64, error) {
	n, err := status(pid, field)
	return n / 1024, err
}

// Threads is how many a process has.
func Threads(pid int) (int, error) {
	n, err := status(pid, "Threads")
	return int(n), err
}

func status(pid int, field string) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parseStatus(string(data), field)
}

func parseStatus(text, field string) (float64, error) {
	for line := range strings.Lines(text) {
		value, ok := strings.CutPrefix(line, field+":")
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		if err != nil {
			return 0, fmt.Errorf("process status, %s: %w", field, err)
		}
		return n, nil
	}
	return 0, fmt.Errorf("process status has no %s", field)
}
