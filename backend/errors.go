package backend

import "fmt"

// A Kind says how a command failed without an answer of its own.
type Kind uint8

// The kinds. A command that gave up when its Hold ran out has the kind of its last failure, or of
// the failure that showed that the back-end is away.
const (
	KindUnreachable Kind = iota + 1 // no connection, or none that stayed until the request was written
	KindTimeout                     // the command's time, or the wait for a free request, ran out
	KindStatus                      // a response outside 200-299
	KindMalformed                   // not HTTP, not JSON, not an array, broken off, over a limit, empty
	KindOrder                       // illegal or missing answers
	KindRefused                     // 403: the back-end does not accept our secret
	KindClosed                      // the Client was closed
)

var kindNames = [...]string{"", "unreachable", "timeout", "status", "malformed", "order", "refused", "closed"}

// String names k, for logs and metrics.
func (k Kind) String() string {
	if int(k) >= len(kindNames) || k == 0 {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// An Error says why a command ended without a final answer.
type Error struct {
	Kind   Kind
	ID     string // the action's ID or the authId
	Status int    // with KindStatus and KindRefused
	Err    error  // what was wrong, for the log
}

func (e *Error) Error() string { return fmt.Sprintf("backend: %s: %v", e.ID, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
