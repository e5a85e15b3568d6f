package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// writeClusterTable prints an overview for a terminal. What other nodes say about themselves is text, whatever it holds.
func writeClusterTable(out io.Writer, o *overview) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tSTATE\tCLIENTS\tLOAD\tREDIS\tKNOWN FOR\tRELEASE\tGOSSIP") //nolint:errcheck // it cannot fail
	clients := 0
	for i := range o.Nodes {
		n := &o.Nodes[i]
		clients += n.Connections
		name := oneLine(n.ID)
		if n.Self {
			name += " *"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%d%%\t%s\t%s\t%s\t%s\n", name, n.state(), n.Connections, n.Load, //nolint:errcheck // it cannot fail
			n.redisState(), ago(o.Time, n.Since), orDash(oneLine(n.Release)), orDash(oneLine(n.Gossip)))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(&text, "\n%s, %s. * is the node asked", count(len(o.Nodes), "node"), count(clients, "client"))
	if o.Cluster != "" {
		fmt.Fprintf(&text, ", of the cluster %s", oneLine(o.Cluster))
	}
	text.WriteString(".\n")
	if o.Bus != nil {
		writeBus(&text, o)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// writeBus prints how the node asked stands with each Redis, and what was lost.
func writeBus(text *strings.Builder, o *overview) {
	b := o.Bus
	fmt.Fprintf(text, "\nIts bus is %s: %d gaps, %d healed, %d lost.\n", oneLine(string(b.State)), b.Gaps, b.Healed, b.Lost)
	for i := range b.Connections {
		r := &b.Connections[i]
		if r.Healthy {
			fmt.Fprintf(text, "Redis %s: ok for %s, %.1f ms away\n", oneLine(r.Redis), ago(o.Time, r.Since), r.RoundTripMs)
			continue
		}
		fmt.Fprintf(text, "Redis %s: away for %s: %s\n", oneLine(r.Redis), ago(o.Time, r.Since), orDash(oneLine(r.Error)))
	}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
