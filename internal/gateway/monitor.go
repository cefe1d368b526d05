package gateway

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/google/nftables"
)

// WatchRules calls changed after each transaction of nftables, whoever's, until
// ctx ends.
func WatchRules(ctx context.Context, log *slog.Logger, changed func()) {
	again(ctx, log, func() error { return watchTables(ctx, changed) })
}

// watchTables calls changed after each transaction of nftables, ours among them.
func watchTables(ctx context.Context, changed func()) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("watching nftables: %w", err)
	}
	monitor := nftables.NewMonitor()
	events, err := conn.AddGenerationalMonitor(monitor)
	if err != nil {
		return fmt.Errorf("watching nftables: %w", err)
	}
	defer func() {
		_ = monitor.Close()
		for range events { // its goroutine must not wait for a reader
		}
	}()
	changed() // what happened before is not told
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			changed()
			if !ok {
				return fmt.Errorf("watching nftables: the kernel ended it")
			}
			if e.GeneratedBy != nil && e.GeneratedBy.Error != nil {
				return fmt.Errorf("watching nftables: %w", e.GeneratedBy.Error)
			}
		}
	}
}
