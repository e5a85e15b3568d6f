//go:build linux

// Command bench measures a Logux proxy: memory and CPU of idle clients, fan-out, round trips, a
// storm of connects and readers that are stuck; and several nodes with a Redis between them: how much
// they publish, how much longer that takes than on one node, what an action costs Redis and the nodes where nobody
// listens. It counts every delivery, and fails when one is lost or doubled.
//
// It is one process: clients on one epoll loop, and a back-end that agrees to everything. It starts
// the proxy itself, a fresh one for each scenario, or loads one that runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	scenarios string
	server    string
	url       string
	control   string
	admin     string
	pid       int
	secret    string
	backend   string
	env       list
	compare   string
	rounds    int

	idleClients  int
	clients      int
	actors       int
	stormClients int
	stuck        int
	stuckRate    int
	size         int
	window       int
	delay        time.Duration
	time         time.Duration
	rest         time.Duration
	limit        time.Duration
	pin          bool
	serverCPU    int // -1: anywhere
	profiles     string
}

// A list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func parseOptions(args []string) (*options, error) {
	o := &options{serverCPU: -1}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.scenarios, "scenario", "all", "what to run, separated by commas: idle, fanout, manychan, clientpub, roundtrip, storm, stuck; of several nodes with a redis-server between them, which this program starts: cluster-publish, cluster-latency, cluster-redis, cluster-interest, cluster-anonymous; or all")
	flags.StringVar(&o.server, "server", "", "program to start; it reads the LOGUX_ variables (default: ./cmd/node, built for the run)")
	flags.Var(&o.env, "env", "a variable for the program, KEY=VALUE; may be repeated")
	flags.StringVar(&o.url, "url", "", "ws:// address of a server that runs, instead of -server; its back-end is this program, see -listen")
	flags.StringVar(&o.control, "control", "", "http:// address of its control API (default: the same host and port)")
	flags.StringVar(&o.admin, "admin", "", "host:port of its admin listener, for -profiles")
	flags.IntVar(&o.pid, "pid", 0, "its process ID on this machine, for the figures of CPU and memory")
	flags.StringVar(&o.secret, "secret", "secret-of-the-load-test", "secret of the control API")
	flags.StringVar(&o.backend, "listen", "127.0.0.1:0", "where the back-end of this program listens, for a server that runs")
	flags.StringVar(&o.compare, "compare", "", "bare: run idle and fanout on a bare epoll program too, alternately, and print ratios")
	flags.IntVar(&o.rounds, "rounds", 1, "how often everything is run; the table has medians")
	flags.IntVar(&o.idleClients, "idle-clients", 15_000, "clients of idle")
	flags.IntVar(&o.clients, "clients", 1000, "clients of fanout, manychan, clientpub, stuck and cluster-publish; cluster-interest has a tenth, cluster-anonymous a tenth on each node")
	flags.IntVar(&o.actors, "actors", 200, "clients of roundtrip")
	flags.IntVar(&o.stormClients, "storm-clients", 5000, "clients of storm")
	flags.IntVar(&o.stuck, "stuck", 10, "clients of stuck that do not read")
	flags.IntVar(&o.stuckRate, "stuck-rate", 1_000_000, "bytes per second to the channel of stuck")
	flags.IntVar(&o.size, "size", 95, "bytes of a published action")
	flags.IntVar(&o.window, "window", 2, "publications under way at the highest rate")
	flags.DurationVar(&o.delay, "delay", 0, "how long the back-end thinks")
	flags.DurationVar(&o.time, "time", 5*time.Second, "how long there is load in a scenario")
	flags.DurationVar(&o.rest, "rest", 10*time.Second, "how long idle clients rest before memory is read")
	flags.DurationVar(&o.limit, "limit", 60*time.Second, "how long clients may take to connect")
	flags.BoolVar(&o.pin, "pin", false, "server on CPU 0, this program on CPU 1")
	flags.StringVar(&o.profiles, "profiles", "", "directory for CPU profiles of the server")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if o.pin {
		o.serverCPU = 0
	}
	return o, o.check(flags.Args())
}

func (o *options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("what is %q?", rest[0])
	case o.compare != "" && o.compare != "bare":
		return fmt.Errorf("-compare %s: only bare is known", o.compare)
	case o.url != "" && (o.compare != "" || o.server != "" || o.pin):
		return fmt.Errorf("-url does not go with -server, -compare and -pin")
	case min(o.rounds, o.idleClients, o.clients, o.actors, o.stormClients, o.stuckRate, o.size, o.window) < 1 || o.stuck < 0:
		return fmt.Errorf("numbers must be positive")
	}
	if o.window > maxWindow {
		return fmt.Errorf("-window is at most %d", maxWindow)
	}
	chosen, err := o.chosen()
	if o.url != "" && o.scenarios != "all" && slices.ContainsFunc(chosen, func(s scenario) bool { return s.cluster }) {
		return fmt.Errorf("-url does not go with scenarios of a cluster")
	}
	return err
}

func (o *options) chosen() (chosen []scenario, err error) {
	if o.scenarios == "all" {
		return scenarios, nil
	}
	for name := range strings.SplitSeq(o.scenarios, ",") {
		i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-scenario: what is %q?", name)
		}
		chosen = append(chosen, scenarios[i])
	}
	return chosen, nil
}

func main() {
	o, err := parseOptions(os.Args[1:])
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := (&bench{ctx: ctx, o: o}).run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}
