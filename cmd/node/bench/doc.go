// Package bench loads a Logux server with many clients and counts what comes of it, for logux-proxy bench. The server may
// be any that speaks WebSocket protocol 3, 4 or 5; nothing of it is known but what goes over the wire.
//
// Each client is one goroutine that reads, and behaves like a real one: it says who it is, subscribes, acknowledges what it
// gets, pings, and comes back after a break with what was not acknowledged. Who reads holds no buffer to speak of, so that tens
// of thousands of clients fit into one process.
//
// Every action of a run has a number, which is the counter of its action ID: by it a delivery is told wherever it arrives,
// whatever the action looks like. All counting is in the book, under one lock.
package bench
