package gateway

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"logux-proxy/wire"
)

// A clerk is the ledger of one client, kept in the simplest way: a list, and rules said in words.
type clerk struct {
	jobs    []*entry
	running *entry
	conn    int // the live connection; 0 for none
}

type entry struct {
	n            int64
	state        string // waiting, running, failing, settled, forgotten
	subscription bool
	body         int

	conn         int   // by which connection it came last
	outcome      int64 // number of our sync with the outcome on the live connection
	acknowledged int64 // number that our first sync after the synced has, or more
	hasOutcome   bool
}

// forgettable: the client has the outcome, and a sync of ours that stands behind our synced.
func (e *entry) forgettable(confirmed int64) bool {
	if e.outcome > 0 && e.outcome <= confirmed {
		e.hasOutcome = true
	}
	return e.hasOutcome && e.acknowledged > 0 && e.acknowledged <= confirmed
}

func (k *clerk) forget(which func(e *entry) bool) {
	k.jobs = slices.DeleteFunc(k.jobs, func(e *entry) bool {
		if !which(e) {
			return false
		}
		e.state = "forgotten"
		return true
	})
}

func (k *clerk) find(n int64) *entry {
	for _, e := range k.jobs {
		if e.n == n {
			return e
		}
	}
	return nil
}

func (k *clerk) start() *entry {
	if k.running != nil {
		return nil
	}
	for _, e := range k.jobs {
		if e.state == "waiting" {
			e.state, k.running = "running", e
			return e
		}
	}
	return nil
}

func (k *clerk) load() (l load) {
	for _, e := range k.jobs {
		if e.state == "waiting" {
			l.jobs++
			l.bytes += e.body
		}
	}
	if k.running != nil {
		l.jobs++
		l.bytes += k.running.body
	}
	return l
}

// The ledger does what the clerk does, whatever happens in whatever order.
func TestLedgerEqualsModel(t *testing.T) {
	for seed := range uint64(300) {
		m := newMatch(t, seed)
		for range 400 {
			m.step()
			m.compare()
		}
	}
}

// A match plays the same on a ledger and on a clerk.
type match struct {
	t       *testing.T
	seed    uint64
	rnd     *rand.Rand
	book    *book
	clerk   clerk
	peers   []*peer // by connection; the first is none
	jobs    map[*entry]*job
	failing []*entry
	now     time.Duration
	synced  int64 // the last number of our syncs
	last    string
}

const matchNode = wire.NodeID("10:a:tab")

func newMatch(t *testing.T, seed uint64) *match {
	t.Helper()
	return &match{
		t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 3)), book: newBook(t), peers: []*peer{nil}, jobs: make(map[*entry]*job), now: time.Hour,
	}
}

func (m *match) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d, after %s: %s", m.seed, m.last, fmt.Sprintf(format, args...))
}

func (m *match) step() {
	m.now += time.Second
	live := m.peers[m.clerk.conn]
	switch op := m.rnd.IntN(12); {
	case op == 0 && live != nil && m.rnd.IntN(3) == 0:
		m.last = "detach"
		m.book.detach(live, m.now)
		m.clerk.forget(func(e *entry) bool { return e.subscription })
		m.clerk.conn = 0
	case op <= 1 && (live == nil || m.rnd.IntN(5) == 0):
		m.attach(live)
	case op <= 4 && live != nil:
		m.take(live)
	case op <= 6 && m.clerk.running != nil:
		m.settle()
	case op == 7 && len(m.failing) > 0:
		m.endFailing(live)
	case op == 8 && live != nil:
		m.last = "sent"
		for _, e := range m.clerk.jobs {
			if e.state == "settled" && e.outcome == 0 && !e.hasOutcome {
				m.synced++
				m.book.sent(live, actionID(matchNode, e.n), m.synced)
				e.outcome = m.synced
				break
			}
		}
	case op == 9 && live != nil:
		m.last = "acknowledged"
		var ids []wire.ActionID
		for range 3 {
			n := 1 + m.rnd.Int64N(30)
			ids = append(ids, actionID(matchNode, n))
			if e := m.clerk.find(n); e != nil && e.conn == m.clerk.conn && e.acknowledged == 0 {
				e.acknowledged = m.synced + 1
			}
		}
		owed := 0
		for _, e := range m.clerk.jobs {
			if e.state == "settled" && e.acknowledged != 0 {
				owed++
			}
		}
		if l := m.book.acknowledged(live, ids, m.synced+1); l.jobs != owed {
			m.fail("%d are unconfirmed, want %d", l.jobs, owed)
		}
	case op == 10 && live != nil:
		m.last = "confirm"
		number := m.rnd.Int64N(m.synced + 2)
		more := m.book.confirm(live, number)
		// One that has no outcome, or whose outcome is still to come, holds back those behind it.
		held := false
		m.clerk.forget(func(e *entry) bool {
			forgettable := !held && e.state == "settled" && e.forgettable(number)
			held = held || !e.hasOutcome
			return forgettable
		})
		if more != (len(m.clerk.jobs) > 0) {
			m.fail("more is %v", more)
		}
	case op == 11 && m.rnd.IntN(5) == 0:
		m.last = "sweep of nobody"
		m.book.sweep(0)
	}
}

func (m *match) attach(live *peer) {
	m.last = "attach"
	p := testPeer(matchNode)
	m.peers = append(m.peers, p)
	number := m.rnd.Int64N(m.synced + 1)
	_, ids, _ := m.book.attach(p, live, number, m.now)
	m.clerk.conn = len(m.peers) - 1
	m.clerk.forget(func(e *entry) bool { return e.subscription || e.state == "settled" && e.forgettable(number) })
	var want []wire.ActionID
	for _, e := range m.clerk.jobs {
		if e.state == "settled" && !e.hasOutcome {
			want = append(want, actionID(matchNode, e.n))
		}
		e.conn, e.outcome, e.acknowledged = 0, 0, 0
	}
	if !slices.Equal(ids, want) {
		m.fail("outcomes of %v, want %v", ids, want)
	}
	m.synced = number
	if live != nil {
		if r, _ := m.book.takes(live, 99); !r.replaced {
			m.fail("the old connection is heard")
		}
	}
}

func (m *match) take(live *peer) {
	m.last = "take"
	var js []*job
	var fresh []*entry
	var settled []wire.ActionID
	known := 0
	for range 1 + m.rnd.IntN(3) {
		n := 1 + m.rnd.Int64N(30)
		j := testJob(live, n)
		if m.rnd.IntN(4) == 0 {
			j = testSubscription(live, n)
		}
		js = append(js, j)
		if e := m.clerk.find(n); e != nil {
			known++
			e.conn, e.acknowledged = m.clerk.conn, 0
			if e.state == "settled" {
				settled = append(settled, actionID(matchNode, n))
			}
			continue
		}
		e := &entry{n: n, state: "waiting", subscription: j.subscription != nil, body: len(j.action.Body), conn: m.clerk.conn}
		m.clerk.jobs = append(m.clerk.jobs, e)
		m.jobs[e] = j
		fresh = append(fresh, e)
	}
	r := m.book.take(live, js)
	started := m.clerk.start()
	if r.replaced || r.known != known || !slices.Equal(r.settled, settled) || r.start != m.jobs[started] || r.load != m.clerk.load() {
		m.fail("%+v; want %d known, %v settled, %+v, of %d new", r, known, settled, m.clerk.load(), len(fresh))
	}
}

func (m *match) settle() {
	m.last = "settle"
	e := m.clerk.running
	failed := m.rnd.IntN(3) == 0
	s := m.book.settle(m.jobs[e], testOutcome(m.jobs[e].action.ID), failed)
	m.clerk.running = nil
	forgotten := e.state == "forgotten"
	var failing []*job
	if !forgotten {
		e.state = "settled"
		behind := false
		for _, other := range m.clerk.jobs {
			if behind && failed && other.state == "waiting" {
				other.state = "failing"
				failing = append(failing, m.jobs[other])
				m.failing = append(m.failing, other)
			}
			behind = behind || other == e
		}
	}
	tell := m.peers[m.clerk.conn]
	if forgotten {
		tell = nil
	}
	if next := m.clerk.start(); s.forgotten != forgotten || s.tell != tell || s.start != m.jobs[next] || !slices.Equal(s.failed, failing) {
		m.fail("%+v; want forgotten %v, start %p, failed %v", s, forgotten, m.jobs[next], failing)
	}
}

func (m *match) endFailing(live *peer) {
	m.last = "fail"
	e := m.failing[0]
	m.failing = m.failing[1:]
	tell, _ := m.book.fail(m.jobs[e], testOutcome(m.jobs[e].action.ID))
	if e.state == "forgotten" {
		live = nil
	} else {
		e.state = "settled"
	}
	if tell != live {
		m.fail("the wrong connection is told")
	}
}

// compare looks at the gauges.
func (m *match) compare() {
	clients := int64(0)
	if len(m.clerk.jobs) > 0 || m.clerk.running != nil {
		clients = 1
	}
	c, r, o := m.book.counts()
	if c != clients || r != int64(len(m.clerk.jobs)) || o != int64(m.clerk.load().jobs) {
		m.fail("%d clients, %d remembered, %d open; want %d, %d, %d", c, r, o, clients, len(m.clerk.jobs), m.clerk.load().jobs)
	}
}
