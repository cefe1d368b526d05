// Command re6stregistry is the registry of a re6st network: it makes the
// network, lets machines in, and keeps their leases.
//
// Flags go in, package registry does the work, documents come out: results on
// stdout, all else on stderr.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is main for tests, too.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return execute(ctx, args, os.Stdout, os.Stderr)
}
