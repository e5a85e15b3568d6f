package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// clientVersions are the releases of @logux/client that are examined, oldest first.
var clientVersions = []string{"0.9.3", "0.13.3", "0.14.7", "0.16.0", "0.18.4", "0.20.1", "0.21.1", "0.22.2", "0.23.2"}

// numberSubprotocol tells whether a release speaks protocol 5, whose application subprotocol is a number.
func numberSubprotocol(version string) bool { return version == "0.22.2" || version == "0.23.2" }

// A driver is one js/driver.js process: any number of real clients of one version.
type driver struct {
	version string
	stdin   io.WriteCloser
	stderr  logBuffer

	mu      sync.Mutex
	n       int
	replies map[int]reply
	events  map[string][]event // by client name
	thrown  []event
	ended   bool
	news
}

// An event is something that happened to a client by itself.
type event struct {
	Event       string
	State       string
	Headers     map[string]json.RawMessage
	Text        string
	Error       jsError
	Action      json.RawMessage
	ID          string
	Subprotocol json.RawMessage
}

// A jsError is an error as the client saw it.
type jsError struct {
	Text    string
	Type    string
	Options json.RawMessage
	Action  struct {
		Type   string
		ID     string
		Reason string
		Action json.RawMessage
	}
}

type reply struct {
	N     int
	OK    json.RawMessage
	Error string
}

// startDriver starts a driver that ends with the test.
func startDriver(t testing.TB, version string) *driver {
	t.Helper()
	d := &driver{version: version, replies: map[int]reply{}, events: map[string][]event{}}
	cmd := exec.Command("node", "js/driver.js", version)
	cmd.Stderr = &d.stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if d.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting the JavaScript clients: %v", err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		d.read(stdout)
	}()
	t.Cleanup(func() {
		_ = d.stdin.Close()
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("the driver of @logux/client %s ended with %v", version, err)
		}
		if t.Failed() {
			t.Logf("stderr of @logux/client %s:\n%s", version, d.stderr.tail(4000))
		}
	})
	return d
}

func (d *driver) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		d.line(lines.Bytes())
	}
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	d.changed()
}

func (d *driver) line(text []byte) {
	defer d.changed()
	d.mu.Lock()
	defer d.mu.Unlock()
	var l struct {
		Client string
		reply
		event
	}
	// The two kinds of lines share the key "error" with different types.
	var kind struct {
		N      int
		Client string
		Event  string
	}
	if err := json.Unmarshal(text, &kind); err != nil {
		d.thrown = append(d.thrown, event{Event: "garbage", Text: string(text)})
		return
	}
	if kind.N != 0 {
		if err := json.Unmarshal(text, &l.reply); err == nil {
			d.replies[kind.N] = l.reply
		}
		return
	}
	if err := json.Unmarshal(text, &l.event); err != nil {
		l.event = event{Event: "garbage", Text: string(text)}
	}
	if kind.Client == "" {
		d.thrown = append(d.thrown, l.event)
		return
	}
	d.events[kind.Client] = append(d.events[kind.Client], l.event)
}

// do sends a command and returns a function that waits for its answer.
func (d *driver) do(t testing.TB, command map[string]any) func() json.RawMessage {
	t.Helper()
	d.mu.Lock()
	d.n++
	n := d.n
	command["n"] = n
	line, err := json.Marshal(command)
	if err == nil {
		_, err = d.stdin.Write(append(line, '\n'))
	}
	d.mu.Unlock()
	if err != nil {
		t.Fatalf("driver of %s: %v", d.version, err)
	}
	return func() json.RawMessage {
		t.Helper()
		var r reply
		d.await(t, fmt.Sprintf("@logux/client %s answers to %s", d.version, line), func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			var ok bool
			r, ok = d.replies[n]
			return ok || d.ended
		})
		if r.N == 0 || r.Error != "" {
			t.Fatalf("@logux/client %s failed on %s: %s\n%s", d.version, line, r.Error, d.stderr.String())
		}
		return r.OK
	}
}

// A jsClient is one instance of a real client.
type jsClient struct {
	d        *driver
	name     string
	user     string
	nodeID   string
	clientID string
}

// options are those of @logux/client's constructor, with the driver's own beside them.
type options struct {
	token       string
	subprotocol any // nil: the version's good one
	headers     map[string]any
	cookie      string
	crossTab    bool
}

// open creates a client and starts it. Its user ID should be the test's own.
func (d *driver) open(t testing.TB, addr, user string, o options) *jsClient {
	t.Helper()
	if o.subprotocol == nil {
		o.subprotocol = "1.0.0"
		if numberSubprotocol(d.version) {
			o.subprotocol = 1
		}
	}
	d.mu.Lock()
	c := &jsClient{d: d, name: fmt.Sprintf("%s#%d", user, d.n), user: user}
	d.mu.Unlock()
	js := map[string]any{"server": "ws://" + addr, "userId": user, "subprotocol": o.subprotocol}
	if o.token != "" {
		js["token"] = o.token
	}
	got := d.do(t, map[string]any{
		"do": "open", "client": c.name, "options": js, "headers": o.headers, "cookie": o.cookie, "crossTab": o.crossTab,
	})()
	var ids struct{ NodeID, ClientID string }
	if err := json.Unmarshal(got, &ids); err != nil {
		t.Fatal(err)
	}
	c.nodeID, c.clientID = ids.NodeID, ids.ClientID
	t.Cleanup(func() { d.do(t, map[string]any{"do": "destroy", "client": c.name})() })
	return c
}

// connect opens a client and waits until it is in sync with the proxy.
func (d *driver) connect(t testing.TB, addr, user string, o options) *jsClient {
	t.Helper()
	c := d.open(t, addr, user, o)
	c.awaitState(t, "synchronized", 1)
	return c
}

// A result is what client.sync() became.
type result struct {
	Resolved json.RawMessage
	Rejected *jsError
}

// sync starts client.sync(action) and returns a function that waits for what it becomes.
func (c *jsClient) sync(t testing.TB, action string) func() result {
	t.Helper()
	wait := c.d.do(t, map[string]any{"do": "sync", "client": c.name, "action": json.RawMessage(action)})
	return func() result {
		t.Helper()
		var r result
		if err := json.Unmarshal(wait(), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// mustSync waits until client.sync(action) resolved.
func (c *jsClient) mustSync(t testing.TB, action string) {
	t.Helper()
	if r := c.sync(t, action)(); r.Rejected != nil {
		t.Fatalf("sync of %s was rejected: %+v", action, *r.Rejected)
	}
}

// events returns what happened to the client so far.
func (c *jsClient) events() []event {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	return slices.Clone(c.d.events[c.name])
}

// count returns how many events match.
func (c *jsClient) count(match func(event) bool) int {
	n := 0
	for _, e := range c.events() {
		if match(e) {
			n++
		}
	}
	return n
}

// awaitEvent returns the n-th event (from 1) that matches.
func (c *jsClient) awaitEvent(t testing.TB, what string, n int, match func(event) bool) event {
	t.Helper()
	ok := c.d.awaitFor(patience, func() bool { return c.count(match) >= n })
	if !ok {
		t.Fatalf("@logux/client %s: waited %v in vain for %s; its events: %s", c.d.version, patience, what, dump(c.events()))
	}
	for _, e := range c.events() {
		if match(e) {
			if n--; n == 0 {
				return e
			}
		}
	}
	panic("unreachable")
}

// awaitState waits until the client came into a state for the n-th time.
func (c *jsClient) awaitState(t testing.TB, state string, n int) {
	t.Helper()
	c.awaitEvent(t, "state "+state, n, func(e event) bool { return e.Event == "state" && e.State == state })
}

// added matches an action in the client's log by JSON text that it contains.
func added(parts ...string) func(event) bool {
	return func(e event) bool {
		if e.Event != "add" {
			return false
		}
		for _, p := range parts {
			if !strings.Contains(string(e.Action), p) {
				return false
			}
		}
		return true
	}
}

// failed matches an error of the protocol that the client met.
func failed(errorType string) func(event) bool {
	return func(e event) bool { return e.Event == "error" && e.Error.Type == errorType }
}

func dump(events []event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "\n  %s %s%s %s %s %s", e.Event, e.State, e.Error.Type, e.Error.Text, e.ID, e.Action)
	}
	return b.String()
}
