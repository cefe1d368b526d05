package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"re6st/internal/config"
	"re6st/internal/node"
	"re6st/internal/router"
	"re6st/internal/status"
)

// The rules of the user interface: one line of cause, one line of hint, no
// usage text after an error that is not about usage; --json prints the document
// of internal/status unchanged.

// usageError is a wrong call of the command.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(err error) error { return usageError{err} }

// usageArgs makes a wrong number of arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usage(fmt.Errorf("%w (see: %s --help)", err, c.CommandPath()))
		}
		return nil
	}
}

var exitStatus = map[node.Kind]int{node.Failed: 1, node.Usage: 2, node.Unreachable: 3, node.Refused: 4, node.Degraded: 5, node.BadState: 78}

// report prints an error with its hint and gives the exit status.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(w, "error: %v\n", err)
	hint, code := explain(err)
	if hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
	return code
}

func explain(err error) (hint string, code int) {
	var known *node.Error
	var file *config.FileError
	var wrong usageError
	var lone *router.Error
	switch {
	case errors.As(err, &known):
		return known.Hint, exitStatus[known.Kind]
	case errors.As(err, &lone):
		if lone.IsState {
			return lone.Hint, 78
		}
		return lone.Hint, 1
	case errors.As(err, &file):
		return "", 78
	case errors.As(err, &wrong):
		return "", 2
	case errors.Is(err, status.ErrNotRunning):
		return "start it: re6stnode run --state DIR; or name its state directory with --state", 3
	case errors.Is(err, os.ErrPermission):
		return "run as root, or as a member of the group re6st", 1
	}
	return "", 1
}

// settings are what each command needs.
type settings struct {
	state  string
	config string
	json   bool
}

const defaultState = "/var/lib/re6st"

func (s *settings) bind(c *cobra.Command, withJSON bool) {
	s.bindTo(c, defaultState, "state directory of this node, a `DIR`", withJSON)
}

func (s *settings) bindTo(c *cobra.Command, dir, what string, withJSON bool) {
	c.Flags().StringVar(&s.state, "state", dir, what)
	c.Flags().StringVar(&s.config, config.FileFlag, "", "TOML `FILE` whose keys are the long flags")
	if withJSON {
		c.Flags().BoolVar(&s.json, "json", false, "print JSON")
	}
}

// fill takes what the command line left open from environment and file.
func fill(c *cobra.Command) error {
	err := config.Fill(c.Flags(), "RE6ST_", os.LookupEnv, "json", "help")
	var file *config.FileError
	if err != nil && !errors.As(err, &file) {
		return usage(err)
	}
	return err
}

// ask gets a document of the running daemon, lets keep take out what was not
// asked for (nil: nothing), and prints it: as it is, or as a table.
func ask[T any](c *cobra.Command, s *settings, name string, keep func(*T), table func(io.Writer, T)) error {
	if err := fill(c); err != nil {
		return err
	}
	var document T
	if err := status.Get(c.Context(), s.state, name, &document); err != nil {
		return err
	}
	if keep != nil {
		keep(&document)
	}
	out := c.OutOrStdout()
	if s.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(document)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	table(w, document)
	return w.Flush()
}
