package gateway

import (
	"context"
	"sync"
	"time"

	"logux-proxy/wire"
)

// What is in flight at another server has its outcome when that one says so. When it is gone, or was not heard, the store is
// asked.

const (
	// inquireEvery is how often it is looked after actions in flight at servers that are gone, and inquireAlive at those
	// that are there: their outcome may have got lost on the way. An action that still waits is asked about less and less
	// often: its new server tells its outcome.
	inquireEvery = time.Second
	inquireAlive = 10 * time.Second
	inquireRare  = 8 * time.Second
	// inquireMost is how many questions are open at a time: where many actions wait, the store has better things to do.
	inquireMost = 512
	// inquireLimit is when an action in flight elsewhere is taken for lost, whatever the others say. A back-end that has
	// not answered until then has been given up.
	inquireLimit = 150 * time.Second
)

// An inquiry is about an action in flight elsewhere.
type inquiry struct {
	last  time.Time     // when the store was asked, or the action came
	pause time.Duration // until it is asked again
	open  bool          // it has not answered
}

// inquiries are what the store is asked about. One goroutine asks.
type inquiries struct {
	of   map[wire.ActionID]*inquiry
	from int // where it goes on in the list of actions, so that all have their turn

	mu sync.Mutex
	// Guarded by mu: the inquiries' open, and how many are.
	open int
}

// due returns those of all actions in flight elsewhere that the store is to be asked about now. Each is to be ended.
func (q *inquiries) due(now time.Time, all []absence, alive func(wire.ServerID) bool) (ask []absence) {
	before := q.of
	q.of = make(map[wire.ActionID]*inquiry, len(all))
	for _, a := range all {
		i := before[a.ID]
		if i == nil {
			i = &inquiry{last: a.since}
		}
		q.of[a.ID] = i
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for k := range all {
		at := (q.from + k) % len(all)
		if q.open >= inquireMost {
			q.from = at
			break
		}
		i, pause := q.of[all[at].ID], inquireAlive
		if !alive(all[at].Owner) {
			pause = i.pause
		}
		if i.open || now.Sub(i.last) < pause {
			continue
		}
		i.last, i.pause, i.open = now, min(inquireRare, max(inquireEvery, 2*i.pause)), true
		q.open++
		ask = append(ask, all[at])
	}
	return ask
}

// end says that the store has answered, or will not. Any goroutine may call it.
func (q *inquiries) end(i *inquiry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i.open = false
	q.open--
}

// inquire looks after actions in flight elsewhere until ctx ends.
func (g *Gateway) inquire(ctx context.Context) {
	if g.cfg.Life == "" || g.cfg.Handovers == nil {
		return
	}
	tick := time.NewTicker(inquireEvery)
	defer tick.Stop()
	var asked inquiries
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			g.inquireAll(now, &asked)
		}
	}
}

// inquireAll asks the store about actions in flight elsewhere.
func (g *Gateway) inquireAll(now time.Time, asked *inquiries) {
	for _, a := range asked.due(now, g.ledger.absences(), g.cfg.Alive) {
		if p := g.connection(a.client); p != nil && g.cfg.Alive(a.Owner) {
			p.h.loop.Post(&recount{p})
		}
		i := asked.of[a.ID]
		g.inquireOne(a, now.Sub(a.since) > inquireLimit, func() { asked.end(i) })
	}
}

// inquireOne asks the store about one action; late says that there is no more waiting. It calls done with the answer.
func (g *Gateway) inquireOne(a absence, late bool, done func()) {
	g.cfg.Handovers.Inquire(a.client, a.InFlight, func(o *wire.Outcome, lost bool, err error) {
		done()
		switch {
		case o != nil:
			g.receiveOutcome(a.client, o)
		case lost && err == nil || late:
			if next := g.ledger.lost(a.client, a.InFlight); next != nil {
				next.run()
			}
		}
	})
}
