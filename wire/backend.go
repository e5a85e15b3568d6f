package wire

import "io"

// Versions of the back-end protocol that are spoken (PROTOCOL section 5).
const (
	MinBackendVersion = 2
	MaxBackendVersion = 4
)

// An Auth asks the back-end whether a client is who it says it is.
type Auth struct {
	AuthID      string // unique among the questions of one process
	NodeID      NodeID
	Token       string
	HasToken    bool
	Subprotocol RawJSON           // a JSON string or number
	Cookies     map[string]string // of the upgrade request, percent-decoded
	Headers     RawJSON           // the client's own Logux headers; nil means {}
}

// A Command asks the back-end to process one action or subscription of a client.
type Command struct {
	Action  *Action
	Headers RawJSON // the client's own Logux headers; nil means {}
}

// An AnswerKind is the "answer" of an element of the back-end's response.
type AnswerKind uint8

// The answers (PROTOCOL section 5). AnswerUnknown is an element whose "answer" is none of the
// others' names or is no string at all: its Name says what stood there.
const (
	AnswerUnknown AnswerKind = iota
	AnswerAuthenticated
	AnswerDenied
	AnswerWrongSubprotocol
	AnswerError
	AnswerResend
	AnswerApproved
	AnswerForbidden
	AnswerUnknownAction
	AnswerUnknownChannel
	AnswerAction
	AnswerProcessed
)

// An Answer is one element of the back-end's response. Which fields mean something follows from
// Kind. It owns its memory.
type Answer struct {
	Kind AnswerKind
	Name string
	// ID is authId or id: which command is answered. It is "" for an element without one (version
	// 2's ["error", stack]; a malformed element).
	ID          string
	Subprotocol RawJSON // authenticated: a JSON string or number; nil when missing
	Supported   RawJSON // wrongSubprotocol: as it came
	Details     string  // error
	Targets     Targets // resend, action
	// Action is the action of an action answer. Its ID is "" and its Time 0 where the meta has none.
	Action *Action
}

// AppendCommandsStart writes the head of a request up to the opening bracket of "commands";
// then come AppendAuth and AppendCommand, comma-separated by AppendCommandsNext, and AppendCommandsEnd.
// Version 2 gets the secret as "password" too.
func AppendCommandsStart(dst []byte, version int, secret string) []byte { panic("wire") }

// AppendCommandsNext writes the comma between two commands.
func AppendCommandsNext(dst []byte) []byte { panic("wire") }

// AppendCommandsEnd closes the request.
func AppendCommandsEnd(dst []byte) []byte { panic("wire") }

// AppendAuth writes one auth command in the form of version.
func AppendAuth(dst []byte, version int, a *Auth) []byte { panic("wire") }

// AppendCommand writes one action command in the form of version. Action bodies go through
// byte for byte.
func AppendCommand(dst []byte, version int, c *Command) []byte { panic("wire") }

// AnswerLimits bound what a back-end's response may make us hold.
type AnswerLimits struct {
	Element int64 // bytes of one element
	Total   int64 // bytes of the response
	Depth   int   // nesting
}

// An AnswerReader reads the array of answers from a response while it arrives: Next returns an
// answer as soon as its last byte is there.
type AnswerReader struct{}

// NewAnswerReader reads answers in the form of version from r.
func NewAnswerReader(r io.Reader, version int, limits AnswerLimits) *AnswerReader { panic("wire") }

// Next returns the next answer. It returns io.EOF after the array's closing bracket (what follows
// it is not read), ErrEmptyAnswer for a response without one byte of JSON, and another error for
// what is not an array, broken off, not JSON or over a limit. An element of a wrong shape is no
// error but an AnswerUnknown.
func (r *AnswerReader) Next() (Answer, error) { panic("wire") }
