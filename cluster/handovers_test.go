package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

var errAway = errors.New("the store is away")

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

func TestClientMoves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		ctx := t.Context()
		must(t, a.Store(ctx, wire.Record{
			Client:   "38:tab",
			InFlight: []wire.InFlight{{ID: "1", Owner: a.id}, {ID: "2", Owner: a.id}},
			Outcomes: []wire.Outcome{{ID: "3", Action: []byte("done 3"), Added: 5}},
		}))
		fetch := func(h *heir, inFlight, settled string) wire.Record {
			t.Helper()
			r, err := h.Fetch(ctx, "38:tab")
			must(t, err)
			var ids []string
			for _, x := range r.InFlight {
				ids = append(ids, string(x.ID)+string(x.Owner[7]))
			}
			slices.Sort(ids)
			var done []string
			for _, x := range r.Outcomes {
				done = append(done, string(x.ID))
			}
			slices.Sort(done)
			if strings.Join(ids, " ") != inFlight || strings.Join(done, " ") != settled {
				t.Errorf("the record is %+v", r)
			}
			return r
		}
		r := fetch(b, "1a 2a", "3")
		if o := r.Outcomes[0]; o.Added != 5 || string(o.Action) != "done 3" {
			t.Errorf("the outcome is %+v", o)
		}
		// 1 gets its outcome at a; b, where the client is, hears of it and the client confirms it.
		if kept, ok, err := a.Settle(ctx, "38:tab", outcome("1")); err != nil || !ok || string(kept.Action) != "done 1" {
			t.Errorf("settling: %+v, %v, %v", kept, ok, err)
		}
		if kept, ok, err := b.Settle(ctx, "38:tab", wire.Outcome{ID: "1", Action: []byte("other")}); err != nil || !ok || string(kept.Action) != "done 1" {
			t.Errorf("settling again: %+v, %v, %v", kept, ok, err)
		}
		must(t, b.Confirm(ctx, "38:tab", "1", "3"))
		must(t, b.Confirm(ctx, "38:tab"))
		if _, ok, err := a.Settle(ctx, "38:tab", outcome("3")); err != nil || ok {
			t.Errorf("settling what was confirmed: %v, %v", ok, err)
		}
		fetch(b, "2a", "")
		// It leaves b, too, with an action of b's and the one of a's.
		must(t, b.Store(ctx, wire.Record{Client: "38:tab", InFlight: []wire.InFlight{{ID: "2", Owner: a.id}, {ID: "4", Owner: b.id}}}))
		fetch(a, "2a 4b", "")
		pass(5*time.Minute + time.Second)
		fetch(a, "", "")

		if err := a.Store(ctx, wire.Record{Client: "x", Outcomes: []wire.Outcome{{ID: "1", Action: make([]byte, maxRecordBytes+1)}}}); !errors.Is(err, ErrRecordSize) {
			t.Errorf("too many bytes: %v", err)
		}
		if err := a.Store(ctx, wire.Record{Client: "x", InFlight: make([]wire.InFlight, maxRecordEntries+1)}); !errors.Is(err, ErrRecordSize) {
			t.Errorf("too many entries: %v", err)
		}
	})
}

// The claims of a killed server are taken over within 15 s, by exactly one other, and each has one outcome.
func TestTakeOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b, c := f.heir("a"), f.heir("b"), f.heir("c")
		for _, id := range []string{"1", "2", "3"} {
			must(t, a.ClaimAction(t.Context(), claimOf(id)))
			must(t, a.ClaimAction(t.Context(), claimOf(id)))
		}
		if _, err := a.SettleClaim(t.Context(), claimOf("3"), outcome("3")); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour) // as long as it lives, nobody takes its claims
		if len(b.got())+len(c.got()) != 0 {
			t.Fatal("claims of a living server were taken over")
		}
		f.kill(a)
		pass(15 * time.Second)
		heirs := []*heir{b, c}
		if len(b.got()) == 0 {
			heirs = []*heir{c, b}
		}
		got := heirs[0].got()
		if len(got) != 2 || len(heirs[1].got()) != 0 {
			t.Fatalf("taken over were %v and %v", got, heirs[1].got())
		}
		pass(time.Minute) // the back-end is slow; nobody takes them again
		if len(heirs[0].got()) != 2 || len(heirs[1].got()) != 0 {
			t.Fatal("claims were given out again")
		}
		for _, claim := range got {
			want := claimOf(string(claim.ID))
			want.Owner = a.id
			if fmt.Sprint(claim) != fmt.Sprint(want) {
				t.Errorf("the claim is %s", fmt.Sprint(claim))
			}
			kept, err := heirs[0].SettleClaim(t.Context(), claim, outcome(string(claim.ID)))
			if err != nil || string(kept.Action) != "done "+string(claim.ID) {
				t.Errorf("settling: %+v, %v", kept, err)
			}
		}
		r, err := c.Fetch(t.Context(), "38:tab")
		if err != nil || len(r.Outcomes) != 2 || len(r.InFlight) != 0 { // 3 is over five minutes old
			t.Errorf("the record is %+v, %v", r, err)
		}
		pass(5 * time.Second)
		if owners, _ := f.store.owners(t.Context()); len(owners) != 0 {
			t.Errorf("estates of %v are left", owners)
		}
		if s := heirs[0].Stats(); s.Takeovers != 1 || s.Orphans != 0 || s.Claims != 0 || s.Late != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Who resigns leaves at once what it had, its own and what it had taken over.
func TestResign(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		must(t, a.ClaimAction(t.Context(), claimOf("1")))
		f.kill(a)
		pass(15 * time.Second)
		must(t, b.ClaimAction(t.Context(), claimOf("2")))
		must(t, b.Store(t.Context(), wire.Record{Client: "38:tab", InFlight: []wire.InFlight{{ID: "3", Owner: b.id}}}))
		c := f.heir("c")
		b.stop()
		must(t, b.Resign(t.Context()))
		pass(15 * time.Second) // the gossip has not heard yet that b is gone: what was a's goes, what is b's does not
		if got := c.got(); len(got) != 1 || got[0].ID != "1" {
			t.Fatalf("taken over: %v", got)
		}
		f.setDead(b.id, true)
		pass(2 * time.Millisecond)
		if _, lost, err := c.Inquire(t.Context(), "38:tab", wire.InFlight{ID: "3", Owner: b.id}); !lost || err != nil {
			t.Errorf("lost %v, %v", lost, err)
		}
		must(t, c.TakeOver(t.Context(), b.id))
		if got := c.got(); len(got) != 2 || got[1].ID != "2" {
			t.Errorf("taken over: %v", got)
		}
	})
}

// All servers were killed and started again with other IDs.
func TestTakeOverAfterAllDied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		for _, name := range []string{"a", "b", "c"} {
			h := f.heir(name)
			must(t, h.ClaimAction(t.Context(), claimOf(name)))
			f.kill(h)
		}
		d, e := f.heir("d"), f.heir("e")
		pass(30 * time.Second)
		var ids []string
		for _, c := range append(d.got(), e.got()...) {
			ids = append(ids, string(c.ID))
		}
		slices.Sort(ids)
		if fmt.Sprint(ids) != "[a b c]" {
			t.Errorf("taken over were %v", ids)
		}
	})
}

// For the gossip the owner is dead, but it lives and reaches Redis: its claims are its own.
func TestNoTakeOverBehindABrokenNetwork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		must(t, a.ClaimAction(t.Context(), claimOf("1")))
		must(t, a.Store(t.Context(), wire.Record{Client: "38:tab", InFlight: []wire.InFlight{{ID: "2", Owner: a.id}}}))
		f.setDead(a.id, true)
		f.setDead(b.id, true) // and the other way round
		pass(time.Hour)
		if len(b.got()) != 0 || len(a.got()) != 0 {
			t.Error("claims of a living server were taken over")
		}
		if o, lost, err := b.Inquire(t.Context(), "38:tab", wire.InFlight{ID: "2", Owner: a.id}); o != nil || lost || err != nil {
			t.Errorf("an action of a living server: %v, %v, %v", o, lost, err)
		}
	})
}

// The owner is cut off from Redis only, and its lease ends: the others see it alive, and its claims are its own.
func TestNoTakeOverWhileTheGossipSeesTheOwner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		must(t, a.ClaimAction(t.Context(), claimOf("1")))
		a.store.set(true)
		pass(5 * time.Minute)
		if len(b.got()) != 0 {
			t.Error("claims of a living server were taken over")
		}
		must(t, b.TakeOver(t.Context(), a.id))
		must(t, b.TakeOver(t.Context(), b.id))
		a.store.set(false)
		pass(5 * time.Second)
		if kept, err := a.SettleClaim(t.Context(), claimOf("1"), outcome("1")); err != nil || string(kept.Action) != "done 1" {
			t.Errorf("%+v, %v", kept, err)
		}
	})
}

// An heir that could not renew its lease in time gives the estate up to the next one, and both count rightly.
func TestHeirIsAwayTooLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		must(t, a.ClaimAction(t.Context(), claimOf("1")))
		must(t, a.ClaimAction(t.Context(), claimOf("2")))
		must(t, a.ClaimAction(t.Context(), claimOf("3")))
		f.kill(a)
		pass(15 * time.Second)
		b.store.set(true)
		c := f.heir("c")
		pass(15 * time.Second)
		if len(b.got()) != 3 || len(c.got()) != 3 {
			t.Fatalf("b took %v over, c %v", b.got(), c.got())
		}
		if _, err := b.SettleClaim(t.Context(), b.got()[0], outcome("late")); !errors.Is(err, errAway) {
			t.Error(err)
		}
		b.store.set(false)
		if _, err := b.SettleClaim(t.Context(), b.got()[1], wire.Outcome{ID: b.got()[1].ID, Action: []byte("of b")}); !errors.Is(err, ErrTaken) {
			t.Error(err)
		}
		pass(5 * time.Second)
		if s := b.Stats(); s.Orphans != 0 || s.Late != 0 {
			t.Errorf("%+v", s)
		}
		for _, claim := range c.got() {
			if _, err := c.SettleClaim(t.Context(), claim, outcome(string(claim.ID))); err != nil {
				t.Error(err)
			}
		}
		pass(5 * time.Second)
		if owners, _ := f.store.owners(t.Context()); len(owners) != 0 || c.Stats().Orphans != 0 {
			t.Errorf("estates of %v are left, %+v", owners, c.Stats())
		}
	})
}

// A claim that this release cannot read stays for one that can.
func TestUnreadableClaimStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		must(t, a.ClaimAction(t.Context(), claimOf("1")))
		must(t, f.store.claim(t.Context(), a.id, a.id, "2", []byte("\xffnew"), time.Second, long))
		f.kill(a)
		pass(20 * time.Second)
		if got := b.got(); len(got) != 1 || got[0].ID != "1" {
			t.Errorf("b took %v over", got)
		}
		if ok, err := f.store.claimed(t.Context(), a.id, "2"); !ok || err != nil {
			t.Errorf("it is there: %v, %v", ok, err)
		}
	})
}

// The server that takes over dies as well, in the middle.
func TestHeirDies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		for _, id := range []string{"1", "2"} {
			must(t, a.ClaimAction(t.Context(), claimOf(id)))
		}
		f.kill(a)
		pass(15 * time.Second)
		if len(b.got()) != 2 {
			t.Fatalf("b took %v over", b.got())
		}
		claim := b.got()[0]
		if _, err := b.SettleClaim(t.Context(), claim, outcome(string(claim.ID))); err != nil {
			t.Fatal(err)
		}
		c := f.heir("c")
		f.kill(b)
		pass(15 * time.Second)
		if got := c.got(); len(got) != 1 || got[0].ID == claim.ID {
			t.Errorf("c took %v over", got)
		}
	})
}

// The owner died after it had written the outcome and before it could take the claim away: the back-end is not asked.
func TestOwnerDiedBetweenOutcomeAndClaim(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		must(t, a.ClaimAction(t.Context(), claimOf("1")))
		a.store.fail("settle", errAway) // the answer got lost
		if _, err := a.SettleClaim(t.Context(), claimOf("1"), outcome("1")); !errors.Is(err, errAway) {
			t.Fatal(err)
		}
		f.kill(a)
		pass(15 * time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.orphans) != 0 || len(b.known) != 1 || string(b.known[0].Action) != "done 1" {
			t.Errorf("b got %v and %v", b.orphans, b.known)
		}
		if owners, _ := f.store.owners(t.Context()); len(owners) != 0 {
			t.Errorf("estates of %v are left", owners)
		}
	})
}

// The server was away from everything so long that its claims were taken over; it comes back in the middle.
func TestOwnerComesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		for _, id := range []string{"1", "2", "3"} {
			must(t, a.ClaimAction(t.Context(), claimOf(id)))
		}
		a.store.set(true)
		f.setDead(a.id, true)
		pass(15 * time.Second)
		if len(b.got()) != 3 {
			t.Fatalf("b took %v over", b.got())
		}
		a.store.set(false)
		f.setDead(a.id, false)
		// Right away it settles one, before it knows: the other server gives that outcome to the client.
		if _, err := a.SettleClaim(t.Context(), claimOf("1"), wire.Outcome{ID: "1", Action: []byte("of a")}); !errors.Is(err, ErrTaken) {
			t.Errorf("settling what another has: %v", err)
		}
		pass(time.Minute) // the back-end is slow; b goes on with what it has taken
		if _, err := a.SettleClaim(t.Context(), claimOf("2"), wire.Outcome{ID: "2", Action: []byte("of a")}); !errors.Is(err, ErrTaken) {
			t.Errorf("settling what another has: %v", err)
		}
		if err := a.ClaimAction(t.Context(), claimOf("4")); !errors.Is(err, ErrTaken) {
			t.Errorf("claiming meanwhile: %v", err)
		}
		// What could not be claimed nobody else knows: its outcome is this server's.
		if err := a.ClaimAction(t.Context(), claimOf("5")); !errors.Is(err, ErrTaken) {
			t.Errorf("claiming meanwhile: %v", err)
		}
		if kept, err := a.SettleClaim(t.Context(), claimOf("5"), outcome("5")); err != nil || string(kept.Action) != "done 5" {
			t.Errorf("settling what was not claimed: %+v, %v", kept, err)
		}
		for _, c := range b.got() {
			kept, err := b.SettleClaim(t.Context(), c, wire.Outcome{ID: c.ID, Action: []byte("of b")})
			want := "of b"
			if c.ID == "1" {
				want = "of a"
			}
			if err != nil || string(kept.Action) != want {
				t.Errorf("%s is settled with %s, %v", c.ID, kept.Action, err)
			}
		}
		pass(10 * time.Second)
		must(t, a.ClaimAction(t.Context(), claimOf("4")))
		if _, err := a.SettleClaim(t.Context(), claimOf("3"), outcome("3")); !errors.Is(err, ErrTaken) {
			t.Errorf("settling what another has settled: %v", err)
		}
		kept, err := a.SettleClaim(t.Context(), claimOf("4"), outcome("4"))
		if err != nil || string(kept.Action) != "done 4" || len(a.got()) != 0 || len(b.got()) != 3 {
			t.Errorf("%+v, %v; a has %v, b has %v", kept, err, a.got(), b.got())
		}
	})
}

// The owner was away, and the server that had taken over is done: the owner must not begin anew what it has claimed, nor take
// the store for one that forgot. It knows before the first of them begins.
func TestOwnerFindsItsClaimsSettled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		for _, id := range []string{"1", "2"} {
			must(t, a.ClaimAction(t.Context(), claimOf(id)))
		}
		if !a.Held(t.Context(), "1") {
			t.Error("a's own claim is not held")
		}
		a.store.set(true)
		f.setDead(a.id, true)
		pass(15 * time.Second)
		for _, c := range b.got() {
			if _, err := b.SettleClaim(t.Context(), c, outcome(string(c.ID))); err != nil {
				t.Fatal(err)
			}
		}
		pass(5 * time.Second)
		if !a.Held(t.Context(), "1") {
			t.Error("without the store nobody can tell")
		}
		a.store.set(false)
		f.setDead(a.id, false)
		if a.Held(t.Context(), "1") {
			t.Error("a may begin what b has settled")
		}
		pass(15 * time.Second)
		if a.Held(t.Context(), "2") {
			t.Error("a may begin the other one that b has settled")
		}
		must(t, a.ClaimAction(t.Context(), claimOf("3")))
		if !a.Held(t.Context(), "3") {
			t.Error("a's new claim is not held")
		}
		if ok, err := f.store.claimed(t.Context(), a.id, "3"); err != nil || !ok {
			t.Errorf("a's new claim is in the store: %v, %v", ok, err)
		}
		if n := a.Stats().Lost; n != 2 || len(a.got()) != 0 {
			t.Errorf("%d claims were lost, %v given", n, a.got())
		}
	})
}

// The owner was away, and the server that had taken over died in the middle: the owner goes on with what is
// left, and asks again for what it had given up.
func TestOwnerInheritsItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		for _, id := range []string{"1", "2", "3"} {
			must(t, a.ClaimAction(t.Context(), claimOf(id)))
		}
		a.store.set(true)
		f.setDead(a.id, true)
		pass(15 * time.Second)
		a.store.set(false)
		f.setDead(a.id, false)
		pass(5 * time.Second)
		if _, err := a.SettleClaim(t.Context(), claimOf("1"), outcome("1")); !errors.Is(err, ErrTaken) {
			t.Fatal(err)
		}
		for _, c := range b.got() {
			if c.ID == "2" {
				if _, err := b.SettleClaim(t.Context(), c, outcome("2")); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.kill(b)
		pass(15 * time.Second)
		if got := a.got(); len(got) != 1 || got[0].ID != "1" || got[0].Owner != a.id {
			t.Fatalf("a is given %v", got)
		}
		for _, id := range []string{"1", "3"} {
			if kept, err := a.SettleClaim(t.Context(), claimOf(id), outcome(id)); err != nil || string(kept.Action) != "done "+id {
				t.Errorf("%s: %+v, %v", id, kept, err)
			}
		}
		wantClaims(t, f.store, a.id)
	})
}

// Redis comes back empty: the claims are written again before anybody could miss them.
func TestClaimsAreWrittenAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		must(t, a.ClaimAction(t.Context(), claimOf("1")))
		must(t, a.ClaimAction(t.Context(), claimOf("2")))
		empty := f.store.(*localStore)
		empty.mu.Lock()
		clear(empty.records)
		clear(empty.estates)
		// An old snapshot would bring back what was settled long ago.
		empty.holdLocked(a.id, a.id, time.Now(), 0, time.Hour)
		empty.estates[a.id].claims["0"] = []byte("old")
		empty.mu.Unlock()
		pass(5 * time.Second)
		if ok, err := f.store.claimed(t.Context(), a.id, "0"); ok || err != nil {
			t.Errorf("the old claim is there: %v, %v", ok, err)
		}
		f.kill(a)
		pass(15 * time.Second)
		if got := b.got(); len(got) != 2 {
			t.Errorf("b took %v over", got)
		}
	})
}

// While the store is away outcomes go to the client nevertheless; the store is told when it is back, so that nobody asks
// the back-end again.
func TestSettledWhileTheStoreIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		must(t, a.ClaimAction(t.Context(), claimOf("1")))
		a.store.set(true)
		if kept, err := a.SettleClaim(t.Context(), claimOf("1"), outcome("1")); !errors.Is(err, errAway) || string(kept.Action) != "done 1" {
			t.Errorf("%+v, %v", kept, err)
		}
		if s := a.Stats(); s.Late != 1 || s.Claims != 1 {
			t.Errorf("%+v", s)
		}
		pass(5 * time.Second)
		a.store.set(false)
		pass(5 * time.Second)
		if s := a.Stats(); s.Late != 0 || s.Claims != 0 {
			t.Errorf("%+v", s)
		}
		f.kill(a)
		pass(30 * time.Second)
		if len(b.got()) != 0 {
			t.Errorf("b took %v over", b.got())
		}
		if r, err := b.Fetch(t.Context(), "38:tab"); err != nil || len(r.Outcomes) != 1 {
			t.Errorf("the record is %+v, %v", r, err)
		}
	})
}

// Nobody knows whether the claim was written: the action was not acknowledged, so the claim has to go.
func TestDoubtfulClaimGoes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a := f.heir("a")
		a.store.fail("claim", errAway)
		if err := a.ClaimAction(t.Context(), claimOf("1")); !errors.Is(err, errAway) {
			t.Fatal(err)
		}
		a.store.fail("claim", nil)
		wantDone := func(id string, want bool) {
			t.Helper()
			if ok, err := f.store.claimed(t.Context(), a.id, wire.ActionID(id)); ok != want || err != nil {
				t.Errorf("%s is claimed: %v, %v", id, ok, err)
			}
		}
		wantDone("1", true)
		if err := a.ClaimAction(t.Context(), claimOf("1")); !errors.Is(err, ErrClaimUndone) {
			t.Errorf("claiming again: %v", err)
		}
		pass(5 * time.Second)
		wantDone("1", false)
		must(t, a.ClaimAction(t.Context(), claimOf("1")))
		wantDone("1", true)
		if s := a.Stats(); s.Claims != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestInquire(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a, b := f.heir("a"), f.heir("b")
		ctx := t.Context()
		must(t, a.Store(ctx, wire.Record{Client: "38:tab", InFlight: []wire.InFlight{{ID: "1", Owner: a.id}, {ID: "2", Owner: a.id}}}))
		must(t, a.ClaimAction(ctx, claimOf("3")))
		want := func(id string, owner wire.ServerID, settled string, lost bool) {
			t.Helper()
			o, l, err := b.Inquire(ctx, "38:tab", wire.InFlight{ID: wire.ActionID(id), Owner: owner})
			got := ""
			if o != nil {
				got = string(o.Action)
			}
			if err != nil || got != settled || l != lost {
				t.Errorf("%s: %q, lost %v, %v", id, got, l, err)
			}
		}
		want("1", a.id, "", false)
		if _, _, err := a.Settle(ctx, "38:tab", outcome("1")); err != nil {
			t.Fatal(err)
		}
		want("1", a.id, "done 1", false)
		f.kill(a)
		want("2", a.id, "", false) // it has its lease still
		pass(15 * time.Second)
		want("1", a.id, "done 1", false)
		want("2", a.id, "", true)
		want("3", a.id, "", false) // claimed: b is about to process it
		if len(b.got()) != 1 {
			t.Fatalf("b took %v over", b.got())
		}
		if _, err := b.SettleClaim(ctx, b.got()[0], outcome("3")); err != nil {
			t.Fatal(err)
		}
		want("3", a.id, "done 3", false)
		want("4", b.id, "", false)
	})
}

// Orphans are given out a few at a time, and all of them in the end.
func TestOrphansAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a := f.heir("a")
		const claims = 300
		for i := range claims {
			must(t, a.ClaimAction(t.Context(), claimOf(fmt.Sprint(i))))
		}
		f.kill(a)
		b := f.heir("b", func(c *HandoversConfig) { c.MaxOrphans = 20 })
		pass(15 * time.Second)
		settled := 0
		for settled < claims {
			got := b.got()
			if len(got)-settled > 20 || len(got) == settled {
				t.Fatalf("%d were given out, %d are settled", len(got), settled)
			}
			for _, c := range got[settled:] {
				if _, err := b.SettleClaim(t.Context(), c, outcome(string(c.ID))); err != nil {
					t.Fatal(err)
				}
				settled++
			}
			synctest.Wait()
		}
		if got := b.got(); len(got) != claims {
			t.Errorf("%d were given out", len(got))
		}
	})
}

func TestClaimsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a := f.heir("a")
		huge := claimOf("huge")
		huge.Action = make([]byte, maxClaim)
		if err := a.ClaimAction(t.Context(), huge); !errors.Is(err, ErrClaimsFull) {
			t.Errorf("a claim of %d bytes: %v", maxClaim, err)
		}
		large := claimOf("0")
		large.Action = make([]byte, maxClaim-1000)
		n := 0
		for ; n < 100; n++ {
			large.ID = wire.ActionID(fmt.Sprint(n))
			if err := a.ClaimAction(t.Context(), large); err != nil {
				if !errors.Is(err, ErrClaimsFull) {
					t.Error(err)
				}
				break
			}
		}
		if n != 16 {
			t.Errorf("%d claims of %d bytes were taken", n, len(large.Action))
		}
		large.ID = "0"
		if _, err := a.SettleClaim(t.Context(), large, outcome("0")); err != nil {
			t.Fatal(err)
		}
		must(t, a.ClaimAction(t.Context(), large))
	})
}

func TestHandoversConfig(t *testing.T) {
	for name, c := range map[string]HandoversConfig{
		"nothing":  {},
		"no store": {Self: "server:a/1-A", Alive: func(wire.ServerID) bool { return true }, Orphan: func(wire.Claim, *wire.Outcome) {}},
		"no ID":    {Store: LocalStore(), Alive: func(wire.ServerID) bool { return true }, Orphan: func(wire.Claim, *wire.Outcome) {}},
	} {
		if _, err := NewHandovers(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
