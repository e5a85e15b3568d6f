package session

import (
	"time"

	"logux-proxy/wire"
)

// Config is shared by all sessions of a server and never changes.
type Config struct {
	Server      wire.NodeID
	Development bool // tell clients so, and tell them details of errors

	Ping           time.Duration // silence before a ping
	Timeout        time.Duration // how long an answer to a ping or a sync may take
	ConnectTimeout time.Duration // from the opening to connect
	AckLimit       time.Duration // how long a synced waits for outcomes
	// Claims: after AckLimit a synced goes on waiting, until all its actions have an outcome or are claimed (Ready.Overdue).
	Claims bool

	MaxPreAuth int // bytes kept before authentication
	MaxHeaders int // bytes of the client's headers
	MaxToken   int // bytes of the token

	// Subprotocol is our own when the back-end names none; nil for none at all.
	Subprotocol wire.RawJSON
	// Supports decides on a client's subprotocol before the back-end is asked. When it returns
	// false, supported is what the client is told. nil lets everybody in.
	Supports func(subprotocol wire.RawJSON) (supported wire.RawJSON, ok bool)
}

// A Time is both clocks of one moment: timers go by Mono, which never jumps; the protocol by Wall.
type Time struct {
	Mono time.Duration // since an arbitrary start
	Wall int64         // milliseconds since 1970
}
