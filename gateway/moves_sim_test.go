package gateway

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"logux-proxy/wire"
)

// TestMovesSimulation runs clients that go from server to server in one goroutine, with a clock and a seed of its own.
// The servers are whole Gateways; their loops, the bus, the store and the back-end are made up. The
// bits of a seed say what is wrong besides the network of the clients: actions take long and are claimed (1), servers crash
// (2), the store is away for a while (4). At the end, when all has calmed down:
//
//   - each action is acknowledged and has an outcome at its client: "Nothing acknowledged is lost". It has another one only
//     if the action was begun anew, or undone because of one before it, since a server died;
//   - the back-end was asked twice only about an action that a dead server was asked about before, or that a dead server had
//     claimed while the client's next one could not read the store;
//   - actions of one client began in their order, and not two at once, but for claims of dead servers, which go to different
//     ones;
//   - nothing is remembered and no topic is joined any more.
//
// SIM_SEEDS says how many seeds there are, SIM_SEED which one comes first; SIM_TRACE=1 shows what happens. What the
// Gateways draw by chance themselves does not come from the seed: a failure may need some tries to come again.
func TestMovesSimulation(t *testing.T) {
	first, n := simNumber(t, "SIM_SEED", 0), simNumber(t, "SIM_SEEDS", 40)
	wrong := 0
	for seed := first; seed < first+n && wrong < 5; seed++ {
		var err error
		synctest.Test(t, func(t *testing.T) { err = simulateMoves(t, seed) })
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			wrong++
		}
	}
}

func simNumber(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const (
	nomads       = 4
	nomadActions = 15
	// nomadTime is how long clients move and everything fails; after it they stay where they are.
	nomadTime = 30 * time.Second
	// nomadCalm is how long what was left behind may take: longer than anything is waited for.
	nomadCalm = 4 * time.Minute
)

// A nomadSim is one run.
type nomadSim struct {
	t      *testing.T
	rnd    *rand.Rand
	start  time.Time
	events []nomadEvent // by time
	err    error        // what was wrong first
	trace  bool

	claims, crashes, failures bool // what may happen
	calm                      bool
	servers                   []*nomadServer // the last life of each
	lives                     []*nomadServer
	clients                   []*nomad
	bus                       nomadBus
	store                     nomadStore
	asked                     map[wire.ActionID][]nomadAsk
	orphans                   map[wire.ActionID]bool            // were claimed by a server that died
	begun                     map[wire.ClientID][]wire.ActionID // in the order in which the back-end was asked first

	mu     sync.Mutex
	posted []func() // Guarded by mu.
}

// A nomadAsk is a question to the back-end.
type nomadAsk struct {
	id    wire.ActionID
	by    *nomadServer
	at    time.Duration
	ended bool
}

type nomadEvent struct {
	at  time.Duration
	run func()
}

func (s *nomadSim) now() time.Duration { return time.Since(s.start) }

// at makes f happen then, or now.
func (s *nomadSim) at(at time.Duration, f func()) {
	e := nomadEvent{max(at, s.now()), f}
	i, _ := slices.BinarySearchFunc(s.events, e.at, func(e nomadEvent, at time.Duration) int {
		if e.at <= at {
			return -1
		}
		return 1
	})
	s.events = slices.Insert(s.events, i, e)
}

func (s *nomadSim) after(d time.Duration, f func()) { s.at(s.now()+d, f) }

func (s *nomadSim) wrong(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("after %v: %w", s.now(), fmt.Errorf(format, args...))
	}
}

func (s *nomadSim) note(format string, args ...any) {
	if s.trace {
		s.t.Logf("%12v %s", s.now(), fmt.Sprintf(format, args...))
	}
}

// until makes everything happen that is to happen until then.
func (s *nomadSim) until(end time.Duration) {
	for len(s.events) > 0 && s.events[0].at <= end && s.err == nil {
		s.sleep(s.events[0].at)
		e := s.events[0]
		if e.at > s.now() {
			continue // something came up before it
		}
		s.events = slices.Delete(s.events, 0, 1)
		e.run()
		synctest.Wait()
		s.turns()
	}
}

// sleep waits, and looks now and then what timers of the Gateways did meanwhile.
func (s *nomadSim) sleep(until time.Duration) {
	for d := until - s.now(); d > 0; d = until - s.now() {
		<-time.After(min(d, 100*time.Millisecond))
		synctest.Wait()
		s.turns()
		if len(s.events) > 0 && s.events[0].at < until {
			return
		}
	}
}

// post makes f happen soon. Any goroutine may call it: timers of the Gateways have their own.
func (s *nomadSim) post(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posted = append(s.posted, f)
}

// turns does what was posted and lets the loops have a turn soon that have something to do.
func (s *nomadSim) turns() {
	s.mu.Lock()
	posted := s.posted
	s.posted = nil
	s.mu.Unlock()
	for _, f := range posted {
		f()
	}
	for _, srv := range s.servers {
		for _, c := range srv.conns {
			if !c.turning && c.has() {
				c.turning = true
				s.after(short(c.who.rnd), c.turn)
			}
		}
	}
}

// short is the time that something takes that goes on in a computer, and long what a network takes.
func short(r *rand.Rand) time.Duration { return time.Duration(1 + r.Int64N(int64(2*time.Millisecond))) }

func long(r *rand.Rand) time.Duration {
	if r.IntN(5) == 0 {
		return time.Duration(1 + r.Int64N(int64(150*time.Millisecond)))
	}
	return time.Duration(1 + r.Int64N(int64(10*time.Millisecond)))
}

// upTo is a time of at most d.
func upTo(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(1 + r.Int64N(int64(d))) }

func simulateMoves(t *testing.T, seed uint64) error {
	t.Helper()
	s := &nomadSim{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), start: time.Now(), trace: os.Getenv("SIM_TRACE") != "",
		claims: seed&1 != 0, crashes: seed&2 != 0, failures: seed&4 != 0,
		orphans: make(map[wire.ActionID]bool),
		asked:   make(map[wire.ActionID][]nomadAsk), begun: make(map[wire.ClientID][]wire.ActionID),
	}
	s.bus.init(s)
	s.store.init(s)
	for i := range 3 {
		s.boot(i, 1)
	}
	for i := range nomads {
		c := newNomad(s, i, seed)
		s.clients = append(s.clients, c)
		c.come()
		s.after(upTo(c.rnd, time.Second), c.live)
	}
	s.until(nomadTime)
	s.calm = true
	s.until(nomadTime + nomadCalm)
	s.judge()
	// All go, and are forgotten.
	for _, c := range s.clients {
		c.stay = true
		c.drop()
	}
	s.until(s.now() + 8*time.Minute)
	s.judgeMemory()
	return s.err
}

// judge looks at what the clients and the back-end saw.
func (s *nomadSim) judge() {
	for _, c := range s.clients {
		if len(c.unacked) > 0 {
			s.wrong("%s: %v are not acknowledged", c.node, c.unacked)
		}
		for n := int64(1); n <= c.n; n++ {
			id := actionID(c.node, n)
			got := len(c.outcomes[id])
			again := len(s.asked[id]) > 1 || s.crashes && c.undone(id)
			if got == 0 || got > 1 && !again {
				s.wrong("%s has the outcomes %v", id, c.outcomes[id])
			}
		}
		if begun := s.begun[c.node.Client()]; !slices.IsSortedFunc(begun, func(a, b wire.ActionID) int {
			return compareOrphans(&orphan{claim: wire.Claim{ID: a}}, &orphan{claim: wire.Claim{ID: b}})
		}) && (!s.claims || !s.crashes) {
			s.wrong("%s: the order was %v", c.node, begun)
		}
	}
}

func (s *nomadSim) judgeMemory() {
	for _, srv := range s.servers {
		clients, remembered, open := srv.g.ledger.counts()
		if clients != 0 || remembered != 0 || open != 0 {
			s.wrong("%s remembers %d clients, %d actions, %d open", srv.life, clients, remembered, open)
		}
		if n := srv.g.hub.Counts(); n.Members != 0 {
			s.wrong("%s has %d clients", srv.life, n.Members)
		}
		if len(srv.joined) != 0 {
			s.wrong("%s listens to %v", srv.life, srv.joined)
		}
	}
}

// ask is a question to the back-end, which answers whenever it likes.
func (s *nomadSim) ask(srv *nomadServer, id wire.ActionID) {
	client := id.Client()
	before := s.asked[id]
	s.note("%s asks about %s", srv.life, id)
	// A claim of a dead server is found late by the client's server if that cannot read the store.
	excused := len(before) == 0 || s.failures && s.orphans[id]
	for _, a := range before {
		excused = excused || a.by.dead
	}
	if !excused {
		s.wrong("%s asks about %s, about which %s asked at %v", srv.life, id, before[0].by.life, before[0].at)
	}
	for other, asks := range s.asked {
		if other.Client() != client || s.claims && s.crashes {
			continue
		}
		for _, a := range asks {
			if !a.ended && !a.by.dead {
				s.wrong("%s asks about %s while %s asks about %s", srv.life, id, a.by.life, other)
			}
		}
	}
	if len(before) == 0 {
		s.begun[client] = append(s.begun[client], id)
	}
	s.asked[id] = append(before, nomadAsk{id: id, by: srv, at: s.now()})
}

func (s *nomadSim) answered(srv *nomadServer, id wire.ActionID) {
	for i := range s.asked[id] {
		if a := &s.asked[id][i]; a.by == srv {
			a.ended = true
		}
	}
}
