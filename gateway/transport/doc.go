// Package transport owns sockets: it accepts connections, speaks HTTP's upgrade and RFC 6455 on
// them, and hands whole text messages to a Handler. It knows nothing of Logux.
//
// On Linux a connection belongs for its whole life to one Loop: one goroutine around one epoll
// instance (package poll). A connection at rest owns no goroutine and no buffer: a Conn, its
// descriptor and its place in the timer wheel are all. A loop never waits for anything but epoll;
// whatever may block runs elsewhere and comes back through Loop.Post. TLS connections, and every
// connection on other systems, have two goroutines of their own for reading and writing, but their
// frames, handler calls and timers run on a loop all the same, so that a Handler sees no difference.
//
// # From accept to upgrade
//
// The first loop accepts, within a rate and a number of connections, and deals sockets out to all
// loops in turn. A loop gathers the request's head and reads it strictly: what a proxy or a back-end
// could read in another way is refused. A good upgrade is answered with 101 and handled from its
// first frame on; any other good request goes, with its connection, to the http.Server of
// Config.Fallback, and comes back if an upgrade follows on it.
//
// # Visits and output
//
// The loop visits a connection when bytes arrived for it, when its timer fired, when a posted task
// asked for it (Conn.Wake) and when its socket took the last of its waiting output. In a visit the
// handler's callback runs first and Handler.Flush last; whatever was given to Conn.Send meanwhile
// leaves in one write. What the socket does not take waits in the Conn (bounded: beyond
// Limits.Output, or after Limits.WriteTimeout without progress, the connection is closed as slow).
// While output waits, Flush is not called: the handler lets what it has to say accumulate, and
// merges it when Flush comes.
//
// # The end
//
// A connection ends by Conn.Close, by the peer's close frame, by a violation, a limit or a failure
// of the socket; the first of these is its CloseReason. Except for a failure a close frame is sent,
// what was queued before it included, and then our end of the stream; the socket is closed when the
// peer's end has come, or after a second. Handler.Closed is called as soon as nothing can come from
// the peer any more.
//
// # Memory
//
// Whatever a peer can make grow has a bound: the head (Limits.Head), a message and its fragments
// (Limits.Message, Limits.Fragments), output (Limits.Output), pongs, control frames per second. Buffers
// grow with the bytes that have come, not with the lengths that were announced.
package transport
