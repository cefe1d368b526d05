package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"re6st/internal/status"
)

// Control sequences that every terminal of today knows (xterm, and ECMA-48 for
// the erasures).
const (
	otherScreen  = "\x1b[?1049h\x1b[?25l" // and no cursor
	formerScreen = "\x1b[?25h\x1b[?1049l"
	topLeft      = "\x1b[H"
	restOfLine   = "\x1b[K"
	restOfScreen = "\x1b[J"
)

// terminal is where a live table is shown: on the terminal's other screen, so
// that what was there before comes back.
type terminal struct {
	file *os.File

	mu      sync.Mutex // guards what follows
	isThere bool       // on the other screen
	isEnded bool
}

// terminalOf tells whether what is written goes to a terminal.
func terminalOf(w io.Writer) (*terminal, bool) {
	f, isFile := w.(*os.File)
	if !isFile {
		return nil, false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return &terminal{file: f}, err == nil
}

// borrow runs f with the terminal on its other screen, and leaves it as it was,
// also while the shell has stopped us (^Z), and when the terminal is hung up.
func (t *terminal) borrow(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGHUP, syscall.SIGQUIT)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range signals {
			switch s {
			case syscall.SIGTSTP:
				t.leave(false)
				_ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
			case syscall.SIGCONT:
				t.enter()
			default:
				cancel()
			}
		}
	}()
	t.enter()
	defer func() {
		signal.Stop(signals)
		close(signals)
		<-done
		t.leave(true)
	}()
	return f(ctx)
}

func (t *terminal) enter() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.isThere && !t.isEnded {
		_, _ = t.file.WriteString(otherScreen)
		t.isThere = true
	}
}

func (t *terminal) leave(forGood bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isThere {
		_, _ = t.file.WriteString(formerScreen)
		t.isThere = false
	}
	t.isEnded = forGood
}

// size is that of now: windows change.
func (t *terminal) size() (width, height int) {
	s, err := unix.IoctlGetWinsize(int(t.file.Fd()), unix.TIOCGWINSZ)
	if err != nil || s.Col == 0 || s.Row == 0 {
		return 80, 24
	}
	return int(s.Col), int(s.Row)
}

// show draws a screen over the one before, without flicker: in one piece, and
// nothing is erased that is written again.
func (t *terminal) show(doc status.Traffic) error {
	width, height := t.size()
	lines := strings.Split(strings.TrimSuffix(renderTraffic(doc, width, height), "\n"), "\n")
	screen := topLeft + strings.Join(lines, restOfLine+"\r\n") + restOfLine + restOfScreen
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.isThere {
		return nil
	}
	_, err := t.file.WriteString(screen)
	return err
}
