package backend

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// "POST LOGUX_BACKEND, Content-Type: application/json, body {"version":4,"secret":S,"commands":[…]}" (PROTOCOL section 5), with no
// command: the back-end has nothing to do.
func TestCheckSendsNoCommand(t *testing.T) {
	b, address := newBackend(t)
	for _, version := range []int{2, 3, 4} {
		answer, err := Check(t.Context(), Config{URL: mustParse(t, address), Secrets: []string{testSecret, "older"}, Version: version})
		if err != nil || answer != (CheckAnswer{Status: 200, Array: true}) {
			t.Errorf("version %d: %+v, %v", version, answer, err)
		}
	}
	if requests := b.Requests(); len(requests) != 3 || len(b.Commands()) != 0 || requests[2].Header.Get("Content-Type") != "application/json" {
		t.Errorf("%+v", requests)
	}
	answer, err := Check(t.Context(), Config{URL: mustParse(t, address), Secrets: []string{"wrong"}})
	if err != nil || answer.Status != http.StatusForbidden || answer.Array {
		t.Errorf("a wrong secret: %+v, %v", answer, err)
	}
}

func TestCheckBody(t *testing.T) {
	bodies := make(chan string, 1)
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if name, password, _ := r.BasicAuth(); err != nil || name != "ops" || password != "pw" || !json.Valid(body) {
			t.Errorf("%v %v %s", err, r.Header, body)
		}
		bodies <- string(body)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}))
	u := mustParse(t, address)
	u.User = url.UserPassword("ops", "pw")
	answer, err := Check(t.Context(), Config{URL: u, Secrets: []string{testSecret, "older"}})
	if err != nil || answer.Status != http.StatusTemporaryRedirect {
		t.Errorf("a redirect is not followed: %+v, %v", answer, err)
	}
	if body := <-bodies; body != `{"version":4,"secret":"parole-73","commands":[]}` {
		t.Error(body)
	}
}

// A back-end that takes the request and says nothing does not hold the operator up.
func TestCheckEnds(t *testing.T) {
	address := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	c := Config{URL: mustParse(t, address), Secrets: []string{testSecret}, FirstByteTimeout: 50 * time.Millisecond}
	if answer, err := Check(t.Context(), c); err == nil {
		t.Errorf("%+v", answer)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ended, c); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := Check(t.Context(), Config{URL: c.URL}); err == nil {
		t.Error("no secret is sent")
	}
}

func mustParse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
