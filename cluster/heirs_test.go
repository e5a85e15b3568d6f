package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"logux-proxy/wire"
)

// A faultyStore is a store that can be away, and that can fail between two steps.
type faultyStore struct {
	HandoverStore
	mu sync.Mutex
	// Guarded by mu.
	away  bool
	fails map[string]error // by method; after the step was done
	calls map[string]int
}

func (s *faultyStore) set(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

func (s *faultyStore) fail(method string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails == nil {
		s.fails = make(map[string]error)
	}
	s.fails[method] = err
}

func (s *faultyStore) check(method string) (before, after error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = make(map[string]int)
	}
	s.calls[method]++
	if s.away {
		return errAway, nil
	}
	return nil, s.fails[method]
}

func (s *faultyStore) put(ctx context.Context, client wire.ClientID, entries []entry, ttl time.Duration) error {
	before, after := s.check("put")
	if before != nil {
		return before
	}
	return errors.Join(s.HandoverStore.put(ctx, client, entries, ttl), after)
}

func (s *faultyStore) settle(ctx context.Context, client wire.ClientID, e entry, create bool, ttl time.Duration) (entry, bool, error) {
	before, after := s.check("settle")
	if before != nil {
		return entry{}, false, before
	}
	kept, ok, err := s.HandoverStore.settle(ctx, client, e, create, ttl)
	return kept, ok, errors.Join(err, after)
}

func (s *faultyStore) renew(ctx context.Context, owner, holder wire.ServerID, lease, ttl time.Duration) (leaseState, error) {
	before, after := s.check("renew")
	if before != nil {
		return leaseTaken, before
	}
	state, err := s.HandoverStore.renew(ctx, owner, holder, lease, ttl)
	return state, errors.Join(err, after)
}

func (s *faultyStore) claim(ctx context.Context, owner, holder wire.ServerID, id wire.ActionID, claim []byte, lease, ttl time.Duration) error {
	before, after := s.check("claim")
	if before != nil {
		return before
	}
	return errors.Join(s.HandoverStore.claim(ctx, owner, holder, id, claim, lease, ttl), after)
}

func (s *faultyStore) unclaim(ctx context.Context, owner, holder wire.ServerID, id wire.ActionID) error {
	before, after := s.check("unclaim")
	if before != nil {
		return before
	}
	return errors.Join(s.HandoverStore.unclaim(ctx, owner, holder, id), after)
}

func (s *faultyStore) take(ctx context.Context, owner, holder wire.ServerID, lease, ttl time.Duration) (bool, error) {
	before, after := s.check("take")
	if before != nil {
		return false, before
	}
	ok, err := s.HandoverStore.take(ctx, owner, holder, lease, ttl)
	return ok, errors.Join(err, after)
}

// A heir is a server of a test with its handovers.
type heir struct {
	*Handovers
	id    wire.ServerID
	store *faultyStore
	stop  func()

	mu sync.Mutex
	// Guarded by mu.
	orphans []wire.Claim
	known   []wire.Outcome
}

// A family is some servers with one store, and a gossip that the test rules.
type family struct {
	t     *testing.T
	store HandoverStore

	mu sync.Mutex
	// Guarded by mu.
	dead map[wire.ServerID]bool
}

func newFamily(t *testing.T) *family {
	t.Helper()
	return &family{t: t, store: LocalStore(), dead: make(map[wire.ServerID]bool)}
}

func (f *family) setDead(id wire.ServerID, dead bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead[id] = dead
}

func (f *family) heir(name string, change ...func(*HandoversConfig)) *heir {
	f.t.Helper()
	h := &heir{id: wire.ServerID("server:" + name + "/1-X"), store: &faultyStore{HandoverStore: f.store}}
	c := HandoversConfig{
		Self: h.id, Store: h.store,
		Alive: func(id wire.ServerID) bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return !f.dead[id]
		},
		Orphan: func(c wire.Claim, known *wire.Outcome) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if known != nil {
				h.known = append(h.known, *known)
				return
			}
			h.orphans = append(h.orphans, c)
		},
	}
	for _, change := range change {
		change(&c)
	}
	var err error
	if h.Handovers, err = NewHandovers(c); err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { h.Run(ctx) })
	h.stop = func() {
		cancel()
		running.Wait()
	}
	f.t.Cleanup(h.stop)
	return h
}

// kill ends a server as SIGKILL would; the gossip knows it.
func (f *family) kill(h *heir) {
	h.stop()
	f.setDead(h.id, true)
}

func (h *heir) got() []wire.Claim {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.orphans)
}

func claimOf(id string) wire.Claim {
	return wire.Claim{
		ID: wire.ActionID(id), Client: "38:tab",
		Action: []byte(`{"type":"` + id + `"}`), Headers: []byte(`{"h":1}`),
	}
}

func outcome(id string) wire.Outcome {
	return wire.Outcome{ID: wire.ActionID(id), Action: []byte("done " + id)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pass lets time go by.
func pass(d time.Duration) { <-time.After(d) }
