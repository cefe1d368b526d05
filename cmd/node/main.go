// Command re6stnode makes this machine a node of a re6st mesh: the daemon, and
// the commands with which an operator joins, looks and asks.
//
// Flags, RE6ST_* variables and a TOML file (--config) mean the same. Results go
// to standard output, all else to standard error. The exit status is 0 done, 1
// failed, 2 wrong usage, 3 daemon or registry not reachable, 4 refused, 5 degraded
// (doctor), 78 wrong configuration or state.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func execute(ctx context.Context, args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	return report(os.Stderr, root.ExecuteContext(ctx))
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "re6stnode",
		Short:         "A node of a resilient IPv6 mesh",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.AddCommand(joinCommand(), runCommand(), statusCommand(), tunnelsCommand(), routesCommand(), peersCommand(), traceCommand(), pingCommand(), topCommand(), doctorCommand(), babelCommand())
	return root
}
