package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"re6st/registry/client"
)

func networkCommand() *cobra.Command {
	return group("network", "The network and its parameters", networkShowCommand(), networkSetCommand())
}

func networkShowCommand() *cobra.Command {
	var o common
	c := &cobra.Command{
		Use:   "show --state DIR",
		Short: "Show the network, and all parameters with their meaning",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withAdmin(c, func(ctx context.Context, a *client.Admin) error {
				info, err := a.Network(ctx)
				if err != nil {
					return err
				}
				return printNetwork(c.OutOrStdout(), info, o.isJSON)
			})
		},
	}
	o.addJSON(c)
	return c
}

func networkSetCommand() *cobra.Command {
	var o common
	c := &cobra.Command{
		Use:   "set PARAMETER=VALUE... --state DIR",
		Short: "Change parameters, for running nodes too: all that are named, or none",
		Args:  arguments(1, 64, "parameter=value is"),
		RunE: func(c *cobra.Command, args []string) error {
			return o.withAdmin(c, func(ctx context.Context, a *client.Admin) error {
				values, err := assignments(args)
				if err != nil {
					return err
				}
				info, err := a.SetNetwork(ctx, values)
				if err != nil {
					return err
				}
				return printNetwork(c.OutOrStdout(), info, o.isJSON)
			})
		},
	}
	o.addJSON(c)
	return c
}

func assignments(args []string) (map[string]string, error) {
	const hint = "re6stregistry network show lists the parameters"
	values := map[string]string{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, usage(hint, "%q is not of the form parameter=value", arg)
		}
		if _, twice := values[name]; twice {
			return nil, usage(hint, "parameter %s is named twice", name)
		}
		values[name] = value
	}
	return values, nil
}

func printNetwork(w io.Writer, info client.NetworkInfo, isJSON bool) error {
	if isJSON {
		document, err := withParameterNames(info)
		if err != nil {
			return err
		}
		return printJSON(w, document)
	}
	fmt.Fprintf(w, "version     %d, of %s\nprefixes    %s, of which a node gets a /%d\nipv4        %s\ndomain      %s\nregistries  %s\n\n",
		info.Version, info.Issued.Format(time.RFC3339), list(info.Prefixes), info.NodePrefix, ipv4Line(info), orDash(info.Domain), strings.Join(info.Registries, ","))
	return table(w, "PARAMETER\tVALUE\tDEFAULT\tFROM\tTO\tMEANING", func(row func(string, ...any)) {
		for _, p := range info.Parameters {
			row("%s\t%s\t%s\t%s\t%s\t%s", p.Name, orDash(p.Value), orDash(p.Default), orDash(p.Min), orDash(p.Max), p.Meaning)
		}
	})
}

func ipv4Line(info client.NetworkInfo) string {
	if len(info.IPv4) == 0 {
		return "-"
	}
	return fmt.Sprintf("%s, of which a node gets a /%d", list(info.IPv4), info.IPv4Prefix)
}

// withParameterNames puts each parameter's value beside the version, by name:
// numbers, durations in seconds.
func withParameterNames(info client.NetworkInfo) (map[string]any, error) {
	text, err := json.Marshal(info)
	if err != nil {
		return nil, err
	}
	var document map[string]any
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	document["version"] = info.Version
	for _, p := range info.Parameters {
		if d, err := time.ParseDuration(p.Value); err == nil {
			document[p.Name] = d.Seconds()
		} else if n, err := strconv.Atoi(p.Value); err == nil {
			document[p.Name] = n
		} else {
			document[p.Name] = p.Value
		}
	}
	return document, nil
}
