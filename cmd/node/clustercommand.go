package main

import (
	"encoding/json"
	"fmt"
	"net/http"
)

type clusterCommand struct {
	Status     clusterStatusCommand     `cmd:"" default:"withargs" help:"Show all nodes as the one asked knows them, and how it stands with Redis."`
	Drain      clusterDrainCommand      `cmd:"" help:"Let the node asked stop in order, as SIGTERM does."`
	Disconnect clusterDisconnectCommand `cmd:"" help:"Close the connections of a user or a client on all nodes."`
}

type clusterStatusCommand struct {
	adminFlags
	JSON bool `help:"Print all that the node tells, as JSON."`
}

// Help implements kong.HelpProvider. It is the help of all commands of the cluster, since status is the one that is
// meant without a name.
func (clusterStatusCommand) Help() string {
	return `A node is asked by its admin listener, and tells about all:

  logux-proxy cluster [status]
  logux-proxy cluster --json | jq '.nodes[].connections'

The other commands do something, each with a --help of its own:

  logux-proxy cluster disconnect --user 10
  logux-proxy cluster drain --admin 10.0.0.5:31338`
}

// Run prints the table.
func (s *clusterStatusCommand) Run(p *process) error {
	base, err := s.base(p)
	if err != nil {
		return err
	}
	answer, err := askAdmin(p.Context, http.MethodGet, base, "/cluster.json", nil)
	if err != nil {
		return err
	}
	var o overview
	if err := json.Unmarshal(answer, &o); err != nil || o.Node == "" {
		return notANode(base)
	}
	if s.JSON {
		_, err = p.Stdout.Write(answer)
		return err
	}
	return writeClusterTable(p.Stdout, &o)
}

func notANode(base string) error { return fmt.Errorf("what answers at %s is no Logux proxy", base) }

type clusterDrainCommand struct {
	adminFlags
}

// Help implements kong.HelpProvider.
func (clusterDrainCommand) Help() string {
	return `The node is not ready any more, waits LOGUX_DRAIN_GRACE, closes its clients over
LOGUX_DRAIN_TIME and ends with the exit code 0. What started it may start it again:
Kubernetes does, systemd only with Restart=always.`
}

// Run asks the node to drain.
func (d *clusterDrainCommand) Run(p *process) error {
	base, err := d.base(p)
	if err != nil {
		return err
	}
	answer, err := askAdmin(p.Context, http.MethodPost, base, "/drain", struct{}{})
	if err != nil {
		return err
	}
	var plan drainAnswer
	if err := json.Unmarshal(answer, &plan); err != nil || plan.Node == "" {
		return notANode(base)
	}
	if plan.Repetition {
		_, err = fmt.Fprintf(p.Stdout, "%s is draining already: %d clients are left\n", oneLine(plan.Node), plan.Clients)
		return err
	}
	_, err = fmt.Fprintf(p.Stdout, "%s drains: in %gs it begins to close its %d clients, and takes %gs for it\n",
		oneLine(plan.Node), plan.GraceS, plan.Clients, plan.DrainS)
	return err
}

type clusterDisconnectCommand struct {
	adminFlags
	User   string `placeholder:"ID" help:"All connections of this user."`
	Client string `placeholder:"ID" help:"The connection of this client, such as 10:uuid."`
}

// Help implements kong.HelpProvider.
func (clusterDisconnectCommand) Help() string {
	return `Clients come back by themselves: to keep somebody out let the back-end deny them first.`
}

// Run asks the node to disconnect.
func (d *clusterDisconnectCommand) Run(p *process) error {
	t := target{User: d.User, Client: d.Client}
	if t.check() != nil {
		return &settingError{Wrong: "whom to disconnect is not clear", Mend: "name one: --user 10 or --client 10:uuid"}
	}
	base, err := d.base(p)
	if err != nil {
		return err
	}
	answer, err := askAdmin(p.Context, http.MethodPost, base, "/disconnect", t)
	if err != nil {
		return err
	}
	var said struct{ Closed *int }
	if err := json.Unmarshal(answer, &said); err != nil || said.Closed == nil {
		return notANode(base)
	}
	_, err = fmt.Fprintf(p.Stdout, "Closed %s of the node asked; the other nodes were told to close theirs\n", count(*said.Closed, "connection"))
	return err
}

// count is "1 node" or "3 nodes".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// state is what is to be known about a node, in a word.
func (n *nodeOverview) state() string {
	if n.Draining {
		return "draining"
	}
	return "serving"
}

// redisState is how a node stands with Redis.
func (n *nodeOverview) redisState() string {
	if n.Bus == "" {
		return "-"
	}
	return oneLine(string(n.Bus))
}
