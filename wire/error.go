package wire

import (
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

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
	// Options is the raw third element; nil when there is none. It may repeat what the peer sent,
	// a token included, so it has no place in a log.
	Options RawJSON
	// Cause says for our own log and for nobody else what was wrong; may be "".
	Cause string
}

// Error is for logs: it leaves out the options.
func (e *Error) Error() string {
	if e.Cause == "" {
		return string(e.Type)
	}
	return string(e.Type) + ": " + e.Cause
}

// maxQuoted bounds in bytes how much of what a peer sent is sent back to it.
const maxQuoted = 4 << 10

// WrongFormat is the error for a message of a wrong shape. Its option is the message as a
// string: re-serialised when it is JSON, and as it came otherwise (PROTOCOL section 3, small print).
func WrongFormat(text []byte, cause string) *Error {
	again, err := jsontext.AppendFormat(nil, text,
		jsontext.CanonicalizeRawInts(true), jsontext.CanonicalizeRawFloats(true))
	if err != nil {
		return wrongText(text, cause)
	}
	return wrongText(again, cause)
}

// wrongText is WrongFormat for a text that is not JSON as we read it.
func wrongText(text []byte, cause string) *Error {
	return &Error{Type: ErrWrongFormat, Options: quoteStart(text), Cause: cause}
}

// unknownMessage is the error for a message whose name we do not know.
func unknownMessage(name []byte) *Error {
	return &Error{Type: ErrUnknownMessage, Options: quoteStart(name)}
}

// quoteStart writes the first maxQuoted bytes of text, cut between two characters, as a JSON string.
func quoteStart(text []byte) RawJSON {
	return appendString(nil, cutText(text, maxQuoted))
}

// cutText returns the first limit bytes of text, or up to three less so that no character is cut.
func cutText[T ~string | ~[]byte](text T, limit int) T {
	if len(text) <= limit {
		return text
	}
	for i := limit; i > limit-utf8.UTFMax; i-- {
		if utf8.RuneStart(text[i]) {
			return text[:i]
		}
	}
	return text[:limit]
}
