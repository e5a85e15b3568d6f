package backendtest

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// A Handler answers one command.
type Handler func(x *Exchange)

// Options say what a Backend is at its start.
type Options struct {
	// Secret that both sides must know.
	Secret string
	// Proxy is the URL of the proxy's control API, for versions 2 and 3 and for Control. It may be set later by SetProxy.
	Proxy string
	// Open lets everybody in, with any token and subprotocol, as a demo wants it.
	Open bool
}

// A Backend is an http.Handler that any number of requests may use at once.
type Backend struct {
	opts Options
	app  *app

	mu sync.Mutex
	// Guarded by mu.

	proxy    string
	handlers map[string]Handler // by action type, "channel:" + channel, "auth"
	replies  []http.HandlerFunc
	requests []*Request
	inFlight int
	peak     int
	wrong    []time.Time // wrong secrets
	errs     []error
	changed  chan struct{} // closed and replaced at each change
}

// New returns a back-end with nobody and nothing in it.
func New(o Options) *Backend {
	return &Backend{
		opts:     o,
		app:      newApp(o.Open),
		proxy:    o.Proxy,
		handlers: make(map[string]Handler),
		changed:  make(chan struct{}),
	}
}

// Handle replaces the behaviour for an action type ("INC"), a channel ("channel:counter") or "auth". nil brings the
// application's own back.
func (b *Backend) Handle(what string, h Handler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h == nil {
		delete(b.handlers, what)
		return
	}
	b.handlers[what] = h
}

// Reply answers the next requests, each by one of replies in turn, before anything of them is looked at
// but their body, which is recorded.
func (b *Backend) Reply(replies ...http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replies = append(b.replies, replies...)
}

// SetProxy says where the control API is.
func (b *Backend) SetProxy(url string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.proxy = url
}

// ServeHTTP implements http.Handler.
func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.begin()
	defer b.finish()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	req, secret, err := parse(raw)
	if req != nil {
		req.Header = r.Header.Clone()
	}
	if reply := b.record(req); reply != nil {
		reply(w, r)
		return
	}
	switch {
	case r.Method != http.MethodPost:
		http.Error(w, "Wrong method", http.StatusMethodNotAllowed)
	case err != nil:
		respond(w, http.StatusBadRequest, err.Error())
	case b.locked():
		respond(w, http.StatusTooManyRequests, "Too many wrong secret attempts")
	case secret != b.opts.Secret:
		b.wrongSecret()
		respond(w, http.StatusForbidden, "Wrong secret")
	default:
		b.answer(w, r, req)
	}
}

// answer handles the commands of one request side by side.
func (b *Backend) answer(w http.ResponseWriter, r *http.Request, req *Request) {
	w.Header().Set("Content-Type", "application/json")
	out := &response{w: w}
	var wg sync.WaitGroup
	aborted := make(chan any, len(req.Commands))
	for _, c := range req.Commands {
		x := &Exchange{Command: c, Ctx: r.Context(), backend: b, out: out}
		h := b.handler(c)
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					aborted <- p
				}
			}()
			h(x)
		})
	}
	wg.Wait()
	select {
	case p := <-aborted:
		panic(p) // http.ErrAbortHandler cuts the connection
	default:
	}
	out.end()
}

func (b *Backend) handler(c *Command) Handler {
	keys := []string{c.Type}
	switch {
	case c.Auth:
		keys = []string{"auth"}
	case c.Subscribe():
		keys = []string{"channel:" + c.Channel, c.Type}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range keys {
		if h := b.handlers[key]; h != nil {
			return h
		}
	}
	return b.app.handle
}

func respond(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// Libraries lock a caller out that has a wrong secret: three in three seconds.
const (
	lockAttempts = 3
	lockWindow   = 3 * time.Second
)

func (b *Backend) wrongSecret() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong = append(b.wrong, time.Now())
}

func (b *Backend) locked() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.wrong) > 0 && time.Since(b.wrong[0]) >= lockWindow {
		b.wrong = b.wrong[1:]
	}
	return len(b.wrong) >= lockAttempts
}

func (b *Backend) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight++
	b.peak = max(b.peak, b.inFlight)
	b.changedLocked()
}

func (b *Backend) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight--
	b.changedLocked()
}

// record notes r, unless it is nil, and takes the next of Reply's for it: in one step, so that what a test adds after it saw a
// request is for the requests after that one.
func (b *Backend) record(r *Request) (reply http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r != nil {
		b.requests = append(b.requests, r)
		b.changedLocked()
	}
	if len(b.replies) > 0 {
		reply, b.replies = b.replies[0], b.replies[1:]
	}
	return reply
}

func (b *Backend) note(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errs = append(b.errs, err)
	b.changedLocked()
}

func (b *Backend) changedLocked() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Requests returns the requests that came, well-formed ones only, oldest first.
func (b *Backend) Requests() []*Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*Request(nil), b.requests...)
}

// Commands returns the commands of all requests.
func (b *Backend) Commands() []*Command {
	var all []*Command
	for _, r := range b.Requests() {
		all = append(all, r.Commands...)
	}
	return all
}

// Count is how often the action ID id came.
func (b *Backend) Count(id string) int {
	n := 0
	for _, c := range b.Commands() {
		if !c.Auth && c.ID == id {
			n++
		}
	}
	return n
}

// Errors returns what went wrong in the back-end's own calls of the control API.
func (b *Backend) Errors() []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]error(nil), b.errs...)
}

// Peak is how many requests were open at once at most; InFlight how many are now.
func (b *Backend) Peak() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.peak
}

// InFlight is how many requests are open now.
func (b *Backend) InFlight() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inFlight
}

// Wait returns when cond holds, which is asked again after each change; or ctx's error.
func (b *Backend) Wait(ctx context.Context, cond func() bool) error {
	for {
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
