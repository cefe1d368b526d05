package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// WatchRules calls changed after each transaction that changes tables, chains or
// rules of others, until ctx ends; elements of their sets come and go all day.
func WatchRules(ctx context.Context, log *slog.Logger, changed func()) {
	again(ctx, log, func() error { return watch(ctx, areForeign, changed) })
}

// watchTables calls changed after each transaction of nftables, ours among them.
func watchTables(ctx context.Context, changed func()) error {
	return watch(ctx, func([]*nftables.MonitorEvent) bool { return true }, changed)
}

// areForeign says whether a transaction changed rules that are not of ours.
func areForeign(changes []*nftables.MonitorEvent) bool {
	return slices.ContainsFunc(changes, func(e *nftables.MonitorEvent) bool {
		var t *nftables.Table
		switch data := e.Data.(type) {
		case *nftables.Table:
			t = data
		case *nftables.Chain:
			t = data.Table
		case *nftables.Rule:
			t = data.Table
		}
		return t != nil && !strings.HasPrefix(t.Name, TunnelPrefix)
	})
}

func watch(ctx context.Context, concerns func([]*nftables.MonitorEvent) bool, changed func()) error {
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
			if !ok {
				changed()
				return fmt.Errorf("watching nftables: the kernel ended it")
			}
			if e.GeneratedBy != nil && e.GeneratedBy.Error != nil {
				changed()
				return fmt.Errorf("watching nftables: %w", e.GeneratedBy.Error)
			}
			if concerns(e.Changes) {
				changed()
			}
		}
	}
}
