package session

import (
	"slices"
	"time"

	"logux-proxy/wire"
)

// An ack is one sync of the client that is not acknowledged yet.
type ack struct {
	added int64
	since time.Duration
	ids   []wire.ActionID // its actions, those without an outcome first
	open  int             // how many have none
}

// await notes that a sync is to be acknowledged when all its actions are settled.
func (s *Session) await(now Time, added int64, actions []Received) {
	ids := make([]wire.ActionID, len(actions))
	for i := range actions {
		ids[i] = actions[i].Action.ID
	}
	s.acks = append(s.acks, ack{added: added, since: now.Mono, ids: ids, open: len(ids)})
}

// Settled says that an action of the client has its outcome. It is to be called before the outcome
// itself is given to the client, so that the acknowledgement stands in front of it: the client's own
// synced for the outcome then proves that it will not send the action again.
func (s *Session) Settled(now Time, id wire.ActionID, out *Ready) {
	if s.state != ready {
		return
	}
	for i := range s.acks {
		// A sync may name an ID twice, and two syncs the same one: each mention counts.
		a := &s.acks[i]
		for j := 0; j < a.open; {
			if a.ids[j] == id {
				a.open--
				a.ids[j], a.ids[a.open] = a.ids[a.open], a.ids[j]
			} else {
				j++
			}
		}
	}
	s.release(now, out)
}

// release acknowledges from the front what is settled or has waited long enough.
func (s *Session) release(now Time, out *Ready) {
	n := 0
	for n < len(s.acks) && (s.acks[n].open == 0 || !s.cfg.Claims && now.Mono >= s.acks[n].since+s.cfg.AckLimit) {
		out.end(wire.MessageSynced, wire.AppendSynced(out.buf, s.acks[n].added))
		out.Acknowledged = append(out.Acknowledged, s.acks[n].ids...)
		n++
	}
	if n == 0 {
		return
	}
	s.traffic = now.Mono
	if n == len(s.acks) {
		s.acks = nil // a connection at rest holds no memory for this
		return
	}
	s.acks = slices.Delete(s.acks, 0, n)
}

// overdue asks for claims when the first sync has waited long enough, and after another such time again: of all actions
// that have waited half as long, for the timer looks at the first sync only.
func (s *Session) overdue(now Time, out *Ready) {
	if !s.cfg.Claims || len(s.acks) == 0 || s.acks[0].open == 0 || now.Mono < s.acks[0].since+s.cfg.AckLimit {
		return
	}
	for i := range s.acks {
		if a := &s.acks[i]; a.open > 0 && now.Mono >= a.since+s.cfg.AckLimit/2 {
			out.Overdue = append(out.Overdue, a.ids[:a.open]...)
			a.since = now.Mono
		}
	}
}
