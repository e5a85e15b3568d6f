package cluster

import (
	"context"
	"maps"
	"slices"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// TakeOver makes this server the one that deals with the claims of a dead one, and gives them to Orphan. Exactly one
// server succeeds; nobody does while the owner is alive for the gossip or has its lease. Run calls it again and again
// until all are settled; whoever calls it besides only hastens it.
func (h *Handovers) TakeOver(ctx context.Context, owner wire.ServerID) error {
	h.mu.Lock()
	ours := h.taken[owner] != nil
	h.mu.Unlock()
	// What has been taken over is brought to its end, even if the owner comes back.
	if owner == h.cfg.Self || !ours && h.cfg.Alive(owner) {
		return nil
	}
	ok, err := h.cfg.Store.take(ctx, owner, h.cfg.Self, h.cfg.Lease, h.cfg.ClaimTTL)
	if err != nil {
		return err
	}
	if !ok {
		h.letGo(owner)
		return nil
	}
	h.mu.Lock()
	fresh := h.taken[owner] == nil
	if fresh {
		h.taken[owner] = make(map[wire.ActionID]bool)
		h.stats.Takeovers++
	}
	h.mu.Unlock()
	if fresh {
		h.log.Info("Taking over the claims of a dead server", zap.String("server", string(owner)))
	}
	return h.giveOut(ctx, owner)
}

// letGo forgets an estate that is done with, or that another server has.
func (h *Handovers) letGo(owner wire.ServerID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.taken[owner] {
		delete(h.settling, id)
		h.orphans--
	}
	delete(h.taken, owner)
	delete(h.next, owner)
}

// giveOut hands claims of an estate to Orphan, as many as there is room for: the oldest first, whatever order the store has
// them in, so that of each client none is given before one that it made earlier.
func (h *Handovers) giveOut(ctx context.Context, owner wire.ServerID) error {
	h.mu.Lock()
	room, none := h.orphans < h.cfg.MaxOrphans, len(h.next[owner]) == 0
	h.mu.Unlock()
	if room && none {
		next, err := h.oldest(ctx, owner)
		if err != nil {
			return err // of what was not seen some may be older
		}
		h.mu.Lock()
		if h.taken[owner] != nil {
			h.next[owner] = next
		}
		h.mu.Unlock()
	}
	for {
		c, ok := h.give(owner)
		if !ok {
			return nil
		}
		if err := h.giveOne(ctx, owner, c.id, c.text); err != nil {
			h.mu.Lock()
			delete(h.next, owner) // it comes again, before those
			h.mu.Unlock()
			return err
		}
	}
}

// A storedClaim is one of an estate that was taken over.
type storedClaim struct {
	id   wire.ActionID
	text []byte
}

// How much of an estate is read at once: then all is read again.
const (
	maxNext      = 4096
	maxNextBytes = 16 << 20
)

// oldest reads the oldest claims of an estate that were not given out, in their order.
func (h *Handovers) oldest(ctx context.Context, owner wire.ServerID) (oldest []storedClaim, err error) {
	bytes := 0
	err = h.cfg.Store.claims(ctx, owner, func(id wire.ActionID, text []byte) bool {
		if h.given(owner, id) {
			return true
		}
		at, again := slices.BinarySearchFunc(oldest, id, func(c storedClaim, id wire.ActionID) int { return wire.CompareActionIDs(c.id, id) })
		if again {
			return true
		}
		oldest = slices.Insert(oldest, at, storedClaim{id, text})
		for bytes += len(text); len(oldest) > 1 && (len(oldest) > maxNext || bytes > maxNextBytes); oldest = oldest[:len(oldest)-1] {
			bytes -= len(oldest[len(oldest)-1].text)
		}
		return true
	})
	return oldest, err
}

// given reports whether a claim of an estate was given out.
func (h *Handovers) given(owner wire.ServerID, id wire.ActionID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.taken[owner][id]
}

// give takes the next claim of an estate and counts it as given out, if there is one and room for it.
func (h *Handovers) give(owner wire.ServerID) (c storedClaim, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	given := h.taken[owner]
	for given != nil && h.orphans < h.cfg.MaxOrphans && len(h.next[owner]) > 0 {
		c, h.next[owner] = h.next[owner][0], h.next[owner][1:]
		if given[c.id] {
			continue // it was read by two at once
		}
		given[c.id] = true
		h.orphans++
		return c, true
	}
	return c, false
}

// giveOne hands one claim to Orphan, with its outcome if the owner had written it.
func (h *Handovers) giveOne(ctx context.Context, owner wire.ServerID, id wire.ActionID, text []byte) error {
	claim, err := decodeClaim(owner, id, text)
	if err != nil {
		// Of a later release, one of whose servers may take it over from us; it stays until then.
		h.log.Warn("A claim cannot be read", zap.String("actionId", string(id)), zap.Error(err))
		return nil
	}
	e, ok, err := h.cfg.Store.look(ctx, claim.Client, id)
	if err == nil && ok && e.settled {
		err = h.cfg.Store.unclaim(ctx, owner, h.cfg.Self, id)
	}
	if err != nil {
		h.takeBack(owner, id)
		return err
	}
	if !ok || !e.settled {
		h.cfg.Orphan(claim, nil)
		return nil
	}
	h.takeBack(owner, id)
	known := e.asOutcome()
	h.cfg.Orphan(claim, &known)
	return nil
}

// takeBack counts a claim as not given out.
func (h *Handovers) takeBack(owner wire.ServerID, id wire.ActionID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if owner == h.cfg.Self {
		h.disownLocked(id)
	}
	if given := h.taken[owner]; given[id] {
		delete(given, id)
		h.orphans--
	}
}

// takeOverMore renews the leases on estates that were taken over, and gives out more of them.
func (h *Handovers) takeOverMore(ctx context.Context) error {
	h.mu.Lock()
	owners := slices.Collect(maps.Keys(h.taken))
	h.mu.Unlock()
	for _, owner := range owners {
		if err := h.TakeOver(ctx, owner); err != nil {
			return err
		}
	}
	return nil
}

// search looks for estates of dead servers.
func (h *Handovers) search(ctx context.Context) error {
	owners, err := h.cfg.Store.owners(ctx)
	if err != nil {
		return err
	}
	for _, owner := range owners {
		h.mu.Lock()
		ours := h.taken[owner] != nil
		h.mu.Unlock()
		if ours {
			continue
		}
		if err := h.TakeOver(ctx, owner); err != nil {
			return err
		}
	}
	return nil
}
