package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"

	"logux-proxy/backend/backendtest"
)

// poison are messages of a client that break one published back-end library or another, which then fails a whole shared request. %[1]s is the meta of an
// honest action.
var poison = []struct{ name, sync string }{
	{"type is an object", `{"type":{}},%[1]s`},
	{"type is an array", `{"type":[]},%[1]s`},
	{"type is a number", `{"type":1},%[1]s`},
	{"type is null", `{"type":null},%[1]s`},
	{"no type", `{},%[1]s`},
	{"action is an array", `[],%[1]s`},
	{"action is a string", `"INC",%[1]s`},
	{"action is null", `null,%[1]s`},
	{"type twice", `{"type":"INC","type":{}},%[1]s`},
	{"type twice, once escaped", `{"type":"INC","\u0074ype":"FORBID"},%[1]s`},
	{"any key twice", `{"type":"INC","a":{"b":1,"b":2}},%[1]s`},
	{"lone surrogate", `{"type":"INC","a":"\ud800"},%[1]s`},
	{"invalid UTF-8", "{\"type\":\"INC\",\"a\":\"\xff\"},%[1]s"},
	{"too deep", `{"type":"INC","a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `},%[1]s`},
	{"channel is an object", `{"type":"logux/subscribe","channel":{}},%[1]s`},
	{"channel is an array", `{"type":"logux/subscribe","channel":["a"]},%[1]s`},
	{"channel is a number", `{"type":"logux/subscribe","channel":1},%[1]s`},
	{"channel is null", `{"type":"logux/subscribe","channel":null},%[1]s`},
	{"channel is true", `{"type":"logux/subscribe","channel":true},%[1]s`},
	{"no channel", `{"type":"logux/subscribe"},%[1]s`},
	{"unsubscribe without channel", `{"type":"logux/unsubscribe"},%[1]s`},
	{"since is a number", `{"type":"logux/subscribe","channel":"counter/x","since":1},%[1]s`},
	{"since is a string", `{"type":"logux/subscribe","channel":"counter/x","since":"1"},%[1]s`},
	{"since is an array", `{"type":"logux/subscribe","channel":"counter/x","since":[]},%[1]s`},
	{"since.id is a number", `{"type":"logux/subscribe","channel":"counter/x","since":{"id":1,"time":1}},%[1]s`},
	{"since.time is a string", `{"type":"logux/subscribe","channel":"counter/x","since":{"id":"1 a 0","time":"1"}},%[1]s`},
	{"since.time is an object", `{"type":"logux/subscribe","channel":"counter/x","since":{"id":"1 a 0","time":{}}},%[1]s`},
	{"filter is a number", `{"type":"logux/subscribe","channel":"counter/x","filter":1},%[1]s`},
	{"filter is a string", `{"type":"logux/subscribe","channel":"counter/x","filter":"a"},%[1]s`},
	{"filter is an array", `{"type":"logux/subscribe","channel":"counter/x","filter":[1]},%[1]s`},
	{"meta is null", `{"type":"INC"},null`},
	{"meta is an array", `{"type":"INC"},[]`},
	{"meta without id", `{"type":"INC"},{"time":1}`},
	{"meta without time", `{"type":"INC"},{"id":1}`},
	{"id is a string", `{"type":"INC"},{"id":"1 a 0","time":1}`},
	{"id is an object", `{"type":"INC"},{"id":{},"time":1}`},
	{"id has four parts", `{"type":"INC"},{"id":[1,"a",1,1],"time":1}`},
	{"id's node is a number", `{"type":"INC"},{"id":[1,2,3],"time":1}`},
	{"id's counter is a string", `{"type":"INC"},{"id":[1,"2"],"time":1}`},
	{"time is a string", `{"type":"INC"},{"id":1,"time":"1"}`},
	{"time is null", `{"type":"INC"},{"id":1,"time":null}`},
	{"subprotocol is an object", `{"type":"INC"},{"id":1,"time":1,"subprotocol":{}}`},
	{"subprotocol is an array", `{"type":"INC"},{"id":1,"time":1,"subprotocol":["1.0.0"]}`},
	{"subprotocol is true", `{"type":"INC"},{"id":1,"time":1,"subprotocol":true}`},
	{"foreign meta key", `{"type":"INC"},{"id":1,"time":1,"channels":["counter/x"]}`},
}

// chokes reports why a strict back-end library would throw on a command, "" when it would not. It is deliberately simpler than the proxy's own checks.
func chokes(raw []byte) string {
	var c struct {
		Command string
		Action  map[string]json.RawMessage
		Meta    struct {
			ID          *string
			Time        *float64
			Subprotocol json.RawMessage
		}
		Headers map[string]json.RawMessage
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return err.Error()
	}
	if c.Command != "action" {
		return ""
	}
	str := func(v json.RawMessage) bool { return len(v) > 0 && v[0] == '"' }
	switch {
	case c.Meta.ID == nil || !regexp.MustCompile(`^-?\d+ \S+ \d+$`).MatchString(*c.Meta.ID) || c.Meta.Time == nil:
		return "meta"
	case len(c.Meta.Subprotocol) > 0 && !str(c.Meta.Subprotocol):
		return "subprotocol"
	case !str(c.Action["type"]):
		return "type"
	case string(c.Action["type"]) == `"logux/subscribe"`:
		var since struct {
			ID   string
			Time float64
		}
		var filter map[string]json.RawMessage
		if !str(c.Action["channel"]) {
			return "channel"
		}
		if s := c.Action["since"]; s != nil && (json.Unmarshal(s, &since) != nil || s[0] != '{') {
			return "since"
		}
		if f := c.Action["filter"]; f != nil && json.Unmarshal(f, &filter) != nil {
			return "filter"
		}
	}
	return ""
}

// A library stands in for a published back-end library: how it treats a request with a command that it chokes on among others.
type library struct {
	name  string
	serve func(b *library, w http.ResponseWriter, commands []json.RawMessage)

	mu        sync.Mutex
	processed map[string]int // how often each action ID was processed
	largest   int            // commands in one request
	raw       []string
}

// libraries behave as the named ones do with a command that makes them throw.
var libraries = []*library{
	{name: "Django fails the whole request, nothing done", serve: func(b *library, w http.ResponseWriter, commands []json.RawMessage) {
		if slices.ContainsFunc(commands, func(c json.RawMessage) bool { return chokes(c) != "" }) {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		b.answerAll(w, commands)
	}},
	{name: "PHP fails the request after what came before", serve: func(b *library, w http.ResponseWriter, commands []json.RawMessage) {
		var out []string
		for _, c := range commands {
			if chokes(c) != "" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			out = append(out, b.process(c)...)
		}
		_, _ = io.WriteString(w, "["+strings.Join(out, ",")+"]")
	}},
	{name: "Rack answers it alone", serve: func(b *library, w http.ResponseWriter, commands []json.RawMessage) {
		b.answerAll(w, commands)
	}},
}

func (b *library) answerAll(w http.ResponseWriter, commands []json.RawMessage) {
	var out []string
	for _, c := range commands {
		if chokes(c) == "" {
			out = append(out, b.process(c)...)
		}
	}
	_, _ = io.WriteString(w, "["+strings.Join(out, ",")+"]")
}

// process does one command and returns its answers.
func (b *library) process(raw json.RawMessage) []string {
	var c struct {
		Command, AuthID string
		Meta            struct{ ID string }
	}
	if json.Unmarshal(raw, &c) != nil {
		return nil
	}
	if c.Command == "auth" {
		return []string{fmt.Sprintf(`{"answer":"authenticated","authId":%q,"subprotocol":"1.0.0"}`, c.AuthID)}
	}
	b.mu.Lock()
	b.processed[c.Meta.ID]++
	b.mu.Unlock()
	id := quote(c.Meta.ID)
	return []string{`{"answer":"resend","id":` + id + `}`, `{"answer":"approved","id":` + id + `}`, `{"answer":"processed","id":` + id + `}`}
}

func (b *library) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var req struct{ Commands []json.RawMessage }
	if json.Unmarshal(body, &req) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	b.largest = max(b.largest, len(req.Commands))
	b.raw = append(b.raw, string(body))
	b.mu.Unlock()
	b.serve(b, w, req.Commands)
}

// The stand-ins are worth nothing if they do not choke: an honest command passes, a poisoned one beside it does what the library's name says.
func TestStandInLibrariesChoke(t *testing.T) {
	t.Parallel()
	honest := `{"command":"action","action":{"type":"INC"},"meta":{"id":"1 a:b:c 0","time":1}}`
	bad := `{"command":"action","action":{"type":"logux/subscribe","channel":{}},"meta":{"id":"2 a:b:c 0","time":1}}`
	want := map[string]string{"Django": "500 0", "PHP": "400 1", "Rack": "200 1"}
	for _, lib := range libraries {
		b := &library{serve: lib.serve, processed: map[string]int{}}
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"commands":[`+honest+`,`+bad+`]}`)))
		name, _, _ := strings.Cut(lib.name, " ")
		if got := fmt.Sprintf("%d %d", w.Code, b.processed["1 a:b:c 0"]); got != want[name] {
			t.Errorf("%s answered and processed %s, want %s", lib.name, got, want[name])
		}
	}
}

// One client must not break its neighbours in a shared request: whatever makes a published library throw is refused at the proxy, so that the
// neighbours' actions are processed, each once.
func TestPoisonHurtsNobodyElse(t *testing.T) {
	for _, lib := range libraries {
		t.Run(lib.name, func(t *testing.T) {
			t.Parallel()
			b := &library{serve: lib.serve, processed: map[string]int{}}
			hold := newGate(t)
			held := newGate(t)
			var open sync.Once
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return
				}
				if len(idsIn(body, "HOLD")) > 0 {
					open.Do(held.open)
					<-hold.ch
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				b.ServeHTTP(w, r)
			}))
			t.Cleanup(srv.Close)
			t.Cleanup(hold.open)
			p := startProxy(t, srv.URL, settings{"LOGUX_BACKEND_CONCURRENCY": "1", "LOGUX_BACKEND_BATCH": "500"})
			l := newLine(t, p.addr)
			var poisoners, neighbours []*client
			for i := range poison {
				poisoners = append(poisoners, connect(t, l.addr, fmt.Sprintf("p%d:c:t", i), dialOptions{}))
				neighbours = append(neighbours, connect(t, l.addr, fmt.Sprintf("n%d:c:t", i), dialOptions{}))
			}
			holder := connect(t, l.addr, "h:c:t", dialOptions{})
			last := holder.sync(t, `{"type":"HOLD"}`)
			<-held.ch
			var ids []string
			for i, shape := range poison {
				message := shape.sync
				if strings.Contains(message, "%[1]s") {
					message = fmt.Sprintf(message, `{"id":1,"time":1}`)
				}
				poisoners[i].send(t, `["sync",1,`+message+`]`)
				ids = append(ids, neighbours[i].sync(t, `{"type":"INC"}`))
			}
			for i, shape := range poison {
				refused := func() bool {
					code, gone := poisoners[i].gone()
					return len(poisoners[i].of("error"))+len(poisoners[i].having("logux/undo")) > 0 || gone && code == ws.StatusInvalidFramePayloadData
				}
				if !poisoners[i].awaitFor(patience, refused) {
					t.Fatalf("%s was not refused; %s", shape.name, poisoners[i].story())
				}
				if errs := poisoners[i].of("error"); len(errs) > 0 && !strings.HasPrefix(errs[0].raw, `["error","wrong-format"`) {
					t.Errorf("%s was refused with %s, want wrong-format", shape.name, errs[0].raw)
				}
			}
			awaitPolling(t, "the neighbours' commands wait", func() bool {
				return p.metric(t, "logux_backend_waiting_commands") >= float64(len(neighbours))
			})
			hold.open()
			holder.awaitOutcome(t, last)
			for i, shape := range poison {
				if got := neighbours[i].awaitOutcome(t, ids[i]); got != "processed" {
					t.Errorf("%s: a neighbour's action ended in %s, want processed", shape.name, got)
				}
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.largest < len(neighbours) {
				t.Errorf("the largest request had %d commands, want all %d neighbours in one", b.largest, len(neighbours))
			}
			for i, id := range ids {
				if n := b.processed[id]; n != 1 {
					t.Errorf("the action of neighbour %d was processed %d times, want once", i, n)
				}
			}
			for _, raw := range b.raw {
				for i, shape := range poison {
					if strings.Contains(raw, fmt.Sprintf(" p%d:c:t ", i)) {
						t.Errorf("%s reached the back-end", shape.name)
					}
				}
			}
		})
	}
}

// Headers travel with every command, so odd ones are refused before they can break one.
func TestPoisonInHeaders(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	l := newLine(t, p.addr)
	for i, text := range []string{`["headers",[]]`, `["headers",null]`, `["headers","x"]`, `["headers"]`, `["headers",{"a":1,"a":2}]`} {
		user := fmt.Sprintf("head%d", i)
		c := open(t, l.addr, user+":c:t", dialOptions{})
		c.send(t, text)
		c.awaitClosed(t)
		if errs := c.of("error"); len(errs) != 1 || !strings.HasPrefix(errs[0].raw, `["error","wrong-format"`) {
			t.Errorf("%s was answered with %s, want wrong-format", text, c.story())
		}
		if n := len(b.seen(authOf(user))); n != 0 {
			t.Errorf("%s: the back-end was asked", text)
		}
	}
	for i, subprotocol := range []string{`{}`, `[]`, `true`, `null`} {
		user := fmt.Sprintf("sub%d", i)
		c := open(t, l.addr, user+":c:t", dialOptions{})
		c.send(t, fmt.Sprintf(`["connect",4,"%s:c:t",0,{"subprotocol":%s}]`, user, subprotocol))
		c.awaitClosed(t)
		if n := len(b.seen(func(c *backendtest.Command) bool { return c.Auth && c.User() == user })); n != 0 {
			t.Errorf("subprotocol %s: the back-end was asked", subprotocol)
		}
	}
}
