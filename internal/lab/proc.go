package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Proc is a program that runs on a host, with everything it says in a log.
type Proc struct {
	Host *Host
	Name string
	PID  int    // as seen from outside
	Log  string // path

	done chan struct{} // closed when it has ended; what follows is then set

	once  sync.Once
	state *os.ProcessState
}

// stopTimeout bounds an orderly end.
const stopTimeout = 20 * time.Second

// Start runs a program on the host until it ends by itself, is stopped, or the
// lab ends.
func (h *Host) Start(name string, args ...string) *Proc {
	h.Lab.TB.Helper()
	p, err := h.TryStart(name, args...)
	if err != nil {
		h.Lab.TB.Fatalf("%v", err)
	}
	return p
}

// TryStart is Start for what may fail.
func (h *Host) TryStart(name string, args ...string) (*Proc, error) {
	p := &Proc{Host: h, Name: h.Name + "/" + name, done: make(chan struct{})}
	n := h.Lab.addProc(p)
	p.Log = filepath.Join(h.Lab.logDir(), fmt.Sprintf("%s.%s.%d.log", h.Name, name, n))
	log, err := os.Create(p.Log)
	if err != nil {
		close(p.done)
		return nil, err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = h.Dir
	// No parent-death signal: the program dies with the agent, which has one.
	// (Go checks that the parent still lives by its pid, which is 0 for the
	// child in another PID namespace, and kills it.)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	joining := h.ns.do(func() { err = cmd.Start() })
	if err := errors.Join(joining, err); err != nil {
		log.Close()
		close(p.done)
		return nil, fmt.Errorf("%s: starting %s: %w", h.Name, strings.Join(args, " "), err)
	}
	p.PID = cmd.Process.Pid
	go func() {
		defer close(p.done)
		defer log.Close()
		cmd.Wait()
		p.state = cmd.ProcessState
	}()
	return p, nil
}

// Exited says whether the program has ended.
func (p *Proc) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Status tells the state for people.
func (p *Proc) Status() string {
	switch {
	case !p.Exited():
		return "running"
	case p.state == nil:
		return "never started"
	default:
		return p.state.String()
	}
}

// Signal sends a signal to the program alone.
func (p *Proc) Signal(s syscall.Signal) error {
	if p.Exited() {
		return os.ErrProcessDone
	}
	return syscall.Kill(p.PID, s)
}

// Wait waits for the end and returns the exit status, -1 for one that was
// killed by a signal.
func (p *Proc) Wait(timeout time.Duration) (int, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		return 0, fmt.Errorf("%s: still running after %v", p.Name, timeout)
	}
	if p.state == nil {
		return 0, fmt.Errorf("%s: never started", p.Name)
	}
	return p.state.ExitCode(), nil
}

// Stop sends the signal and waits for the end, which must be with status 0. It
// returns how long the end took.
func (p *Proc) Stop(s syscall.Signal) (time.Duration, error) {
	start := time.Now()
	if err := p.Signal(s); err != nil {
		return 0, fmt.Errorf("%s: stopping: %w (%s)", p.Name, err, p.Status())
	}
	code, err := p.Wait(stopTimeout)
	took := time.Since(start)
	if err != nil {
		p.Kill()
		return took, err
	}
	if code != 0 {
		return took, fmt.Errorf("%s: ended with %s", p.Name, p.Status())
	}
	return took, nil
}

// Kill ends the program and its children at once.
func (p *Proc) Kill() {
	p.once.Do(func() {
		if p.PID != 0 && !p.Exited() {
			syscall.Kill(-p.PID, syscall.SIGKILL)
		}
	})
	<-p.done
}

// Output returns the whole log.
func (p *Proc) Output() string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (p *Proc) tail(n int) string {
	s := p.Output()
	if len(s) > n {
		s = "..." + s[len(s)-n:]
	}
	return s
}
