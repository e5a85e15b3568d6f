package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"logux-proxy/wire"
)

var errAway = errors.New("the store is away")

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
