package wire

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
	Trace   *Trace  // of the action; nil when nobody traces it
}
