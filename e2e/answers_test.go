package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"logux-proxy/backend/backendtest"
)

// onActions takes over the requests that carry an action of type what; all others go their usual way.
func (b *backend) onActions(what string, h func(w http.ResponseWriter, ids []string)) {
	b.onRequest(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		ids := idsIn(body, what)
		if len(ids) == 0 {
			r.Body = io.NopCloser(bytes.NewReader(body))
			b.Backend.ServeHTTP(w, r)
			return
		}
		h(w, ids)
	})
}

// headless is a response as the Rails library sends it: no length, no chunks; the end of the connection is the end of the body.
func headless(body string) http.HandlerFunc {
	return backendtest.Bytes("HTTP/1.1 200 OK\r\n\r\n", body)
}

// chunkedAndCut is a response in chunks whose connection breaks before the last chunk.
func chunkedAndCut(body string) http.HandlerFunc {
	text := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	if body != "" {
		text += fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
	}
	return backendtest.Bytes(text)
}

// A response cut after every byte ends each command once: with processed when that answer was read, else with one undo, also for those to whom the
// action was re-sent (PROTOCOL section 3: "An outcome is known when its answer is read, not when the response or its ] ends").
func TestResponseCutAfterEveryByte(t *testing.T) {
	for name, respond := range map[string]func(string) http.HandlerFunc{
		"without length or chunks, as Rails answers": headless,
		"in chunks without the last one":             chunkedAndCut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBackend(t)
			p := startProxy(t, b.url, nil)
			author, reader := connect(t, p.addr, "38:cut:tab", dialOptions{}), connect(t, p.addr, "39:cut:tab", dialOptions{})
			reader.subscribe(t, "counter/cut")
			cut := 0
			answers := func(id string) (whole string, approved, processed int) {
				whole = fmt.Sprintf(`[{"answer":"resend","id":%q,"channels":["counter/cut"]},{"answer":"approved","id":%q}`, id, id)
				approved = len(whole)
				whole += fmt.Sprintf(`,{"answer":"processed","id":%q}`, id)
				return whole + "]", approved, len(whole)
			}
			b.onActions("CUT", func(w http.ResponseWriter, ids []string) {
				whole, _, _ := answers(ids[0])
				respond(whole[:cut])(w, nil)
			})
			for ; ; cut++ {
				id := author.sync(t, fmt.Sprintf(`{"type":"CUT","after":%d}`, cut))
				whole, approved, processed := answers(id)
				want := "error"
				if cut >= processed {
					want = "processed"
				}
				if got := author.awaitOutcome(t, id); got != want {
					t.Fatalf("a response cut after %d of %d bytes ended in %s, want %s", cut, len(whole), got, want)
				}
				reader.settle(t, p)
				sent, undone := len(reader.having(`"CUT"`, fmt.Sprintf(`"after":%d}`, cut), `{"type":"CUT"`)), len(reader.outcomes(id))
				sent -= undone // an undo carries the original
				switch {
				case cut < approved && sent+undone > 0:
					t.Fatalf("cut after %d: a subscriber got an action that was not approved", cut)
				case cut >= approved && sent != 1:
					t.Fatalf("cut after %d: a subscriber got the approved action %d times, want once", cut, sent)
				case cut >= approved && cut < processed && undone != 1:
					t.Fatalf("cut after %d: a subscriber got %d undos of what it had got, want one", cut, undone)
				case cut >= processed && undone != 0:
					t.Fatalf("cut after %d: a subscriber got an undo of a processed action", cut)
				}
				if cut == len(whole) {
					break
				}
			}
			author.settle(t, p)
			for _, a := range author.having("logux/", `"id"`) {
				var id string
				if id = field([]byte(a.body), "id"); id != "" && len(author.outcomes(id)) != 1 {
					t.Errorf("%s has the outcomes %v, want one", id, author.outcomes(id))
				}
			}
		})
	}
}

// "A response's end, an error or a stall ends just the commands still without outcome": two clients' actions in one request.
func TestCutSharedResponseEndsOnlyOpenCommands(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, settings{"LOGUX_BACKEND_CONCURRENCY": "1"})
	one, two := connect(t, p.addr, "38:share:tab", dialOptions{}), connect(t, p.addr, "39:share:tab", dialOptions{})
	blocker := connect(t, p.addr, "40:share:tab", dialOptions{})
	answer := func(id string) string {
		return fmt.Sprintf(`{"answer":"approved","id":%q},{"answer":"processed","id":%q}`, id, id)
	}
	const step = 7 // of the cut, in bytes: coprime to the answers' length, so that every kind of place is met
	for cut := 0; ; cut += step {
		arrived, release := newGate(t), newGate(t)
		whole := ""
		b.onActions("SHARED", func(w http.ResponseWriter, ids []string) {
			var parts []string
			for _, id := range ids {
				parts = append(parts, answer(id))
			}
			whole = "[" + strings.Join(parts, ",") + "]"
			headless(whole[:min(cut, len(whole))])(w, nil)
		})
		b.Handle("BLOCK", func(x *backendtest.Exchange) {
			arrived.open()
			release.wait(x)
			x.Approved()
			x.Processed()
		})
		blocked := blocker.sync(t, `{"type":"BLOCK"}`)
		<-arrived.ch
		ids := []string{one.sync(t, `{"type":"SHARED"}`), two.sync(t, `{"type":"SHARED"}`)}
		awaitPolling(t, "both commands wait", func() bool { return p.metric(t, "logux_backend_waiting_commands") >= 2 })
		release.open()
		blocker.awaitOutcome(t, blocked)
		got := []string{one.awaitOutcome(t, ids[0]), two.awaitOutcome(t, ids[1])}
		for i, id := range ids {
			want := "error"
			if end := strings.LastIndex(whole, id); end >= 0 && cut >= end+len(id)+2 {
				want = "processed"
			}
			if got[i] != want {
				t.Fatalf("a shared response cut after %d of %d bytes: %s ended in %s, want %s\n%s", cut, len(whole), id, got[i], want, whole)
			}
		}
		if !strings.Contains(whole, ids[0]) || !strings.Contains(whole, ids[1]) {
			t.Fatalf("the two actions did not share a request: %s", whole)
		}
		if cut >= len(whole) {
			break
		}
	}
}

// "One outcome a command, never a panic": the illegal, odd and huge responses, each through the whole proxy, each followed by an ordinary action.
func TestOddResponses(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	processed, undone := []string{"processed"}, []string{"error"}
	either := []string{"processed", "error"}
	const id = "$ID"
	approved, done := `{"answer":"approved","id":"$ID"}`, `{"answer":"processed","id":"$ID"}`
	resend := `{"answer":"resend","id":"$ID","channels":["counter/odd"]}`
	for _, row := range []struct {
		name string
		body string
		want []string
	}{
		{"nothing", ``, undone},
		{"empty array", `[]`, undone},
		{"object", `{}`, undone},
		{"null", `null`, undone},
		{"HTML", `<html><body>Fatal error</body></html>`, undone},
		{"text before the array", `Warning: x [` + approved + `,` + done + `]`, undone},
		{"approved only", `[` + approved + `]`, undone},
		{"processed before approved", `[` + done + `,` + approved + `]`, undone},
		{"processed alone", `[` + done + `]`, undone},
		{"resend after approved", `[` + approved + `,` + resend + `,` + done + `]`, undone},
		{"unknown answer", `[` + approved + `,{"answer":"maybe","id":"$ID"}]`, undone},
		{"answer without a name", `[{"id":"$ID"},` + approved + `,` + done + `]`, undone},
		{"answer that is a number", `[{"answer":1,"id":"$ID"},` + approved + `]`, undone},
		{"array inside version 4, as PHP answers", `[["unknownChannel","$ID"]]`, []string{"wrongChannel"}},
		{"error", `[` + approved + `,{"answer":"error","id":"$ID","details":"x"}]`, undone},
		{"error after processed", `[` + approved + `,` + done + `,{"answer":"error","id":"$ID","details":"x"}]`, either},
		{"doubled approved", `[` + approved + `,` + approved + `,` + done + `]`, either},
		{"doubled processed", `[` + approved + `,` + done + `,` + done + `]`, processed},
		{"others' answers between", `[{"answer":"processed","id":"1 x 0"},` + approved + `,{"answer":"error","id":"1 y 0","details":""},` + done + `]`, processed},
		{"only others' answers", `[{"answer":"approved","id":"1 x 0"},{"answer":"processed","id":"1 x 0"}]`, undone},
		{"no end bracket", `[` + approved + `,` + done, processed},
		{"tail after the end", `[` + approved + `,` + done + `]]]]`, processed},
		{"byte order mark", "\ufeff[" + approved + `,` + done + `]`, either},
		{"spaces", " \n\t[ \n" + approved + "\n , \n" + done + "\n ] ", processed},
		{"extra keys", `[{"extra":{"deep":[1,{}]},"answer":"approved","id":"$ID"},{"answer":"processed","id":"$ID","extra":null}]`, processed},
		{"doubled keys", `[{"answer":"forbidden","answer":"approved","id":"$ID"},` + done + `]`, undone},
		{"depth", `[` + strings.Repeat("[", 100000), undone},
		{"an element of 30 MiB", `[{"answer":"approved","id":"$ID","x":"` + strings.Repeat("x", 30<<20), undone},
	} {
		c := connect(t, p.addr, "38:odd:"+strings.ReplaceAll(row.name, " ", "_"), dialOptions{})
		b.onActions("ODD", func(w http.ResponseWriter, ids []string) {
			headless(strings.ReplaceAll(row.body, id, ids[0]))(w, nil)
		})
		checkOutcome(t, p, c, row.name, row.want)
		c.close()
	}
	for _, status := range []int{201, 301, 302, 400, 401, 404, 422, 500, 502, 504} {
		b.onActions("ODD", func(w http.ResponseWriter, _ []string) {
			w.Header().Set("Location", b.url+"/elsewhere")
			w.WriteHeader(status)
		})
		c := connect(t, p.addr, fmt.Sprintf("38:odd:status%d", status), dialOptions{})
		checkOutcome(t, p, c, fmt.Sprintf("status %d", status), undone)
		c.close()
	}
}

// checkOutcome sends an ODD action and an ordinary one, which must end well all the same.
func checkOutcome(t *testing.T, p *proxy, c *client, name string, want []string) {
	t.Helper()
	id := c.sync(t, `{"type":"ODD"}`)
	got := c.awaitOutcome(t, id)
	if !strings.Contains(strings.Join(want, " "), got) {
		t.Errorf("%s: the action ended in %s, want %v", name, got, want)
	}
	if next := c.do(t, `{"type":"INC","counter":"counter/odd"}`); next != "processed" {
		t.Errorf("%s: the next action ended in %s, want processed", name, next)
	}
	c.settle(t, p)
	if n := len(c.outcomes(id)); n != 1 {
		t.Errorf("%s: the action got %d outcomes %v, want one", name, n, c.outcomes(id))
	}
}

// "10 MiB; endless; gzip bomb: memory ≤ limit": what a back-end sends is bounded, whatever it is.
func TestResponsesWithoutEndAreBounded(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	bomb := gzipOf(t, 1<<30)
	before := p.peakMemory(t)
	for name, respond := range map[string]http.HandlerFunc{
		"endless spaces": func(w http.ResponseWriter, r *http.Request) {
			endless(w, "[", strings.Repeat(" ", 64<<10))
		},
		"endless answers for nobody": func(w http.ResponseWriter, r *http.Request) {
			endless(w, "[", strings.Repeat(`{"answer":"processed","id":"1 nobody 0"},`, 1000))
		},
		"endless string": func(w http.ResponseWriter, r *http.Request) {
			endless(w, `[{"answer":"`, strings.Repeat("x", 64<<10))
		},
		"gzip bomb": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		},
	} {
		if raceDetector && name == "endless answers for nobody" {
			continue // millions of answers up to the limit take the detector minutes
		}
		b.onActions("ODD", func(w http.ResponseWriter, _ []string) { respond(w, nil) })
		c := connect(t, p.addr, "38:bound:"+strings.ReplaceAll(name, " ", "_"), dialOptions{})
		checkOutcome(t, p, c, name, []string{"error"})
		c.close()
	}
	// One element of at most 10 MiB is held at a time, in a growing buffer, with a garbage collector behind it.
	limit := 80 << 20
	if raceDetector {
		limit *= 5
	}
	if grown := p.peakMemory(t) - before; grown > limit {
		t.Errorf("peak memory grew by %d MiB, want at most %d MiB", grown>>20, limit>>20)
	}
}

// endless writes until nobody reads.
func endless(w http.ResponseWriter, head, more string) {
	if _, err := io.WriteString(w, head); err != nil {
		return
	}
	for {
		if _, err := io.WriteString(w, more); err != nil {
			return
		}
	}
}

func gzipOf(t *testing.T, zeros int) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	block := bytes.Repeat([]byte(" "), 1<<20)
	for range zeros >> 20 {
		if _, err := z.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// peakMemory is the most memory that the process ever had resident, in bytes.
func (p *proxy) peakMemory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kb int
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	t.Fatalf("no VmHWM in:\n%s", status)
	return 0
}
