package cluster

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"logux-proxy/wire"
)

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

// Orphans are given out a few at a time, the oldest first, and all of them in the end.
func TestOrphansAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFamily(t)
		a := f.heir("a")
		const claims = 300
		for i := range claims {
			must(t, a.ClaimAction(t.Context(), claimOf(fmt.Sprintf("%d 38:tab:x 0", i))))
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
		got := b.got()
		if len(got) != claims {
			t.Errorf("%d were given out", len(got))
		}
		if !slices.IsSortedFunc(got, func(a, b wire.Claim) int { return wire.CompareActionIDs(a.ID, b.ID) }) {
			t.Errorf("a later action is given out before an earlier one")
		}
	})
}
