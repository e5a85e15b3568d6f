package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// HandoversConfig says how a server leaves and takes over. A zero value means the default in brackets.
type HandoversConfig struct {
	Self  wire.ServerID
	Store HandoverStore
	// Alive asks the gossip: Members.Alive.
	Alive func(wire.ServerID) bool
	// Orphan is given the claims of dead servers. It must not block. With known being nil the back-end is to be asked, and
	// SettleClaim to be called. Otherwise the owner died after it had written the outcome and before anybody was told: there
	// is nothing left but to give it to the client.
	Orphan func(c wire.Claim, known *wire.Outcome)

	RecordTTL time.Duration // how long a client may take to come back [5 min]
	ClaimTTL  time.Duration // how long claims stay when nobody takes them over [10 min]
	// Lease is how long a server may be away from Redis before its claims can be taken over. It is renewed four times
	// as often; a dead server's claims are taken over within one and a quarter of it [10 s].
	Lease      time.Duration
	MaxOrphans int // claims given to Orphan and not settled yet [256]
	Log        *zap.Logger
}

func (c *HandoversConfig) defaults() {
	duration := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	duration(&c.RecordTTL, 5*time.Minute)
	duration(&c.ClaimTTL, 10*time.Minute)
	duration(&c.Lease, 10*time.Second)
	if c.MaxOrphans == 0 {
		c.MaxOrphans = 256
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
}

func (c *HandoversConfig) validate() error {
	switch {
	case !c.Self.Valid():
		return errors.New("cluster: the handovers need the server's ID")
	case c.Store == nil || c.Alive == nil || c.Orphan == nil:
		return errors.New("cluster: the handovers need a store, the gossip and somebody for orphans")
	}
	return nil
}

// Handovers hands clients and actions from one server to another. Methods with a context wait for the store; any
// goroutine may call them, and each call can be repeated.
type Handovers struct {
	// Static.
	cfg  HandoversConfig
	log  *zap.Logger
	kick chan struct{} // there is room for orphans
	// renewing has room for one: what a renewal finds is dealt with before the next.
	renewing chan struct{}

	mu sync.Mutex
	// Guarded by mu: the estate of this server.
	own      map[wire.ActionID]ownClaim
	ownBytes int
	doubtful map[wire.ActionID]bool // claims that were refused or not: they are to be taken away
	lost     map[wire.ActionID]bool // claims that another server has taken over
	away     bool                   // another server has the estate, or had it when we last looked
	renewed  time.Time              // when the lease was renewed last, and what that found was dealt with
	// Guarded by mu: claims that the store could not be told of, of this server or of dead ones.
	settling map[wire.ActionID]settling
	// Guarded by mu: estates of dead servers, and what was given out of each.
	taken   map[wire.ServerID]map[wire.ActionID]bool
	next    map[wire.ServerID][]storedClaim // what is to be given out next of each
	orphans int                             // in all of taken
	// Guarded by mu.
	unreached bool // the store failed the last time
	stats     HandoversStats
}

// An ownClaim is kept to be written again when Redis forgot it. It is stored when the store has taken it: one that is still on
// its way cannot have been taken over.
type ownClaim struct {
	text   []byte
	stored bool
}

type settling struct {
	claim   wire.Claim
	outcome wire.Outcome
}

// HandoversStats counts what happened since the start.
type HandoversStats struct {
	Claims    int   // of this server, open now
	Orphans   int   // given out and open now
	Late      int   // settled now, and the store not told yet
	Takeovers int64 // estates taken over
	Lost      int64 // claims that another server took over
	Rewritten int64 // claims written again because Redis forgot them
}

// NewHandovers checks the configuration. Nothing happens before Run.
func NewHandovers(c HandoversConfig) (*Handovers, error) {
	c.defaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &Handovers{
		cfg: c, log: c.Log, kick: make(chan struct{}, 1), renewing: make(chan struct{}, 1),
		own:      make(map[wire.ActionID]ownClaim),
		doubtful: make(map[wire.ActionID]bool),
		lost:     make(map[wire.ActionID]bool),
		settling: make(map[wire.ActionID]settling),
		taken:    make(map[wire.ServerID]map[wire.ActionID]bool),
		next:     make(map[wire.ServerID][]storedClaim),
	}, nil
}

// Store adds to the record of a client that has left this server. An action that has an outcome there already keeps it.
// It fails with ErrRecordSize.
func (h *Handovers) Store(ctx context.Context, r wire.Record) error {
	entries, err := recordEntries(&r)
	if err != nil {
		return err
	}
	return h.cfg.Store.put(ctx, r.Client, entries, h.cfg.RecordTTL)
}

// Fetch returns the record of a client that came here; an empty one when there is none. It stays in the store until
// Confirm: this server may die too.
func (h *Handovers) Fetch(ctx context.Context, client wire.ClientID) (wire.Record, error) {
	r := wire.Record{Client: client}
	entries, err := h.cfg.Store.get(ctx, client)
	for i := range entries {
		if e := &entries[i]; e.settled {
			r.Outcomes = append(r.Outcomes, e.asOutcome())
		} else {
			r.InFlight = append(r.InFlight, wire.InFlight{ID: e.id, Owner: e.owner})
		}
	}
	return r, err
}

// Confirm takes actions off the record of a client: it has their outcomes and will not send them again.
func (h *Handovers) Confirm(ctx context.Context, client wire.ClientID, ids ...wire.ActionID) error {
	if len(ids) == 0 {
		return nil
	}
	return h.cfg.Store.forget(ctx, client, ids)
}

// Settle notes the outcome of an action that was in flight when its client left. It should be called before the
// outcome is published, so that no Confirm overtakes it. It returns the outcome that the record has, which is another
// one if somebody was first; ok is false when the record knows nothing of the action any more.
func (h *Handovers) Settle(ctx context.Context, client wire.ClientID, o wire.Outcome) (kept wire.Outcome, ok bool, err error) {
	e, ok, err := h.cfg.Store.settle(ctx, client, settledEntry(&o), false, h.cfg.RecordTTL)
	return e.asOutcome(), ok, err
}

// Inquire says what became of an action that the record called in flight at another server. With an outcome it is
// settled; lost means that nobody will ever settle it, so that whoever holds the client may process it; otherwise its
// outcome will come. It is asked when the action's owner is no member any more, or when an outcome may have got lost
// on its way.
func (h *Handovers) Inquire(ctx context.Context, client wire.ClientID, f wire.InFlight) (o *wire.Outcome, lost bool, err error) {
	settled := func() (*wire.Outcome, error) {
		e, ok, err := h.cfg.Store.look(ctx, client, f.ID)
		if err != nil || !ok || !e.settled {
			return nil, err
		}
		o := e.asOutcome()
		return &o, nil
	}
	if o, err = settled(); o != nil || err != nil {
		return o, false, err
	}
	if f.Owner == h.cfg.Self || h.cfg.Alive(f.Owner) {
		return nil, false, nil
	}
	holder, err := h.cfg.Store.holder(ctx, f.Owner)
	if err != nil || holder == f.Owner { // it is alive behind a broken network
		return nil, false, err
	}
	claimed, err := h.cfg.Store.claimed(ctx, f.Owner, f.ID)
	if err != nil || claimed {
		return nil, false, err
	}
	o, err = settled() // meanwhile
	return o, o == nil && err == nil, err
}

// ClaimAction makes an action safe before it is acknowledged without an outcome. Only without an error may it be
// acknowledged: otherwise it is acknowledged late.
func (h *Handovers) ClaimAction(ctx context.Context, c wire.Claim) error {
	text := encodeClaim(&c)
	if len(text) > maxClaim {
		return ErrClaimsFull
	}
	if stored, err := h.keep(c.ID, text); stored || err != nil {
		return err
	}
	inFlight := []entry{{id: c.ID, owner: h.cfg.Self}}
	err := h.cfg.Store.put(ctx, c.Client, inFlight, h.cfg.ClaimTTL)
	if err == nil {
		err = h.cfg.Store.claim(ctx, h.cfg.Self, h.cfg.Self, c.ID, text, h.cfg.Lease, h.cfg.ClaimTTL)
	}
	if err == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		if own, there := h.own[c.ID]; there { // else it was settled meanwhile
			own.stored = true
			h.own[c.ID] = own
		}
		return nil
	}
	h.disown(c.ID)
	if !errors.Is(err, ErrTaken) && !errors.Is(err, ErrClaimsFull) {
		h.mu.Lock()
		h.doubtful[c.ID] = true
		h.mu.Unlock()
	}
	return err
}

// keep notes a claim of this server, within the bounds, and reports whether the store has it already.
func (h *Handovers) keep(id wire.ActionID, text []byte) (stored bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, known := h.own[id]
	switch {
	case h.lost[id]:
		return false, ErrTaken
	case h.doubtful[id]:
		return false, ErrClaimUndone
	case old.stored:
		return true, nil
	case !known && len(h.own)+len(h.doubtful) >= maxClaims || h.ownBytes+len(text)-len(old.text) > maxClaimBytes:
		return false, ErrClaimsFull
	}
	h.own[id] = ownClaim{text: text}
	h.ownBytes += len(text) - len(old.text)
	return false, nil
}

// disown forgets a claim of this server.
func (h *Handovers) disown(id wire.ActionID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.disownLocked(id)
}

func (h *Handovers) disownLocked(id wire.ActionID) {
	h.ownBytes -= len(h.own[id].text)
	delete(h.own, id)
}

// SettleClaim ends a claim, of this server or one that Orphan was given. The outcome goes into the client's record, where
// it stays until Confirm, and then the claim is taken away. It returns the outcome to give to the client, which is another
// one if somebody was first. ErrTaken says that another server gives it to the client. Any other error means
// that the store cannot be reached: the outcome should be given to the client, and the store is told of it later.
func (h *Handovers) SettleClaim(ctx context.Context, c wire.Claim, o wire.Outcome) (wire.Outcome, error) {
	if c.Owner == "" {
		c.Owner = h.cfg.Self
	}
	o.ID = c.ID
	h.mu.Lock()
	self := c.Owner == h.cfg.Self
	lost := self && h.lost[c.ID]
	if lost {
		delete(h.lost, c.ID)
	}
	_, own := h.own[c.ID]
	h.mu.Unlock()
	if lost {
		return o, ErrTaken
	}
	kept, err := h.settleClaim(ctx, &c, o)
	if self && !own && errors.Is(err, ErrTaken) {
		err = nil // the store did not take the claim, so that nobody could take it over
	}
	if err != nil && !errors.Is(err, ErrTaken) {
		h.settleLater(&c, o)
		return o, err
	}
	h.settled(&c)
	return kept, err
}

func (h *Handovers) settleClaim(ctx context.Context, c *wire.Claim, o wire.Outcome) (wire.Outcome, error) {
	e, _, err := h.cfg.Store.settle(ctx, c.Client, settledEntry(&o), true, h.cfg.RecordTTL)
	if err != nil {
		return o, err
	}
	return e.asOutcome(), h.cfg.Store.unclaim(ctx, c.Owner, h.cfg.Self, c.ID)
}

// settleLater remembers what the store has to be told, of claims that are ours to settle.
func (h *Handovers) settleLater(c *wire.Claim, o wire.Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, own := h.own[c.ID]; own || h.taken[c.Owner][c.ID] {
		h.settling[c.ID] = settling{claim: *c, outcome: o}
	}
}

// settled forgets a claim that the store has been told of.
func (h *Handovers) settled(c *wire.Claim) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.settling, c.ID)
	if c.Owner == h.cfg.Self {
		h.disownLocked(c.ID)
		return
	}
	given := h.taken[c.Owner]
	if !given[c.ID] {
		return
	}
	delete(given, c.ID)
	h.orphans--
	if len(given) == 0 || h.orphans == h.cfg.MaxOrphans/2 {
		select {
		case h.kick <- struct{}{}:
		default:
		}
	}
}

// Stats returns the counters.
func (h *Handovers) Stats() HandoversStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Claims, s.Orphans, s.Late = len(h.own), h.orphans, len(h.settling)
	return s
}
