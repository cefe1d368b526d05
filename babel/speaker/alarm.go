package speaker

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// alarm wakes the loop at the engine's deadline.
type alarm interface {
	// set replaces the time; zero: never.
	set(at time.Time)
	// rings has something when the time has come, once.
	rings() <-chan struct{}
	stop()
}

// newAlarm is the kernel's timer, or Go's where there is none. Go's wakes a
// process that is at rest four times: the poller one millisecond early, as it
// counts in those, and once more; and the runtime's monitor, which comes back
// 10 ms later to see whether all is quiet.
func newAlarm() alarm {
	if a, err := newTimerFD(); err == nil {
		return a
	}
	return newGoAlarm()
}

type timerFD struct {
	file *os.File
	raw  syscall.RawConn
	bell chan struct{}
	done chan struct{}
	at   time.Time // owned by the loop
}

func newTimerFD() (*timerFD, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a timer: %w", err)
	}
	a := &timerFD{file: os.NewFile(uintptr(fd), "babel timer"), bell: make(chan struct{}, 1), done: make(chan struct{})}
	if a.raw, err = a.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, a.file.Close())
	}
	go a.watch()
	return a, nil
}

// watch rings the bell until the timer is closed.
func (a *timerFD) watch() {
	defer close(a.done)
	for a.raw.Read(hasExpired) == nil {
		select {
		case a.bell <- struct{}{}:
		default:
		}
	}
}

func hasExpired(fd uintptr) bool {
	var count uint64
	_, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&count)), unsafe.Sizeof(count))
	return errno != unix.EAGAIN
}

func (a *timerFD) set(at time.Time) {
	left := time.Until(at)
	if at.Equal(a.at) && (at.IsZero() || left > 0) {
		return // as it is
	}
	a.at = at
	var spec unix.ItimerSpec // zero: disarmed
	if !at.IsZero() {
		spec.Value = unix.NsecToTimespec(max(left, 1).Nanoseconds())
	}
	_ = a.raw.Control(func(fd uintptr) { // fails only for a time that is none
		_, _, _ = unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	})
}

func (a *timerFD) rings() <-chan struct{} { return a.bell }

func (a *timerFD) stop() {
	_ = a.file.Close() // a timer has nothing to lose
	<-a.done
}

// goAlarm follows the clock of tests that have one of their own.
type goAlarm struct {
	timer *time.Timer
	bell  chan struct{}
}

func newGoAlarm() alarm {
	a := &goAlarm{bell: make(chan struct{}, 1)}
	a.timer = time.AfterFunc(time.Hour, func() {
		select {
		case a.bell <- struct{}{}:
		default:
		}
	})
	return a
}

func (a *goAlarm) set(at time.Time) {
	if at.IsZero() {
		a.timer.Stop()
		return
	}
	a.timer.Reset(time.Until(at))
}

func (a *goAlarm) rings() <-chan struct{} { return a.bell }
func (a *goAlarm) stop()                  { a.timer.Stop() }
