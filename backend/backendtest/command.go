package backendtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// A Request is one POST of the proxy.
type Request struct {
	Header   http.Header
	Body     []byte
	Version  int
	Commands []*Command
}

// A Command is one auth or action of a Request. Which fields mean something follows from Auth.
type Command struct {
	Version int
	Auth    bool
	Raw     json.RawMessage

	// Of auth.

	AuthID      string
	UserID      string
	HasUserID   bool
	Token       string
	HasToken    bool
	Subprotocol json.RawMessage
	Cookie      map[string]string

	// Of both; {} in versions 2 and 3.

	Headers map[string]json.RawMessage

	// Of action.

	Action  json.RawMessage // byte for byte
	Meta    json.RawMessage
	ID      string // meta.id
	Time    float64
	Type    string
	Channel string // of logux/subscribe
}

// Subscribe reports whether c is a logux/subscribe.
func (c *Command) Subscribe() bool { return c.Type == "logux/subscribe" }

// User is the user ID of whoever sent the action or asks to come in.
func (c *Command) User() string {
	if c.Auth {
		return c.UserID
	}
	user, _, ok := strings.Cut(c.node(), ":")
	if !ok {
		return ""
	}
	return user
}

// Client is the client ID of whoever sent the action.
func (c *Command) Client() string {
	parts := strings.SplitN(c.node(), ":", 3)
	return strings.Join(parts[:min(2, len(parts))], ":")
}

func (c *Command) node() string {
	_, rest, _ := strings.Cut(c.ID, " ")
	node, _, _ := strings.Cut(rest, " ")
	return node
}

// Header is the value of one of the client's Logux headers, or "".
func (c *Command) Header(name string) string {
	var s string
	_ = json.Unmarshal(c.Headers[name], &s)
	return s
}

// errBody is the answer "Wrong body".
var errBody = errors.New("Wrong body") //nolint:staticcheck // the text is the response's

type body struct {
	Version  *int            `json:"version"`
	Secret   *string         `json:"secret"`
	Password *string         `json:"password"`
	Commands json.RawMessage `json:"commands"`
}

// parse decodes a request without looking at its secret.
func parse(raw []byte) (r *Request, secret string, err error) {
	if !json.Valid(raw) {
		return nil, "", errors.New("Wrong format") //nolint:staticcheck // the text is the response's
	}
	var b body
	var commands []json.RawMessage
	if json.Unmarshal(raw, &b) != nil || b.Version == nil || json.Unmarshal(b.Commands, &commands) != nil {
		return nil, "", errBody
	}
	switch {
	case b.Secret != nil:
		secret = *b.Secret
	case b.Password != nil:
		secret = *b.Password
	default:
		return nil, "", errBody
	}
	if *b.Version < 2 || *b.Version > 4 {
		return nil, "", errors.New("Back-end protocol version is not supported") //nolint:staticcheck // the text is the response's
	}
	r = &Request{Body: raw, Version: *b.Version}
	for _, one := range commands {
		c, err := parseCommand(*b.Version, one)
		if err != nil {
			return nil, "", err
		}
		r.Commands = append(r.Commands, c)
	}
	return r, secret, nil
}

func parseCommand(version int, raw json.RawMessage) (*Command, error) {
	c := &Command{Version: version, Raw: raw}
	var err error
	if len(raw) > 0 && raw[0] == '[' {
		err = c.fromArray(raw)
	} else {
		err = c.fromObject(raw)
	}
	if err != nil {
		return nil, err
	}
	if !c.Auth {
		return c, c.readAction()
	}
	return c, nil
}

func (c *Command) fromObject(raw json.RawMessage) error {
	var o struct {
		Command     string                     `json:"command"`
		AuthID      string                     `json:"authId"`
		UserID      *string                    `json:"userId"`
		Token       *string                    `json:"token"`
		Subprotocol json.RawMessage            `json:"subprotocol"`
		Cookie      map[string]string          `json:"cookie"`
		Headers     map[string]json.RawMessage `json:"headers"`
		Action      json.RawMessage            `json:"action"`
		Meta        json.RawMessage            `json:"meta"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return errBody
	}
	c.Headers = o.Headers
	switch o.Command {
	case "auth":
		c.Auth, c.AuthID, c.Subprotocol, c.Cookie = true, o.AuthID, o.Subprotocol, o.Cookie
		if o.UserID != nil {
			c.UserID, c.HasUserID = *o.UserID, true
		}
		if o.Token != nil {
			c.Token, c.HasToken = *o.Token, true
		}
	case "action":
		c.Action, c.Meta = o.Action, o.Meta
	default:
		return errBody
	}
	return nil
}

// fromArray reads ["auth", userId, token, authId] and ["action", action, meta].
func (c *Command) fromArray(raw json.RawMessage) error {
	var a []json.RawMessage
	var name string
	if json.Unmarshal(raw, &a) != nil || len(a) < 3 || json.Unmarshal(a[0], &name) != nil {
		return errBody
	}
	switch {
	case name == "auth" && len(a) == 4:
		c.Auth = true
		c.HasUserID = json.Unmarshal(a[1], &c.UserID) == nil && string(a[1]) != "null"
		c.HasToken = json.Unmarshal(a[2], &c.Token) == nil && string(a[2]) != "null"
		if json.Unmarshal(a[3], &c.AuthID) != nil {
			return errBody
		}
	case name == "action":
		c.Action, c.Meta = a[1], a[2]
	default:
		return errBody
	}
	return nil
}

func (c *Command) readAction() error {
	var action struct {
		Type    *string         `json:"type"`
		Channel json.RawMessage `json:"channel"`
	}
	var meta struct {
		ID   string          `json:"id"`
		Time json.RawMessage `json:"time"`
	}
	if json.Unmarshal(c.Action, &action) != nil || action.Type == nil || json.Unmarshal(c.Meta, &meta) != nil {
		return errBody
	}
	c.Type, c.ID = *action.Type, meta.ID
	_ = json.Unmarshal(action.Channel, &c.Channel)
	if _, err := fmt.Sscan(strings.Trim(string(meta.Time), `"`), &c.Time); err != nil {
		c.Time = 0
	}
	return nil
}
