package session

import (
	"time"

	"logux-proxy/wire"
)

// An ack is one sync of the client that is not acknowledged yet.
type ack struct {
	added int64
	since time.Duration
	open  []wire.ActionID // actions without an outcome
}

// await notes that a sync is to be acknowledged when all its actions are settled.
func (s *Session) await(now Time, added int64, actions []Received) {
	open := make([]wire.ActionID, len(actions))
	for i := range actions {
		open[i] = actions[i].Action.ID
	}
	s.acks = append(s.acks, ack{added: added, since: now.Mono, open: open})
}

// Settled says that an action of the client has its outcome. It is to be called before the outcome
// itself is given to the client, so that the acknowledgement stands in front of it: the client's own
// synced for the outcome then proves that it will not send the action again.
func (s *Session) Settled(id wire.ActionID, out *Ready) {
	for i := range s.acks {
		a := &s.acks[i]
		for j, open := range a.open {
			if open == id {
				// A sync may name an ID twice: each mention is removed.
				a.open = append(a.open[:j], a.open[j+1:]...)
				s.removeAgain(a, id)
				break
			}
		}
	}
	s.release(out, func(a *ack) bool { return len(a.open) == 0 })
}

func (s *Session) removeAgain(a *ack, id wire.ActionID) {
	kept := a.open[:0]
	for _, open := range a.open {
		if open != id {
			kept = append(kept, open)
		}
	}
	a.open = kept
}

// release acknowledges from the front while may allows it.
func (s *Session) release(out *Ready, may func(*ack) bool) {
	n := 0
	for n < len(s.acks) && may(&s.acks[n]) {
		out.end(wire.MessageSynced, wire.AppendSynced(out.buf, s.acks[n].added))
		n++
	}
	if n == len(s.acks) {
		s.acks = nil // a connection at rest holds no memory for this
		return
	}
	s.acks = append(s.acks[:0], s.acks[n:]...)
}

// Unsettled is how many actions of the client have no outcome yet and hold back an acknowledgement.
func (s *Session) Unsettled() int {
	n := 0
	for i := range s.acks {
		n += len(s.acks[i].open)
	}
	return n
}
