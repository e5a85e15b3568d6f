package backend

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"logux-proxy/backend/backendtest"
)

const (
	oneID    = "1 38:Y7bysd:O0ETfc 0"
	resendEl = `{"answer":"resend","id":"` + oneID + `","channels":["counter"]}`
	approvEl = `{"answer":"approved","id":"` + oneID + `"}`
	actionEl = `{"answer":"action","id":"` + oneID + `","action":{"type":"INC","value":"é\u00e9"},"meta":{"clients":["38:Y7bysd"]}}`
	processE = `{"answer":"processed","id":"` + oneID + `"}`
	whole    = "[" + resendEl + " ,\n" + approvEl + "," + actionEl + "," + processE + "]"
)

// A framing is how a server says where its response ends.
type framing struct {
	name string
	head string
	body func(text string) string
}

var framings = []framing{
	{"length", "HTTP/1.1 200 OK\r\nContent-Length: " + fmt.Sprint(len(whole)) + "\r\n\r\n", func(s string) string { return s }},
	{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", func(s string) string {
		return fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 11, s[:11], len(s)-11, s[11:])
	}},
	// Rails answers without any header and closes at the end.
	{"nothing", "HTTP/1.1 200 OK\r\n\r\n", func(s string) string { return s }},
	{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n", func(s string) string { return s }},
}

// A response cut after every byte: every answer that was there whole is told, and the command has one end.
func TestResponseCutAtEveryByte(t *testing.T) {
	elements := []string{resendEl, approvEl, actionEl, processE}
	for _, f := range framings {
		t.Run(f.name, func(t *testing.T) {
			b, url := newBackend(t)
			c := newTestClient(t, url)
			full := f.head + f.body(whole)
			for cut := range len(full) + 1 {
				b.Reply(backendtest.Bytes(full[:cut]))
				got := full[min(cut, len(f.head)):cut]
				want, ended := "", false
				if f.name == "chunks" { // without the heads of the two chunks
					got = strings.Replace(strings.TrimPrefix(got, "b\r\n"), fmt.Sprintf("\r\n%x\r\n", len(whole)-11), "", 1)
				}
				for i, name := range []string{"resend ", "approved ", "action ", "| processed"} {
					if ended = strings.Contains(got, elements[i]); !ended {
						break
					}
					want += name
				}
				if !ended {
					want += "| malformed"
				}
				if got := process(c, oneID, incBody).wait(t).String(); got != want {
					t.Fatalf("cut after %d bytes (%q): %q, want %q", cut, full[:cut], got, want)
				}
			}
			if n := len(b.Requests()); n != len(full)+1 {
				t.Errorf("%d requests for %d responses", n, len(full)+1)
			}
		})
	}
}

// A response in pieces of one byte means what it means in one piece.
func TestResponseByteByByte(t *testing.T) {
	for _, f := range framings {
		b, url := newBackend(t)
		c := newTestClient(t, url)
		b.Reply(backendtest.Bytes(strings.Split(f.head+f.body(whole), "")...))
		process(c, oneID, incBody).want(t, "resend approved action | processed")
	}
}

// "only the closing ] proves that it is complete": nothing waits for the end of the connection.
func TestResponseThatDoesNotEnd(t *testing.T) {
	for _, f := range framings {
		// A length that is never reached.
		head := strings.ReplaceAll(f.head, fmt.Sprint(len(whole)), fmt.Sprint(len(whole)+10))
		b, url := newBackend(t)
		c := newTestClient(t, url, func(cfg *Config) { cfg.Concurrency = 1 })
		for n := range 3 {
			b.Reply(func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = conn.Close() }()
				text := strings.ReplaceAll(whole, oneID, fmt.Sprintf("%d 38:Y7bysd:O0ETfc 0", n))
				_, _ = fmt.Fprint(conn, head+strings.TrimSuffix(f.body(text), "0\r\n\r\n"))
				_, _ = io.Copy(io.Discard, conn) // until the proxy hangs up
			})
			inc(c, n).want(t, "resend approved action | processed")
		}
	}
}

// A response whose commands all have their outcome does not keep its request for ever, and one that is whole does not keep a
// command waiting that it left out.
func TestResponseThatGoesOn(t *testing.T) {
	b, url := newBackend(t)
	c := newTestClient(t, url, func(cfg *Config) { cfg.Concurrency = 1 })
	b.Handle("hang", backendtest.Script(backendtest.Approved, backendtest.Processed, backendtest.Hang))
	process(c, oneID, `{"type":"hang"}`).want(t, "approved | processed")
	inc(c, 2).want(t, "resend approved | processed")
	b.Handle("hang", backendtest.Script(backendtest.Approved, backendtest.Raw("]"), backendtest.Hang))
	process(c, oneID, `{"type":"hang"}`).want(t, "approved | order")
}

// A connection is used again after a response with an end.
func TestKeepAlive(t *testing.T) {
	addrs := map[string]bool{}
	b := backendtest.New(backendtest.Options{Secret: testSecret})
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addrs[r.RemoteAddr] = true
		b.ServeHTTP(w, r)
	}))
	c := newTestClient(t, url, func(cfg *Config) { cfg.Concurrency = 1 })
	for n := range 20 {
		inc(c, n).want(t, "resend approved | processed")
	}
	if len(addrs) != 1 {
		t.Errorf("%d connections for 20 requests in turn", len(addrs))
	}
}

// Each illegal answer and its end (PROTOCOL section 3, rule 6).
func TestIllegalResponses(t *testing.T) {
	id := `"id":"` + oneID + `"`
	for _, one := range []struct{ about, body, want string }{
		{"not JSON", "<html>", "| malformed"},
		{"empty", "", "| malformed"},
		{"empty, blank", " \r\n ", "| malformed"},
		{"an object", "{}", "| malformed"},
		{"null", "null", "| malformed"},
		{"no answers", "[]", "| order"},
		{"an element without a string answer", "[{}]", "| order"},
		{"an element without a string answer", "[null]", "| order"},
		{"an element without a string answer", `[{"answer":1,` + id + `}]`, "| order"},
		{"an element without a string answer, after approved", `[` + approvEl + `,{"answer":null}]`, "approved | order"},
		{"unknown answer", `[{"answer":"nonsense",` + id + `}]`, "| order"},
		{"unknown answer with a name of JavaScript", `[{"answer":"constructor",` + id + `}]`, "| order"},
		{"processed before approved", `[` + processE + `,` + approvEl + `]`, "| order"},
		{"resend after approved", `[` + approvEl + `,` + resendEl + `]`, "approved | order"},
		{"stream ended without the required answers", `[` + approvEl + `]`, "approved | order"},
		{"stream ended without the required answers", `[` + resendEl + `]`, "resend | order"},
		{"only answers of others", `[{"answer":"processed","id":"2"}]`, "| order"},
		{"action without an action", `[{"answer":"action",` + id + `}]`, "| order"},
		{"resend to a number", `[{"answer":"resend",` + id + `,"channels":7}]`, "| order"},
		{"two keys of one name", `[{"answer":"approved","answer":"forbidden",` + id + `}]`, "| order"},
		{"broken after an answer", `[` + approvEl + `,{"answer"`, "approved | malformed"},
		{"no comma", `[` + approvEl + processE + `]`, "approved | malformed"},
		{"PHP: an array in version 4", `[["unknownChannel","` + oneID + `"]]`, "| unknownChannel"},
		{"what follows the bracket is nothing", whole + "<html>", "resend approved action | processed"},
		{"an error read after processed in the same response", `[` + approvEl + `,` + processE + `,{"answer":"error",` + id + `}]`, "approved | error"},
		{"a second final answer", `[` + approvEl + `,` + processE + `,{"answer":"forbidden",` + id + `}]`, "approved | processed"},
	} {
		b, url := newBackend(t)
		c := newTestClient(t, url)
		b.Reply(backendtest.Status(200, one.body))
		if got := process(c, oneID, incBody).wait(t).String(); got != one.want {
			t.Errorf("%s: %q, want %q", one.about, got, one.want)
		}
	}
	b, url := newBackend(t)
	c := newTestClient(t, url)
	b.Reply(backendtest.Status(200, whole))
	process(c, oneID, subscribeBody).want(t, "| order") // resend on a subscription
}

func TestNotHTTP(t *testing.T) {
	b, url := newBackend(t)
	c := newTestClient(t, url)
	for _, text := range []string{"SSH-2.0-x\r\n", "HTTP/1.1 999999 x\r\n\r\n", "HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 200<<10) + "\r\n\r\n[]",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"} {
		b.Reply(backendtest.Bytes(text))
		process(c, oneID, incBody).want(t, "| malformed")
	}
}

func TestLargeAnswers(t *testing.T) {
	b, url := newBackend(t)
	c := newTestClient(t, url)
	send := func(size int) backendtest.Handler {
		return backendtest.Script(backendtest.Approved,
			backendtest.Send(`{"type":"INC","x":"`+strings.Repeat("x", size)+`"}`, backendtest.Meta{}), backendtest.Processed)
	}
	b.Handle("INC", send(10<<20-1000))
	s := inc(c, 1).want(t, "approved action | processed")
	if n := len(s.answers[1].Action.Body); n < 10<<20-1000 {
		t.Errorf("%d bytes arrived", n)
	}
	b.Handle("INC", send(10<<20))
	inc(c, 2).want(t, "approved | malformed")
}

// endless writes piece for ever after head.
func endless(head, piece string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, head)
		block := strings.Repeat(piece, 1+(64<<10)/len(piece))
		for err == nil {
			_, err = io.WriteString(w, block)
		}
	}
}

func TestEndlessResponses(t *testing.T) {
	const limit = 1 << 20
	for _, one := range []struct{ about, head, piece, want string }{
		{"blanks", "[", " ", "| malformed"},
		{"one element", `[{"answer":"`, "x", "| malformed"},
		{"elements of others", `[` + approvEl, `,{"answer":"approved","id":"x"}`, "approved | malformed"},
		{"elements after the end", `[` + approvEl + "," + processE, `,{"answer":"approved","id":"x"}`, "approved | processed"},
		{"nested", "[", "[", "| malformed"},
		{"after the bracket", whole, " ", "resend approved action | processed"},
		{"a failure's body", "", "x", "| status 500"},
	} {
		b, url := newBackend(t)
		c := newTestClient(t, url, func(cfg *Config) { cfg.ResponseBytes, cfg.ElementBytes, cfg.Concurrency = 4*limit, limit, 1 })
		reply := endless(one.head, one.piece)
		if one.head == "" {
			reply = func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); endless("", one.piece)(w, r) }
		}
		b.Reply(reply)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		if got := process(c, oneID, incBody).wait(t).String(); got != one.want {
			t.Errorf("%s: %q, want %q", one.about, got, one.want)
		}
		inc(c, 2).want(t, "resend approved | processed") // the request came to its end
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 3*limit {
			t.Errorf("%s: %d bytes more", one.about, grown)
		}
	}
}

// "Content-Encoded anyway" is unreadable, and nothing is inflated.
func TestCompressedResponse(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 16 {
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	_ = z.Close()
	b, url := newBackend(t)
	c := newTestClient(t, url)
	b.Reply(backendtest.Status(200, bomb.String(), "Content-Encoding", "gzip"))
	inc(c, 1).want(t, "| malformed")
	b.Reply(backendtest.Status(200, whole, "Content-Encoding", "br")) // whatever it says it is
	process(c, oneID, incBody).want(t, "| malformed")
	b.Reply(backendtest.Status(200, strings.ReplaceAll(whole, oneID, "2 38:Y7bysd:O0ETfc 0"), "Content-Encoding", "identity"))
	inc(c, 2).want(t, "resend approved action | processed")
}

// A command that hangs ends alone; the others of its request have their outcome meanwhile.
func TestHungCommandEndsAlone(t *testing.T) {
	b, url := newBackend(t)
	first := make(chan struct{})
	b.Handle("wait", backendtest.Script(backendtest.Until(first), backendtest.Approved, backendtest.Processed))
	b.Handle("hang", backendtest.Script(backendtest.Approved, backendtest.Hang))
	c := newTestClient(t, url, func(cfg *Config) { cfg.Concurrency, cfg.Timeout = 1, 2*time.Second })
	wait := process(c, "0 38:a:b 0", `{"type":"wait"}`)
	until(t, b, func() bool { return len(b.Requests()) == 1 })
	hung := process(c, "1 38:a:b 0", `{"type":"hang"}`)
	others := []*story{inc(c, 2), inc(c, 3), inc(c, 4)}
	close(first)
	wait.want(t, "approved | processed")
	for _, s := range others {
		s.want(t, "resend approved | processed")
	}
	select {
	case <-hung.over:
		t.Error("the hung command ended with its neighbours")
	default:
	}
	hung.want(t, "approved | timeout")
	if n := len(b.Requests()); n != 2 {
		t.Errorf("%d requests", n)
	}
}

func TestStalls(t *testing.T) {
	for _, one := range []struct {
		about  string
		change func(*Config)
		script backendtest.Handler
		want   string
	}{
		{"no first byte", func(c *Config) { c.FirstByteTimeout = 50 * time.Millisecond }, backendtest.Script(backendtest.Hang), "| timeout"},
		{"between two bytes", func(c *Config) { c.IdleTimeout = 50 * time.Millisecond }, backendtest.Script(backendtest.Approved, backendtest.Hang), "approved | timeout"},
		{"within an answer", func(c *Config) { c.IdleTimeout = 50 * time.Millisecond },
			backendtest.Script(backendtest.Approved, backendtest.Raw(`,{"answer":`), backendtest.Hang), "approved | timeout"},
		{"the command's own time", func(c *Config) { c.Timeout = 50 * time.Millisecond }, backendtest.Script(backendtest.Approved, backendtest.Hang), "approved | timeout"},
	} {
		b, url := newBackend(t)
		b.Handle("INC", one.script)
		c := newTestClient(t, url, one.change)
		if got := inc(c, 1).wait(t).String(); got != one.want {
			t.Errorf("%s: %q, want %q", one.about, got, one.want)
		}
		// The back-end learns that nobody listens any more.
		until(t, b, func() bool { return b.InFlight() == 0 })
	}
}
