package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"re6st/internal/exposition"
)

// Limits of the metrics' server: whoever reaches its port can ask.
const (
	scrapesMax        = 2 // at once; more get 503
	scrapeConnections = 16
	scrapeTimeout     = 10 * time.Second
	scrapeHeaderBytes = 8 << 10
)

// openMetrics takes the port before anything is changed in the kernel, so that a
// wrong --metrics fails at once.
func (d *daemon) openMetrics() (func(), error) {
	if !d.options.Metrics.IsValid() {
		return func() {}, nil
	}
	own := []netip.Addr{d.member.self.Address, address4(d.member.self)}
	l, err := listenForScrapes(d.options.Metrics, slices.Contains(own, d.options.Metrics.Addr()))
	if err != nil {
		return nil, fail(Failed, "choose an address of this host and a port that is free with --metrics", "listening for metrics: %w", err)
	}
	d.metrics = l
	return func() { _ = l.Close() }, nil
}

// listenForScrapes takes a port. The node's own address is not there yet: it may
// be listened on all the same.
func listenForScrapes(at netip.AddrPort, isOwn bool) (net.Listener, error) {
	var c net.ListenConfig
	if isOwn {
		c.Control = func(_, _ string, raw syscall.RawConn) error {
			var failed error
			level, option := unix.IPPROTO_IP, unix.IP_FREEBIND
			if at.Addr().Is6() {
				level, option = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
			}
			err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) })
			return errors.Join(err, failed)
		}
	}
	return c.Listen(context.Background(), "tcp", at.String())
}

// serveMetrics answers Prometheus until ctx ends.
func (d *daemon) serveMetrics(ctx context.Context) error {
	if d.metrics == nil {
		<-ctx.Done()
		return nil
	}
	d.log.Info("metrics", "url", fmt.Sprintf("http://%v/metrics", d.metrics.Addr()))
	return serveScrapes(ctx, d.metrics, func() (*exposition.Page, error) {
		m, err := d.measure()
		if err != nil {
			return nil, err
		}
		p := m.page()
		putProcess(p.Put, d.started)
		return p, nil
	})
}

func serveScrapes(ctx context.Context, l net.Listener, read func() (*exposition.Page, error)) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", http.TimeoutHandler(scrapes(read), scrapeTimeout, "the node does not answer\n"))
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 2 * scrapeTimeout,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: scrapeHeaderBytes,
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		server.Close()
	})
	err := server.Serve(netutil.LimitListener(l, scrapeConnections))
	if !stop() {
		<-done
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving metrics: %w", err)
}

// scrapes answers with all metrics. If the node's loops do not say how they are,
// there are none: zeros would look like a node that does nothing.
func scrapes(read func() (*exposition.Page, error)) http.Handler {
	running := make(chan struct{}, scrapesMax)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case running <- struct{}{}:
			defer func() { <-running }()
		default:
			http.Error(w, "too many scrapes at once", http.StatusServiceUnavailable)
			return
		}
		page, err := read()
		if err != nil {
			http.Error(w, fmt.Sprintf("reading the node's state: %v", err), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", exposition.ContentType)
		_, _ = w.Write(page.Append(nil)) // who asked has gone
	})
}
