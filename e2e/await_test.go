package e2e

import (
	"sync"
	"testing"
	"time"
)

// patience bounds every wait for something that must come. It is long because the machine may be busy; a test that holds never waits it out.
var patience = 30 * time.Second

// A news wakes everybody who waits for a condition whenever something changed that the condition may read.
type news struct {
	mu sync.Mutex
	ch chan struct{} // closed at the next change; nil until somebody waits
}

// changed wakes the waiters.
func (n *news) changed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}

func (n *news) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

// await returns when cond holds, which is asked again after every change, and fails the test when it does not come to hold.
func (n *news) await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !n.awaitFor(patience, cond) {
		t.Fatalf("waited %v in vain: %s", patience, what)
	}
}

func (n *news) awaitFor(d time.Duration, cond func() bool) bool {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	for {
		next := n.next()
		if cond() {
			return true
		}
		select {
		case <-next:
		case <-deadline.C:
			return cond()
		}
	}
}

// awaitPolling is await for what sends no news: it asks again every few milliseconds.
func awaitPolling(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}
