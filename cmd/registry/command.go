package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"re6st/internal/config"
	"re6st/internal/status"
	"re6st/registry"
	"re6st/registry/client"
)

// execute runs one command line.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "re6stregistry",
		Short:         "The registry of a re6st network",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArguments,
		RunE:          needsCommand,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(c.CommandPath()+" --help shows the flags", "%w", err)
	})
	root.AddCommand(initCommand(), serveCommand(), tokenCommand(), nodeCommand(), networkCommand())
	return report(stderr, root.ExecuteContext(ctx))
}

func needsCommand(c *cobra.Command, _ []string) error {
	return usage(c.CommandPath()+" --help shows the commands", "%s: which command?", c.CommandPath())
}

func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(c.CommandPath()+" --help shows what it takes", "%s: unknown command or argument %q", c.CommandPath(), args[0])
	}
	return nil
}

func arguments(minimum, maximum int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < minimum || len(args) > maximum {
			return usage(c.CommandPath()+" --help shows what it takes", "%s: %s wanted", c.CommandPath(), what)
		}
		return nil
	}
}

// group is a command that only has others below it.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: name, Short: short, Args: noArguments, RunE: needsCommand}
	c.AddCommand(commands...)
	return c
}

// common are the flags that every command has.
type common struct {
	state  string
	isJSON bool
}

func (o *common) add(c *cobra.Command) {
	c.Flags().StringVar(&o.state, "state", "", "state `directory` of the registry")
	c.Flags().String(config.FileFlag, "", "TOML `file` with flags of this command, by their long names")
}

func (o *common) addJSON(c *cobra.Command) {
	o.add(c)
	c.Flags().BoolVar(&o.isJSON, "json", false, "print a JSON document")
}

// settle fills the flags from environment and file.
func (o *common) settle(c *cobra.Command) error {
	err := config.Fill(c.Flags(), "RE6ST_", os.LookupEnv, "json", "help")
	var file *config.FileError
	if err != nil && !errors.As(err, &file) {
		return usage(c.CommandPath()+" --help shows the flags", "%w", err)
	}
	if err != nil {
		return err
	}
	if o.state == "" {
		return usage("for example --state /var/lib/re6st-registry", "%s: --state is not given", c.CommandPath())
	}
	return nil
}

// withAdmin runs f with a way to the operator's routes: over the socket of the
// running server or, where none runs, in this process.
func (o *common) withAdmin(c *cobra.Command, f func(context.Context, *client.Admin) error) error {
	if err := o.settle(c); err != nil {
		return err
	}
	transport, closeAll, err := o.transport(c.Context())
	if err != nil {
		return err
	}
	admin := client.NewAdmin(transport)
	err = f(c.Context(), admin)
	admin.Close()
	return errors.Join(err, closeAll())
}

func (o *common) transport(ctx context.Context) (http.RoundTripper, func() error, error) {
	path, err := status.SocketPath(o.state)
	if err != nil {
		return nil, nil, err
	}
	dial := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", path) }
	conn, err := dial(ctx)
	switch {
	case err == nil:
		conn.Close()
		t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
		return t, func() error { return nil }, nil
	case errors.Is(err, os.ErrPermission):
		return nil, nil, &hinted{status: exitUnreachable, hint: "run as root, or as a member of the group re6st", err: fmt.Errorf("talking to the registry: %w", err)}
	}
	r, err := registry.Open(ctx, registry.Options{State: o.state})
	if errors.Is(err, registry.ErrRunning) {
		return nil, nil, &hinted{status: exitUnreachable, hint: "it starts or ends at this moment, or its socket " + path + " is gone: try again, or restart it", err: err}
	}
	if err != nil {
		return nil, nil, err
	}
	return r.Transport(), r.Close, nil
}

// table prints rows below a heading.
func table(w io.Writer, heading string, rows func(row func(format string, args ...any))) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, heading)
	rows(func(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) })
	return t.Flush()
}
