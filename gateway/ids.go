package gateway

import (
	"sync"

	"logux-proxy/wire"
)

// ids makes the IDs of actions born on this server. They are unique and increasing, also when the clock
// jumps back: then the last millisecond is kept and the counter goes on.
type ids struct {
	// Static
	server wire.NodeID
	wall   func() int64 // milliseconds since 1970

	mu struct {
		sync.Mutex
		last    int64
		counter int64
	}
}

// next returns an ID and the milliseconds in it. Any goroutine may call it.
func (s *ids) next() (wire.ActionID, int64) {
	now := s.wall()
	s.mu.Lock()
	if now > s.mu.last {
		s.mu.last, s.mu.counter = now, 0
	} else {
		s.mu.counter++
	}
	ms, counter := s.mu.last, s.mu.counter
	s.mu.Unlock()
	return wire.FormatActionID(ms, s.server, counter), ms
}
