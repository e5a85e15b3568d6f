package backend

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A class says what a failed request may have done to its commands, and so who may be sent again.
type class uint8

const (
	// unseen: no command was acted on. Refused and broken connections before the request was
	// written, DNS, 503, 429, 403. All may be sent again.
	unseen class = iota + 1
	// unsure: a command may have been acted on. Resets and time-outs after writing, 502, 504 and other
	// statuses that something between us and the application makes up.
	unsure
	// plain: the back-end has answered, and will answer the same again. Any other status, an unreadable body. In a
	// request that was shared it may be the fault of one command.
	plain
	// ours: the Client was closed.
	ours
)

// A failure is how a request ended that was not answered whole.
type failure struct {
	class  class
	kind   Kind
	status int
	err    error
	after  time.Duration // Retry-After
	// written is set when the back-end may have seen which commands travelled together.
	written bool
}

var (
	errClosed  = errors.New("the client was closed")
	errTimeout = errors.New("the back-end did not answer in time")
	errStalled = errors.New("the response stalled")
	errLine    = errors.New("no request was free in time")
)

// statusFailure judges a response's head. It is nil for one whose body holds answers.
func statusFailure(res *http.Response) *failure {
	f := &failure{class: plain, kind: KindStatus, status: res.StatusCode, written: true}
	switch s := res.StatusCode; {
	case s >= 200 && s <= 299:
		return nil
	case s == http.StatusForbidden:
		f.class, f.kind = unseen, KindRefused
		f.err = errors.New("the back-end does not accept the secret: it answered 403")
		return f
	case s == http.StatusServiceUnavailable, s == http.StatusTooManyRequests:
		f.class = unseen
		f.after = retryAfter(res.Header.Get("Retry-After"), time.Now())
	case s >= 300 && s <= 399:
		f.err = fmt.Errorf("the back-end answered %d, a redirection to %s, which is not followed", s, locationHost(res))
		return f
	case s >= 500 && s != http.StatusInternalServerError && s != http.StatusNotImplemented:
		f.class = unsure
	}
	f.err = fmt.Errorf("the back-end answered %d", res.StatusCode)
	return f
}

// retryAfter reads a Retry-After: seconds or a date.
func retryAfter(v string, now time.Time) time.Duration {
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}

// locationHost names where a redirection leads without its path and query, which may hold anything.
func locationHost(res *http.Response) string {
	u, err := url.Parse(res.Header.Get("Location"))
	switch {
	case err != nil:
		return "an unreadable address"
	case u.Host == "":
		return "the same host"
	default:
		return strconv.Quote(u.Host)
	}
}

// mayRetry reports whether k, which was left without an answer by f in a request of its own or a shared one, may be sent
// again, and after which pause. The gate paces what is unseen.
func (c *Client) mayRetry(k *call, f *failure, shared bool, now time.Time) (pause time.Duration, ok bool) {
	if c.cfg.Hold < 0 || f.class == ours {
		return 0, false
	}
	// Once a part of the answer went to the caller, a second round would tell it twice.
	if k.exchange.touched {
		return 0, false
	}
	harmless := !k.changes || c.cfg.Retry == RetryAll
	switch f.class {
	case unseen:
		ok = true
	case unsure:
		pause, ok = backoff(k.tries-1), harmless
	case plain:
		// Alone, and by that once. A body that was too large was not looked at.
		return 0, shared && (harmless || f.status == http.StatusRequestEntityTooLarge)
	}
	return pause, ok && now.Add(pause).Before(k.first.Add(c.cfg.Hold))
}
