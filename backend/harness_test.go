package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"logux-proxy/backend/backendtest"
	"logux-proxy/wire"
)

const testSecret = "parole-73"

// patienceOfTests ends a test that hangs; nothing is measured against it.
const patienceOfTests = 2 * time.Minute

// newTestClient returns a client of the back-end at url, closed with the test.
func newTestClient(tb testing.TB, rawURL string, change ...func(*Config)) *Client {
	tb.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		tb.Fatal(err)
	}
	cfg := Config{URL: u, Secrets: []string{testSecret}, Timeout: patienceOfTests, Hold: -1}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// serve starts an HTTP server, stopped with the test.
func serve(tb testing.TB, h http.Handler) string {
	tb.Helper()
	s := httptest.NewServer(h)
	tb.Cleanup(s.Close)
	return s.URL
}

func newBackend(tb testing.TB) (*backendtest.Backend, string) {
	tb.Helper()
	b := backendtest.New(backendtest.Options{Secret: testSecret})
	return b, serve(tb, b)
}

func observed(c *Config) *observer.ObservedLogs {
	core, logs := observer.New(zapcore.DebugLevel)
	c.Log = zap.New(core)
	return logs
}

// A story is what a client's caller heard about one command.
type story struct {
	id   string
	over chan struct{}

	mu      sync.Mutex
	answers []wire.Answer
	final   wire.Answer
	err     error
	ends    int
	late    int // answers after the end
}

func newStory(id string) *story { return &story{id: id, over: make(chan struct{})} }

func (s *story) answer(a wire.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ends > 0 {
		s.late++
	}
	s.answers = append(s.answers, a)
}

func (s *story) done(a wire.Answer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.final, s.err = a, err
	if s.ends++; s.ends == 1 {
		close(s.over)
	}
}

// wait returns when the command ended.
func (s *story) wait(tb testing.TB) *story {
	tb.Helper()
	select {
	case <-s.over:
	case <-time.After(patienceOfTests):
		tb.Fatalf("%s has no end", s.id)
	}
	return s
}

// String tells the story: the answers' names and the end, as in "resend approved | processed" or "approved | order".
func (s *story) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var words []string
	for _, a := range s.answers {
		words = append(words, a.Name)
	}
	words = append(words, "|")
	var e *Error
	switch {
	case s.ends != 1:
		words = append(words, fmt.Sprintf("%d ends", s.ends))
	case errors.As(s.err, &e):
		words = append(words, e.Kind.String())
		if e.Status != 0 {
			words = append(words, fmt.Sprint(e.Status))
		}
		if e.ID != s.id {
			words = append(words, "of "+e.ID)
		}
	case s.err != nil:
		words = append(words, "an error of another type: "+s.err.Error())
	default:
		words = append(words, s.final.Name)
	}
	if s.late > 0 {
		words = append(words, "and answers after the end")
	}
	return strings.Join(words, " ")
}

func (s *story) want(tb testing.TB, want string) *story {
	tb.Helper()
	if got := s.wait(tb).String(); got != want {
		tb.Errorf("%s: %q, want %q (%v)", s.id, got, want, s.err)
	}
	return s
}

// wantOneOf is want for a story with a choice of ends.
func (s *story) wantOneOf(tb testing.TB, want ...string) *story {
	tb.Helper()
	if got := s.wait(tb).String(); !slices.Contains(want, got) {
		tb.Errorf("%s: %q, want one of %q (%v)", s.id, got, want, s.err)
	}
	return s
}

func action(id string, body string) *wire.Command {
	_, rest, _ := strings.Cut(body, `"type":"`)
	kind, _, _ := strings.Cut(rest, `"`)
	return &wire.Command{Action: &wire.Action{
		ID:          wire.ActionID(id),
		Time:        1560954012838,
		Subprotocol: wire.RawJSON(`"1.0.0"`),
		Type:        kind,
		Body:        wire.RawJSON(body),
	}}
}

// process sends an action and returns its story.
func process(c *Client, id, body string) *story {
	s := newStory(id)
	c.Process(action(id, body), s.answer, s.done)
	return s
}

const (
	incBody       = `{"type":"INC"}`
	subscribeBody = `{"type":"logux/subscribe","channel":"counter"}`
)

func inc(c *Client, n int) *story {
	return process(c, fmt.Sprintf("%d 38:Y7bysd:O0ETfc 0", n), incBody)
}
func subscribe(c *Client, n int) *story {
	return process(c, fmt.Sprintf("%d 38:Y7bysd:O0ETfc 0", n), subscribeBody)
}

func auth(id, user, token string) *wire.Auth {
	return &wire.Auth{
		AuthID:      id,
		NodeID:      wire.NodeID(user + ":client:tab"),
		Token:       token,
		HasToken:    token != "",
		Subprotocol: wire.RawJSON(`"1.0.0"`),
	}
}

func authenticate(c *Client, a *wire.Auth) *story {
	s := newStory(a.AuthID)
	c.Authenticate(a, s.done)
	return s
}

// until waits for a condition about the back-end.
func until(tb testing.TB, b *backendtest.Backend, cond func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfTests)
	defer cancel()
	if err := b.Wait(ctx, cond); err != nil {
		tb.Fatal("the condition did not come true")
	}
}

// eventually waits for a condition of which nobody tells.
func eventually(tb testing.TB, cond func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfTests)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatal("the condition did not come true")
		}
	}
}

// advance lets the clock of a synctest bubble go on.
func advance(d time.Duration) { <-time.After(d) }

// A fakeTransport stands for the network where time is not real. It answers each request by a function.
type fakeTransport struct {
	answer func(n int, body string, req *http.Request) (*http.Response, error)

	mu       sync.Mutex
	requests []fakeRequest
	open     int
	peak     int
}

type fakeRequest struct {
	at   time.Time
	body string
}

// errBeforeWriting is an error of a connection that took nothing.
var errBeforeWriting = errors.New("connection refused")

func (f *fakeTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	n := len(f.requests)
	f.requests = append(f.requests, fakeRequest{time.Now(), string(raw)})
	f.open++
	f.peak = max(f.peak, f.open)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.open--
		f.mu.Unlock()
	}()
	res, err := f.answer(n, string(raw), req)
	if !errors.Is(err, errBeforeWriting) {
		httptrace.ContextClientTrace(req.Context()).WroteRequest(httptrace.WroteRequestInfo{})
	}
	return res, err
}

func (f *fakeTransport) sent() []fakeRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// newFakeClient returns a client whose requests f answers.
func newFakeClient(tb testing.TB, f *fakeTransport, change ...func(*Config)) *Client {
	tb.Helper()
	c := newTestClient(tb, "http://backend.test/logux", change...)
	c.transport = f
	return c
}

// respondWith is a response with a body that is all there.
func respondWith(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: h,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

// processAll answers every action of a request with resend, approved and processed, every subscription and auth likewise.
func processAll(body string) string {
	var parts []string
	for _, id := range idsOf(body) {
		if strings.Contains(id, " ") {
			parts = append(parts,
				fmt.Sprintf(`{"answer":"approved","id":%q},{"answer":"processed","id":%q}`, id, id))
		} else {
			parts = append(parts, fmt.Sprintf(`{"answer":"authenticated","authId":%q,"subprotocol":"1.0.0"}`, id))
		}
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// idsOf finds the IDs of a request's commands, in order.
func idsOf(body string) []string {
	var ids []string
	for _, part := range strings.Split(body, `{"command":"`)[1:] {
		for _, key := range []string{`"meta":{"id":"`, `"authId":"`} {
			if _, rest, ok := strings.Cut(part, key); ok {
				id, _, _ := strings.Cut(rest, `"`)
				ids = append(ids, id)
				break
			}
		}
	}
	return ids
}

// quiet drops what a test server has to say about connections that its test breaks.
var quiet = log.New(io.Discard, "", 0)
