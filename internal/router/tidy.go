package router

import (
	"runtime/debug"
	"sync"
	"time"

	"re6st/babel/speaker"
	"re6st/internal/kernel"
)

// tidyFIB gives memory back to the system after a large table has moved: a
// moment's garbage of 20 MB would stay for minutes in a process that then hardly
// allocates.
type tidyFIB struct {
	speaker.FIB

	mu      sync.Mutex
	changes int // since memory was last given back
	timer   *time.Timer
}

const (
	tidyChanges = 20000
	tidyAfter   = 3 * time.Second // without another change
)

// Apply is FIB's.
func (f *tidyFIB) Apply(changes []kernel.RouteChange) []error {
	f.mu.Lock()
	if f.changes += len(changes); f.changes >= tidyChanges {
		if f.timer == nil {
			f.timer = time.AfterFunc(tidyAfter, f.tidy)
		} else {
			f.timer.Reset(tidyAfter)
		}
	}
	f.mu.Unlock()
	return f.FIB.Apply(changes)
}

func (f *tidyFIB) tidy() {
	f.mu.Lock()
	f.changes = 0
	f.mu.Unlock()
	debug.FreeOSMemory()
}
