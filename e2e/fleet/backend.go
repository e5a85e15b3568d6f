package fleet

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"logux-proxy/e2e/history"
)

// Secret is what servers and back-end share.
const Secret = "s3cr3t-of-the-fleet"

// BackendTime is how long the back-end takes for most actions.
const BackendTime = 5 * time.Millisecond

// subscribeTime is how long it takes for a subscription at most. What is sent meanwhile must not be missed.
const subscribeTime = 100 * time.Millisecond

// A Backend lets everybody in, lets every action and subscription pass, and re-sends an action to the targets that are written in it. Each server calls
// it at an address of its own, so that the history says who asked.
type Backend struct {
	Record *history.Recorder

	listener net.Listener
	server   http.Server
	done     sync.WaitGroup
	failure  atomic.Pointer[string]
}

// NewBackend starts a back-end at addr, host:port.
func NewBackend(record *history.Recorder, addr string) (*Backend, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	b := &Backend{Record: record, listener: listener}
	b.server.Handler = b
	b.server.ReadHeaderTimeout = time.Minute
	b.done.Go(func() { _ = b.server.Serve(listener) })
	return b, nil
}

// URL is for the server called name.
func (b *Backend) URL(name string) string { return "http://" + b.listener.Addr().String() + "/" + name }

// Close ends all requests.
func (b *Backend) Close() {
	_ = b.server.Close()
	b.done.Wait()
}

// Failure is what the back-end could not read; "" when it could all.
func (b *Backend) Failure() string {
	if f := b.failure.Load(); f != nil {
		return *f
	}
	return ""
}

type command struct {
	Command string
	AuthID  string
	Action  struct {
		Type, Channel string
		M             string
		MS            int64
		To            *history.Targets
	}
	Meta struct{ ID string }
}

// ServeHTTP answers commands side by side, each as soon as it is done.
func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	node := strings.Trim(r.URL.Path, "/")
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var body struct{ Commands []command }
	if err := json.Unmarshal(text, &body); err != nil {
		failure := fmt.Sprintf("%s sent %s: %v", node, text, err)
		b.failure.CompareAndSwap(nil, &failure)
		http.Error(w, "Wrong format", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	answers := &answers{w: w, open: "["}
	var wait sync.WaitGroup
	for _, c := range body.Commands {
		if c.Command != "auth" {
			b.Record.Add(history.Event{Kind: history.Asked, Node: node, ID: c.Meta.ID, Type: c.Action.Type, Channel: c.Action.Channel, Mark: c.Action.M})
		}
		wait.Go(func() { b.answer(node, &c, answers) })
	}
	wait.Wait()
	answers.write("]")
}

func (b *Backend) answer(node string, c *command, answers *answers) {
	if c.Command == "auth" {
		time.Sleep(BackendTime)
		answers.element(fmt.Sprintf(`{"answer":"authenticated","authId":%q,"subprotocol":"1.0.0"}`, c.AuthID))
		return
	}
	id := c.Meta.ID
	targets := c.Action.To
	if c.Action.Type == history.Subscribe {
		time.Sleep(rand.N(subscribeTime))
		targets = nil
	} else {
		time.Sleep(max(BackendTime, time.Duration(c.Action.MS)*time.Millisecond))
	}
	answers.mu.Lock()
	defer answers.mu.Unlock()
	if targets != nil {
		to, err := json.Marshal(targets)
		if err != nil {
			panic(err) // strings only
		}
		answers.elementLocked(fmt.Sprintf(`{"answer":"resend","id":%q,%s`, id, to[1:]))
	}
	b.Record.Add(history.Event{Kind: history.Approved, Node: node, ID: id, Targets: targets})
	answers.elementLocked(fmt.Sprintf(`{"answer":"approved","id":%q}`, id))
	b.Record.Add(history.Event{Kind: history.Answered, Node: node, ID: id, Result: history.Processed})
	answers.elementLocked(fmt.Sprintf(`{"answer":"processed","id":%q}`, id))
}

// answers is the array of a response.
type answers struct {
	mu   sync.Mutex
	w    http.ResponseWriter
	open string // before the next element
}

func (a *answers) element(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.elementLocked(text)
}

func (a *answers) elementLocked(text string) {
	_, _ = io.WriteString(a.w, a.open+text)
	a.open = ","
	_ = http.NewResponseController(a.w).Flush()
}

func (a *answers) write(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, _ = io.WriteString(a.w, text)
}
