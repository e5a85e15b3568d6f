package gateway

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"logux-proxy/gateway/hub"
	"logux-proxy/wire"
)

// A book is a ledger with the jobs and peers of a test.
type book struct {
	t testing.TB
	*ledger
}

func newBook(t testing.TB) *book {
	t.Helper()
	return &book{t: t, ledger: newLedger()}
}

func testPeer(node wire.NodeID) *peer { return &peer{member: hub.Member[*peer]{Node: node}} }

func testJob(p *peer, n int64) *job {
	id := actionID(p.member.Node, n)
	return &job{action: &wire.Action{ID: id, Type: "A", Body: wire.RawJSON(`{"type":"A"}`)}}
}

func testSubscription(p *peer, n int64) *job {
	j := testJob(p, n)
	j.subscription = &wire.Subscription{Channel: "c"}
	return j
}

func testOutcome(id wire.ActionID) *wire.Outgoing {
	out, err := wire.NewOutgoing(&wire.Action{ID: "1 server:one 0", Type: wire.TypeProcessed, Body: wire.ProcessedBody(id)}, "server:one")
	if err != nil {
		panic(err)
	}
	return out
}

// takes gives the ledger one sync with the n-th actions and returns what follows, with the jobs.
func (b *book) takes(p *peer, ns ...int64) (taking, []*job) {
	js := make([]*job, len(ns))
	for i, n := range ns {
		js[i] = testJob(p, n)
	}
	return b.take(p, js), js
}

func (b *book) ends(j *job) settlement  { return b.settle(j, testOutcome(j.action.ID), false) }
func (b *book) fails(j *job) settlement { return b.settle(j, testOutcome(j.action.ID), true) }

// acks acknowledges the n-th actions of p's node.
func (b *book) acks(p *peer, proof int64, ns ...int64) load {
	ids := make([]wire.ActionID, len(ns))
	for i, n := range ns {
		ids[i] = actionID(p.member.Node, n)
	}
	return b.acknowledged(p, ids, proof)
}

// remembers checks the gauges.
func (b *book) remembers(clients, remembered, open int64) {
	b.t.Helper()
	if c, r, o := b.counts(); c != clients || r != remembered || o != open {
		b.t.Errorf("%d clients, %d actions, %d of them open; want %d, %d, %d", c, r, o, clients, remembered, open)
	}
}

// PROTOCOL section 2: "Actions of one client ID are processed one after another: the next goes to the back-end
// when the one before has its outcome. … Different clients run in parallel."
func TestLedgerOneAfterAnother(t *testing.T) {
	b := newBook(t)
	p, other := testPeer("10:a:tab"), testPeer("10:b:tab")
	first, js := b.takes(p, 1, 2)
	if first.start != js[0] {
		t.Fatal("the first action is not started")
	}
	second, more := b.takes(p, 3)
	if second.start != nil {
		t.Fatal("two actions of one client run at once")
	}
	if parallel, _ := b.takes(other, 1); parallel.start == nil {
		t.Fatal("another client waits")
	}
	if s := b.ends(js[0]); s.start != js[1] || s.tell != p {
		t.Fatalf("after the first: %+v", s)
	}
	if s := b.ends(js[1]); s.start != more[0] {
		t.Fatalf("after the second: %+v", s)
	}
	if s := b.ends(more[0]); s.start != nil {
		t.Fatalf("after the last: %+v", s)
	}
	b.remembers(2, 4, 1)
}

// PROTOCOL section 2: "When one ends in an error, the client's actions still waiting in its queue are undone
// too with reason `error`"
func TestLedgerFailureTakesTheWaiting(t *testing.T) {
	b := newBook(t)
	p := testPeer("10:a:tab")
	_, js := b.takes(p, 1, 2, 3)
	s := b.fails(js[0])
	if !slices.Equal(s.failed, js[1:]) || s.start != nil {
		t.Fatalf("%+v", s)
	}
	// What comes now is new, and does not wait for the undoing of the others.
	next, more := b.takes(p, 4)
	if next.start != more[0] {
		t.Fatal("the queue stands")
	}
	for _, j := range s.failed {
		if tell, _ := b.fail(j, testOutcome(j.action.ID)); tell != p {
			t.Error("the client is not told")
		}
	}
	if s := b.fails(more[0]); len(s.failed) != 0 {
		t.Errorf("undone twice: %+v", s)
	}
	b.remembers(1, 4, 0)
}

// An action sent again is not taken again, whatever became of it.
func TestLedgerKnowsWhatCame(t *testing.T) {
	b := newBook(t)
	p := testPeer("10:a:tab")
	_, js := b.takes(p, 1, 2)
	if again, _ := b.takes(p, 1, 2); again.known != 2 || again.start != nil || len(again.settled) != 0 {
		t.Errorf("in work: %+v", again)
	}
	b.ends(js[0])
	if again, _ := b.takes(p, 1, 2, 1); again.known != 3 || !slices.Equal(again.settled, []wire.ActionID{js[0].action.ID, js[0].action.ID}) {
		t.Errorf("settled: %+v", again)
	}
	b.remembers(1, 2, 1)
}

// The action of one message alone: its outcome's confirmation is the end of it.
func TestLedgerForgetsConfirmed(t *testing.T) {
	b := newBook(t)
	p := testPeer("10:a:tab")
	_, js := b.takes(p, 1)
	b.ends(js[0])
	b.acks(p, 1, 1)
	b.sent(p, js[0].action.ID, 1)
	if b.confirm(p, 0) != true {
		t.Error("an older confirmation settles it")
	}
	if b.confirm(p, 1) != false {
		t.Error("something is still remembered")
	}
	b.remembers(0, 0, 0)
}

// Of two actions in one message the first has its outcome before the message is acknowledged: the client still
// sends both again when it loses the connection, and the first must be known then.
func TestLedgerRemembersUntilAcknowledged(t *testing.T) {
	b := newBook(t)
	p := testPeer("10:a:tab")
	_, js := b.takes(p, 1, 2)
	b.ends(js[0])
	b.sent(p, js[0].action.ID, 1)
	if !b.confirm(p, 1) {
		t.Fatal("forgotten before it was acknowledged")
	}
	b.detach(p, time.Second)

	again := testPeer("10:a:tab")
	if outcomes, _, _ := b.attach(again, nil, 1, 2*time.Second); len(outcomes) != 0 {
		t.Error("the outcome that the client has is sent again")
	}
	r, _ := b.takes(again, 1, 2)
	if r.known != 2 || r.start != nil || !slices.Equal(r.settled, []wire.ActionID{js[0].action.ID}) {
		t.Fatalf("%+v", r)
	}
	if s := b.ends(js[1]); s.tell != again {
		t.Fatalf("%+v", s)
	}
	b.acks(again, 2, 1, 2)
	b.sent(again, js[1].action.ID, 2)
	if b.confirm(again, 2) {
		t.Error("still remembered")
	}
	b.remembers(0, 0, 0)
}

// An outcome goes to the next connection if the client has not confirmed it, and the client may confirm it there
// before it sends the action again.
func TestLedgerOutcomeOnTheNextConnection(t *testing.T) {
	b := newBook(t)
	p := testPeer("10:a:tab")
	_, js := b.takes(p, 1)
	b.ends(js[0])
	b.acks(p, 1, 1)
	b.sent(p, js[0].action.ID, 1)
	b.detach(p, time.Second)

	again := testPeer("10:a:other")
	outcomes, ids, _ := b.attach(again, nil, 0, 2*time.Second)
	if len(outcomes) != 1 || ids[0] != js[0].action.ID {
		t.Fatalf("%v", ids)
	}
	b.sent(again, js[0].action.ID, 1)
	if !b.confirm(again, 1) {
		t.Fatal("forgotten although the client may not have our synced")
	}
	if r, _ := b.takes(again, 1); r.known != 0 {
		// Another tab has IDs of its own.
		t.Fatal("mistaken for another action")
	}
	if r := b.take(again, []*job{{action: &wire.Action{ID: js[0].action.ID}}}); r.known != 1 || len(r.settled) != 1 {
		t.Fatalf("%+v", r)
	}
}

// PROTOCOL section 7: a client resends "every action above the last `synced` it got": what it confirmed by the
// synced of its connect it does not send again.
func TestLedgerConfirmedByConnect(t *testing.T) {
	b := newBook(t)
	p := testPeer("10:a:tab")
	_, js := b.takes(p, 1)
	b.ends(js[0])
	b.acks(p, 5, 1)
	b.sent(p, js[0].action.ID, 5)
	b.detach(p, time.Second)
	if outcomes, _, _ := b.attach(testPeer("10:a:tab"), nil, 5, 2*time.Second); len(outcomes) != 0 {
		t.Error("sent again")
	}
	b.remembers(0, 0, 0)
}

// PROTOCOL section 3: "The queue belongs to the client ID: it survives a disconnect, and outcomes go to the
// client's new connection."
func TestLedgerQueueSurvives(t *testing.T) {
	b := newBook(t)
	p := testPeer("10:a:tab")
	_, js := b.takes(p, 1, 2)
	b.detach(p, time.Second)
	b.remembers(1, 2, 2)
	s := b.ends(js[0])
	if s.tell != nil || s.start != js[1] {
		t.Fatalf("%+v", s)
	}
	again := testPeer("10:a:tab")
	if outcomes, _, _ := b.attach(again, nil, 0, 2*time.Second); len(outcomes) != 1 {
		t.Fatal("the outcome is lost")
	}
	if s := b.ends(js[1]); s.tell != again {
		t.Fatalf("%+v", s)
	}
}

// PROTOCOL section 4: "A connection's end removes its subscriptions. Clients re-subscribe by themselves"
func TestLedgerForgetsSubscriptions(t *testing.T) {
	b := newBook(t)
	p := testPeer("10:a:tab")
	running, waiting, action := testSubscription(p, 1), testSubscription(p, 2), testJob(p, 3)
	if r := b.take(p, []*job{running, waiting, action}); r.start != running {
		t.Fatalf("%+v", r)
	}
	b.detach(p, time.Second)
	b.remembers(1, 1, 2) // the running one still holds its place
	s := b.fails(running)
	if !s.forgotten || s.tell != nil || s.failed != nil || s.start != action {
		t.Fatalf("%+v", s)
	}
	b.ends(action)
	again := testPeer("10:a:tab")
	if _, ids, _ := b.attach(again, nil, 0, 2*time.Second); !slices.Equal(ids, []wire.ActionID{action.action.ID}) {
		t.Errorf("%v", ids)
	}
}

// A connection that was replaced is not listened to: the client sends everything again by the new one.
func TestLedgerIgnoresReplaced(t *testing.T) {
	b := newBook(t)
	old, p := testPeer("10:a:tab"), testPeer("10:a:tab")
	b.attach(old, nil, 0, 0)
	b.attach(p, old, 0, 0)
	if r, _ := b.takes(old, 1); !r.replaced || r.start != nil {
		t.Fatalf("%+v", r)
	}
	b.remembers(0, 0, 0)
	_, js := b.takes(p, 1)
	b.detach(old, time.Second)
	if s := b.ends(js[0]); s.tell != p {
		t.Error("the outcome went astray")
	}
	// The older of two that came at once may be told last that it is new.
	late := testPeer("10:a:tab")
	newest := testPeer("10:a:tab")
	b.attach(newest, late, 0, 0)
	if outcomes, _, _ := b.attach(late, p, 0, 0); outcomes != nil {
		t.Error("a replaced connection gets outcomes")
	}
	if !p.replaced {
		t.Error("the one before is not replaced")
	}
}

func TestLedgerSweep(t *testing.T) {
	b := newBook(t)
	left, busy, here, back := testPeer("1:a:t"), testPeer("2:a:t"), testPeer("3:a:t"), testPeer("4:a:t")
	for _, p := range []*peer{left, here, back} {
		_, js := b.takes(p, 1)
		b.ends(js[0])
		b.acks(p, 1, 1)
		b.sent(p, js[0].action.ID, 1)
	}
	_, js := b.takes(busy, 1)
	b.detach(left, 10*time.Second)
	b.detach(busy, 10*time.Second)
	b.detach(back, 10*time.Second)
	again := testPeer("4:a:t")
	b.attach(again, nil, 0, 11*time.Second)
	b.sent(again, actionID("4:a:t", 1), 1)
	b.confirm(again, 1)
	b.remembers(4, 4, 1)

	b.sweep(10 * time.Second) // nobody left before
	b.remembers(4, 4, 1)
	b.sweep(11 * time.Second)
	b.remembers(3, 3, 1) // without the one that left
	b.sweep(12 * time.Second)
	b.remembers(2, 2, 1) // without what came back and was confirmed, but not sent again
	b.ends(js[0])
	b.sweep(12 * time.Second)
	b.remembers(1, 1, 0) // what a connected client may still confirm stays
}

// The load counts what has no outcome, by number and by bytes.
func TestLedgerLoad(t *testing.T) {
	b := newBook(t)
	p := testPeer("10:a:tab")
	const body = len(`{"type":"A"}`)
	r, js := b.takes(p, 1, 2, 3)
	want := load{jobs: 3, bytes: 3 * body}
	if r.load != want || b.load(p) != want {
		t.Errorf("%+v and %+v, want %+v", r.load, b.load(p), want)
	}
	b.ends(js[0])
	if want := (load{jobs: 2, bytes: 2 * body}); b.load(p) != want {
		t.Errorf("%+v, want %+v", b.load(p), want)
	}
	b.take(p, []*job{testSubscription(p, 4)})
	for _, j := range b.fails(js[1]).failed {
		b.fail(j, testOutcome(j.action.ID))
	}
	if got := b.load(p); got != (load{}) {
		t.Errorf("%+v, want nothing", got)
	}
	running, waiting := testSubscription(p, 5), testSubscription(p, 6)
	b.take(p, []*job{running, waiting})
	b.detach(p, 0)
	b.fails(running)
	if got := b.load(p); got != (load{}) {
		t.Errorf("%+v, want nothing", got)
	}
}

// Clients that come, go and reconnect on goroutines of their own, beside sweeps and gauges: for the race detector.
func TestLedgerRace(t *testing.T) {
	l := newLedger()
	var wait sync.WaitGroup
	stop := make(chan struct{})
	var sweeper sync.WaitGroup
	sweeper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				l.counts()
				l.sweep(time.Hour)
			}
		}
	})
	for i := range 8 {
		wait.Go(func() {
			node := wire.NodeID(fmt.Sprintf("%d:a:t", i%4)) // two goroutines a client: connections overlap
			var old *peer
			for n := range int64(500) {
				p := testPeer(node)
				l.attach(p, old, 0, 0)
				b := &book{t: t, ledger: l}
				r, _ := b.takes(p, n, n+1, n+2)
				for j := r.start; j != nil; {
					s := b.settle(j, testOutcome(j.action.ID), n%3 == 0)
					for _, f := range s.failed {
						b.fail(f, testOutcome(f.action.ID))
					}
					j = s.start
				}
				b.acks(p, n, n)
				l.sent(p, actionID(node, n), n)
				l.confirm(p, n)
				if n%2 == 0 {
					l.detach(p, time.Second)
				}
				old = p
			}
		})
	}
	wait.Wait()
	close(stop)
	sweeper.Wait()
	if _, _, open := l.counts(); open != 0 {
		t.Errorf("%d actions were never settled", open)
	}
}

// Of a large action that was processed only the ID is kept.
func TestLedgerSlims(t *testing.T) {
	b := newBook(t)
	p := testPeer("10:a:tab")
	large := func(n int64) *job {
		j := testJob(p, n)
		j.action.Body = make(wire.RawJSON, 10_000)
		return j
	}
	js := []*job{large(1), large(2)}
	b.take(p, js)
	b.ends(js[0])
	b.fails(js[1])
	if len(js[0].action.Body) != 0 || len(js[1].action.Body) == 0 {
		t.Error("kept the wrong body")
	}
	if r, _ := b.takes(p, 1, 2); r.known != 2 || len(r.settled) != 2 {
		t.Errorf("%+v", r)
	}
	b.acks(p, 1, 1, 2)
	b.sent(p, actionID("10:a:tab", 1), 1)
	b.sent(p, actionID("10:a:tab", 2), 1)
	if b.confirm(p, 1) {
		t.Error("still remembered")
	}
	b.remembers(0, 0, 0)
	if got := b.load(p); got != (load{}) {
		t.Errorf("%+v", got)
	}
}
