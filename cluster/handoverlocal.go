package cluster

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"logux-proxy/wire"
)

// LocalStore returns a store in memory, for servers of one process.
func LocalStore() HandoverStore {
	return &localStore{records: make(map[wire.ClientID]*localRecord), estates: make(map[wire.ServerID]*localEstate)}
}

type localStore struct {
	mu sync.Mutex
	// Guarded by mu.
	records map[wire.ClientID]*localRecord
	estates map[wire.ServerID]*localEstate
	swept   time.Time
}

type localRecord struct {
	entries map[wire.ActionID]entry
	until   time.Time
}

type localEstate struct {
	claims map[wire.ActionID][]byte
	until  time.Time // for the claims
	holder wire.ServerID
	leased time.Time // until when
	taken  bool      // another server than the owner has had the lease, and the owner does not know
}

// sweepLocked takes away what is over, now and then.
func (s *localStore) sweepLocked(now time.Time) {
	if now.Sub(s.swept) < time.Second {
		return
	}
	s.swept = now
	for client, r := range s.records {
		if !now.Before(r.until) {
			delete(s.records, client)
		}
	}
	for owner := range s.estates {
		s.estateLocked(owner, now)
	}
}

func (s *localStore) recordLocked(client wire.ClientID, now time.Time) *localRecord {
	s.sweepLocked(now)
	r := s.records[client]
	if r != nil && !now.Before(r.until) {
		delete(s.records, client)
		return nil
	}
	return r
}

func (s *localStore) makeRecordLocked(client wire.ClientID, now time.Time, ttl time.Duration) *localRecord {
	r := s.recordLocked(client, now)
	if r == nil {
		r = &localRecord{entries: make(map[wire.ActionID]entry)}
		s.records[client] = r
	}
	if until := now.Add(ttl); until.After(r.until) {
		r.until = until
	}
	return r
}

func (s *localStore) put(_ context.Context, client wire.ClientID, entries []entry, ttl time.Duration) error {
	if len(entries) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.makeRecordLocked(client, time.Now(), ttl)
	for _, e := range entries {
		old, known := r.entries[e.id]
		switch {
		case !known && len(r.entries) >= maxRecordEntries:
			return ErrRecordSize
		case known && old.settled && (!e.settled || !bytes.Equal(old.outcome, e.outcome)):
		default:
			r.entries[e.id] = e
		}
	}
	return nil
}

func (s *localStore) get(_ context.Context, client wire.ClientID) ([]entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.recordLocked(client, time.Now())
	if r == nil {
		return nil, nil
	}
	return slices.Collect(maps.Values(r.entries)), nil
}

func (s *localStore) look(_ context.Context, client wire.ClientID, id wire.ActionID) (e entry, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.recordLocked(client, time.Now()); r != nil {
		e, ok = r.entries[id]
	}
	return e, ok, nil
}

func (s *localStore) settle(_ context.Context, client wire.ClientID, e entry, create bool, ttl time.Duration) (entry, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	r := s.recordLocked(client, now)
	var old entry
	var known bool
	if r != nil {
		old, known = r.entries[e.id]
	}
	switch {
	case known && old.settled:
		return old, true, nil
	case !known && !create:
		return entry{}, false, nil
	}
	s.makeRecordLocked(client, now, ttl).entries[e.id] = e
	return e, true, nil
}

func (s *localStore) forget(_ context.Context, client wire.ClientID, ids []wire.ActionID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.recordLocked(client, time.Now())
	if r == nil {
		return nil
	}
	for _, id := range ids {
		delete(r.entries, id)
	}
	if len(r.entries) == 0 {
		delete(s.records, client)
	}
	return nil
}

// estateLocked returns what there is of an estate; nil for nothing.
func (s *localStore) estateLocked(owner wire.ServerID, now time.Time) *localEstate {
	e := s.estates[owner]
	if e == nil {
		return nil
	}
	if !now.Before(e.leased) {
		e.holder = ""
	}
	if !now.Before(e.until) {
		clear(e.claims)
		e.taken = false
	}
	if e.holder == "" && len(e.claims) == 0 && !e.taken {
		delete(s.estates, owner)
		return nil
	}
	return e
}

// holdLocked gives holder the lease unless another has it.
func (s *localStore) holdLocked(owner, holder wire.ServerID, now time.Time, lease, ttl time.Duration) (*localEstate, leaseState) {
	e := s.estateLocked(owner, now)
	if e == nil {
		e = &localEstate{claims: make(map[wire.ActionID][]byte)}
		s.estates[owner] = e
	}
	state := leaseKept
	switch e.holder {
	case holder:
	case "":
		state = leaseNew
		if e.taken && owner == holder {
			state, e.taken = leaseBack, false
		}
	default:
		return e, leaseTaken
	}
	e.holder, e.leased, e.until = holder, now.Add(lease), now.Add(ttl)
	return e, state
}

func (s *localStore) renew(_ context.Context, owner, holder wire.ServerID, lease, ttl time.Duration) (leaseState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.sweepLocked(now)
	_, state := s.holdLocked(owner, holder, now, lease, ttl)
	return state, nil
}

func (s *localStore) claim(_ context.Context, owner, holder wire.ServerID, id wire.ActionID, claim []byte, lease, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if e := s.estateLocked(owner, now); e != nil && e.taken && e.holder == "" {
		return ErrTaken
	}
	e, state := s.holdLocked(owner, holder, now, lease, ttl)
	if state == leaseTaken {
		return ErrTaken
	}
	if _, known := e.claims[id]; !known && len(e.claims) >= maxClaims {
		return ErrClaimsFull
	}
	e.claims[id] = slices.Clone(claim)
	return nil
}

func (s *localStore) unclaim(_ context.Context, owner, holder wire.ServerID, id wire.ActionID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.estateLocked(owner, time.Now())
	if e == nil {
		return nil
	}
	if e.holder != "" && e.holder != holder {
		return ErrTaken
	}
	delete(e.claims, id)
	return nil
}

func (s *localStore) take(_ context.Context, owner, holder wire.ServerID, lease, ttl time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	e := s.estateLocked(owner, now)
	if e == nil || e.holder != "" && e.holder != holder {
		return false, nil
	}
	if len(e.claims) == 0 {
		if e.holder = ""; !e.taken {
			delete(s.estates, owner)
		}
		return false, nil
	}
	s.holdLocked(owner, holder, now, lease, ttl)
	e.taken = true
	return true, nil
}

func (s *localStore) claims(_ context.Context, owner wire.ServerID, each func(wire.ActionID, []byte) bool) error {
	s.mu.Lock()
	e := s.estateLocked(owner, time.Now())
	var all map[wire.ActionID][]byte
	if e != nil {
		all = maps.Clone(e.claims)
	}
	s.mu.Unlock()
	for id, claim := range all {
		if !each(id, claim) {
			return nil
		}
	}
	return nil
}

func (s *localStore) claimed(_ context.Context, owner wire.ServerID, id wire.ActionID) (ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.estateLocked(owner, time.Now()); e != nil {
		_, ok = e.claims[id]
	}
	return ok, nil
}

func (s *localStore) holder(_ context.Context, owner wire.ServerID) (wire.ServerID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.estateLocked(owner, time.Now()); e != nil {
		return e.holder, nil
	}
	return "", nil
}

func (s *localStore) owners(context.Context) (all []wire.ServerID, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for owner := range s.estates {
		if e := s.estateLocked(owner, now); e != nil && len(e.claims) > 0 {
			all = append(all, owner)
		}
	}
	return all, nil
}
