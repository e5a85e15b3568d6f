package gateway

import (
	"slices"
	"testing"
	"time"

	"logux-proxy/wire"
)

// newShared is the ledger of one server among others.
func newShared(t *testing.T) *book {
	t.Helper()
	b := newBook(t)
	b.life = "server:one/1-X"
	b.left = func(wire.ClientID) {}
	b.confirmed = func(wire.ClientID, []wire.ActionID) {}
	g := &Gateway{cfg: Config{Life: b.life}, start: time.Now()}
	g.cfg.Session.Server = "server:one"
	for i := range b.shards {
		b.shards[i].g = g
	}
	return b
}

// A claimed action that failed because of an earlier one, and that another server has taken over, leaves the one that
// runs meanwhile alone: "Actions of one client ID are processed one after another".
func TestGivingUpAFailedActionLeavesTheRunningOne(t *testing.T) {
	b := newShared(t)
	p := testPeer("10:a:tab")
	_, js := b.takes(p, 1, 2)
	if claims, _ := b.claim(p, []wire.ActionID{js[1].action.ID}); len(claims) != 1 {
		t.Fatal("a waiting action cannot be claimed")
	}
	if s := b.fails(js[0]); len(s.failed) != 1 {
		t.Fatalf("%+v", s)
	}
	if start := b.giveUp(js[1]); start != nil {
		t.Fatal("something starts before the outcome of what is in flight elsewhere")
	}
	r, more := b.takes(p, 3)
	if r.start != nil || r.load.jobs != 2 {
		t.Fatalf("%+v", r)
	}
	if start := b.lost("10:a", wire.InFlight{ID: js[1].action.ID, Owner: b.life}); start != js[1] {
		t.Fatal("what is lost does not start")
	}
	if s := b.ends(js[1]); s.start != more[0] {
		t.Fatalf("%+v", s)
	}
	b.ends(more[0])
	if l := b.load(p); l != (load{}) {
		t.Errorf("%+v is left", l)
	}
}

// What is settled while it is being claimed waits until the store was asked for the claim.
func TestSettlementWaitsForTheClaim(t *testing.T) {
	b := newShared(t)
	p := testPeer("10:a:tab")
	_, js := b.takes(p, 1)
	b.claim(p, []wire.ActionID{js[0].action.ID})
	if !b.end(js[0]) {
		t.Fatal("it is not claimed")
	}
	settled := false
	if !b.afterClaim(js[0], func() { settled = true }) {
		t.Fatal("it does not wait")
	}
	then := b.claimAsked(js[0])
	if then == nil || settled {
		t.Fatal("nothing waits for the claim")
	}
	if then(); !settled || b.afterClaim(js[0], func() {}) {
		t.Fatal("it waits for ever")
	}
	if claims, _ := b.claim(p, []wire.ActionID{js[0].action.ID}); len(claims) != 0 {
		t.Fatal("what has an outcome is claimed")
	}
}

// An outcome that comes from elsewhere when its client has just left makes nothing that nobody forgets.
func TestOutcomeForAConnectionThatEnded(t *testing.T) {
	b := newShared(t)
	p := testPeer("10:a:tab")
	b.detach(p, 0)
	out := testOutcome("1 10:a:tab 0")
	b.outcome("10:a", p, &wire.Outcome{ID: "1 10:a:tab 0", Action: wire.AppendAction(nil, out.Action)}, 0)
	b.remembers(0, 0, 0)
	live := testPeer("10:a:tab")
	if n := b.outcome("10:a", live, &wire.Outcome{ID: "1 10:a:tab 0", Action: wire.AppendAction(nil, out.Action)}, 0); n.tell != live || len(n.outcomes) != 1 {
		t.Errorf("%+v", n)
	}
	b.remembers(1, 1, 0)
}

// An outcome is told to every server that asks until one has it where the client is.
func TestOutcomesStayUntilTheyAreKept(t *testing.T) {
	b := newShared(t)
	p := testPeer("10:a:tab")
	_, js := b.takes(p, 1)
	id := js[0].action.ID
	told := func() bool {
		r, _ := b.release("10:a", nil, 0)
		return len(r.Outcomes) == 1 && r.Outcomes[0].ID == id
	}
	if r, _ := b.release("10:a", p, 0); len(r.InFlight) != 1 {
		t.Fatalf("%+v", r)
	}
	if s := b.ends(js[0]); !s.moved {
		t.Fatalf("%+v", s)
	}
	for range 2 {
		if !told() {
			t.Fatal("the outcome is not told any more")
		}
	}
	b.kept("10:a", []wire.ActionID{id}, "server:two/1-X")
	if told() {
		t.Error("it is still told")
	}
	if clients, remembered, _ := b.counts(); clients+remembered != 0 {
		t.Errorf("%d clients and %d actions are remembered", clients, remembered)
	}
}

// What waits here for actions at another server begins when that says, be it to a third one, that they are over.
func TestOverheardRecords(t *testing.T) {
	const other = wire.ServerID("server:two/1-X")
	first, second := actionID("10:a:tab", 1), actionID("10:a:tab", 2)
	for name, says := range map[string]struct {
		record wire.Record
		from   wire.ServerID
		starts bool
	}{
		"one is under way":       {wire.Record{InFlight: []wire.InFlight{{ID: second, Owner: other}}}, other, false},
		"both are under way":     {wire.Record{InFlight: []wire.InFlight{{ID: first, Owner: other}, {ID: second, Owner: other}}}, other, false},
		"it has none any more":   {wire.Record{}, other, true},
		"somebody else has none": {wire.Record{}, "server:three/1-X", false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newShared(t)
			p := testPeer("10:a:tab")
			b.attach(p, nil, 0, 0)
			b.merge(p, &hearsay{Record: &wire.Record{Client: "10:a", InFlight: []wire.InFlight{{ID: first, Owner: other}, {ID: second, Owner: other}}}}, 0)
			r, js := b.takes(p, 3)
			if r.start != nil {
				t.Fatal("it starts before what is in flight elsewhere")
			}
			if claims, _ := b.claim(p, []wire.ActionID{js[0].action.ID}); len(claims) != 1 {
				t.Fatal("it is not claimed")
			}
			if _, start := b.release("10:a", p, 0); start != nil {
				t.Fatal("it starts when its client leaves")
			}
			says.record.Client = "10:a"
			n := b.overhear(&says.record, says.from)
			if got := n.start == js[0]; got != says.starts {
				t.Errorf("starts: %v", got)
			}
		})
	}
}

// What is in flight elsewhere is over when the server that was to process it says so, and not when it is lost of one that
// another has taken over from.
func TestWhatIsOverElsewhere(t *testing.T) {
	const other, third = wire.ServerID("server:two/1-X"), wire.ServerID("server:three/1-X")
	first := actionID("10:a:tab", 1)
	b := newShared(t)
	p := testPeer("10:a:tab")
	b.attach(p, nil, 0, 0)
	inFlight := func(owner wire.ServerID) *wire.Record {
		return &wire.Record{Client: "10:a", InFlight: []wire.InFlight{{ID: first, Owner: owner}}}
	}
	b.merge(p, &hearsay{Record: inFlight(other)}, 0)
	b.merge(p, &hearsay{Record: inFlight(third), from: third}, 0)
	_, js := b.takes(p, 2)
	if start := b.lost("10:a", wire.InFlight{ID: first, Owner: other}); start != nil {
		t.Fatal("lost, though another server has taken it over")
	}
	b.claim(p, []wire.ActionID{js[0].action.ID})
	b.release("10:a", p, 0)
	if start := b.kept("10:a", []wire.ActionID{first}, other); start != nil {
		t.Fatal("over, though another server processes it")
	}
	if start := b.kept("10:a", []wire.ActionID{first}, third); start != js[0] {
		t.Fatal("what waited does not start")
	}
}

// Who is said to process an action, and does not, says so.
func TestSaysWhatIsOver(t *testing.T) {
	b := newShared(t)
	p := testPeer("10:a:tab")
	b.attach(p, nil, 0, 0)
	id := actionID("10:a:tab", 1)
	r := &wire.Record{Client: "10:a", InFlight: []wire.InFlight{{ID: id, Owner: b.life}}}
	if n := b.merge(p, &hearsay{Record: r, from: "server:two/1-X"}, 0); !slices.Equal(n.heard, []wire.ActionID{id}) {
		t.Errorf("%+v", n)
	}
}

// While a claim is under way it is not asked for again, and once the store has it the action can be acknowledged, on another
// connection too. One that failed is asked for again.
func TestClaimsAreAskedForOnce(t *testing.T) {
	b := newShared(t)
	p := testPeer("10:a:tab")
	_, js := b.takes(p, 1)
	ids := []wire.ActionID{js[0].action.ID}
	want := func(claims, settled int) {
		t.Helper()
		c, s := b.claim(p, ids)
		if len(c) != claims || len(s) != settled {
			t.Errorf("%d claims and %d acknowledgements, want %d and %d", len(c), len(s), claims, settled)
		}
	}
	want(1, 0)
	want(0, 0)
	b.claimEnded(js[0], false)
	want(1, 0)
	b.claimEnded(js[0], true)
	want(0, 1)
	b.giveUp(js[0])
	want(0, 0) // another server has it
}

// An outcome that comes where the client is not any more is not kept there for the one that tells it.
func TestOutcomesAreKeptWhereTheClientIs(t *testing.T) {
	for _, here := range []bool{true, false} {
		b := newShared(t)
		p := testPeer("10:a:tab")
		b.attach(p, nil, 0, 0)
		id := actionID("10:a:tab", 1)
		r := &wire.Record{Client: "10:a", InFlight: []wire.InFlight{{ID: id, Owner: "server:two/1-X"}}}
		b.merge(p, &hearsay{Record: r}, 0)
		at := p
		if !here {
			b.detach(p, 0)
			at = nil
		}
		processed := &wire.Action{ID: "1 server:two 0", Type: wire.TypeProcessed, Body: wire.ProcessedBody(id)}
		n := b.outcome("10:a", at, &wire.Outcome{ID: id, Action: wire.AppendAction(nil, processed)}, 0)
		if len(n.unreadable) != 0 || (len(n.heard) == 1) != here {
			t.Errorf("client here: %v: %+v", here, n)
		}
	}
}
