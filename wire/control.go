package wire

// A ControlFault says what is wrong with the body of a control request, in the order in which
// it is checked (PROTOCOL section 5, the control table). The text is the response's body.
type ControlFault string

// The faults of a control request's body.
const (
	ControlOK           ControlFault = ""
	ControlWrongFormat  ControlFault = "Wrong format"
	ControlWrongBody    ControlFault = "Wrong body"
	ControlWrongVersion ControlFault = "Back-end protocol version is not supported"
	ControlWrongCommand ControlFault = "Wrong command"
)

// A ControlRequest is the decoded body of a control request.
type ControlRequest struct {
	Version int
	// Secret is the value of "secret", or of "password".
	Secret  string
	Actions []ControlAction
}

// A ControlAction is one action that the back-end sends of its own accord.
type ControlAction struct {
	// Action owns its memory. Its ID is "" and its Time 0 where the meta has none.
	Action  *Action
	Targets Targets
}

// DecodeControl reads the body of a control request: JSON, body and version first, so that the
// caller can check the secret before the commands: a fault in the commands comes back as
// ControlWrongCommand together with a request whose Version and Secret are filled in. "commands"
// may be one object. Versions 2 and 3 write a command as ["action", action, meta]; objects are
// accepted there too.
func DecodeControl(body []byte, maxDepth int) (ControlRequest, ControlFault) { panic("wire") }
