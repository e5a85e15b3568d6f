package backend

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"logux-proxy/wire"
)

// quickBackend answers every action of a request at once, as cheaply as a Go program can.
func quickBackend(b *testing.B) string {
	b.Helper()
	return serve(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var out strings.Builder
		sep := "["
		for rest := string(raw); ; {
			_, after, ok := strings.Cut(rest, `"meta":{"id":"`)
			if !ok {
				break
			}
			id, tail, _ := strings.Cut(after, `"`)
			rest = tail
			out.WriteString(sep)
			sep = ","
			fmt.Fprintf(&out, `{"answer":"resend","id":"%s","channels":["counter"]},{"answer":"approved","id":"%s"},{"answer":"processed","id":"%s"}`, id, id, id)
		}
		out.WriteString("]")
		_, _ = io.WriteString(w, out.String())
	}))
}

// Round trips of one action each over real HTTP to a back-end in the same process, so the figures hold both ends.
func BenchmarkRoundTrips(b *testing.B) {
	for _, one := range []struct{ callers, concurrency, batch int }{
		{1, 64, 50},
		{64, 64, 50},
		{1000, 8, 50},
		{1000, 8, 1},
	} {
		b.Run(fmt.Sprintf("callers=%d/requests=%d/batch=%d", one.callers, one.concurrency, one.batch), func(b *testing.B) {
			c := newTestClient(b, quickBackend(b), func(cfg *Config) { cfg.Concurrency, cfg.Batch = one.concurrency, one.batch })
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			share := b.N/one.callers + 1
			for caller := range one.callers {
				wg.Go(func() {
					over := make(chan error)
					for n := range share {
						cmd := action(fmt.Sprintf("%d 38:c%d:b 0", n, caller), incBody)
						c.Process(cmd, func(wire.Answer) {}, func(_ wire.Answer, err error) { over <- err })
						if err := <-over; err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			s := c.Stats()
			b.ReportMetric(float64(s.Commands)/float64(s.Requests), "commands/request")
			b.ReportMetric(float64(s.Commands)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}

// What the client itself costs: the network and the back-end are a function.
func BenchmarkClient(b *testing.B) {
	for _, batch := range []int{1, 50} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			f := &plainTransport{}
			c := newTestClient(b, "http://backend.test/", func(cfg *Config) { cfg.Concurrency = 1 })
			c.transport = f
			commands := make([]*wire.Command, batch)
			for i := range commands {
				commands[i] = action(fmt.Sprintf("%d 38:Y7bysd:O0ETfc 0", i), incBody)
			}
			f.whole = respondTo(commands)
			var wg sync.WaitGroup
			answer, done := func(wire.Answer) {}, func(wire.Answer, error) { wg.Done() }
			b.ReportAllocs()
			for b.Loop() {
				wg.Add(batch)
				if batch == 1 {
					c.Process(commands[0], answer, done)
				} else {
					c.mu.Lock() // lets all of them wait for one request
					for _, cmd := range commands {
						c.line.push(newCommandCall(cmd, answer, done))
					}
					c.dispatchLocked()
					c.mu.Unlock()
				}
				wg.Wait()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(batch), "ns/command")
		})
	}
}

func respondTo(commands []*wire.Command) string {
	var parts []string
	for _, cmd := range commands {
		parts = append(parts, fmt.Sprintf(`{"answer":"resend","id":"%s","channels":["counter"]},{"answer":"approved","id":"%s"},{"answer":"processed","id":"%s"}`,
			cmd.Action.ID, cmd.Action.ID, cmd.Action.ID))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// A plainTransport answers at once with a fixed text.
type plainTransport struct {
	whole string
}

func (f *plainTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	_ = r.Body.Close()
	return respondWith(200, f.whole), nil
}

func BenchmarkEncode(b *testing.B) {
	c := newTestClient(b, "http://backend.test/")
	r := &request{}
	for n := range 50 {
		r.calls = append(r.calls, newCommandCall(action(fmt.Sprintf("%d 38:Y7bysd:O0ETfc 0", n), incBody), nil, nil))
	}
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(c.body(r))))
	}
}
