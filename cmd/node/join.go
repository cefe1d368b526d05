package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"re6st/internal/node"
)

// maxSecretBytes bounds a token that comes from a file or standard input.
const maxSecretBytes = 64 << 10

func joinCommand() *cobra.Command {
	var s settings
	var name string
	c := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Enrol this machine with a token of the registry",
		Long:  "Enrol this machine. TOKEN is what `re6stregistry token create` printed; it may also be - (standard input) or @FILE, so that it does not stand in the list of processes. The command can be repeated: the same key and token give the same certificate.",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := fill(c); err != nil {
				return err
			}
			token, err := secretArgument(args[0], c.InOrStdin())
			if err != nil {
				return err
			}
			joined, err := node.Join(c.Context(), node.JoinOptions{Token: token, StateDir: s.state, Name: name, Warn: warnTo(c.ErrOrStderr())})
			if err != nil {
				return err
			}
			ipv4 := ""
			if joined.IPv4 != "" {
				ipv4 = " and the IPv4 subnet " + joined.IPv4
			}
			fmt.Fprintf(c.OutOrStdout(), "%s has %s and the prefix %s%s\n", joined.Name, joined.Address, joined.Prefix, ipv4)
			if joined.IPv4Exhausted {
				fmt.Fprintln(c.ErrOrStderr(), "warning: the network has no IPv4 subnet left: this node has none")
			}
			fmt.Fprintf(c.ErrOrStderr(), "next: re6stnode run --state %s\n", s.state)
			return nil
		},
	}
	s.bind(c, false)
	c.Flags().StringVar(&name, "name", "", "wanted `NAME` of this node in the mesh")
	return c
}

// secretArgument reads a secret that stands as "-" on standard input or as
// "@FILE" in a file.
func secretArgument(arg string, stdin io.Reader) (string, error) {
	source, isFile := strings.CutPrefix(arg, "@")
	if arg != "-" && !isFile {
		return arg, nil
	}
	in := stdin
	if isFile {
		f, err := os.Open(source)
		if err != nil {
			return "", usage(fmt.Errorf("reading the token: %w", err))
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxSecretBytes))
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// warnTo prints what is odd but no reason to stop.
func warnTo(w io.Writer) func(string, ...any) {
	return func(text string, args ...any) {
		fmt.Fprintf(w, "warning: %s%s\n", text, node.Pairs(args))
	}
}
