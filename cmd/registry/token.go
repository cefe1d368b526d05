package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"re6st/registry/client"
)

func tokenCommand() *cobra.Command {
	return group("token", "Tokens, with which machines join", tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
}

func tokenCreateCommand() *cobra.Command {
	var o common
	var in client.TokenRequest
	var ttl time.Duration
	var announce []string
	var ipv4 int
	c := &cobra.Command{
		Use:   "create --state DIR",
		Short: "Make a token and print it, alone; it is never shown again",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withAdmin(c, func(ctx context.Context, a *client.Admin) error {
				if ttl < time.Second || ttl > 10*365*24*time.Hour {
					return usage("for example --ttl 24h", "--ttl %s: one second to ten years are wanted", ttl)
				}
				in.TTLSeconds = int64(ttl / time.Second)
				if c.Flags().Changed("ipv4-length") {
					in.IPv4Length = &ipv4
				}
				for _, text := range announce {
					p, err := parsePrefix("--announce", text)
					if err != nil {
						return err
					}
					in.Announce = append(in.Announce, p)
				}
				token, err := a.CreateToken(ctx, in)
				switch {
				case err != nil:
					return err
				case o.isJSON:
					return printJSON(c.OutOrStdout(), token)
				}
				_, err = fmt.Fprintln(c.OutOrStdout(), token.Token)
				return err
			})
		},
	}
	o.addJSON(c)
	c.Flags().IntVar(&in.Uses, "uses", 1, "how many machines may join with it")
	c.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "its `lifetime`")
	c.Flags().StringVar(&in.Name, "name", "", "`name` of the node that joins with it")
	c.Flags().IntVar(&in.PrefixLength, "prefix-length", 0, "`length` of the node's prefix (default: the network's)")
	c.Flags().IntVar(&ipv4, "ipv4-length", 0, "`length` of the node's IPv4 subnet, 0 for none (default: the network's)")
	c.Flags().BoolVar(&in.Gateway, "gateway", false, "the node may be a gateway to the Internet")
	c.Flags().StringSliceVar(&announce, "announce", nil, "`prefix` that the node may announce beside its own; may be repeated")
	return c
}

func tokenListCommand() *cobra.Command {
	var o common
	c := &cobra.Command{
		Use:   "list --state DIR",
		Short: "List tokens, without their secrets",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withAdmin(c, func(ctx context.Context, a *client.Admin) error {
				tokens, err := a.Tokens(ctx)
				if err != nil {
					return err
				}
				if o.isJSON {
					return printJSON(c.OutOrStdout(), tokens)
				}
				return printTokens(c.OutOrStdout(), tokens)
			})
		},
	}
	o.addJSON(c)
	return c
}

func printTokens(w io.Writer, tokens client.TokenList) error {
	return table(w, "ID\tSTATE\tUSED\tEXPIRES\tNAME\tLENGTH\tIPV4\tGATEWAY\tANNOUNCE", func(row func(string, ...any)) {
		for _, t := range tokens.Tokens {
			row("%d\t%s\t%d/%d\t%s\t%s\t/%d\t%s\t%t\t%s", t.ID, t.State, t.Used, t.Uses, t.Expires.Format(time.RFC3339), orDash(t.Name), t.PrefixLength, ipv4Length(t.IPv4Length), t.Gateway, list(t.Announce))
		}
	})
}

func ipv4Length(length *int) string {
	switch {
	case length == nil:
		return "default"
	case *length == 0:
		return "-"
	}
	return fmt.Sprintf("/%d", *length)
}

func tokenRevokeCommand() *cobra.Command {
	var o common
	c := &cobra.Command{
		Use:   "revoke ID --state DIR",
		Short: "End a token; nodes that joined with it stay",
		Args:  arguments(1, 1, "the ID of a token, as `re6stregistry token list` shows it, is"),
		RunE: func(c *cobra.Command, args []string) error {
			return o.withAdmin(c, func(ctx context.Context, a *client.Admin) error {
				id, err := strconv.ParseInt(args[0], 10, 64)
				if err != nil || id < 1 {
					return usage("re6stregistry token list shows the IDs", "%q is not the ID of a token", args[0])
				}
				token, err := a.RevokeToken(ctx, id)
				if err != nil {
					return err
				}
				if o.isJSON {
					return printJSON(c.OutOrStdout(), token)
				}
				return printTokens(c.OutOrStdout(), client.TokenList{Tokens: []client.TokenInfo{token}})
			})
		},
	}
	o.addJSON(c)
	return c
}
