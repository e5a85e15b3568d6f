package wire

// A MessageType is the first element of a message of the WebSocket protocol.
type MessageType uint8

// The messages of protocols 3 to 5 (PROTOCOL section 2).
const (
	MessageUnknown MessageType = iota
	MessageConnect
	MessageConnected
	MessagePing
	MessagePong
	MessageSync
	MessageSynced
	MessageError
	MessageDebug
	MessageHeaders
	MessageTypes // how many there are; a bound for tables
)

// Protocol versions of the WebSocket protocol that are spoken (PROTOCOL section 2).
const (
	MinProtocol = 3
	MaxProtocol = 5
)

// A Message is one decoded message. Which fields mean something follows from Type. Every slice
// aliases the text that was decoded and is valid as long as that text is, or until the
// decoder is used again, whichever ends first (a string with escapes stands in the decoder's own
// memory). Decode reuses the memory of Pairs.
type Message struct {
	Type MessageType
	// Size is the length of the text in bytes.
	Size int

	// Added is the number of ping, pong, sync and synced, and the "synced" of connect.
	Added int64

	Protocol    int     // connect, connected; clamped to int32's range
	NodeID      []byte  // connect, connected: unescaped; valid UTF-8 without space or control characters
	Subprotocol RawJSON // connect: a JSON string or number; nil when missing
	Token       []byte  // connect: unescaped; nil when missing
	HasToken    bool

	Start, End int64 // connected: when connect arrived and connected was sent, ms since 1970

	Headers RawJSON // headers: the object

	ErrorType    []byte  // error: unescaped
	ErrorOptions RawJSON // error: of any type; nil when missing
	Debug        []byte  // debug: the text, unescaped

	Pairs []Pair // sync: the actions in order
}

// A Pair is one action of a sync with its meta, still relative to the connection's base time.
type Pair struct {
	Body       RawJSON // the action object
	ActionType []byte  // unescaped value of its "type"

	// The ID's parts: milliseconds relative to base time; node nil where it is the sender's own;
	// the counter.
	IDTime    int64
	IDNode    []byte
	IDCounter int64

	Time        int64   // milliseconds relative to base time
	Subprotocol RawJSON // a JSON string or number; nil when missing
	// ForeignKey is set when the meta holds a key other than id, time and subprotocol. Such an
	// action is denied.
	ForeignKey bool
}
