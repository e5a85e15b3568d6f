package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxAction is the bytes of one action that is sent.
const maxAction = 1 << 20

type sendCommand struct {
	URL      string `placeholder:"URL" help:"Control API of any node. Default: where LOGUX_CONTROL_ADDR and LOGUX_CONTROL_PATH, or else LOGUX_HOST and LOGUX_PORT, say that it is."`
	Channels names  `name:"channel" sep:"none" placeholder:"NAME" help:"To the subscribers of this channel. May be given several times, like the others."`
	Users    names  `name:"user" sep:"none" placeholder:"ID" help:"To all clients of this user."`
	Clients  names  `name:"client" sep:"none" placeholder:"ID" help:"To this client, such as 10:uuid."`
	Action   string `arg:"" optional:"" help:"The action, a JSON object with a type. Without it, or as -, standard input is read."`
}

// names are given one by one: each may hold a comma.
type names []string

// Help implements kong.HelpProvider.
func (sendCommand) Help() string {
	return `It posts the action to the control API, as the back-end does:

  export LOGUX_CONTROL_SECRET=secret
  logux-proxy send --channel counter '{"type":"counter/set","value":1}'
  logux-proxy send --user 10 --url http://10.0.0.5:31337 < action.json

The secret comes from LOGUX_CONTROL_SECRET or LOGUX_CONTROL_SECRET_FILE, and the node
takes it from addresses in its LOGUX_CONTROL_MASK. The node says yes when the action is on
its way; it does not say who got it. Nobody has to be there.`
}

// Run sends the action.
func (s *sendCommand) Run(p *process) error {
	if len(s.Channels)+len(s.Users)+len(s.Clients) == 0 {
		return &settingError{Wrong: "the action has no receiver", Mend: "name some with --channel, --user or --client"}
	}
	c, err := p.settings()
	if err != nil {
		return err
	}
	if err := c.checkSecret(); err != nil {
		return err
	}
	address, err := s.address(c)
	if err != nil {
		return err
	}
	action, err := s.read(p.Stdin)
	if err != nil {
		return err
	}
	body, err := s.body(c.Secrets()[0], action)
	if err != nil {
		return err
	}
	status, answer, err := request(p.Context, http.MethodPost, address, body)
	if err != nil {
		return fmt.Errorf("%s does not answer: %s", address, networkReason(err))
	}
	if err := refusal(status, strings.TrimSpace(string(answer)), c.Secrets()); err != nil {
		return fmt.Errorf("%s %w", address, err)
	}
	_, err = fmt.Fprintln(p.Stdout, "Accepted by", address)
	return err
}

// address is the URL of the control API.
func (s *sendCommand) address(c *Config) (string, error) {
	if s.URL != "" {
		u, err := url.Parse(s.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
			return "", &settingError{Wrong: "--url is unusable", Mend: "write it as http://127.0.0.1:31337/"}
		}
		if u.Path == "" {
			u.Path = "/"
		}
		return u.String(), nil
	}
	name, address := "LOGUX_CONTROL_ADDR", c.ControlAddr // plain HTTP
	if address == "" {
		name, address = "LOGUX_PORT", c.listenAddr()
		if c.Key != "" {
			address = "https://" + address
		}
	}
	base, err := baseURL(name, address)
	if err != nil {
		return "", err
	}
	path := c.ControlPath
	if path == "" {
		path = "/"
	}
	return base + path, nil
}

// read returns the action, from the command line or standard input.
func (s *sendCommand) read(stdin io.Reader) (json.RawMessage, error) {
	text := []byte(s.Action)
	if s.Action == "" || s.Action == "-" {
		var err error
		if text, err = io.ReadAll(io.LimitReader(stdin, maxAction+1)); err != nil {
			return nil, fmt.Errorf("reading the action: %w", err)
		}
	}
	if len(text) > maxAction {
		return nil, &settingError{Wrong: "the action is longer than 1 MiB", Mend: "send a smaller one"}
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return nil, &settingError{Wrong: "there is no action", Mend: `write it behind the flags, as '{"type":"INC"}', or to standard input`}
	}
	if !json.Valid(text) {
		return nil, &settingError{Wrong: "the action is no JSON", Mend: `write it in single quotes, as '{"type":"INC"}'`}
	}
	var fields map[string]json.RawMessage
	var kind string
	if json.Unmarshal(text, &fields) != nil || json.Unmarshal(fields["type"], &kind) != nil || string(fields["type"]) == "null" {
		return nil, &settingError{Wrong: "the action is no object with a string as its type", Mend: `write it as '{"type":"INC"}'`}
	}
	return text, nil
}

// body is the request of PROTOCOL section 5. Numbers in the action stay as they are written.
func (s *sendCommand) body(secret string, action json.RawMessage) ([]byte, error) {
	type meta struct {
		Channels names `json:"channels,omitempty"`
		Users    names `json:"users,omitempty"`
		Clients  names `json:"clients,omitempty"`
	}
	type command struct {
		Command string          `json:"command"`
		Action  json.RawMessage `json:"action"`
		Meta    meta            `json:"meta"`
	}
	return json.Marshal(struct {
		Version  int       `json:"version"`
		Secret   string    `json:"secret"`
		Commands []command `json:"commands"`
	}{4, secret, []command{{"action", action, meta{s.Channels, s.Users, s.Clients}}}})
}

// refusal says what an answer of the control API means, and what to do; nil when the action was accepted.
func refusal(status int, text string, secrets []string) error {
	switch {
	case status == http.StatusOK && text == "":
		return nil
	case status == http.StatusOK:
		return errors.New("answers like another server; name the control API of a node with --url")
	case status == http.StatusForbidden && strings.Contains(text, "CONTROL_MASK"):
		return errors.New("does not take actions from this machine; add its address to LOGUX_CONTROL_MASK of the node")
	case status == http.StatusForbidden:
		return errors.New("refuses the secret; set LOGUX_CONTROL_SECRET to that of the node")
	case status == http.StatusTooManyRequests:
		return errors.New("heard too many wrong secrets from this machine; wait 3s and set LOGUX_CONTROL_SECRET to that of the node")
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return errors.New("is not the control API; the path is LOGUX_CONTROL_PATH of the node, the port perhaps that of LOGUX_CONTROL_ADDR")
	}
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, hidden)
	}
	return fmt.Errorf("answers %d: %s", status, cut(text, 200))
}
