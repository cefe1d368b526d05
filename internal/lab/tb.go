package lab

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

// TB is what the lab needs of a test. *testing.T is one; Standalone makes
// another for programs that are no tests.
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	Failed() bool
	Cleanup(func())
}

// Standalone runs f as a test would be run, with its log on w, and says
// whether it passed. Cleanups run even if f panics; the panic is a failure.
func Standalone(name string, w io.Writer, f func(TB)) bool {
	s := &standalone{name: name, w: w}
	done := make(chan struct{})
	// A goroutine, because Fatalf ends it.
	go func() {
		defer close(done)
		defer s.cleanup()
		defer func() {
			if r := recover(); r != nil {
				s.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		f(s)
	}()
	<-done
	return !s.Failed()
}

type standalone struct {
	name string
	w    io.Writer

	mu       sync.Mutex // guards what follows
	failed   bool
	cleanups []func()
}

func (s *standalone) Helper()      {}
func (s *standalone) Name() string { return s.name }

func (s *standalone) Logf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, format+"\n", args...)
}

func (s *standalone) Errorf(format string, args ...any) {
	s.Logf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = true
}

func (s *standalone) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	runtime.Goexit()
}

// Skipf is a failure here: a program that was asked to run has no reason to be
// content with less.
func (s *standalone) Skipf(format string, args ...any) { s.Fatalf(format, args...) }

func (s *standalone) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *standalone) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *standalone) cleanup() {
	for {
		s.mu.Lock()
		n := len(s.cleanups)
		if n == 0 {
			s.mu.Unlock()
			return
		}
		f := s.cleanups[n-1]
		s.cleanups = s.cleanups[:n-1]
		s.mu.Unlock()
		f()
	}
}

func needRoot(t TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		SkipOrFail(t, "the lab needs root to make namespaces")
	}
}
