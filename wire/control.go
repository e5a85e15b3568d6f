package wire

import (
	"github.com/go-json-experiment/json/jsontext"
)

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
func DecodeControl(body []byte, maxDepth int) (ControlRequest, ControlFault) {
	var s scanner
	if tooDeep(body, maxDepth) {
		return ControlRequest{}, ControlWrongFormat
	}
	s.start(body)
	whole := s.value()
	s.finish()
	if s.fault != "" {
		return ControlRequest{}, ControlWrongFormat
	}
	req, commands, ok := s.controlBody(whole)
	if !ok {
		return ControlRequest{}, ControlWrongBody
	}
	if req.Version < MinBackendVersion || req.Version > MaxBackendVersion {
		return req, ControlWrongVersion
	}
	actions := make([]ControlAction, 0, len(commands))
	for _, command := range commands {
		a, ok := s.controlAction(command, req.Version)
		if !ok {
			return req, ControlWrongCommand
		}
		actions = append(actions, a)
	}
	req.Actions = actions
	return req, ControlOK
}

// controlBody checks that the body is an object with a numeric version, a string secret and an
// array of commands, each an object or an array, or one command that is an object. A version that
// is no integer is 0, which is not supported.
func (s *scanner) controlBody(whole RawJSON) (req ControlRequest, commands []RawJSON, ok bool) {
	if whole.kind() != jsontext.KindBeginObject {
		return ControlRequest{}, nil, false
	}
	var values [4]RawJSON
	s.members(whole, []string{"version", "secret", "password", "commands"}, values[:])
	if values[0].kind() != jsontext.KindNumber {
		return ControlRequest{}, nil, false
	}
	if n, whole, ok := parseNumber(values[0]); ok && whole {
		req.Version = clampInt32(n)
	}
	secret := values[1]
	if secret == nil {
		secret = values[2]
	}
	if req.Secret, ok = secret.text(); !ok {
		return ControlRequest{}, nil, false
	}
	switch values[3].kind() {
	case jsontext.KindBeginObject:
		return req, values[3:], true
	case jsontext.KindBeginArray:
		commands = s.elements(values[3], nil)
	default:
		return ControlRequest{}, nil, false
	}
	for _, c := range commands {
		if k := c.kind(); k != jsontext.KindBeginObject && k != jsontext.KindBeginArray {
			return ControlRequest{}, nil, false
		}
	}
	return req, commands, true
}

// controlAction reads one command. The only one that a back-end may send is action.
func (s *scanner) controlAction(command RawJSON, version int) (ControlAction, bool) {
	var values [3]RawJSON // command, action, meta
	if command.kind() == jsontext.KindBeginObject {
		s.members(command, []string{"command", "action", "meta"}, values[:])
	} else {
		elements := s.elements(command, nil)
		if version > 3 || len(elements) != len(values) {
			return ControlAction{}, false
		}
		copy(values[:], elements)
	}
	if name, _ := values[0].text(); name != "action" {
		return ControlAction{}, false
	}
	a, targets, err := s.decodeAction(values[1], values[2])
	if err != nil {
		return ControlAction{}, false
	}
	return ControlAction{Action: a, Targets: targets}, true
}
