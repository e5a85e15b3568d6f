package gateway

import (
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// An orphan is a claimed action of a dead server. No ledger knows it: its client may be anywhere. But as in a ledger a
// client's orphans are processed one after another, and one that fails undoes those behind it.
type orphan struct {
	claim wire.Claim
	job   *job
}

// orphans are those that this server has taken over and that have no outcome yet.
type orphans struct {
	mu sync.Mutex
	// Guarded by mu: of each client the one that is asked about, or nil, and the others in order.
	of    map[wire.ClientID]*siblings
	count int
}

type siblings struct {
	asked   *orphan
	waiting []*orphan
}

// orphanPause is how long a client's first orphan waits for those that come before it: claims come in no order.
const orphanPause = 100 * time.Millisecond

// Orphan takes the claim of a server that is dead: the back-end is asked again, unless the outcome is known. It does
// not block; any goroutine may call it.
func (g *Gateway) Orphan(c wire.Claim, known *wire.Outcome) {
	if known != nil {
		g.tellClient(c.Client, known)
		return
	}
	a, err := wire.DecodeAction(c.Action)
	if err != nil {
		g.log.Error("A claim cannot be read", zap.String("actionId", string(c.ID)), zap.Error(err))
		return
	}
	g.taken.Add(1)
	o := &orphan{claim: c, job: &job{g: g, action: a, headers: c.Headers, came: time.Now()}}
	if g.orphans.add(o) {
		time.AfterFunc(orphanPause, func() { g.nextOrphan(c.Client) })
	}
}

// add queues o, and reports whether it is its client's first.
func (s *orphans) add(o *orphan) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.of[o.claim.Client]
	if first = of == nil; first {
		if s.of == nil {
			s.of = make(map[wire.ClientID]*siblings)
		}
		of = new(siblings)
		s.of[o.claim.Client] = of
	}
	at, _ := slices.BinarySearchFunc(of.waiting, o, compareOrphans)
	of.waiting = slices.Insert(of.waiting, at, o)
	s.count++
	return first
}

func compareOrphans(a, b *orphan) int { return wire.CompareActionIDs(a.claim.ID, b.claim.ID) }

// next returns the orphan of a client that is to be asked about now, nil when there is none.
func (s *orphans) next(client wire.ClientID) *orphan {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.of[client]
	if len(of.waiting) == 0 {
		delete(s.of, client)
		return nil
	}
	of.asked, of.waiting = of.waiting[0], of.waiting[1:]
	return of.asked
}

// ended says that the one that was asked about has its outcome, and returns those that fail with it.
func (s *orphans) ended(client wire.ClientID, failed bool) (behind []*orphan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.of[client]
	if failed {
		at, _ := slices.BinarySearchFunc(of.waiting, of.asked, compareOrphans)
		of.waiting, behind = of.waiting[:at], slices.Clone(of.waiting[at:])
	}
	of.asked = nil
	s.count -= 1 + len(behind)
	return behind
}

// open is how many have no outcome.
func (s *orphans) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// nextOrphan asks about the next orphan of a client.
func (g *Gateway) nextOrphan(client wire.ClientID) {
	if o := g.orphans.next(client); o != nil {
		o.job.follow()
		g.cfg.Backend.Process(&wire.Command{Action: o.job.action, Headers: o.job.headers, Trace: o.job.trace()}, o.job.answer, o.done)
	}
}

// done takes the back-end's final word.
func (o *orphan) done(a wire.Answer, err error) {
	g, client := o.job.g, o.claim.Client
	reason, _ := judge(a, err)
	o.settle(o.job.verdict(reason), func(failed bool) {
		for _, b := range g.orphans.ended(client, failed) {
			b.settle(g.undo(b.job.action, wire.ReasonError), func(bool) {})
		}
		g.nextOrphan(client)
	})
}

// settle gives o its outcome, and calls then when the store has it.
func (o *orphan) settle(out *wire.Outgoing, then func(failed bool)) {
	g := o.job.g
	g.settleClaim(o.claim, out, func(kept *wire.Outgoing, taken bool) {
		failed := kept.Action.Type == wire.TypeUndo
		defer o.job.followedOrphan(failed, taken)
		if !taken {
			o.job.retract(kept)
			g.log.Info("Action of a dead server has its outcome", zap.String("actionId", string(o.claim.ID)), zap.String("outcome", kept.Action.Type))
			g.tellClient(o.claim.Client, &wire.Outcome{ID: o.claim.ID, Action: wire.AppendAction(nil, kept.Action)})
		}
		then(failed && !taken)
	})
}
