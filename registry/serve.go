package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"re6st/internal/identity"
)

const (
	flushInterval   = 30 * time.Second
	shutdownTimeout = 10 * time.Second
	// streamsMax bounds the requests at once on one connection.
	streamsMax = 32
)

// Serve answers on both listeners until ctx ends: HTTPS to the world, plain HTTP
// on the unix socket to the operator. Ready is called once all is in place.
func (r *Registry) Serve(ctx context.Context, public, socket net.Listener, ready func()) error {
	config, err := r.tlsConfig()
	if err != nil {
		public.Close()
		socket.Close()
		return err
	}
	if reason := r.store.Stopped(); reason != "" {
		r.log.Error("issuing is stopped", "reason", reason, "hint", stoppedHint)
	}
	handler := r.Handler()
	world, local := r.newServer(handler), r.newServer(handler)
	local.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return onSocket(ctx) }
	world.TLSConfig = config
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return ended("HTTPS", world.ServeTLS(newLimiter(public), "", "")) })
	group.Go(func() error { return ended("the unix socket", local.Serve(socket)) })
	group.Go(func() error { return r.flush(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		return shutDown(world, local)
	})
	ready()
	return group.Wait()
}

func (r *Registry) newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second, // and the TLS handshake
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streamsMax},
		// Scanners fill it: it is no news to the operator.
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
}

func (r *Registry) tlsConfig() (*tls.Config, error) {
	now := r.now()
	first, err := r.authority.certificate(r.settings.Load().Registries, now)
	if err != nil {
		return nil, err
	}
	c := identity.RegistryServerTLS(r.authority.identity, *first, r.now)
	c.Certificates = nil // or it would be taken where a client names no host
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return r.authority.certificate(r.settings.Load().Registries, r.now())
	}
	return c, nil
}

func ended(what string, err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving %s: %w", what, err)
}

func shutDown(servers ...*http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	var errs []error
	for _, s := range servers {
		if err := s.Shutdown(ctx); err != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// flush writes the directory now and then. That it cannot be written is no
// reason to end: it is in memory, and the next time may be better.
func (r *Registry) flush(ctx context.Context) error {
	ticker := time.NewTicker(flushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := r.store.FlushReports(ctx); err != nil && ctx.Err() == nil {
				r.log.Warn("the directory is not written", "err", err)
			}
		}
	}
}

// caller names the place of a panic, for the log.
func caller() string {
	for skip := 3; skip < 12; skip++ {
		pc, file, line, ok := runtime.Caller(skip)
		if !ok {
			break
		}
		if f := runtime.FuncForPC(pc); f != nil && f.Name() != "runtime.gopanic" {
			return file + ":" + strconv.Itoa(line)
		}
	}
	return "unknown"
}
