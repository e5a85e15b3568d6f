package gateway

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"logux-proxy/wire"
)

// A stub is a back-end that a test answers for. Authentications it answers itself.
type stub struct {
	asked chan *question // commands, in the order in which they come

	mu sync.Mutex
	// Guarded by mu.
	auth    func(a *wire.Auth) (wire.Answer, error) // nil lets everybody in
	process func(q *question)                       // instead of asked, on a goroutine of its own; nil for none
	auths   []*wire.Auth
	times   map[wire.ActionID]int // how often each action was asked about
	order   []wire.ActionID
	running map[wire.ClientID]int
	overlap bool // two actions of one client were under way at once

	wait sync.WaitGroup
}

// newStub makes a stub whose goroutines are waited for when the test's servers have ended.
func newStub(t testing.TB) *stub {
	t.Helper()
	b := &stub{
		asked: make(chan *question, 10_000), times: make(map[wire.ActionID]int), running: make(map[wire.ClientID]int),
	}
	t.Cleanup(b.wait.Wait)
	return b
}

// Authenticate implements Backend.
func (b *stub) Authenticate(a *wire.Auth, done func(wire.Answer, error)) {
	b.mu.Lock()
	b.auths = append(b.auths, a)
	auth := b.auth
	b.mu.Unlock()
	b.wait.Go(func() {
		if auth != nil {
			done(auth(a))
			return
		}
		done(wire.Answer{Kind: wire.AnswerAuthenticated, Subprotocol: wire.RawJSON(`9`)}, nil)
	})
}

// Process implements Backend.
func (b *stub) Process(c *wire.Command, answer func(wire.Answer), done func(wire.Answer, error)) {
	client := c.Action.ID.Client()
	b.mu.Lock()
	b.times[c.Action.ID]++
	b.order = append(b.order, c.Action.ID)
	b.running[client]++
	b.overlap = b.overlap || b.running[client] > 1
	process := b.process
	b.mu.Unlock()
	q := &question{Command: c, answer: answer, done: func(a wire.Answer, err error) {
		b.mu.Lock()
		b.running[client]--
		b.mu.Unlock()
		done(a, err)
	}}
	if process != nil {
		b.wait.Go(func() { process(q) })
		return
	}
	b.asked <- q
}

func (b *stub) setAuth(f func(a *wire.Auth) (wire.Answer, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.auth = f
}

func (b *stub) setProcess(f func(q *question)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.process = f
}

// lastAuth is what the back-end was asked about last.
func (b *stub) lastAuth(t testing.TB) *wire.Auth {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.auths) == 0 {
		t.Fatal("nobody was authenticated")
	}
	return b.auths[len(b.auths)-1]
}

func (b *stub) authCount() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.auths)
}

// forget lets go what is remembered about the past.
func (b *stub) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.auths, b.order = nil, nil
	b.times, b.running = make(map[wire.ActionID]int), make(map[wire.ClientID]int)
}

func (b *stub) count(id wire.ActionID) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.times[id]
}

// idle fails the test when a command waits that nobody expected.
func (b *stub) idle(t testing.TB) {
	t.Helper()
	select {
	case q := <-b.asked:
		t.Errorf("the back-end was asked about %s %s", q.Action.ID, q.Action.Body)
	default:
	}
}

// next returns the next command; it must be about body.
func (b *stub) next(t testing.TB, body string) *question {
	t.Helper()
	select {
	case q := <-b.asked:
		if string(q.Action.Body) != body {
			t.Fatalf("the back-end was asked about %s, want %s", q.Action.Body, body)
		}
		return q
	case <-time.After(patience):
		t.Fatalf("the back-end was not asked about %s", body)
		return nil
	}
}

// A question is a command that the back-end was asked and is to answer.
type question struct {
	*wire.Command
	answer func(wire.Answer)
	done   func(wire.Answer, error)
}

func (q *question) resend(t wire.Targets) { q.answer(wire.Answer{Kind: wire.AnswerResend, Targets: t}) }
func (q *question) approve()              { q.answer(wire.Answer{Kind: wire.AnswerApproved}) }
func (q *question) finish(k wire.AnswerKind) {
	q.done(wire.Answer{Kind: k}, nil)
}
func (q *question) processed()       { q.finish(wire.AnswerProcessed) }
func (q *question) fail(text string) { q.done(wire.Answer{Kind: wire.AnswerError, Details: text}, nil) }

// action answers with an action to targets.
func (q *question) action(body string, t wire.Targets) {
	q.answer(wire.Answer{Kind: wire.AnswerAction, Action: &wire.Action{Type: "data", Body: wire.RawJSON(body)}, Targets: t})
}

// agree lets the action be.
func (q *question) agree() {
	q.approve()
	q.processed()
}

var errAway = errors.New("the back-end is away")

// attempts counts without time.
type attempts struct {
	mu      sync.Mutex
	failed  int
	blocked bool
}

// Blocked implements Attempts.
func (a *attempts) Blocked(netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.blocked
}

// Failed implements Attempts.
func (a *attempts) Failed(netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed++
	a.blocked = a.failed >= 3
}

func (a *attempts) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}
