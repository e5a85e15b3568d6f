package cluster

import (
	"context"
	"errors"
	"time"

	"logux-proxy/wire"
)

// What a server leaves behind for others, in Redis:
//
//   - The record of a client that left it with actions in flight or outcomes unconfirmed, for wherever the client
//     comes back. It belongs to the client: every server that the client leaves adds to it.
//   - A claim for each action that it acknowledged before there was an outcome. Claims belong to their owner, the life of
//     a server: together they are its estate, and when it is dead exactly one other server takes the estate over. That
//     is decided by a lease, which the owner renews as long as it lives and reaches Redis, and whoever takes over from then
//     on. Gossip is asked first, but alone it does not suffice: a broken network looks like death.
//
// A claim is written after the client's record says that its action is in flight, and it is taken away after the record
// has the outcome; the first outcome stays. So whoever holds the client can tell by the record and the estate whether
// an outcome will come, and whoever finds the claim of an action that has an outcome does not ask the back-end again.

// Bounds of what a server leaves behind.
const (
	maxRecordEntries = 4096
	maxRecordBytes   = 8 << 20
	maxClaims        = 10_000   // of one owner
	maxClaimBytes    = 64 << 20 // of one owner
	maxClaim         = 4 << 20  // bytes of one
)

var (
	// ErrRecordSize is returned for a record that is too large: nothing of it was kept.
	ErrRecordSize = errors.New("cluster: the record is too large")
	// ErrClaimsFull is returned when too many claims are open: the action cannot be acknowledged before its outcome.
	ErrClaimsFull = errors.New("cluster: too many claims are open")
	// ErrTaken is returned when another server has taken the estate over.
	ErrTaken = errors.New("cluster: another server has taken the claims over")
	// ErrClaimUndone is returned while an earlier try to claim the action, of which nobody knows how it ended, is taken back.
	ErrClaimUndone = errors.New("cluster: an earlier claim of the action is being taken back")
)

// A HandoverStore keeps records and estates. *RedisStore and LocalStore's are the two. Each method is one atomic
// step (or several that can be repeated), may block until ctx ends, and can be called by any goroutine.
type HandoverStore interface {
	// put adds entries to a client's record and keeps it for ttl at least. What is in flight never replaces an outcome, and
	// the first outcome stays.
	put(ctx context.Context, client wire.ClientID, entries []entry, ttl time.Duration) error
	// get returns a client's record, and look one action of it.
	get(ctx context.Context, client wire.ClientID) ([]entry, error)
	look(ctx context.Context, client wire.ClientID, id wire.ActionID) (entry, bool, error)
	// settle writes an outcome for an action that is in flight in the record, or, with create, that is not in it. It returns
	// the outcome that is in the record then, if any.
	settle(ctx context.Context, client wire.ClientID, e entry, create bool, ttl time.Duration) (entry, bool, error)
	// forget takes actions off the record.
	forget(ctx context.Context, client wire.ClientID, ids []wire.ActionID) error

	// renew prolongs holder's lease on an estate and the life of the estate. To the owner it says once that another server has
	// had it meanwhile.
	renew(ctx context.Context, owner, holder wire.ServerID, lease, ttl time.Duration) (leaseState, error)
	// claim adds a claim to an estate on which holder has the lease, or nobody since the last renew.
	claim(ctx context.Context, owner, holder wire.ServerID, id wire.ActionID, claim []byte, lease, ttl time.Duration) error
	// unclaim takes a claim off an estate, unless another than holder has the lease.
	unclaim(ctx context.Context, owner, holder wire.ServerID, id wire.ActionID) error
	// take gives holder the lease on an estate with claims, if nobody has it, and says whether it is holder's now. When
	// there are no claims it ends the estate.
	take(ctx context.Context, owner, holder wire.ServerID, lease, ttl time.Duration) (bool, error)
	// claims calls each for claims of an estate until it returns false. Claims come at least once.
	claims(ctx context.Context, owner wire.ServerID, each func(wire.ActionID, []byte) bool) error
	// claimed reports whether an estate has a claim of that action.
	claimed(ctx context.Context, owner wire.ServerID, id wire.ActionID) (bool, error)
	// holder returns who has the lease on an estate; "" for nobody.
	holder(ctx context.Context, owner wire.ServerID) (wire.ServerID, error)
	// owners returns whose estates there may be.
	owners(ctx context.Context) ([]wire.ServerID, error)
}

// A leaseState is what renewing a lease found.
type leaseState int

const (
	leaseTaken leaseState = iota // another server has it
	leaseKept                    // it was ours
	leaseNew                     // nobody had it: it is the first time, or Redis forgot
	leaseBack                    // nobody has it any more, and another server had
)

// An entry is one action in a record: in flight at owner, or settled by outcome.
type entry struct {
	id      wire.ActionID
	owner   wire.ServerID
	settled bool
	outcome []byte
	added   int64
}

// settledEntry is an action in a record that has its outcome.
func settledEntry(o *wire.Outcome) entry {
	return entry{id: o.ID, settled: true, outcome: o.Action, added: o.Added}
}

func (e *entry) asOutcome() wire.Outcome {
	return wire.Outcome{ID: e.id, Action: e.outcome, Added: e.added}
}

// recordEntries returns what is in r, within the bounds.
func recordEntries(r *wire.Record) ([]entry, error) {
	size := 0
	all := make([]entry, 0, len(r.InFlight)+len(r.Outcomes))
	for _, f := range r.InFlight {
		all = append(all, entry{id: f.ID, owner: f.Owner})
		size += len(f.ID) + len(f.Owner)
	}
	for _, o := range r.Outcomes {
		all = append(all, settledEntry(&o))
		size += len(o.ID) + len(o.Action)
	}
	if len(all) > maxRecordEntries || size > maxRecordBytes {
		return nil, ErrRecordSize
	}
	return all, nil
}
