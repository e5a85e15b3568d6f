package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"logux-proxy/backend/backendtest"
)

// What is sent again after which failure, each command alone in its request (the first request fails, the second is good).
func TestRetryRule(t *testing.T) {
	reset := errors.New("read: connection reset by peer")
	type outcome struct{ action, subscription, all string }
	const (
		again   = "approved | processed"
		refused = "approved | processed"
	)
	for _, one := range []struct {
		about string
		res   func() (*http.Response, error)
		want  outcome
	}{
		{"connection refused", func() (*http.Response, error) { return nil, errBeforeWriting }, outcome{again, again, again}},
		{"503", func() (*http.Response, error) { return respondWith(503, ""), nil }, outcome{again, again, again}},
		{"429", func() (*http.Response, error) { return respondWith(429, "", "Retry-After", "2"), nil }, outcome{again, again, again}},
		{"403", func() (*http.Response, error) { return respondWith(403, "Wrong secret"), nil }, outcome{refused, refused, refused}},
		{"502", func() (*http.Response, error) { return respondWith(502, ""), nil }, outcome{"| status 502", again, again}},
		{"504", func() (*http.Response, error) { return respondWith(504, ""), nil }, outcome{"| status 504", again, again}},
		{"reset after writing", func() (*http.Response, error) { return nil, reset }, outcome{"| malformed", again, again}},
		{"time-out after writing", func() (*http.Response, error) { return nil, context.DeadlineExceeded }, outcome{"| timeout", again, again}},
		{"broken off before an answer", func() (*http.Response, error) {
			res := respondWith(200, "")
			res.Body = io.NopCloser(io.MultiReader(strings.NewReader("["), brokenReader{reset}))
			return res, nil
		}, outcome{"| malformed", again, again}},
		{"broken off after an answer: telling it twice would be wrong", func() (*http.Response, error) {
			res := respondWith(200, "")
			res.Body = io.NopCloser(io.MultiReader(strings.NewReader("["+approvEl), brokenReader{reset}))
			return res, nil
		}, outcome{"approved | malformed", "approved | malformed", "approved | malformed"}},
		{"500", func() (*http.Response, error) { return respondWith(500, ""), nil }, outcome{"| status 500", "| status 500", "| status 500"}},
		{"400", func() (*http.Response, error) { return respondWith(400, ""), nil }, outcome{"| status 400", "| status 400", "| status 400"}},
		{"404", func() (*http.Response, error) { return respondWith(404, ""), nil }, outcome{"| status 404", "| status 404", "| status 404"}},
		{"302", func() (*http.Response, error) { return respondWith(302, "", "Location", "http://x.test/a"), nil }, outcome{"| status 302", "| status 302", "| status 302"}},
		{"no JSON", func() (*http.Response, error) { return respondWith(200, "<html>"), nil }, outcome{"| malformed", "| malformed", "| malformed"}},
		{"empty", func() (*http.Response, error) { return respondWith(200, ""), nil }, outcome{"| malformed", "| malformed", "| malformed"}},
	} {
		t.Run(one.about, func(t *testing.T) {
			for _, kind := range []struct {
				about, body string
				retry       Retry
				want        string
			}{
				{"action", incBody, RetrySafe, one.want.action},
				{"subscription", subscribeBody, RetrySafe, one.want.subscription},
				{"action with RetryAll", incBody, RetryAll, one.want.all},
			} {
				synctest.Test(t, func(t *testing.T) {
					f := &fakeTransport{answer: func(n int, body string, _ *http.Request) (*http.Response, error) {
						if n == 0 {
							return one.res()
						}
						return respondWith(200, processAll(body)), nil
					}}
					c := newFakeClient(t, f, func(cfg *Config) { cfg.Hold, cfg.Retry = time.Minute, kind.retry })
					got := process(c, oneID, kind.body).wait(t).String()
					if got != kind.want {
						t.Errorf("%s: %q, want %q", kind.about, got, kind.want)
					}
					if want := 1 + strings.Count(got, "processed"); len(f.sent()) != want {
						t.Errorf("%s: %d requests, want %d", kind.about, len(f.sent()), want)
					}
					c.Close()
				})
			}
		})
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

// Hold negative: nothing is sent twice.
func TestNoHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var status int
		f := &fakeTransport{answer: func(int, string, *http.Request) (*http.Response, error) {
			if status == 0 {
				return nil, errBeforeWriting
			}
			return respondWith(status, ""), nil
		}}
		c := newFakeClient(t, f)
		start := time.Now()
		for i, want := range map[int]string{0: "| unreachable", 503: "| status 503", 502: "| status 502", 500: "| status 500"} {
			status = i
			subscribe(c, 1).want(t, want)
		}
		if len(f.sent()) != 4 || time.Since(start) != 0 {
			t.Errorf("%d requests in %v", len(f.sent()), time.Since(start))
		}
		// What the back-end refuses is slowed down all the same.
		status = 403
		for range 10 {
			subscribe(c, 1).want(t, "| refused 403")
		}
		if n := len(f.sent()); n != 5 {
			t.Errorf("%d requests", n)
		}
		advance(2 * time.Second)
		status = 200
		subscribe(c, 1).want(t, "| malformed")
		c.Close()
	})
}

// A back-end away for 30 s: no action is lost, none is sent twice, the proxy knocks one at a time, and afterwards at most Concurrency requests are open.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		const outage, clients = 30 * time.Second, 500
		f := &fakeTransport{answer: func(_ int, body string, _ *http.Request) (*http.Response, error) {
			if time.Since(start) < outage {
				return nil, errBeforeWriting
			}
			advance(5 * time.Millisecond)
			return respondWith(200, processAll(body)), nil
		}}
		var away, back atomic.Int64
		c := newFakeClient(t, f, func(cfg *Config) {
			cfg.Hold, cfg.Concurrency, cfg.Batch = time.Minute, 8, 10
			cfg.Observe = func(r RequestInfo) {
				if r.Err != nil {
					away.Add(1)
				} else {
					back.Add(1)
				}
			}
		})
		var stories []*story
		for n := range clients {
			stories = append(stories, inc(c, n))
			advance(50 * time.Millisecond) // 25 s in all
		}
		if s := c.Stats(); s.Away != 1 || s.Waiting != clients || s.Locked != 0 {
			t.Errorf("%+v", s)
		}
		for _, s := range stories {
			s.want(t, "approved | processed")
		}
		if d := time.Since(start); d > outage+backoffMost+time.Second {
			t.Errorf("the last outcome came after %v", d)
		}
		knocks, seen := 0, map[string]int{}
		for _, r := range f.sent() {
			if r.at.Sub(start) < outage {
				knocks++
				continue
			}
			for _, id := range idsOf(r.body) {
				seen[id]++
			}
		}
		if knocks > 20 {
			t.Errorf("%d requests while it was away", knocks)
		}
		for id, n := range seen {
			if n != 1 {
				t.Errorf("%s was sent %d times", id, n)
			}
		}
		if len(seen) != clients || f.peak > 8 {
			t.Errorf("%d commands, %d requests at once", len(seen), f.peak)
		}
		synctest.Wait()
		if s := c.Stats(); s.Away != 0 || s.Waiting != 0 || s.InFlight != 0 || int(away.Load()) != knocks || back.Load() == 0 {
			t.Errorf("%+v, observed %d and %d", s, away.Load(), back.Load())
		}
		c.Close()
	})
}

// The hold counts from a command's first attempt, or from when it would have been its turn.
func TestHoldRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTransport{answer: func(int, string, *http.Request) (*http.Response, error) { return nil, errBeforeWriting }}
		c := newFakeClient(t, f, func(cfg *Config) { cfg.Hold = 10 * time.Second })
		start := time.Now()
		first := inc(c, 1)
		advance(4 * time.Second)
		second := inc(c, 2)
		first.want(t, "| unreachable")
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("the first ended after %v", d)
		}
		second.want(t, "| unreachable")
		if d := time.Since(start); d != 14*time.Second {
			t.Errorf("the second ended after %v", d)
		}
		if s := c.Stats(); s.Waiting != 0 || s.Away != 1 {
			t.Errorf("%+v", s)
		}
		n := len(f.sent())
		advance(time.Minute)
		if len(f.sent()) != n {
			t.Error("an idle client knocks")
		}
		c.Close()
	})
}

// "403 means a wrong secret: at most one request a second and a loud log line until it is mended."
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		f := &fakeTransport{answer: func(_ int, body string, _ *http.Request) (*http.Response, error) {
			if mended.Load() {
				return respondWith(200, processAll(body)), nil
			}
			return respondWith(403, "Wrong secret"), nil
		}}
		var logs *observer.ObservedLogs
		c := newFakeClient(t, f, func(cfg *Config) {
			cfg.Hold = time.Minute
			logs = observed(cfg)
		})
		early := inc(c, 1)
		for n := range 200 {
			advance(100 * time.Millisecond)
			subscribe(c, 100+n)
		}
		if s := c.Stats(); s.Locked != 1 || s.Away != 1 {
			t.Errorf("%+v", s)
		}
		sent := f.sent()
		for i := 1; i < len(sent); i++ {
			if d := sent[i].at.Sub(sent[i-1].at); d < time.Second {
				t.Errorf("two requests in %v", d)
			}
		}
		if n := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n != len(sent) {
			t.Errorf("%d loud lines for %d refusals", n, len(sent))
		}
		mended.Store(true)
		early.want(t, "approved | processed")
		if s := c.Stats(); s.Locked != 0 || s.Away != 0 {
			t.Errorf("%+v", s)
		}
		mended.Store(false)
		inc(c, 2).want(t, "| refused 403")
		c.Close()
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTransport{answer: func(n int, body string, _ *http.Request) (*http.Response, error) {
			if n == 0 {
				return respondWith(429, "", "Retry-After", "7"), nil
			}
			return respondWith(200, processAll(body)), nil
		}}
		c := newFakeClient(t, f, func(cfg *Config) { cfg.Hold = time.Minute })
		inc(c, 1).want(t, "approved | processed")
		if d := f.sent()[1].at.Sub(f.sent()[0].at); d < 7*time.Second {
			t.Errorf("again after %v", d)
		}
		c.Close()
	})
}

// A probe that hangs does not hold everybody up.
func TestHangingProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTransport{answer: func(n int, body string, r *http.Request) (*http.Response, error) {
			switch n {
			case 0:
				return nil, errBeforeWriting
			case 1:
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return respondWith(200, processAll(body)), nil
		}}
		c := newFakeClient(t, f, func(cfg *Config) { cfg.Hold, cfg.Timeout, cfg.Concurrency = time.Minute, time.Minute, 4 })
		start := time.Now()
		first := inc(c, 1)
		advance(time.Millisecond)
		second := inc(c, 2)
		second.want(t, "approved | processed")
		if d := time.Since(start); d > 2*backoffMost {
			t.Errorf("the second waited %v", d)
		}
		first.want(t, "| timeout")
		c.Close()
	})
}

// While a balancer answers 502 for a back-end that is away, most actions wait and are not lost.
func TestGatewayErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		f := &fakeTransport{answer: func(_ int, body string, _ *http.Request) (*http.Response, error) {
			if time.Since(start) < 20*time.Second {
				return respondWith(502, ""), nil
			}
			return respondWith(200, processAll(body)), nil
		}}
		c := newFakeClient(t, f, func(cfg *Config) { cfg.Hold = time.Minute })
		var actions, subscriptions []*story
		for n := range 200 {
			actions = append(actions, inc(c, n))
			subscriptions = append(subscriptions, subscribe(c, 1000+n))
			advance(10 * time.Millisecond)
		}
		lost := 0
		for _, s := range actions {
			if strings.HasPrefix(s.wait(t).String(), "| status") {
				lost++
			} else {
				s.want(t, "approved | processed")
			}
		}
		if lost > unsureInRow {
			t.Errorf("%d actions lost", lost)
		}
		for _, s := range subscriptions {
			s.want(t, "approved | processed")
		}
		c.Close()
	})
}

// Responses that break off show that the back-end is there.
func TestBrokenResponsesCloseNoGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTransport{answer: func(n int, body string, _ *http.Request) (*http.Response, error) {
			if n < 2*unsureInRow {
				res := respondWith(200, "")
				res.Body = io.NopCloser(io.MultiReader(strings.NewReader("["), brokenReader{io.ErrUnexpectedEOF}))
				return res, nil
			}
			return respondWith(200, processAll(body)), nil
		}}
		c := newFakeClient(t, f, func(cfg *Config) { cfg.Hold = time.Minute })
		for n := range unsureInRow {
			inc(c, n).want(t, "| malformed")
		}
		sub := subscribe(c, 100)
		synctest.Wait()
		if s := c.Stats(); s.Away != 0 || s.Waiting != 1 {
			t.Errorf("%+v", s)
		}
		sub.want(t, "approved | processed")
		c.Close()
	})
}

// Nobody waits for ever for a free request.
func TestWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTransport{answer: func(_ int, _ string, r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}}
		c := newFakeClient(t, f, func(cfg *Config) {
			cfg.Concurrency, cfg.Batch, cfg.Timeout, cfg.Hold = 1, 1, 10*time.Second, 5*time.Second
		})
		start := time.Now()
		stories := []*story{inc(c, 1), inc(c, 2), inc(c, 3), inc(c, 4)}
		for _, s := range stories {
			s.want(t, "| timeout")
		}
		if d := time.Since(start); d > 35*time.Second {
			t.Errorf("the last ended after %v", d)
		}
		c.Close()
	})
}

// First come first served: a command waits behind at most those that came before it.
func TestFairness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTransport{answer: func(_ int, body string, _ *http.Request) (*http.Response, error) {
			advance(time.Second)
			return respondWith(200, processAll(body)), nil
		}}
		c := newFakeClient(t, f, func(cfg *Config) { cfg.Concurrency, cfg.Batch = 2, 5 })
		var stories []*story
		for n := range 100 {
			stories = append(stories, inc(c, n))
		}
		for _, s := range stories {
			s.want(t, "approved | processed")
		}
		place := 0
		for _, r := range f.sent() {
			for _, id := range idsOf(r.body) {
				var n int
				if _, err := fmt.Sscan(id, &n); err != nil {
					t.Fatal(err)
				}
				if ahead := place - n; ahead > 2*5 || ahead < -2*5 { // the two requests of one moment have no order
					t.Errorf("number %d was sent in place %d", n, place)
				}
				place++
			}
		}
		c.Close()
	})
}

// One command must not break its neighbours in a shared request, and what a back-end may have acted on is not sent twice.
func TestPoison(t *testing.T) {
	for _, status := range []int{400, 500, 413, 200} {
		for _, retry := range []Retry{RetrySafe, RetryAll} {
			b, url := newBackend(t)
			first := make(chan struct{})
			b.Handle("wait", backendtest.Script(backendtest.Until(first), backendtest.Approved, backendtest.Processed))
			c := newTestClient(t, url, func(cfg *Config) { cfg.Concurrency, cfg.Hold, cfg.Retry = 1, patienceOfTests, retry })
			wait := process(c, "0 38:a:b 0", `{"type":"wait"}`)
			until(t, b, func() bool { return len(b.Requests()) == 1 })
			// PHP: it acted on the first and then failed for all.
			b.Reply(backendtest.Status(status, "<b>Fatal error</b>"))
			neighbour := inc(c, 1)
			poison := process(c, "2 38:Y7bysd:O0ETfc 0", `{"type":"INC","poison":1}`)
			sub := subscribe(c, 3)
			user := authenticate(c, auth("a4", "10", "10:good"))
			close(first)
			wait.want(t, "approved | processed")

			end := fmt.Sprintf("| status %d", status)
			if status == 200 {
				end = "| malformed"
			}
			if status == 413 || retry == RetryAll {
				end = "resend approved | processed"
			}
			neighbour.want(t, end)
			poison.want(t, end)
			sub.want(t, "approved action | processed")
			user.want(t, "| authenticated")

			times := map[string]int{}
			for i, r := range b.Requests() {
				if i >= 2 && len(r.Commands) != 1 {
					t.Errorf("%d: request %d after the failure has %d commands", status, i, len(r.Commands))
				}
				for _, cmd := range r.Commands {
					times[cmd.ID+cmd.AuthID]++
				}
			}
			want := 1
			if strings.Contains(end, "processed") {
				want = 2
			}
			if times[neighbour.id] != want || times[poison.id] != want || times[sub.id] != 2 || times["a4"] != 2 {
				t.Errorf("%d: sent %v", status, times)
			}
		}
	}
}

// A command that fails alone is not tried again and again.
func TestPoisonAlone(t *testing.T) {
	b, url := newBackend(t)
	first := make(chan struct{})
	b.Handle("wait", backendtest.Script(backendtest.Until(first), backendtest.Approved, backendtest.Processed))
	c := newTestClient(t, url, func(cfg *Config) { cfg.Concurrency, cfg.Hold = 1, patienceOfTests })
	wait := process(c, "0 38:a:b 0", `{"type":"wait"}`)
	until(t, b, func() bool { return len(b.Requests()) == 1 })
	b.Reply(backendtest.Status(500, ""), backendtest.Status(500, ""))
	poison := process(c, "1 38:a:b 0", `{"type":"logux/subscribe","channel":"counter"}`)
	sub := subscribe(c, 2)
	close(first)
	wait.want(t, "approved | processed")
	poison.want(t, "| status 500")
	sub.want(t, "approved action | processed")
	if n := len(b.Requests()); n != 4 {
		t.Errorf("%d requests", n)
	}
}

// Version 2's ["error", stack] in a shared request says nothing about who else is right.
func TestErrorWithoutIDShared(t *testing.T) {
	b, url := newBackend(t)
	first := make(chan struct{})
	b.Handle("wait", backendtest.Script(backendtest.Until(first), backendtest.Approved, backendtest.Processed))
	c := newTestClient(t, url, func(cfg *Config) { cfg.Version, cfg.Concurrency, cfg.Hold = 2, 1, patienceOfTests })
	wait := process(c, "0 38:a:b 0", `{"type":"wait"}`)
	until(t, b, func() bool { return len(b.Requests()) == 1 })
	b.Reply(backendtest.Status(200, `[["approved","1 38:Y7bysd:O0ETfc 0"],["processed","1 38:Y7bysd:O0ETfc 0"],["error","stack"]]`))
	one, two, user := inc(c, 1), inc(c, 2), authenticate(c, auth("a3", "10", "10:good"))
	close(first)
	wait.want(t, "approved | processed")
	one.want(t, "approved | processed")
	two.want(t, "| malformed")
	user.want(t, "| authenticated")
}
