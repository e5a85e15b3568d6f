package wire

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// An AnswerKind is the "answer" of an element of the back-end's response.
type AnswerKind uint8

// The answers (PROTOCOL section 5). AnswerUnknown is an element whose "answer" is none of the
// others' names or is no string at all, or that is malformed: its Name says what stood there.
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

var answerKinds = map[string]AnswerKind{
	"authenticated":    AnswerAuthenticated,
	"denied":           AnswerDenied,
	"wrongSubprotocol": AnswerWrongSubprotocol,
	"error":            AnswerError,
	"resend":           AnswerResend,
	"approved":         AnswerApproved,
	"forbidden":        AnswerForbidden,
	"unknownAction":    AnswerUnknownAction,
	"unknownChannel":   AnswerUnknownChannel,
	"action":           AnswerAction,
	"processed":        AnswerProcessed,
}

// An Answer is one element of the back-end's response. Which fields mean something follows from
// Kind. It owns its memory.
type Answer struct {
	Kind AnswerKind
	// Name is the answer's name; of an AnswerUnknown, what is wrong with it.
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

// Keys of an answer before those of the targets, which a resend has beside them.
const (
	keyAnswer = iota
	keyAnswerID
	keyAuthID
	keyAnswerSubprotocol
	keySupported
	keyDetails
	keyAction
	keyMeta
	answerKeys
)

var answerNames = slices.Concat([]string{
	keyAnswer: "answer", keyAnswerID: "id", keyAuthID: "authId", keyAnswerSubprotocol: "subprotocol",
	keySupported: "supported", keyDetails: "details", keyAction: "action", keyMeta: "meta",
}, targetNames)

// answerFields are the values of answerNames, nil where there is none.
type answerFields [answerKeys + targetKeys]RawJSON

var (
	errNoName      = errors.New(`without a string "answer"`)
	errAnswerID    = errors.New("the id is no string")
	errArrayLength = errors.New("an array with too few or too many elements")
	errNoTargets   = errors.New("the targets are no object")
)

// maxAnswerName bounds in bytes the name of an answer that we do not know.
const maxAnswerName = 128

// decodeAnswer reads one element of a response, in the form of an object or of an array,
// whatever the version: PHP's library sends arrays in version 4.
func (s *scanner) decodeAnswer(raw RawJSON, version int) Answer {
	var fields answerFields
	var err error
	switch raw.kind() {
	case jsontext.KindBeginObject:
		s.members(raw, answerNames, fields[:])
	case jsontext.KindBeginArray:
		err = s.answerArray(raw, version, &fields)
	default:
		return Answer{Name: "malformed: neither object nor array"}
	}
	if s.fault != "" {
		// One text, two meanings: no telling which command it answers.
		return Answer{Name: "malformed: " + s.fault}
	}
	name, ok := fields[keyAnswer].text()
	a := Answer{Kind: answerKinds[name], Name: cutText(name, maxAnswerName), ID: fields.id()}
	switch {
	case err != nil:
	case !ok:
		err = errNoName
	default:
		err = s.answer(&fields, &a)
	}
	if err != nil {
		return Answer{Name: strings.TrimSpace("malformed "+a.Name) + ": " + err.Error(), ID: a.ID}
	}
	return a
}

// id is the ID of whichever kind is there. An answer to auth has authId, one to an action id.
func (f *answerFields) id() string {
	id, _ := f[keyAnswerID].text()
	if auth, ok := f[keyAuthID].text(); ok {
		name, _ := f[keyAnswer].text()
		switch answerKinds[name] {
		case AnswerAuthenticated, AnswerDenied, AnswerWrongSubprotocol:
			return auth
		}
		if f[keyAnswerID] == nil {
			return auth
		}
	}
	return id
}

// answer reads the fields that a's kind has.
func (s *scanner) answer(f *answerFields, a *Answer) error {
	if a.ID == "" && (f[keyAnswerID] != nil || f[keyAuthID] != nil) {
		return errAnswerID
	}
	var err error
	switch a.Kind {
	case AnswerAuthenticated:
		a.Subprotocol, err = answerSubprotocol(f[keyAnswerSubprotocol])
	case AnswerWrongSubprotocol:
		a.Supported = bytes.Clone(f[keySupported])
	case AnswerError:
		a.Details = f[keyDetails].details()
	case AnswerResend:
		a.Targets, err = s.decodeTargets(f[answerKeys:])
	case AnswerAction:
		meta := f[keyMeta]
		if meta == nil || meta.kind() == jsontext.KindNull {
			meta = RawJSON("{}")
		}
		a.Action, a.Targets, err = s.decodeAction(f[keyAction], meta)
	}
	return err
}

// answerSubprotocol reads the subprotocol of authenticated. null is none.
func answerSubprotocol(v RawJSON) (RawJSON, error) {
	switch {
	case v == nil || v.kind() == jsontext.KindNull:
		return nil, nil
	case !v.isSubprotocol():
		return nil, errSubprotocol
	}
	return bytes.Clone(v), nil
}

// details is the text of an error, or its JSON when a back-end made something else of it.
func (v RawJSON) details() string {
	if text, ok := v.text(); ok {
		return text
	}
	return string(v)
}

// answerArray reads the form of versions 2 and 3 into the fields of version 4: the name, the ID,
// and what there is to say.
func (s *scanner) answerArray(raw RawJSON, version int, f *answerFields) error {
	elements := s.elements(raw, nil)
	if s.fault != "" || len(elements) == 0 {
		return errNoName // a fault comes first
	}
	f[keyAnswer] = elements[0]
	name, _ := elements[0].text()
	kind := answerKinds[name]
	rest := elements[1:]
	switch {
	case kind == AnswerError && version == 2 && len(rest) == 1:
		f[keyDetails] = rest[0]
		return nil
	case kind == AnswerAction && len(rest) > 0 && rest[0].kind() == jsontext.KindBeginObject:
		// ["action", action, meta], as in a request: it says of no command.
	case len(rest) == 0:
		return errArrayLength
	default:
		f[keyAnswerID] = rest[0]
		rest = rest[1:]
	}
	return s.answerRest(kind, rest, f)
}

// answerRest reads what follows the ID in an array.
func (s *scanner) answerRest(kind AnswerKind, rest []RawJSON, f *answerFields) error {
	most := 1
	switch kind {
	case AnswerAction:
		most = 2
	case AnswerUnknown:
		return nil // the name is what is wrong with it
	}
	if len(rest) > most {
		return errArrayLength
	}
	if len(rest) == 0 {
		return nil
	}
	switch kind {
	case AnswerAuthenticated:
		f[keyAnswerSubprotocol] = rest[0]
	case AnswerWrongSubprotocol:
		f[keySupported] = rest[0]
	case AnswerError:
		f[keyDetails] = rest[0]
	case AnswerResend:
		if rest[0].kind() == jsontext.KindBeginArray && len(s.elements(rest[0], nil)) == 0 {
			return nil // PHP's empty object
		}
		if rest[0].kind() != jsontext.KindBeginObject {
			return errNoTargets
		}
		s.members(rest[0], targetNames, f[answerKeys:])
	case AnswerAction:
		f[keyAction] = rest[0]
		if len(rest) > 1 {
			f[keyMeta] = rest[1]
		}
	}
	return nil
}
