// Package fleet runs what a cluster of servers needs and does to it what may happen to one: server processes, real servers of Redis, a back-end, and thousands of
// clients that behave like real ones. All of it writes one history, which is judged at the end.
//
// It ends only processes that it started, by their IDs, and all of them end with the test.
package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"logux-proxy/e2e/history"
)

// A Fleet is one cluster with its clients.
type Fleet struct {
	// Static
	Record  *history.Recorder
	Backend *Backend
	Crowd   *Crowd
	Nodes   []*Node
	// Random is for whoever does things to the fleet. Its seed is in the test's log.
	Random *rand.Rand

	t       testing.TB
	options Options
	dir     string
	stop    context.CancelFunc
	added   int
	gone    []*Node
}

// Options say what a fleet is.
type Options struct {
	Program string // to run
	// Programs are for single nodes, by their index from 0, in place of Program.
	Programs map[int]string
	Nodes    int
	// Redis is the URL for the i-th node; nil: none, a single node.
	Redis func(i int) string
	Load  Load
	Seed  uint64
	// Settings of all nodes, and of the i-th.
	Settings Settings
	Own      func(i int) Settings
	// Network, when set, gives each node a host of its own.
	Network *Network
	// Join names whom the i-th node joins, in place of all others.
	Join func(i int, gossip []string) string
	// Apart: the nodes need not find each other at the start.
	Apart bool
	// Front starts a load balancer for the nodes and returns where it is, host:port; nil: the clients choose a node themselves.
	Front func(f *Fleet) string
	// Judge says how strict the history is judged.
	Judge history.Options
}

// New starts a fleet and returns when all nodes are ready, members of one cluster, and all clients connected.
func New(t testing.TB, o Options) *Fleet {
	t.Helper()
	dir, err := os.MkdirTemp("", "logux-proxy-fleet-") //nolint:usetesting // kept when the test fails
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{Record: history.NewRecorder(), t: t, options: o, dir: dir, Random: rand.New(rand.NewPCG(o.Seed, 7))}
	t.Logf("seed %d", o.Seed)
	host := "127.0.0.1"
	if o.Network != nil {
		host = o.Network.Host()
	}
	if f.Backend, err = NewBackend(f.Record, host+":0"); err != nil {
		t.Fatal(err)
	}
	f.Crowd = NewCrowd(f.Record, o.Load, o.Seed)
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	t.Cleanup(f.close)
	for range o.Nodes {
		f.prepare()
	}
	for _, n := range f.Nodes {
		n.start()
	}
	for _, n := range f.Nodes {
		n.AwaitReady()
	}
	if !o.Apart {
		f.AwaitMembers(f.Nodes...)
	}
	f.Crowd.Serve(f.Targets(f.Nodes...)...)
	if o.Front != nil {
		f.Crowd.Behind(o.Front(f))
	}
	f.Crowd.Start(ctx)
	f.AwaitSettled()
	return f
}

// prepare makes the next node, which is to be started.
func (f *Fleet) prepare() *Node {
	i := len(f.Nodes)
	o := &f.options
	host, namespace := "127.0.0.1", ""
	if o.Network != nil {
		host, namespace = o.Network.node(i)
	}
	at := func() string { return fmt.Sprintf("%s:%d", host, freePort(f.t)) }
	f.added++
	n := &Node{
		Name: fmt.Sprintf("node-%d", f.added), Addr: at(), Admin: at(), Gossip: at(), t: f.t, fleet: f,
		program: o.Program, namespace: namespace, log: new(output),
	}
	if o.Network != nil {
		n.Gossip = host + ":7946" // the same everywhere, as names that stand for several hosts want it
	}
	if p := o.Programs[i]; p != "" {
		n.program = p
	}
	port := n.Addr[strings.LastIndexByte(n.Addr, ':')+1:]
	n.env = Settings{
		"LOGUX_HOST": host, "LOGUX_PORT": port, "LOGUX_ADMIN_ADDR": n.Admin, "LOGUX_ENV": "production", "LOGUX_LOGGER": "json", "LOGUX_LOG_LEVEL": "warn",
		"LOGUX_ORIGINS": "*", "LOGUX_BACKEND": f.Backend.URL(n.Name), "LOGUX_CONTROL_SECRET": Secret, "LOGUX_CONTROL_MASK": "127.0.0.0/8,10.0.0.0/8",
		"LOGUX_DRAIN_GRACE": "500ms", "LOGUX_DRAIN_TIME": "2s",
		// The clients choose at random: tests of other things want to say themselves when a connection ends.
		"LOGUX_REBALANCE": "off",
	}
	if o.Redis != nil {
		n.env["LOGUX_REDIS"] = o.Redis(i)
		n.env["LOGUX_GOSSIP_ADDR"] = n.Gossip
		if o.Network != nil {
			n.env["LOGUX_GOSSIP_KEY"] = "bG9ndXgtcHJveHktdGVzdHMtb2YtYS1mbGVldC0wMSE="
		}
	}
	for k, v := range o.Settings {
		n.env[k] = v
	}
	if o.Own != nil {
		for k, v := range o.Own(i) {
			n.env[k] = v
		}
	}
	f.Nodes = append(f.Nodes, n)
	for i, n := range f.Nodes {
		if o.Redis != nil {
			n.env["LOGUX_JOIN"] = f.join(i)
		}
	}
	return n
}

func (f *Fleet) join(i int) string {
	var gossip, others []string
	for k, n := range f.Nodes {
		gossip = append(gossip, n.Gossip)
		if k != i {
			others = append(others, n.Gossip)
		}
	}
	if f.options.Join != nil {
		return f.options.Join(i, gossip)
	}
	return strings.Join(others, ",")
}

// Add starts one more node, and returns when it is a member and clients may go to it.
func (f *Fleet) Add() *Node {
	f.t.Helper()
	n := f.prepare()
	f.Note("start of " + n.Name)
	n.Start()
	return n
}

// Drop forgets a node that has ended, which must be the last.
func (f *Fleet) Drop(n *Node) {
	f.gone = append(f.gone, n)
	f.Nodes = f.Nodes[:len(f.Nodes)-1]
}

// Targets are where clients find nodes.
func (f *Fleet) Targets(nodes ...*Node) (all []Target) {
	for _, n := range nodes {
		all = append(all, n.Target())
	}
	return all
}

// Note writes into the history what the test does.
func (f *Fleet) Note(what string) { f.Record.Add(history.Event{Kind: history.Fault, Mark: what}) }

// AwaitMembers waits until each of nodes sees just nodes and stands well with Redis.
func (f *Fleet) AwaitMembers(nodes ...*Node) {
	f.t.Helper()
	if f.options.Redis == nil {
		return
	}
	for _, n := range nodes {
		Await(f.t, fmt.Sprintf("%s sees %d nodes", n.Name, len(nodes)), func() bool { return n.Members() == len(nodes) })
		Await(f.t, n.Name+" has Redis", func() bool { return n.Bus() == "ok" })
	}
}

// AwaitSettled waits until every client is connected and has nothing that is not acknowledged.
func (f *Fleet) AwaitSettled() {
	f.t.Helper()
	if !Within(Patience, f.Crowd.Settled) {
		f.t.Fatalf("waited %v in vain: %s", Patience, f.Crowd.Unsettled())
	}
}

// AwaitOutcomes waits until all that was acknowledged before a time has its outcome.
func (f *Fleet) AwaitOutcomes(before time.Time) {
	f.t.Helper()
	if !Within(2*Patience, func() bool { return f.Crowd.Owed(before) == 0 }) {
		f.t.Fatalf("waited %v in vain: %d acknowledged actions have no outcome", 2*Patience, f.Crowd.Owed(before))
	}
}

// Pass lets the load go on for d.
func (f *Fleet) Pass(d time.Duration) { <-time.After(d) }

// Moment lets the load go on for a random time up to d.
func (f *Fleet) Moment(d time.Duration) { f.Pass(time.Duration(f.Random.Int64N(int64(d)) + 1)) }

// Judge ends the load, waits until nothing is under way or patience is over, and fails the test unless all rules hold.
func (f *Fleet) Judge() *history.Verdict {
	f.t.Helper()
	v := f.Verdict(Patience)
	if v.OK() {
		f.t.Logf("%v", v)
	} else {
		f.t.Errorf("%v", v)
	}
	if !Within(Patience, f.Crowd.Settled) { // nodes may still be balancing clients
		f.t.Errorf("%s", f.Crowd.Unsettled())
	}
	for _, failure := range []string{f.Crowd.Failure(), f.Backend.Failure()} {
		if failure != "" {
			f.t.Error(failure)
		}
	}
	return v
}

// Verdict ends the load and returns the verdict as soon as nothing is missing, or after d.
func (f *Fleet) Verdict(d time.Duration) *history.Verdict {
	f.Crowd.Act(false)
	deadline := time.Now().Add(d)
	Within(d, f.Crowd.Settled)
	for {
		v := history.Judge(f.Record.Events(), f.options.Judge)
		if v.OK() || time.Now().After(deadline) {
			return v
		}
		f.Pass(500 * time.Millisecond)
	}
}

// close ends everything. The history and the logs of the nodes are kept when the test failed.
func (f *Fleet) close() {
	f.Crowd.Act(false)
	f.stop()
	f.Crowd.Wait()
	for _, n := range f.Nodes {
		if n.p == nil || n.p.gone() {
			continue
		}
		n.p.signal(syscall.SIGCONT)
		n.p.signal(syscall.SIGTERM)
		n.awaitEnd()
	}
	f.Backend.Close()
	for _, n := range f.Nodes {
		if log := n.Log(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
			f.t.Errorf("the log of %s shows a race or a panic:\n%s", n.Name, n.log.tail(12000))
		}
	}
	if !f.t.Failed() {
		_ = os.RemoveAll(f.dir)
		return
	}
	path := filepath.Join(f.dir, "history.jsonl")
	if err := history.Save(path, f.Record.Events()); err != nil {
		f.t.Error(err)
	}
	for _, n := range f.Nodes {
		if err := os.WriteFile(filepath.Join(f.dir, n.Name+".log"), []byte(n.Log()), 0o600); err != nil {
			f.t.Error(err)
		}
	}
	f.t.Logf("history and logs: %s (go run ./e2e/history/judge %s)", f.dir, path)
}
