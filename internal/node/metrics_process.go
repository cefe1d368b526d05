package node

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"re6st/internal/exposition"
)

// What Prometheus' libraries tell of every process that is written in Go, by the
// names that dashboards know.
var (
	processCPU     = &exposition.Family{Name: "process_cpu_seconds_total", Help: "User and system CPU time.", Kind: exposition.Counter}
	processVirtual = &exposition.Family{Name: "process_virtual_memory_bytes", Help: "Virtual memory.", Kind: exposition.Gauge}
	processMemory  = &exposition.Family{Name: "process_resident_memory_bytes", Help: "Resident memory.", Kind: exposition.Gauge}
	processStart   = &exposition.Family{Name: "process_start_time_seconds", Help: "When the process began.", Kind: exposition.Gauge}
	processFiles   = &exposition.Family{Name: "process_open_fds", Help: "Open file descriptors.", Kind: exposition.Gauge}
	processFileMax = &exposition.Family{Name: "process_max_fds", Help: "How many file descriptors may be open.", Kind: exposition.Gauge}
	goroutines     = &exposition.Family{Name: "go_goroutines", Help: "Goroutines.", Kind: exposition.Gauge}
	goHeap         = &exposition.Family{Name: "go_memstats_heap_alloc_bytes", Help: "Bytes of the heap that are in use, with garbage.", Kind: exposition.Gauge}
	goSystem       = &exposition.Family{Name: "go_memstats_sys_bytes", Help: "Bytes that the Go runtime has from the system.", Kind: exposition.Gauge}
	goAllocated    = &exposition.Family{Name: "go_memstats_alloc_bytes_total", Help: "Bytes that were ever put on the heap.", Kind: exposition.Counter}
)

// putProcess adds what this process uses. What the kernel does not tell is left out.
func putProcess(put putter, started time.Time) {
	put(processStart, float64(started.UnixMilli())/1000)
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) == nil {
		put(processCPU, float64(usage.Utime.Nano()+usage.Stime.Nano())/1e9)
	}
	if data, err := os.ReadFile("/proc/self/statm"); err == nil {
		var virtual, resident float64 // in pages, see proc_pid_statm(5)
		if _, err := fmt.Sscan(string(data), &virtual, &resident); err == nil {
			page := float64(os.Getpagesize())
			put(processVirtual, virtual*page)
			put(processMemory, resident*page)
		}
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		put(processFiles, float64(len(open)-1)) // that of the listing is among them
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		put(processFileMax, float64(limit.Cur))
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	put(goroutines, float64(runtime.NumGoroutine()))
	put(goHeap, float64(m.HeapAlloc))
	put(goSystem, float64(m.Sys))
	put(goAllocated, float64(m.TotalAlloc))
}
