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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
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
	registry := prometheus.NewRegistry()
	registry.MustRegister(nodeCollector{d.measure}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	d.log.Info("metrics", "url", fmt.Sprintf("http://%v/metrics", d.metrics.Addr()))
	return serveScrapes(ctx, d.metrics, registry)
}

func serveScrapes(ctx context.Context, l net.Listener, g prometheus.Gatherer) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapesMax, Timeout: scrapeTimeout, ErrorHandling: promhttp.ContinueOnError,
	}))
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
