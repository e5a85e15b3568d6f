package backend

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"logux-proxy/wire"
)

// A diary is a Tracer that writes down what it is told. It follows control requests from the second one on.
type diary struct {
	mu      sync.Mutex
	last    byte
	lines   []string
	control int
}

type diaryStep struct {
	d    *diary
	what string
	at   wire.Trace
}

func (d *diary) begin(what string, of ...byte) *diaryStep {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	return &diaryStep{d, fmt.Sprintf("%d of %v: %s", d.last, of, what), wire.Trace{ID: [16]byte{1}, Span: [8]byte{d.last}}}
}

func (s *diaryStep) Trace() *wire.Trace { return &s.at }

func (s *diaryStep) end(how string) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.d.lines = append(s.d.lines, s.what+" "+how)
}

type (
	diaryCommand struct{ *diaryStep }
	diaryRequest struct{ *diaryStep }
	diaryControl struct{ *diaryStep }
)

func (s diaryCommand) End(a wire.Answer, err error) { s.end(fmt.Sprintf("%q %v", a.Name, err != nil)) }
func (s diaryRequest) End(r RequestInfo)            { s.end(fmt.Sprint(r.Status, " ", r.Err != nil)) }
func (s diaryControl) End(status int)               { s.end(fmt.Sprint(status)) }

func (d *diary) Command(of *wire.Trace, a *wire.Action) CommandTrace {
	return diaryCommand{d.begin("command "+a.Type, of.Span[0])}
}

func (d *diary) Request(commands []CommandTrace, r RequestStart) RequestTrace {
	var of []byte
	for _, c := range commands {
		of = append(of, c.(diaryCommand).at.Span[0])
	}
	return diaryRequest{d.begin(fmt.Sprintf("request with %d, resent %d", r.Commands, r.Resend), of...)}
}

func (d *diary) Control(r ControlStart) ControlTrace {
	if d.control++; d.control == 1 {
		return nil
	}
	return diaryControl{d.begin(fmt.Sprintf("control %v %q %d", r.Addr, r.Traceparent, r.Commands))}
}

func (d *diary) want(t *testing.T, lines ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.lines, lines) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(d.lines, "\n"), strings.Join(lines, "\n"))
	}
	d.lines, d.last = nil, 0
}

// traced is a command of an action with this step.
func traced(n int, step byte) *wire.Command {
	cmd := action(fmt.Sprintf("%d 38:a:b 0", n), incBody)
	cmd.Trace = &wire.Trace{ID: [16]byte{1}, Span: [8]byte{step}}
	return cmd
}

// The request of a traced command carries the step of the request; other requests carry nothing.
func TestTraceparentToTheBackend(t *testing.T) {
	d := new(diary)
	f := &fakeTransport{}
	var headers []http.Header
	c := newFakeClient(t, f, func(cfg *Config) { cfg.Tracer, cfg.Concurrency = d, 1 })
	f.answer = func(n int, _ string, r *http.Request) (*http.Response, error) {
		headers = append(headers, r.Header)
		return respondWith(200, fmt.Sprintf(`[{"answer":"approved","id":"%d 38:a:b 0"},{"answer":"processed","id":"%[1]d 38:a:b 0"}]`, n)), nil
	}
	for n, cmd := range []*wire.Command{traced(0, 50), action("1 38:a:b 0", incBody), traced(2, 60)} {
		s := newStory(fmt.Sprintf("%d 38:a:b 0", n))
		c.Process(cmd, s.answer, s.done)
		s.want(t, "approved | processed")
	}
	c.Close()
	d.want(t,
		`1 of [50]: command INC "processed" false`, `2 of [1]: request with 1, resent 0 200 false`,
		`3 of [60]: command INC "processed" false`, `4 of [3]: request with 1, resent 0 200 false`)
	if got, want := headers[0][wire.Traceparent], "00-01000000000000000000000000000000-0200000000000000-01"; !slices.Equal(got, []string{want}) {
		t.Errorf("traceparent %q, want %q", got, want)
	}
	if got := headers[1][wire.Traceparent]; got != nil {
		t.Errorf("a command that is not traced has traceparent %q", got)
	}
	if len(headers[0]) != len(headers[1])+1 || headers[2].Get("Content-Type") != "application/json" {
		t.Errorf("headers %v and %v", headers[0], headers[1])
	}
}

// Commands that share a request share its step, and one that is sent again gets another.
func TestTraceOfASharedRequest(t *testing.T) {
	d := new(diary)
	f := &fakeTransport{}
	c := newFakeClient(t, f, func(cfg *Config) { cfg.Tracer, cfg.Concurrency, cfg.Hold = d, 1, patienceOfTests })
	f.answer = func(n int, body string, _ *http.Request) (*http.Response, error) {
		if n == 0 {
			return respondWith(503, "later"), nil
		}
		var parts []string
		for i := range 4 {
			if id := fmt.Sprintf(`%d 38:a:b 0`, i); strings.Contains(body, id) {
				parts = append(parts, fmt.Sprintf(`{"answer":"forbidden","id":%q}`, id))
			}
		}
		return respondWith(200, "["+strings.Join(parts, ",")+"]"), nil
	}
	var stories []*story
	c.mu.Lock()
	for i, cmd := range []*wire.Command{action("0 38:a:b 0", incBody), traced(1, 50), traced(2, 60), action("3 38:a:b 0", incBody)} {
		s := newStory(fmt.Sprintf("%d 38:a:b 0", i))
		stories = append(stories, s)
		k := newCommandCall(cmd, s.answer, s.done)
		c.follow(k)
		c.line.push(k)
	}
	c.dispatchLocked()
	c.mu.Unlock()
	for _, s := range stories {
		s.want(t, "| forbidden")
	}
	c.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	if first := d.lines[0]; first != "3 of [1 2]: request with 4, resent 0 503 true" {
		t.Errorf("the first request: %s", first)
	}
	for _, want := range []string{`1 of [50]: command INC "forbidden" false`, `2 of [60]: command INC "forbidden" false`} {
		if !slices.Contains(d.lines, want) {
			t.Errorf("%s is missing in %q", want, d.lines)
		}
	}
	if !slices.ContainsFunc(d.lines, func(s string) bool { return strings.Contains(s, "resent 1 200 false") }) {
		t.Errorf("nothing was sent again in %q", d.lines)
	}
}

// A command that never gets into a request ends too.
func TestTraceOfACommandThatIsGivenUp(t *testing.T) {
	d := new(diary)
	c := newFakeClient(t, &fakeTransport{}, func(cfg *Config) { cfg.Tracer = d })
	c.Close()
	s := newStory("1 38:a:b 0")
	c.Process(traced(1, 50), s.answer, s.done)
	s.want(t, "| closed")
	d.want(t, `1 of [50]: command INC "" true`)
}

// The header of a control request that was let in, and of no other, is heard; what is delivered is a part of it.
func TestTraceOfControl(t *testing.T) {
	d := new(diary)
	var got []*wire.Trace
	cfg := controlConfig(tracedDeliverer(func(of *wire.Trace) { got = append(got, of) }))
	cfg.Tracer = d
	h := NewControl(cfg)
	send := func(body string, headers ...string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		r.RemoteAddr = "127.0.0.1:5000"
		r.Header[wire.Traceparent] = headers
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	two := controlHead + "[" + incCommand + "," + incCommand + "]}"
	send(two, "not followed")
	send(`{"version":4,"secret":"x","commands":[]}`, "a guess")
	send("{", "no JSON")
	send(two, "a")
	send(two, "a", "b")
	send(controlHead + "[]}")
	d.want(t, `1 of []: control 127.0.0.1 "a" 2 200`, `2 of []: control 127.0.0.1 "" 2 200`, `3 of []: control 127.0.0.1 "" 0 200`)
	if len(got) != 6 || got[0] != nil || got[1] != nil || got[2].Span[0] != 1 || got[3] != got[2] || got[4].Span[0] != 2 {
		t.Errorf("delivered as parts of %v", got)
	}
}

type tracedDeliverer func(of *wire.Trace)

func (f tracedDeliverer) Deliver(_ *wire.Action, _ *wire.Targets, of *wire.Trace) error {
	f(of)
	return nil
}

// Without a tracer a trace in a command costs nothing, and neither does a tracer without traced commands.
func TestTracingOffAllocatesNothing(t *testing.T) {
	for _, tracer := range []Tracer{nil, new(diary)} {
		c := newFakeClient(t, &fakeTransport{}, func(cfg *Config) { cfg.Tracer = tracer })
		k := newCommandCall(action("1 38:a:b 0", incBody), func(wire.Answer) {}, func(wire.Answer, error) {})
		r := &request{calls: []*call{k, k, k}}
		if n := testing.AllocsPerRun(100, func() {
			c.follow(k)
			if c.followed(r) != nil {
				t.Error("it is followed")
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
