package registry

import (
	"net"
	"net/netip"
	"sync"
)

const (
	// connectionsMax bounds all connections; each costs about 50 KB.
	connectionsMax = 2048
	// connectionsPerSource leaves room for a site of many nodes behind one NAT,
	// whose connections are short.
	connectionsPerSource = 256
)

// A limiter is a listener that closes connections beyond its limits at once, so
// that no source can take all of them.
type limiter struct {
	net.Listener
	max, maxPerSource int

	mu       sync.Mutex
	all      int
	bySource map[netip.Prefix]int
}

func newLimiter(l net.Listener) *limiter {
	return &limiter{Listener: l, max: connectionsMax, maxPerSource: connectionsPerSource, bySource: map[netip.Prefix]int{}}
}

// Accept gives the next connection within the limits.
func (l *limiter) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := sourceOfConn(c)
		if l.enter(source) {
			return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { l.leave(source) })}, nil
		}
		c.Close()
	}
}

func sourceOfConn(c net.Conn) netip.Prefix {
	remote, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Prefix{}
	}
	return sourceOf(remote.Addr())
}

func (l *limiter) enter(source netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.max || l.bySource[source] >= l.maxPerSource {
		return false
	}
	l.all++
	l.bySource[source]++
	return true
}

func (l *limiter) leave(source netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.bySource[source]--; l.bySource[source] == 0 {
		delete(l.bySource, source)
	}
}

type limitedConn struct {
	net.Conn
	leave func()
}

// Close frees the connection's place, once.
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
