package backendtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func post(t *testing.T, b *Backend, body string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
	return w.Code, w.Body.String()
}

func v4(commands ...string) string {
	return `{"version":4,"secret":"parole","commands":[` + strings.Join(commands, ",") + `]}`
}

func act(n int, user, action string) string {
	return fmt.Sprintf(`{"command":"action","action":%s,"meta":{"id":"%d %s:a:b 0","time":%d},"headers":{}}`, action, n, user, n)
}

// What the sample application of the Logux project does, as its README lists it.
func TestApplication(t *testing.T) {
	b := New(Options{Secret: "parole"})
	subscribe := `{"type":"logux/subscribe","channel":"users/10"}`
	rename := func(name string) string {
		return `{"type":"users/name","payload":{"userId":"10","name":"` + name + `"}}`
	}
	for _, one := range []struct{ about, command, want string }{
		{"authenticates by token", `{"command":"auth","authId":"a","userId":"10","token":"10:good","subprotocol":"1.0.0"}`, `[{"answer":"authenticated","authId":"a","subprotocol":"1.0.0"}]`},
		{"authenticates a client with a number", `{"command":"auth","authId":"a","userId":"10","token":"10:good","subprotocol":1}`, `[{"answer":"authenticated","authId":"a","subprotocol":1}]`},
		{"authenticates by cookie", `{"command":"auth","authId":"a","userId":"10","cookie":{"token":"10:good"},"subprotocol":"1.0.1"}`, `[{"answer":"authenticated","authId":"a","subprotocol":"1.0.0"}]`},
		{"denies", `{"command":"auth","authId":"a","userId":"10","token":"20:good","subprotocol":"1.0.0"}`, `[{"answer":"denied","authId":"a"}]`},
		{"supports ^1.0.0", `{"command":"auth","authId":"a","userId":"10","token":"10:good","subprotocol":"0.9.1"}`, `[{"answer":"wrongSubprotocol","authId":"a","supported":"^1.0.0"}]`},
		{"throws by header", `{"command":"auth","authId":"a","userId":"10","subprotocol":"1.0.0","headers":{"error":"E"}}`, `[{"answer":"error","authId":"a","details":"Error: E"}]`},
		{"an empty channel", act(1, "10", subscribe), `[{"answer":"approved","id":"1 10:a:b 0"},{"answer":"processed","id":"1 10:a:b 0"}]`},
		{"another's channel", act(2, "20", subscribe), `[{"answer":"forbidden","id":"2 20:a:b 0"}]`},
		{"renames", act(9, "10", rename("A<")), `[{"answer":"resend","id":"9 10:a:b 0","channels":["users/10"]},{"answer":"approved","id":"9 10:a:b 0"},{"answer":"processed","id":"9 10:a:b 0"}]`},
		{"by bigger action time only", act(3, "10", rename("B")), `[{"answer":"resend","id":"3 10:a:b 0","channels":["users/10"]},{"answer":"approved","id":"3 10:a:b 0"},{"answer":"processed","id":"3 10:a:b 0"}]`},
		{"loads the latest name", act(4, "10", subscribe), `[{"answer":"approved","id":"4 10:a:b 0"},{"answer":"action","id":"4 10:a:b 0","action":{"payload":{"name":"A<","userId":"10"},"type":"users/name"},"meta":{"time":9,"clients":["10:a"]}},{"answer":"processed","id":"4 10:a:b 0"}]`},
		{"not another's name", act(5, "20", rename("C")), `[{"answer":"forbidden","id":"5 20:a:b 0"}]`},
		{"throws", act(6, "10", `{"type":"error"}`), "Error in action"},
		{"cleans", act(7, "10", `{"type":"users/clean"}`), `[{"answer":"approved","id":"7 10:a:b 0"},{"answer":"action","id":"7 10:a:b 0","action":{"payload":{"name":"","userId":"10"},"type":"users/name"},"meta":{"channels":["users/10"]}},{"answer":"processed","id":"7 10:a:b 0"}]`},
		{"unknown type", act(8, "10", `{"type":"x"}`), `[{"answer":"unknownAction","id":"8 10:a:b 0"}]`},
		{"unknown channel", act(8, "10", `{"type":"logux/subscribe","channel":"x"}`), `[{"answer":"unknownChannel","id":"8 10:a:b 0"}]`},
		{"counts", act(8, "10", `{"type":"INC"}`), `[{"answer":"resend","id":"8 10:a:b 0","channels":["counter"]},{"answer":"approved","id":"8 10:a:b 0"},{"answer":"processed","id":"8 10:a:b 0"}]`},
		{"loads the counter", act(8, "10", `{"type":"logux/subscribe","channel":"counter"}`), `[{"answer":"approved","id":"8 10:a:b 0"},{"answer":"action","id":"8 10:a:b 0","action":{"type":"INC","value":1},"meta":{"clients":["10:a"]}},{"answer":"processed","id":"8 10:a:b 0"}]`},
	} {
		status, got := post(t, b, v4(one.command))
		if status != 200 || got != one.want && (one.want[0] == '[' || !strings.Contains(got, one.want)) {
			t.Errorf("%s: %d %s\nwant %s", one.about, status, got, one.want)
		}
	}
	if b.Name("10") != "" || b.Counter() != 1 || len(b.Commands()) != 18 || b.Count("8 10:a:b 0") != 4 {
		t.Errorf("name %q, counter %d, %d commands", b.Name("10"), b.Counter(), len(b.Commands()))
	}
}

func TestRefusals(t *testing.T) {
	for _, one := range []struct {
		body   string
		status int
		want   string
	}{
		{"{", 400, "Wrong format"},
		{"[]", 400, "Wrong body"},
		{`{"version":4,"secret":"parole"}`, 400, "Wrong body"},
		{`{"version":1000,"secret":"parole","commands":[]}`, 400, "Back-end protocol version is not supported"},
		{`{"version":4,"secret":"wrong","commands":[]}`, 403, "Wrong secret"},
		{`{"version":2,"password":"parole","commands":[]}`, 200, "[]"},
	} {
		if status, got := post(t, New(Options{Secret: "parole"}), one.body); status != one.status || got != one.want {
			t.Errorf("%s: %d %s", one.body, status, got)
		}
	}
	b := New(Options{Secret: "parole"})
	for range 3 {
		post(t, b, `{"version":4,"secret":"wrong","commands":[]}`)
	}
	if status, got := post(t, b, v4()); status != 429 || got != "Too many wrong secret attempts" {
		t.Errorf("%d %s", status, got)
	}
}

// Versions 2 and 3 write arrays, and deliver data by the control API before `processed`.
func TestArrays(t *testing.T) {
	var posted []string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		posted = append(posted, string(raw))
	}))
	defer proxy.Close()
	b := New(Options{Secret: "parole", Proxy: proxy.URL})
	_, got := post(t, b, `{"version":3,"secret":"parole","commands":[["action",{"type":"logux/subscribe","channel":"counter"},{"id":"1 10:a:b 0"}]]}`)
	if got != `[["approved","1 10:a:b 0"],["processed","1 10:a:b 0"]]` {
		t.Error(got)
	}
	want := `{"version":3,"secret":"parole","commands":[["action",{"type":"INC","value":0},{"clients":["10:a"]}]]}`
	if len(posted) != 1 || posted[0] != want {
		t.Errorf("posted %q, want %q", posted, want)
	}
	if _, got := post(t, b, `{"version":2,"password":"parole","commands":[["auth","10","10:good","a"],["x"]]}`); got != "Wrong body" {
		t.Error(got)
	}
	if _, got := post(t, b, `{"version":2,"password":"parole","commands":[["auth","10","10:good","a"]]}`); got != `[["authenticated","a"]]` {
		t.Error(got)
	}
	if errs := b.Errors(); len(errs) != 0 {
		t.Error(errs)
	}
}

func TestScriptsAndReplies(t *testing.T) {
	b := New(Options{Secret: "parole"})
	b.Handle("x", Script(ResendTo("c"), Approved, Raw("!"), Fail("bad"), NoEnd))
	if _, got := post(t, b, v4(act(1, "10", `{"type":"x"}`))); got != `[{"answer":"resend","id":"1 10:a:b 0","channels":["c"]},{"answer":"approved","id":"1 10:a:b 0"}!,{"answer":"error","id":"1 10:a:b 0","details":"bad"}` {
		t.Error(got)
	}
	b.Handle("x", nil)
	if _, got := post(t, b, v4(act(2, "10", `{"type":"x"}`))); !strings.Contains(got, "unknownAction") {
		t.Error(got)
	}
	b.Reply(Status(503, "later"))
	if status, got := post(t, b, v4()); status != 503 || got != "later" {
		t.Error(status, got)
	}
	if err := b.Wait(context.Background(), func() bool { return len(b.Requests()) == 3 }); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Wait(ctx, func() bool { return false }); err == nil {
		t.Error("waits on")
	}
}
