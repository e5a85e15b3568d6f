package backend

import "sync/atomic"

// Stats are counters since the start and gauges of now.
type Stats struct {
	Waiting  int64 // gauge: commands not yet in a request
	InFlight int64 // gauge: requests
	Requests int64
	Commands int64
	Retries  int64
	// Ignored counts answers whose id is no waiting command's.
	Ignored int64
	// Locked is 1 while the back-end refuses our secret (403) and calls are slowed down to one a second.
	Locked int64
	// Away is 1 while the back-end is known not to answer (or is Locked) and commands are kept back.
	Away int64
}

// counters are what Stats is made of and no lock guards.
type counters struct {
	requests, commands, retries, ignored atomic.Int64
}

// Stats returns the counters of the client. Any goroutine may call it.
func (c *Client) Stats() Stats {
	s := Stats{
		Requests: c.count.requests.Load(),
		Commands: c.count.commands.Load(),
		Retries:  c.count.retries.Load(),
		Ignored:  c.count.ignored.Load(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Waiting, s.InFlight = int64(c.line.waiting()), int64(c.inFlight)
	if c.gate.closed {
		s.Away = 1
	}
	if c.gate.refused {
		s.Locked = 1
	}
	return s
}
