// Package poll is a thin layer over the kernel's readiness notification and its non-blocking
// stream sockets: descriptors in, events out, no buffers and no policy. It exists so that package
// transport can own raw descriptors: a socket that is also a net.Conn is registered with Go's own
// poller too, and every packet would then wake two of them.
//
// On Linux a Poller is an epoll instance with an eventfd for Wake. On other systems there is no
// readiness to wait for (Native is false) and a Poller is only a clock that can be woken; transport
// then serves every connection with goroutines.
package poll

import (
	"errors"
	"io"
	"syscall"
	"time"
)

// An Event is what became of one descriptor.
type Event struct {
	// Token is the value given to Add. It should name a use of a descriptor, not the
	// descriptor: a number that the kernel has given out again must not get an old event.
	Token uint64
	// Readable: a read will not block; it may return bytes, the end or an error.
	Readable bool
	// Writable: a write will not block.
	Writable bool
	// Broken: the connection is reset or shut down in both directions. Reported whatever the
	// interest is.
	Broken bool
}

// Interest says which events a descriptor is watched for.
type Interest uint8

// The parts of an Interest.
const (
	In  Interest = 1 << iota // readable
	Out                      // writable
)

// Forever is the timeout of a Wait that only an event or Wake ends.
const Forever time.Duration = -1

// A Socket is one of package net's listeners or connections.
type Socket interface {
	syscall.Conn
	io.Closer
}

// ErrAgain is the answer of a socket that would have blocked.
var ErrAgain = errors.New("poll: would block")

// ErrTooManyFiles is the answer of Accept when the process or the system has no descriptor (or no
// memory) left. The connection stays in the listener's queue.
var ErrTooManyFiles = errors.New("poll: too many open files")
