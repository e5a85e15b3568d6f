package transport

import "net/netip"

// A Handler is what a connection's bytes are for. One Handler serves the connections of one
// loop; all its methods are called on that loop's goroutine and must not block.
type Handler interface {
	// Open is called when the 101 response is about to leave; what it sends leaves in the same write. req and its
	// strings may be kept.
	Open(c *Conn, req *Request)
	// Message is called with each whole text message (binary frames are text too: PROTOCOL section
	// 3, small print; Conn.Binary tells them apart). The text is valid until Message returns.
	Message(c *Conn, text []byte)
	// Timer is called when the time given to Conn.SetTimer has come.
	Timer(c *Conn)
	// Flush ends each visit: the handler sends what it has for c. See the package comment.
	Flush(c *Conn)
	// Closed is called once, after which c is never passed again; not for a connection that Open
	// was not called for. c may be kept: its methods then do nothing.
	Closed(c *Conn, reason CloseReason)
}

// A Request is what is kept of the upgrade request.
type Request struct {
	RemoteAddr netip.Addr // the client's own address, from a trusted proxy's word where there is one
	Cookie     string     // the Cookie header; several are joined as RFC 6265 joins cookies
	Origin     string
	UserAgent  string
}

// A Task is work for a loop; Run is called on its goroutine.
type Task interface{ Run(l *Loop) }
