package cluster

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// The lease of a server on its estate: it is renewed as long as the server lives, and what had happened when it was not is
// dealt with.

// Held reports whether an action that was claimed here may begin here, or go on. Another server may have taken it over while
// this one stood still, and be done with it: so where the lease may have ended it is renewed first. When the store cannot be
// reached the action may begin, since then it cannot be reached either for whoever would take it over. That an action is not
// held is said once.
func (h *Handovers) Held(ctx context.Context, id wire.ActionID) bool {
	held, fresh := h.holds(id)
	if fresh {
		return held
	}
	if err := h.renew(ctx); err != nil {
		return true
	}
	held, _ = h.holds(id)
	return held
}

// holds is Held as far as this server knows; fresh says that it knows.
func (h *Handovers) holds(id wire.ActionID) (held, fresh bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.renewed) >= h.cfg.Lease {
		return true, false
	}
	if held = !h.lost[id]; !held {
		delete(h.lost, id)
	}
	return held, true
}

// Run renews the lease of this server, takes over from dead ones and tells the store what it could not be told, until
// ctx ends.
func (h *Handovers) Run(ctx context.Context) {
	every := h.cfg.Lease / 4
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		steps := []func(context.Context) error{h.takeOverMore}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			// A little by chance: servers need not ask side by side.
			timer.Reset(every - rand.N(every/8+1))
			steps = []func(context.Context) error{h.renew, h.catchUp, h.takeOverMore, h.search}
		case <-h.kick:
		}
		h.run(ctx, steps)
	}
}

// Resign gives back the leases of this server, so that others need not wait for their end before they deal with what it
// leaves. It is for a server that goes, after Run has ended and no other call will be made.
func (h *Handovers) Resign(ctx context.Context) error {
	h.mu.Lock()
	owners := append(slices.Collect(maps.Keys(h.taken)), h.cfg.Self)
	h.mu.Unlock()
	var errs []error
	for _, owner := range owners {
		_, err := h.cfg.Store.renew(ctx, owner, h.cfg.Self, time.Millisecond, h.cfg.ClaimTTL)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (h *Handovers) run(ctx context.Context, steps []func(context.Context) error) {
	limited, cancel := context.WithTimeout(ctx, h.cfg.Lease/2)
	defer cancel()
	var err error
	for _, step := range steps {
		if err = step(limited); err != nil {
			break
		}
	}
	if ctx.Err() == nil {
		h.reached(err)
	}
}

// reached logs once that the store cannot be reached, and once that it can be again.
func (h *Handovers) reached(err error) {
	h.mu.Lock()
	was := h.unreached
	h.unreached = err != nil
	h.mu.Unlock()
	switch {
	case err != nil && !was:
		h.log.Warn("Claims and records cannot be written", zap.Error(err))
	case err == nil && was:
		h.log.Info("Claims and records can be written again")
	}
}

// renew prolongs the lease of this server on its estate, and deals with what that finds.
func (h *Handovers) renew(ctx context.Context) error {
	select {
	case h.renewing <- struct{}{}:
		defer func() { <-h.renewing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	now := time.Now()
	state, err := h.cfg.Store.renew(ctx, h.cfg.Self, h.cfg.Self, h.cfg.Lease, h.cfg.ClaimTTL)
	if err != nil {
		return err
	}
	if state == leaseTaken || state == leaseBack {
		h.lose()
	}
	if state == leaseNew || state == leaseBack {
		if err := h.rewrite(ctx); err != nil {
			return err
		}
	}
	h.mu.Lock()
	h.renewed = now
	h.mu.Unlock()
	return nil
}

// lose gives up the claims of this server: it was away so long that another one deals with them.
func (h *Handovers) lose() {
	h.mu.Lock()
	n := 0
	for id, own := range h.own {
		if !own.stored {
			continue
		}
		n++
		h.lost[id] = true
		h.disownLocked(id)
		delete(h.settling, id)
	}
	clear(h.doubtful)
	h.away = true
	h.stats.Lost += int64(n)
	h.mu.Unlock()
	if n > 0 {
		h.log.Warn("Another server has taken over the claims of this one, which was away too long", zap.Int("claims", n))
	}
}

// rewrite makes the estate in the store and ours the same, when nobody had the lease. Either Redis forgot the estate; or
// it remembers an old one, and what we do not know has been settled; or the server that had taken it over (away)
// is done with it, or has died in the middle of it.
func (h *Handovers) rewrite(ctx context.Context) error {
	h.mu.Lock()
	away := h.away
	h.away = false
	h.mu.Unlock()
	orphans := make(map[wire.ActionID][]byte)
	err := h.cfg.Store.claims(ctx, h.cfg.Self, func(id wire.ActionID, text []byte) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		switch {
		case len(h.own[id].text) > 0:
		case !away:
			h.doubtful[id] = true
		default:
			if !h.lost[id] { // whoever processed it here was told to forget it
				orphans[id] = text
			}
			delete(h.lost, id)
			h.own[id] = ownClaim{text, true}
			h.ownBytes += len(text)
		}
		return true
	})
	if err != nil {
		h.mu.Lock()
		h.away = h.away || away
		h.mu.Unlock()
		return err
	}
	for id, text := range orphans {
		if err := h.giveOne(ctx, h.cfg.Self, id, text); err != nil {
			return err
		}
	}
	return h.writeAgain(ctx)
}

func (h *Handovers) writeAgain(ctx context.Context) error {
	h.mu.Lock()
	own := make(map[wire.ActionID][]byte, len(h.own))
	for id, claim := range h.own {
		if claim.stored {
			own[id] = claim.text
		}
	}
	h.stats.Rewritten += int64(len(own))
	h.mu.Unlock()
	for id, text := range own {
		if err := h.cfg.Store.claim(ctx, h.cfg.Self, h.cfg.Self, id, text, h.cfg.Lease, h.cfg.ClaimTTL); err != nil {
			return err
		}
		h.mu.Lock()
		if _, open := h.own[id]; !open { // settled meanwhile
			h.doubtful[id] = true
		}
		h.mu.Unlock()
	}
	return nil
}

// catchUp tells the store what it could not be told before.
func (h *Handovers) catchUp(ctx context.Context) error {
	h.mu.Lock()
	all := slices.Collect(maps.Values(h.settling))
	doubtful := slices.Collect(maps.Keys(h.doubtful))
	h.mu.Unlock()
	for _, s := range all {
		if _, err := h.settleClaim(ctx, &s.claim, s.outcome); err != nil && !errors.Is(err, ErrTaken) {
			return err
		}
		h.settled(&s.claim)
	}
	for _, id := range doubtful {
		if err := h.cfg.Store.unclaim(ctx, h.cfg.Self, h.cfg.Self, id); err != nil && !errors.Is(err, ErrTaken) {
			return err
		}
		h.mu.Lock()
		delete(h.doubtful, id)
		h.mu.Unlock()
	}
	return nil
}
