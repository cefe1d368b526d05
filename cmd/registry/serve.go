package main

import (
	"fmt"
	"log/slog"
	"net"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"re6st/internal/status"
	"re6st/registry"
)

func serveCommand() *cobra.Command {
	var o common
	var listen string
	var replay bool
	c := &cobra.Command{
		Use:   "serve --state DIR",
		Short: "Run the registry",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.settle(c); err != nil {
				return err
			}
			return serve(c, o.state, listen, replay)
		},
	}
	o.add(c)
	c.Flags().StringVar(&listen, "listen", ":8443", "`address` and port for HTTPS")
	c.Flags().BoolVar(&replay, "replay", false, "first put into the database what only the journal has, after an older database was restored")
	return c
}

func serve(c *cobra.Command, state, listen string, replay bool) error {
	log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
	r, err := registry.Open(c.Context(), registry.Options{State: state, Log: log})
	if err != nil {
		return err
	}
	defer func() {
		if err := r.Close(); err != nil {
			log.Error("closing the state directory", "err", err)
		}
	}()
	if replay {
		count, err := r.Replay(c.Context())
		if err != nil {
			return err
		}
		log.Info("journal replayed", "issuances", count)
	}
	public, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", listen, err)
	}
	defer public.Close()
	socket, err := status.Listen(state)
	if err != nil {
		return fmt.Errorf("listening on the unix socket: %w", err)
	}
	defer socket.Close()
	return r.Serve(c.Context(), public, socket, func() {
		log.Info("registry is ready", "listen", public.Addr(), "socket", socket.Addr())
		if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
			log.Warn("telling the service manager", "err", err)
		}
	})
}
