package wire

// An ErrorType is the protocol's own name for what a peer did wrong (PROTOCOL section 2).
type ErrorType string

// The error types that we send.
const (
	ErrWrongProtocol    ErrorType = "wrong-protocol"
	ErrWrongFormat      ErrorType = "wrong-format"
	ErrUnknownMessage   ErrorType = "unknown-message"
	ErrWrongCredentials ErrorType = "wrong-credentials"
	ErrMissedAuth       ErrorType = "missed-auth"
	ErrTimeout          ErrorType = "timeout"
	ErrWrongSubprotocol ErrorType = "wrong-subprotocol"
	ErrBruteforce       ErrorType = "bruteforce"
)

// An Error is an error message for the peer: ["error", Type, Options].
type Error struct {
	Type ErrorType
	// Options is the raw third element; nil when there is none.
	Options RawJSON
	// Cause says for our own log and for nobody else what was wrong; may be "".
	Cause string
}

func (e *Error) Error() string {
	s := string(e.Type)
	if len(e.Options) > 0 {
		s += " " + string(e.Options)
	}
	if e.Cause != "" {
		s += ": " + e.Cause
	}
	return s
}
