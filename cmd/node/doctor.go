package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"re6st/internal/node"
	"re6st/internal/status"
)

func doctorCommand() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:   "doctor",
		Short: "What is wrong with this node, and what to do",
		Long: "What is wrong with this node, and what to do: looks at the state directory, the daemon, the registry, the clock, and where no daemon runs " +
			"at what one would find in the kernel. It changes nothing. The exit status is 5 where there is a problem; a notice is none.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := fill(c); err != nil {
				return err
			}
			found := node.Examine(c.Context(), s.state)
			if err := printDoctor(c.OutOrStdout(), found, s.json); err != nil {
				return err
			}
			if n := found.Problems(); n > 0 {
				return &node.Error{Kind: node.Degraded, Err: fmt.Errorf("problems found: %d", n)}
			}
			return nil
		},
	}
	s.bind(c, true)
	return c
}

func printDoctor(w io.Writer, d status.Doctor, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(d)
	}
	for _, f := range d.Findings {
		if _, err := fmt.Fprintf(w, "%-8s %s: %s\n", f.Level, f.Code, f.Text); err != nil {
			return err
		}
		if f.Do == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%-8s to do: %s\n", "", f.Do); err != nil {
			return err
		}
	}
	return nil
}
