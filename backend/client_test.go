package backend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"logux-proxy/backend/backendtest"
	"logux-proxy/wire"
)

func TestProcess(t *testing.T) {
	b, url := newBackend(t)
	c := newTestClient(t, url)
	s := inc(c, 1).want(t, "resend approved | processed")
	if got := s.answers[0].Targets.Channels; len(got) != 1 || got[0] != "counter" {
		t.Errorf("resend to %q", got)
	}
	if b.Counter() != 1 {
		t.Errorf("the counter is %d", b.Counter())
	}
	s = subscribe(c, 2).want(t, "approved action | processed")
	if got := string(s.answers[1].Action.Body); got != `{"type":"INC","value":1}` {
		t.Errorf("the subscription got %s", got)
	}
	process(c, "3 38:a:b 0", `{"type":"what"}`).want(t, "| unknownAction")
	process(c, "4 38:a:b 0", `{"type":"logux/subscribe","channel":"what"}`).want(t, "| unknownChannel")
	process(c, "5 38:a:b 0", `{"type":"logux/subscribe","channel":"users/10"}`).want(t, "| forbidden")
	s = process(c, "6 38:a:b 0", `{"type":"error"}`).want(t, "| error")
	if !strings.Contains(s.final.Details, "Error in action") {
		t.Errorf("details %q", s.final.Details)
	}
}

func TestAuthenticate(t *testing.T) {
	_, url := newBackend(t)
	c := newTestClient(t, url)
	s := authenticate(c, auth("a1", "10", "10:good")).want(t, "| authenticated")
	if got := string(s.final.Subprotocol); got != `"1.0.0"` {
		t.Errorf("subprotocol %s", got)
	}
	authenticate(c, auth("a2", "10", "10:bad")).want(t, "| denied")
	old := auth("a3", "10", "10:good")
	old.Subprotocol = wire.RawJSON(`"0.9.1"`)
	s = authenticate(c, old).want(t, "| wrongSubprotocol")
	if got := string(s.final.Supported); got != `"^1.0.0"` {
		t.Errorf("supported %s", got)
	}
	thrown := auth("a4", "10", "10:good")
	thrown.Headers = wire.RawJSON(`{"error":"Test error"}`)
	s = authenticate(c, thrown).want(t, "| error")
	if got := s.final.Details; got != "Error: Test error" {
		t.Errorf("details %q", got)
	}
	byCookie := auth("a5", "10", "")
	byCookie.Cookies = map[string]string{"token": "10:good"}
	authenticate(c, byCookie).want(t, "| authenticated")
}

// PROTOCOL section 5, "Versions".
func TestVersions(t *testing.T) {
	for version := 2; version <= 4; version++ {
		b, url := newBackend(t)
		c := newTestClient(t, url, func(cfg *Config) { cfg.Version = version })
		authenticate(c, auth("a1", "10", "10:good")).want(t, "| authenticated")
		authenticate(c, auth("a2", "10", "10:bad")).want(t, "| denied")
		inc(c, 1).want(t, "resend approved | processed")
		process(c, "6 38:a:b 0", `{"type":"error"}`).want(t, "| error")
		for _, r := range b.Requests() {
			var keys map[string]json.RawMessage
			if err := json.Unmarshal(r.Body, &keys); err != nil {
				t.Fatal(err)
			}
			secret := fmt.Sprintf("%q", testSecret)
			if string(keys["secret"]) != secret || (version == 2) != (string(keys["password"]) == secret) {
				t.Errorf("version %d: secret %s, password %s", version, keys["secret"], keys["password"])
			}
			if r.Version != version {
				t.Errorf("version %d: sent %d", version, r.Version)
			}
		}
	}
}

// Version 2: ["error", stack], which names no command.
func TestErrorWithoutID(t *testing.T) {
	b, url := newBackend(t)
	c := newTestClient(t, url, func(cfg *Config) { cfg.Version = 2 })
	b.Handle("INC", backendtest.Script(backendtest.Element(`["error","stack"]`)))
	s := inc(c, 1).want(t, "| error")
	if s.final.Details != "stack" {
		t.Errorf("details %q", s.final.Details)
	}
}

// "POST LOGUX_BACKEND, Content-Type: application/json"; nothing of a client's travels in the head.
func TestRequestHead(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1/")
	var got *http.Request
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		_, _ = fmt.Fprint(w, `[{"answer":"denied","authId":"a1"}]`)
	}))
	c := newTestClient(t, url+"/logux?x=1")
	a := auth("a1", "10", "t\r\nX-Evil: 1")
	a.Cookies = map[string]string{"c\r\n": "v\r\nX-Evil: 1"}
	a.Headers = wire.RawJSON(`{"X-Evil\r\n":"1"}`)
	authenticate(c, a).want(t, "| denied")
	if got.Method != "POST" || got.RequestURI != "/logux?x=1" {
		t.Errorf("%s %s", got.Method, got.RequestURI)
	}
	got.Header.Del("Content-Length")
	want := http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json"},
		"Accept-Encoding": {"identity"}, "User-Agent": {"logux-proxy"},
	}
	if fmt.Sprint(got.Header) != fmt.Sprint(want) {
		t.Errorf("header %v, want %v", got.Header, want)
	}
}

func TestActionByteForByte(t *testing.T) {
	b, url := newBackend(t)
	c := newTestClient(t, url)
	body := `{ "b":1.50, "a" :"\u0041<&>", "type":"INC","big":12345678901234567890 }`
	process(c, "1 38:a:b 0", body).want(t, "resend approved | processed")
	if got := b.Commands()[0].Action; !bytes.Equal(got, []byte(body)) {
		t.Errorf("the back-end got %s", got)
	}
}

// "One request may carry many commands"; batching appears exactly at the limit.
func TestBatching(t *testing.T) {
	b, url := newBackend(t)
	const concurrency = 2
	release := make(chan struct{})
	b.Handle("INC", backendtest.Script(backendtest.Until(release), backendtest.Approved, backendtest.Processed))
	c := newTestClient(t, url, func(cfg *Config) { cfg.Concurrency, cfg.Batch = concurrency, 4 })
	stories := make([]*story, 0, 11)
	for n := range 11 {
		stories = append(stories, inc(c, n))
		until(t, b, func() bool { return len(b.Requests()) == min(n+1, concurrency) })
	}
	if s := c.Stats(); s.InFlight != 2 || s.Waiting != 9 {
		t.Errorf("%+v", s)
	}
	close(release)
	for _, s := range stories {
		s.want(t, "approved | processed")
	}
	if b.Peak() > concurrency {
		t.Errorf("%d requests at once", b.Peak())
	}
	for i, r := range b.Requests() {
		n := len(r.Commands)
		if i < concurrency && n != 1 {
			t.Errorf("request %d of an idle client has %d commands", i, n)
		}
		if n > 4 {
			t.Errorf("request %d has %d commands", i, n)
		}
	}
	// Nine wait when the first request ends: at least one later one is shared.
	if n := len(b.Requests()); n >= 11 {
		t.Errorf("%d requests for 11 commands", n)
	}
}

func TestBatchBytes(t *testing.T) {
	b, url := newBackend(t)
	release := make(chan struct{})
	b.Handle("INC", backendtest.Script(backendtest.Until(release), backendtest.Approved, backendtest.Processed))
	c := newTestClient(t, url, func(cfg *Config) { cfg.Concurrency, cfg.BatchBytes = 1, 3000 })
	var stories []*story
	for n := range 10 {
		stories = append(stories, process(c, fmt.Sprintf("%d 38:a:b 0", n), `{"type":"INC","x":"`+strings.Repeat("x", 1000)+`"}`))
	}
	close(release)
	for _, s := range stories {
		s.want(t, "approved | processed")
	}
	for i, r := range b.Requests() {
		if len(r.Body) > 3200 {
			t.Errorf("request %d has %d bytes", i, len(r.Body))
		}
	}
}

// What has waited shares the requests that are free evenly.
func TestFreeRequestsAreShared(t *testing.T) {
	f := &fakeTransport{answer: func(_ int, body string, _ *http.Request) (*http.Response, error) {
		return respondWith(200, processAll(body)), nil
	}}
	c := newFakeClient(t, f, func(cfg *Config) { cfg.Concurrency = 10 })
	var stories []*story
	c.mu.Lock() // nothing goes yet
	for n := range 30 {
		s := newStory(fmt.Sprintf("%d 38:a:b 0", n))
		c.line.push(newCommandCall(action(s.id, incBody), s.answer, s.done))
		stories = append(stories, s)
	}
	c.dispatchLocked()
	c.mu.Unlock()
	for _, s := range stories {
		s.want(t, "approved | processed")
	}
	for _, r := range f.sent() {
		if n := len(idsOf(r.body)); n != 3 {
			t.Errorf("a request with %d commands", n)
		}
	}
}

func TestBatchOff(t *testing.T) {
	b, url := newBackend(t)
	c := newTestClient(t, url, func(cfg *Config) { cfg.Concurrency, cfg.Batch = 1, 1 })
	var stories []*story
	for n := range 20 {
		stories = append(stories, inc(c, n))
	}
	for _, s := range stories {
		s.want(t, "resend approved | processed")
	}
	if len(b.Requests()) != 20 {
		t.Errorf("%d requests", len(b.Requests()))
	}
}

// P6: a storm never makes more requests at once than configured, and each command is done once.
func TestStorm(t *testing.T) {
	b, url := newBackend(t)
	c := newTestClient(t, url, func(cfg *Config) { cfg.Concurrency = 5 })
	const callers, each = 20, 50
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for n := range each {
				s := inc(c, caller*each+n)
				if n%10 == 0 {
					s.want(t, "resend approved | processed")
				}
			}
		})
	}
	wg.Wait()
	until(t, b, func() bool { return b.Counter() == callers*each })
	if b.Peak() > 5 {
		t.Errorf("%d requests at once", b.Peak())
	}
	seen := map[string]int{}
	for _, cmd := range b.Commands() {
		seen[cmd.ID]++
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

// "Answers are handled as they are parsed from the stream": each is told while the response is still open.
func TestStreaming(t *testing.T) {
	b, url := newBackend(t)
	next := make(chan struct{})
	b.Handle("INC", func(x *backendtest.Exchange) {
		x.Resend(backendtest.Targets{Users: []string{"1"}})
		<-next
		x.Approved()
		<-next
		x.Processed()
		<-next
	})
	c := newTestClient(t, url)
	heard := make(chan string)
	c.Process(action("1 38:a:b 0", incBody),
		func(a wire.Answer) { heard <- a.Name },
		func(a wire.Answer, err error) { heard <- fmt.Sprint(a.Name, err) })
	for _, want := range []string{"resend", "approved", "processed<nil>"} {
		if got := <-heard; got != want {
			t.Errorf("heard %s, want %s", got, want)
		}
		next <- struct{}{}
	}
}

// Answers come in any order between commands, and those of nobody are ignored.
func TestAnswersOfOthers(t *testing.T) {
	b, url := newBackend(t)
	b.Handle("INC", backendtest.Script(
		backendtest.Element(`{"answer":"forbidden","id":"2 nobody 0"}`),
		backendtest.Element(`{"answer":"nonsense","id":"1 38:Y7bysd:O0ETfc"}`),
		backendtest.Element(`{"answer":"denied","authId":"1"}`),
		backendtest.Approved, backendtest.Processed,
		backendtest.Element(`{"answer":"forbidden","id":"1 38:Y7bysd:O0ETfc 0"}`)))
	c := newTestClient(t, url)
	inc(c, 1).want(t, "approved | processed")
	inc(c, 1).want(t, "approved | processed") // the first response was read to its end by now or its connection is another
	if n := c.Stats().Ignored; n < 7 {
		t.Errorf("%d ignored", n)
	}
}

func TestClose(t *testing.T) {
	b, url := newBackend(t)
	b.Handle("INC", backendtest.Script(backendtest.Approved, backendtest.Hang))
	c := newTestClient(t, url, func(cfg *Config) { cfg.Concurrency, cfg.Hold = 1, patienceOfTests })
	first := newStory("1 38:a:b 0")
	approved := make(chan struct{})
	c.Process(action(first.id, incBody), func(a wire.Answer) { first.answer(a); close(approved) }, first.done)
	<-approved
	second := inc(c, 2)
	c.Close()
	first.want(t, "approved | closed")
	second.want(t, "| closed")
	inc(c, 3).want(t, "| closed")
	c.Close()
}

func TestConfigIsChecked(t *testing.T) {
	for _, change := range []func(*Config){
		func(c *Config) { c.URL = nil },
		func(c *Config) { c.URL.Scheme = "file" },
		func(c *Config) { c.URL.Host = "" },
		func(c *Config) { c.Version = 5 },
		func(c *Config) { c.Version = 1 },
		func(c *Config) { c.Secrets = nil },
		func(c *Config) { c.Secrets = []string{""} },
		func(c *Config) { c.Concurrency = -1 },
		func(c *Config) { c.Timeout = -1 },
		func(c *Config) { c.Retry = 9 },
	} {
		c := newTestClient(t, "http://127.0.0.1:1/")
		cfg := c.cfg
		u := *cfg.URL
		cfg.URL = &u
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

func TestSemverSubprotocol(t *testing.T) {
	b, url := newBackend(t)
	b.Handle("auth", func(x *backendtest.Exchange) { x.Authenticated(json.RawMessage(`"10.2.0"`)) })
	c := newTestClient(t, url, func(cfg *Config) { cfg.SemverSubprotocol = true })
	for _, one := range []struct{ client, backend, back string }{
		{`10`, `"10.0.0"`, `10`},
		{`0`, `"0.0.0"`, `10`},
		{`"9.1.0"`, `"9.1.0"`, `"10.2.0"`},
	} {
		a := auth("a"+one.client, "10", "")
		a.Subprotocol = wire.RawJSON(one.client)
		s := authenticate(c, a).want(t, "| authenticated")
		commands := b.Commands()
		if got := string(commands[len(commands)-1].Subprotocol); got != one.backend {
			t.Errorf("%s: the back-end got %s", one.client, got)
		}
		if got := string(s.final.Subprotocol); got != one.back {
			t.Errorf("%s: the client got %s", one.client, got)
		}
	}
	b.Handle("INC", backendtest.Script(
		backendtest.Element(`{"answer":"action","id":"7 38:a:b 0","action":{"type":"x"},"meta":{"subprotocol":"3.1.0"}}`),
		backendtest.Approved, backendtest.Processed))
	cmd := action("7 38:a:b 0", incBody)
	cmd.Action.Subprotocol = wire.RawJSON(`10`)
	s := newStory("7 38:a:b 0")
	c.Process(cmd, s.answer, s.done)
	s.want(t, "action approved | processed")
	if got := string(s.answers[0].Action.Subprotocol); got != "3" {
		t.Errorf("subprotocol of an answered action: %s", got)
	}
	if string(cmd.Action.Subprotocol) != "10" {
		t.Errorf("the caller's action was changed")
	}
	commands := b.Commands()
	if got := string(commands[len(commands)-1].Meta); !strings.Contains(got, `"subprotocol":"10.0.0"`) {
		t.Errorf("meta %s", got)
	}
}
