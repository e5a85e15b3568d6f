package transport

// A Refusal says why a socket was not let in.
type Refusal uint8

// Why sockets are not let in.
const (
	RefusedLimit   Refusal = iota // Limits.Connections
	RefusedOrigin                 // CheckOrigin
	RefusedRequest                // a malformed, incomplete or unsuitable request
	RefusedTLS                    // a TLS handshake that failed

	// Refusals is how many there are.
	Refusals
)

// Stats are counters since the start and gauges of now, summed over all loops.
type Stats struct {
	Sockets       int64 // gauge: accepted and not yet ended, upgraded or not
	Connections   int64 // gauge: upgraded
	Accepted      int64
	Refused       [Refusals]int64
	Upgraded      int64
	Closed        [CloseReasons]int64
	MessagesIn    int64
	BytesIn       int64
	MessagesOut   int64
	BytesOut      int64
	Writes        int64 // write system calls
	OutputWaiting int64 // gauge: bytes waiting for sockets
	Turns         int64 // turns of the loops
	Tasks         int64 // tasks run
}

// add adds one loop's share.
func (s *Stats) add(o *Stats) {
	s.Connections += o.Connections
	s.Accepted += o.Accepted
	for i := range s.Refused {
		s.Refused[i] += o.Refused[i]
	}
	s.Upgraded += o.Upgraded
	for i := range s.Closed {
		s.Closed[i] += o.Closed[i]
	}
	s.MessagesIn += o.MessagesIn
	s.BytesIn += o.BytesIn
	s.MessagesOut += o.MessagesOut
	s.BytesOut += o.BytesOut
	s.Writes += o.Writes
	s.OutputWaiting += o.OutputWaiting
	s.Turns += o.Turns
	s.Tasks += o.Tasks
}
