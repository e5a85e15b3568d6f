package backend

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"logux-proxy/wire"
)

// share sends commands in one request, whose response is body, and returns their stories.
func share(tb testing.TB, body io.Reader, framed bool, commands ...*wire.Command) []*story {
	tb.Helper()
	f := &fakeTransport{answer: func(int, string, *http.Request) (*http.Response, error) {
		res := respondWith(200, "")
		res.Body = io.NopCloser(body)
		if res.ContentLength = -1; framed {
			res.TransferEncoding = []string{"chunked"}
		}
		return res, nil
	}}
	c := newFakeClient(tb, f, func(cfg *Config) { cfg.Concurrency = 1 })
	stories := make([]*story, len(commands))
	c.mu.Lock()
	for i, cmd := range commands {
		stories[i] = newStory(string(cmd.Action.ID))
		c.line.push(newCommandCall(cmd, stories[i].answer, stories[i].done))
	}
	c.dispatchLocked()
	c.mu.Unlock()
	for _, s := range stories {
		s.wait(tb)
	}
	c.Close()
	if n := len(f.sent()); n != 1 {
		tb.Fatalf("%d requests", n)
	}
	return stories
}

// Answers come in any order between commands; a response without its ] ends only the commands still open.
func TestSharedResponse(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	scripts := [][]string{
		{"resend", "approved", "processed"}, {"approved", "action", "action", "processed"}, {"forbidden"}, {"resend", "approved", "error"}, {"unknownAction"},
	}
	for round := range 500 {
		var commands []*wire.Command
		var left [][]string
		for i, script := range scripts {
			commands = append(commands, action(fmt.Sprintf("%d 38:a:b 0", i), incBody))
			left = append(left, script)
		}
		// A random interleaving, with answers of nobody between, cut at a random byte.
		text, sep := "", "["
		ends := make([]int, len(scripts)) // where each command's last answer ends
		tells := make([]map[int]string, len(scripts))
		for i := range tells {
			tells[i] = map[int]string{}
		}
		for {
			var open []int
			for i := range left {
				if len(left[i]) > 0 {
					open = append(open, i)
				}
			}
			if len(open) == 0 {
				break
			}
			i := open[random.IntN(len(open))]
			name := left[i][0]
			left[i] = left[i][1:]
			extra := ""
			if name == "action" {
				extra = `,"action":{"type":"x"},"meta":{}`
			}
			text += fmt.Sprintf(`%s{"answer":%q,"id":"%d 38:a:b 0"%s}`, sep, name, i, extra)
			sep = ","
			ends[i] = len(text)
			tells[i][len(text)] = name
			if random.IntN(3) == 0 {
				text += `,{"answer":"processed","id":"9 nobody 0"}, null, {}, [], {"answer":"error","details":"x"}`
			}
		}
		text += "]"
		cut := len(text)
		if round > 0 {
			cut = random.IntN(len(text) + 1)
		}
		stories := share(t, strings.NewReader(text[:cut]), round%2 == 0, commands...)
		for i, s := range stories {
			var heard []string
			for at := range cut + 1 {
				if name, ok := tells[i][at]; ok && at != ends[i] {
					heard = append(heard, name)
				}
			}
			end := "malformed"
			if ends[i] <= cut {
				end = tells[i][ends[i]]
			}
			want := strings.Join(append(heard, "|", end), " ")
			if got := s.String(); got != want {
				t.Fatalf("command %d of %q: %q, want %q", i, text[:cut], got, want)
			}
		}
	}
}

// FuzzResponse: whatever bytes a back-end answers with, each command has one end, and a legal order before it.
func FuzzResponse(f *testing.F) {
	f.Add([]byte(whole), byte(0))
	f.Add([]byte(`[{"answer":"approved","id":"1 a:b:c 0"},{"answer":"processed","id":"2 a:b:c 0"}]`), byte(1))
	f.Add([]byte(`[["error","stack"]]`), byte(2))
	f.Add([]byte(`[{"answer":"action","id":"1 a:b:c 0","action":{"type":"x"},"meta":{"clients":["a:b"]}},{"answer":"authenticated"}`), byte(1))
	f.Fuzz(func(t *testing.T, body []byte, mode byte) {
		commands := []*wire.Command{action("1 a:b:c 0", incBody)}
		if mode%2 == 1 {
			commands = append(commands, action("2 a:b:c 0", subscribeBody))
		}
		for _, s := range share(t, strings.NewReader(string(body)), mode%4 > 1, commands...) {
			if s.ends != 1 || s.late != 0 {
				t.Fatalf("%s: %s", s.id, s)
			}
			order := exchange{subscription: s.id[0] == '2'}
			for _, a := range s.answers {
				if v, err := order.next(&a); v != pass {
					t.Fatalf("%s: answer %s is not legal: %v", s.id, a.Name, err)
				}
			}
			if s.err == nil {
				if v, err := order.next(&s.final); v != finish {
					t.Fatalf("%s: end %s is not legal: %v", s.id, s.final.Name, err)
				}
			}
		}
	})
}
