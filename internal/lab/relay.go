package lab

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Relay is a cable with weather: two TAP devices, one in each host, and this
// process between them. Netem is not needed. TAPs, not packet sockets on a
// veth: offloaded checksums and large segments break these.
type Relay struct {
	A, B  Interface
	taps  [2]*os.File
	lines [2]*relayLine // from A, from B
	done  sync.WaitGroup
	once  sync.Once
}

// relayLine is a line with its owner's lock: reader and writer share it.
type relayLine struct {
	mu   sync.Mutex
	line *line
	wake chan struct{} // 1 is enough: it says only that something changed
	stop chan struct{}
}

// Relay lays such a cable; the same seed and the same frames meet the same
// fate. The interfaces get the given names, or eth0, eth1, ...
func (l *Lab) Relay(a, b *Host, w Weather, seed uint64, names ...string) *Relay {
	l.TB.Helper()
	r := &Relay{A: Interface{a, a.linkName(names, 0)}, B: Interface{b, b.linkName(names, 1)}}
	for i, end := range []Interface{r.A, r.B} {
		tap, err := openTAP(end)
		if err != nil {
			l.TB.Fatalf("laying a relay from %s to %s: %v", a.Name, b.Name, err)
		}
		r.taps[i] = tap
		r.lines[i] = &relayLine{line: newLine(w, seed+uint64(i)), wake: make(chan struct{}, 1), stop: make(chan struct{})}
		end.Host.IP("link set " + end.Name + " up")
	}
	for i := range 2 {
		r.done.Go(func() { r.lines[i].read(r.taps[i]) })
		r.done.Go(func() { r.lines[i].write(r.taps[1-i]) })
	}
	l.mu.Lock()
	l.relays = append(l.relays, r)
	l.mu.Unlock()
	return r
}

// Set changes the weather in both directions, for frames that come from now
// on, and begins the seed's dice anew.
func (r *Relay) Set(w Weather) {
	r.SetFrom(r.A.Host, w)
	r.SetFrom(r.B.Host, w)
}

// SetFrom changes the weather for what the host sends.
func (r *Relay) SetFrom(h *Host, w Weather) {
	k := r.lines[0]
	if h == r.B.Host {
		k = r.lines[1]
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.line.set(w)
}

// Close takes the cable away.
func (r *Relay) Close() {
	r.once.Do(func() {
		for i := range 2 {
			close(r.lines[i].stop)
			r.taps[i].Close()
		}
	})
	r.done.Wait()
}

// openTAP makes a TAP device in the host. The descriptor works everywhere.
func openTAP(i Interface) (*os.File, error) {
	var f *os.File
	var err error
	joining := i.Host.ns.do(func() { f, err = newTAP(i.Name) })
	return f, errors.Join(joining, err)
}

func newTAP(name string) (*os.File, error) {
	// Non-blocking, so that Close ends a read.
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("making TAP device %q: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// read fills the line until the TAP is closed.
func (k *relayLine) read(tap *os.File) {
	buf := make([]byte, 65536)
	for {
		n, err := tap.Read(buf)
		if err != nil {
			return
		}
		k.mu.Lock()
		k.line.push(time.Now(), append([]byte(nil), buf[:n]...))
		k.mu.Unlock()
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// write empties the line, each frame at its time.
func (k *relayLine) write(tap *os.File) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-k.stop:
			return
		case <-k.wake:
		case <-timer.C:
		}
		for {
			k.mu.Lock()
			b, deadline := k.line.pop(time.Now()), k.line.deadline()
			k.mu.Unlock()
			if b == nil {
				if !deadline.IsZero() {
					timer.Reset(time.Until(deadline))
				}
				break
			}
			// A host that is down drops the frame, as a cable would.
			tap.Write(b)
		}
	}
}
