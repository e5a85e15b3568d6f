package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// A backend is a real HTTP server that speaks back-end protocol 4. By itself it is the counter application of the user's README, once for every channel
// counter/…; tests script what else they need by action type or channel.
type backend struct {
	url string
	srv *httptest.Server

	mu        sync.Mutex
	requests  []request
	commands  []command
	counters  map[string]int
	actions   map[string]script // by action type
	channels  map[string]script // by channel of logux/subscribe
	auth      map[string]script // by user ID
	intercept http.HandlerFunc  // nil: none
	closing   chan struct{}     // closed at the end of the test; frees scripts that wait
	news
}

// A request is what one POST of the proxy looked like.
type request struct {
	header   http.Header
	body     string
	commands int
}

// A command is one element of a request's commands, as it came.
type command struct {
	Command     string                     `json:"command"`
	AuthID      string                     `json:"authId"`
	UserID      *string                    `json:"userId"`
	Token       string                     `json:"token"`
	Subprotocol json.RawMessage            `json:"subprotocol"`
	Cookie      map[string]string          `json:"cookie"`
	Headers     map[string]json.RawMessage `json:"headers"`
	Action      json.RawMessage            `json:"action"`
	Meta        struct {
		ID          string          `json:"id"`
		Time        json.RawMessage `json:"time"`
		Subprotocol json.RawMessage `json:"subprotocol"`
	} `json:"meta"`

	raw    string
	action actionFields
	req    *http.Request
}

// actionFields are what the back-end itself reads of an action.
type actionFields struct {
	Type    string          `json:"type"`
	Channel string          `json:"channel"`
	Since   json.RawMessage `json:"since"`
	Counter string          `json:"counter"`
}

// user is the user ID inside the action's ID.
func (c *command) user() string {
	_, node, _ := strings.Cut(c.Meta.ID, " ")
	user, _, _ := strings.Cut(node, ":")
	return user
}

// client is the client ID inside the action's ID.
func (c *command) client() string {
	_, node, _ := strings.Cut(c.Meta.ID, " ")
	parts := strings.SplitN(node, ":", 3)
	return strings.Join(parts[:min(2, len(parts))], ":")
}

// A script answers one command.
type script func(c *command, a *answers)

// answers writes to the response; each answer is sent at once.
type answers struct {
	id   string // the command's
	out  *response
	name string // of the id: "id" or "authId"
}

// A response is the array that all commands of one request write into.
type response struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	wrote bool
}

func (r *response) element(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sep := ","
	if !r.wrote {
		sep, r.wrote = "[", true
	}
	_, _ = fmt.Fprint(r.w, sep, text)
	_ = http.NewResponseController(r.w).Flush()
}

func (r *response) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.wrote {
		_, _ = fmt.Fprint(r.w, "[")
	}
	_, _ = fmt.Fprint(r.w, "]")
}

// answer writes one element with the command's ID; more holds further keys as JSON, starting with a comma, or is empty.
func (a *answers) answer(kind, more string) {
	a.out.element(fmt.Sprintf(`{"answer":%q,%q:%s%s}`, kind, a.name, quote(a.id), more))
}

func (a *answers) approved()  { a.answer("approved", "") }
func (a *answers) processed() { a.answer("processed", "") }
func (a *answers) resend(targets string) {
	a.answer("resend", ","+strings.Trim(targets, "{}"))
}

func (a *answers) action(action, meta string) {
	a.answer("action", `,"action":`+action+`,"meta":`+meta)
}

func (a *answers) fail(details string) { a.answer("error", `,"details":`+quote(details)) }

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// newBackend starts a back-end.
func newBackend(t testing.TB) *backend {
	t.Helper()
	b := &backend{counters: map[string]int{}, actions: map[string]script{}, channels: map[string]script{}, auth: map[string]script{}, closing: make(chan struct{})}
	b.srv = httptest.NewServer(b)
	b.url = b.srv.URL + "/logux"
	t.Cleanup(func() {
		close(b.closing)
		b.srv.CloseClientConnections()
		b.srv.Close()
	})
	return b
}

// on scripts an action type.
func (b *backend) on(actionType string, s script) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.actions[actionType] = s
}

// onChannel scripts subscriptions to a channel.
func (b *backend) onChannel(channel string, s script) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.channels[channel] = s
}

// onAuth scripts the authentication of a user.
func (b *backend) onAuth(user string, s script) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.auth[user] = s
}

// hold waits for gate inside a script.
func (b *backend) hold(gate <-chan struct{}) {
	select {
	case <-gate:
	case <-b.closing:
	}
}

// onRequest takes over whole requests; nil gives them back. The body is not yet read.
func (b *backend) onRequest(h http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.intercept = h
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	intercept := b.intercept
	b.mu.Unlock()
	if intercept != nil {
		intercept(w, r)
		return
	}
	commands, ok := b.read(w, r)
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := &response{w: w}
	var all sync.WaitGroup
	for _, c := range commands {
		all.Go(func() { b.answer(c, out) })
	}
	all.Wait()
	out.end()
}

// read decodes and records a request; it answers a wrong one itself.
func (b *backend) read(w http.ResponseWriter, r *http.Request) ([]*command, bool) {
	var body struct {
		Version  int               `json:"version"`
		Secret   string            `json:"secret"`
		Commands []json.RawMessage `json:"commands"`
	}
	var text strings.Builder
	if err := json.NewDecoder(http.MaxBytesReader(w, teeBody(r, &text), 32<<20)).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil, false
	}
	if body.Version != 4 || body.Secret != secret {
		http.Error(w, "wrong version or secret", http.StatusForbidden)
		return nil, false
	}
	commands := make([]*command, 0, len(body.Commands))
	for _, raw := range body.Commands {
		c := &command{raw: string(raw), req: r}
		if err := json.Unmarshal(raw, c); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return nil, false
		}
		if c.Command == "action" {
			if err := json.Unmarshal(c.Action, &c.action); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return nil, false
			}
		}
		commands = append(commands, c)
	}
	b.mu.Lock()
	b.requests = append(b.requests, request{header: r.Header.Clone(), body: text.String(), commands: len(commands)})
	for _, c := range commands {
		b.commands = append(b.commands, *c)
	}
	b.mu.Unlock()
	b.changed()
	return commands, true
}

func (b *backend) answer(c *command, out *response) {
	if c.Command == "auth" {
		a := &answers{id: c.AuthID, out: out, name: "authId"}
		b.find(b.auth, deref(c.UserID), authenticate)(c, a)
		return
	}
	a := &answers{id: c.Meta.ID, out: out, name: "id"}
	if c.action.Type == "logux/subscribe" {
		b.find(b.channels, c.action.Channel, b.subscribe)(c, a)
		return
	}
	b.find(b.actions, c.action.Type, b.act)(c, a)
}

func (b *backend) find(scripts map[string]script, key string, otherwise script) script {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := scripts[key]; s != nil {
		return s
	}
	return otherwise
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// authenticate lets everybody in but for the tokens "bad" and "throw" and subprotocol 0.
func authenticate(c *command, a *answers) {
	number := len(c.Subprotocol) > 0 && c.Subprotocol[0] != '"'
	switch {
	case c.Token == "bad":
		a.answer("denied", "")
	case c.Token == "throw":
		a.fail("Error: the authenticator threw")
	case number && string(c.Subprotocol) == "0":
		a.answer("wrongSubprotocol", `,"supported":1`)
	case strings.HasPrefix(string(c.Subprotocol), `"0.`):
		a.answer("wrongSubprotocol", `,"supported":"^1.0.0"`)
	case number:
		a.answer("authenticated", `,"subprotocol":1`)
	default:
		a.answer("authenticated", `,"subprotocol":"1.0.0"`)
	}
}

// subscribe serves counter/… channels and refuses private/… ones; it knows no others.
func (b *backend) subscribe(c *command, a *answers) {
	switch {
	case strings.HasPrefix(c.action.Channel, "private/"):
		a.answer("forbidden", "")
	case strings.HasPrefix(c.action.Channel, "counter/"):
		a.approved()
		b.mu.Lock()
		value := b.counters[c.action.Channel]
		b.mu.Unlock()
		a.action(fmt.Sprintf(`{"type":"INC","counter":%q,"value":%d}`, c.action.Channel, value),
			fmt.Sprintf(`{"clients":[%s]}`, quote(c.client())))
		a.processed()
	default:
		a.answer("unknownChannel", "")
	}
}

// act counts INC, forbids FORBID, breaks on BREAK and knows no other action.
func (b *backend) act(c *command, a *answers) {
	switch c.action.Type {
	case "INC":
		a.resend(fmt.Sprintf(`{"channels":[%q]}`, c.action.Counter))
		a.approved()
		b.mu.Lock()
		b.counters[c.action.Counter]++
		b.mu.Unlock()
		a.processed()
	case "FORBID":
		a.answer("forbidden", "")
	case "BREAK":
		a.approved()
		a.fail("Error: broken\n    at secret/path.rb:13")
	default:
		a.answer("unknownAction", "")
	}
}

// counter returns the value behind a channel.
func (b *backend) counter(channel string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counters[channel]
}

// seen returns the commands so far for which match holds.
func (b *backend) seen(match func(c *command) bool) []command {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []command
	for _, c := range b.commands {
		if match(&c) {
			found = append(found, c)
		}
	}
	return found
}

// awaitCommand returns the n-th command (from 1) for which match holds.
func (b *backend) awaitCommand(t testing.TB, what string, n int, match func(c *command) bool) command {
	t.Helper()
	b.await(t, "the back-end gets "+what, func() bool { return len(b.seen(match)) >= n })
	return b.seen(match)[n-1]
}

// byID matches the action with an ID.
func byID(id string) func(*command) bool {
	return func(c *command) bool { return c.Meta.ID == id }
}

// byUser matches the auth command of a user.
func authOf(user string) func(*command) bool {
	return func(c *command) bool { return c.Command == "auth" && deref(c.UserID) == user }
}

// teeBody records the body of r while it is read.
func teeBody(r *http.Request, into io.Writer) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(r.Body, into), r.Body}
}
