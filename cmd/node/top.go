package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"re6st/internal/status"
)

// topLeast is the shortest interval: the daemon looks at its counters once a
// second.
const topLeast = 100 * time.Millisecond

func topCommand() *cobra.Command {
	var s settings
	var once bool
	var every time.Duration
	c := &cobra.Command{
		Use:   "top",
		Short: "What flows through this node now, and how much of it is for others",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := fill(c); err != nil {
				return err
			}
			if every < topLeast {
				return usage(fmt.Errorf("--interval %v: want %v or more", every, topLeast))
			}
			get := func() (t status.Traffic, err error) { return t, status.Get(c.Context(), s.state, "traffic", &t) }
			out := c.OutOrStdout()
			if once {
				return topOnce(out, get, s.json)
			}
			if s.json {
				encoder := json.NewEncoder(out) // a document a line
				return topLive(c.Context(), every, get, func(t status.Traffic) error { return encoder.Encode(t) })
			}
			terminal, isTerminal := terminalOf(out)
			if !isTerminal {
				return topLive(c.Context(), every, get, func(t status.Traffic) error {
					_, err := io.WriteString(out, renderTraffic(t, 0, 0)+"\n")
					return err
				})
			}
			return terminal.borrow(c.Context(), func(ctx context.Context) error {
				return topLive(ctx, every, get, terminal.show)
			})
		},
	}
	s.bind(c, true)
	c.Flags().BoolVar(&once, "once", false, "print it once and end")
	c.Flags().DurationVar(&every, "interval", time.Second, "time between two looks")
	return c
}

func topOnce(out io.Writer, get func() (status.Traffic, error), asJSON bool) error {
	t, err := get()
	if err != nil {
		return err
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(t)
	}
	_, err = io.WriteString(out, renderTraffic(t, 0, 0))
	return err
}

// topLive shows it again and again, until ctx ends: that is how an operator
// ends it, and no failure.
func topLive(ctx context.Context, every time.Duration, get func() (status.Traffic, error), show func(status.Traffic) error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		t, err := get()
		if err == nil {
			err = show(t)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
