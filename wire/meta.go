package wire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// What a back-end says of an action: its meta, with the targets in it. The faults below are texts
// for a log; they tell keys and types, never values.

// Keys of targets, in a resend answer and in a meta. The singular form of each follows it.
const (
	keyChannels = iota
	keyChannel
	keyUsers
	keyUser
	keyClients
	keyClient
	keyNodes
	keyNode
	keyExcludeClients
	targetKeys
)

var targetNames = []string{
	keyChannels: "channels", keyChannel: "channel",
	keyUsers: "users", keyUser: "user",
	keyClients: "clients", keyClient: "client",
	keyNodes: "nodes", keyNode: "node",
	keyExcludeClients: "excludeClients",
}

// decodeTargets reads the values of targetNames (PROTOCOL section 3, "Resend targets").
func (s *scanner) decodeTargets(values []RawJSON) (Targets, error) {
	var t Targets
	var fault error
	add := func(key int, numbers bool, each func(string)) {
		if err := s.names(values[key], numbers, each); err != nil && fault == nil {
			fault = fmt.Errorf("%q %w", targetNames[key], err)
		}
	}
	channel := func(name string) { t.Channels = append(t.Channels, name) }
	user := func(name string) { t.Users = append(t.Users, UserID(name)) }
	client := func(name string) { t.Clients = append(t.Clients, ClientID(name)) }
	node := func(name string) { t.Nodes = append(t.Nodes, NodeID(name)) }
	excluded := func(name string) { t.ExcludeClients = append(t.ExcludeClients, ClientID(name)) }
	add(keyChannels, false, channel)
	add(keyChannel, false, channel)
	add(keyUsers, true, user)
	add(keyUser, true, user)
	add(keyClients, false, client)
	add(keyClient, false, client)
	add(keyNodes, false, node)
	add(keyNode, false, node)
	add(keyExcludeClients, false, excluded)
	if fault != nil {
		return Targets{}, fault
	}
	return t, nil
}

var errNotNames = errors.New("is no array of strings")

// names hands out the strings of v: an array of them, or one alone. A missing value or null has
// none. Numbers are read as strings only where they are allowed: user IDs.
func (s *scanner) names(v RawJSON, numbers bool, each func(string)) error {
	switch v.kind() {
	case jsontext.KindInvalid, jsontext.KindNull:
		return nil
	case jsontext.KindBeginArray:
		elements := s.elements(v, nil)
		for _, e := range elements {
			name, ok := e.name(numbers)
			if !ok {
				return errNotNames
			}
			each(name)
		}
		return nil
	}
	name, ok := v.name(numbers)
	if !ok {
		return errNotNames
	}
	each(name)
	return nil
}

// name is the value of a string, or the text of a number: 38, 38.0 and 3.8e1 are all "38", as
// JavaScript writes them, but digits stay as they are however many there are.
func (v RawJSON) name(numbers bool) (string, bool) {
	if v.kind() != jsontext.KindNumber || !numbers {
		return v.text()
	}
	if _, ok := parseDecimal(v, len(v)); ok {
		return string(v), true
	}
	number := jsontext.Value(bytes.Clone(v))
	if number.Canonicalize() != nil {
		return "", false
	}
	return string(number), true
}

// Keys of a meta before those of the targets.
const (
	keyID = iota
	keyTime
	keySubprotocol
	metaKeys
)

var metaNames = slices.Concat([]string{
	keyID: "id", keyTime: "time", keySubprotocol: "subprotocol",
}, targetNames)

var (
	errNoAction    = errors.New("the action is no object with a string type")
	errNoMeta      = errors.New("the meta is no object")
	errMetaID      = errors.New("the id of the meta is no string in three-part form")
	errMetaTime    = errors.New("the time of the meta is no number")
	errSubprotocol = errors.New("the subprotocol is neither string nor number, or too long")
)

// decodeAction reads an action of the back-end's own and its meta. The action owns its memory.
// Meta keys without a meaning for the proxy are ignored.
func (s *scanner) decodeAction(body, meta RawJSON) (*Action, Targets, error) {
	var actionType [1]RawJSON
	if body.kind() != jsontext.KindBeginObject {
		return nil, Targets{}, errNoAction
	}
	s.members(body, []string{"type"}, actionType[:])
	name, ok := actionType[0].text()
	if !ok {
		return nil, Targets{}, errNoAction
	}
	a := &Action{Type: name, Body: bytes.Clone(body)}
	targets, err := s.decodeMeta(meta, a)
	if err != nil {
		return nil, Targets{}, err
	}
	return a, targets, nil
}

// decodeMeta reads a meta into a. An empty array is an empty meta: PHP writes it so.
func (s *scanner) decodeMeta(meta RawJSON, a *Action) (Targets, error) {
	switch meta.kind() {
	case jsontext.KindBeginObject:
	case jsontext.KindBeginArray:
		if len(s.elements(meta, nil)) > 0 {
			return Targets{}, errNoMeta
		}
		return Targets{}, nil
	default:
		return Targets{}, errNoMeta
	}
	var values [metaKeys + targetKeys]RawJSON
	s.members(meta, metaNames, values[:])
	if id := values[keyID]; id != nil {
		text, _ := id.text()
		if _, _, _, ok := ParseActionID(ActionID(text)); !ok {
			return Targets{}, errMetaID
		}
		a.ID = ActionID(text)
	}
	if time := values[keyTime]; time != nil {
		ms, ok := time.time()
		if !ok {
			return Targets{}, errMetaTime
		}
		a.Time = ms
	}
	if subprotocol := values[keySubprotocol]; subprotocol != nil {
		if !subprotocol.isSubprotocol() {
			return Targets{}, errSubprotocol
		}
		a.Subprotocol = bytes.Clone(subprotocol)
	}
	return s.decodeTargets(values[metaKeys:])
}

// time is a number of milliseconds, rounded down. A number in a string is accepted: logux-rack
// sends that.
func (v RawJSON) time() (ms int64, ok bool) {
	if v.kind() == jsontext.KindString {
		text, _ := v.text()
		v = RawJSON(text)
		if len(bytes.TrimSpace(v)) != len(v) || !jsontext.Value(v).IsValid() {
			return 0, false
		}
	}
	if v.kind() != jsontext.KindNumber {
		return 0, false
	}
	ms, _, ok = parseNumber(v)
	return ms, ok
}
