package transport

// Stats are counters since the start and gauges of now, summed over all loops.
type Stats struct {
	Sockets       int64 // gauge: accepted and not yet ended, upgraded or not
	Connections   int64 // gauge: upgraded
	Accepted      int64
	Refused       [4]int64 // by Refusal
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
