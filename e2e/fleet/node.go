package fleet

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"logux-proxy/e2e/history"
)

// Settings are environment variables; "" takes one away.
type Settings map[string]string

// A Node is one server: a process of the program, which can be killed and started again at the same addresses.
type Node struct {
	// Static
	Name   string
	Addr   string // host:port of WebSocket and control API
	Admin  string // host:port of health and metrics
	Gossip string // host:port

	t         testing.TB
	fleet     *Fleet
	program   string
	namespace string
	env       Settings
	log       *output

	p *process
}

// start begins a new process and does not wait for it.
func (n *Node) start() {
	n.t.Helper()
	env := Settings{"PATH": os.Getenv("PATH"), "HOME": os.Getenv("HOME"), "GORACE": "halt_on_error=0 exitcode=66"}
	for k, v := range n.env {
		env[k] = v
	}
	var list []string
	for k, v := range env {
		if v != "" {
			list = append(list, k+"="+v)
		}
	}
	dir := filepath.Join(n.fleet.dir, n.Name) // no .env of anybody
	if err := os.MkdirAll(dir, 0o700); err != nil {
		n.t.Fatal(err)
	}
	var err error
	if n.p, err = start(n.namespace, dir, list, n.log, n.program); err != nil {
		n.t.Fatal(err)
	}
}

// Start starts a process after Kill or Terminate, and waits until it is ready.
func (n *Node) Start() {
	n.t.Helper()
	n.start()
	n.AwaitReady()
}

// AwaitReady waits until /readyz says 200.
func (n *Node) AwaitReady() {
	n.t.Helper()
	Await(n.t, n.Name+" is ready", func() bool {
		if n.p.gone() {
			n.t.Fatalf("%s ended with code %d:\n%s", n.Name, n.p.code, n.log.tail(6000))
		}
		return n.Ready()
	})
}

// Ready asks /readyz.
func (n *Node) Ready() bool {
	status, _ := n.Get("/readyz")
	return status == http.StatusOK
}

var admin = http.Client{Timeout: 5 * time.Second}

// Get returns a page of the admin listener; the status is 0 when there was no answer.
func (n *Node) Get(path string) (status int, body string) {
	res, err := admin.Get("http://" + n.Admin + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(text)
}

// Metric is the sum of a metric over its labels that contain all of with.
func (n *Node) Metric(name string, with ...string) (sum float64) {
	_, page := n.Get("/metrics")
	for line := range strings.Lines(page) {
		rest, is := strings.CutPrefix(line, name)
		if !is || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		labels, value, _ := strings.Cut(rest, " ")
		all := true
		for _, w := range with {
			all = all && strings.Contains(labels, w)
		}
		var v float64
		if _, err := fmt.Sscan(value, &v); err == nil && all {
			sum += v
		}
	}
	return sum
}

// Kill is kill -9.
func (n *Node) Kill() {
	n.fleet.Record.Add(history.Event{Kind: history.Killed, Node: n.Name})
	n.p.kill()
}

// Stop is SIGSTOP.
func (n *Node) Stop() {
	n.fleet.Note("SIGSTOP of " + n.Name)
	n.p.signal(syscall.SIGSTOP)
}

// Continue is SIGCONT.
func (n *Node) Continue() {
	n.fleet.Note("SIGCONT of " + n.Name)
	n.fleet.Record.Add(history.Event{Kind: history.Awake, Node: n.Name})
	n.p.signal(syscall.SIGCONT)
}

// TakenForDead says that the others may take the node for dead from now on: actions that it has may be processed again.
func (n *Node) TakenForDead() {
	n.fleet.Record.Add(history.Event{Kind: history.Dead, Node: n.Name})
}

// Terminate is SIGTERM; it waits for the end, which must be a good one.
func (n *Node) Terminate() {
	n.t.Helper()
	n.Term()
	n.AwaitEnd()
}

// Term is SIGTERM alone.
func (n *Node) Term() {
	n.fleet.Note("SIGTERM of " + n.Name)
	n.p.signal(syscall.SIGTERM)
}

// Ended reports whether the process has ended.
func (n *Node) Ended() bool { return n.p.gone() }

// AwaitEnd waits for the end after Term, which must be a good one.
func (n *Node) AwaitEnd() {
	n.t.Helper()
	n.awaitEnd()
}

func (n *Node) awaitEnd() {
	n.t.Helper()
	select {
	case <-n.p.exited:
	case <-time.After(Patience):
		n.p.kill()
		n.t.Errorf("%s did not end within %v after SIGTERM:\n%s", n.Name, Patience, n.log.tail(6000))
		return
	}
	if n.p.code != 0 {
		n.t.Errorf("%s ended with code %d after SIGTERM:\n%s", n.Name, n.p.code, n.log.tail(6000))
	}
}

// Target is where clients find the node.
func (n *Node) Target() Target { return Target{n.Name, n.Addr} }

// Log is what the node's processes printed.
func (n *Node) Log() string { return n.log.String() }
