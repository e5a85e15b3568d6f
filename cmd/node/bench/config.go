package bench

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"logux-proxy/wire"
)

// Config is the load. All fields without another word must be set.
type Config struct {
	// URL of the server, ws:// or wss://.
	URL *url.URL
	// TLS of wss://; nil for the system's authorities.
	TLS *tls.Config
	// Header fields of the upgrade, Host among them; may be nil.
	Header http.Header
	// Sources are addresses of this machine that connections come from, in turn. Empty: the system chooses.
	Sources []netip.Addr

	Clients     int
	ConnectRate int // new connections a second
	// Duration is how long there is load after the clients are connected.
	Duration time.Duration
	// Patience is how long a connection may take to be accepted and subscribed, and how long outcomes and deliveries are waited for at
	// the end.
	Patience time.Duration
	// Reconnect lets a client that lost its connection come back as real ones do.
	Reconnect bool

	Protocol int // of the WebSocket protocol
	User     Template
	Token    Template // empty: none is sent
	// Subprotocol of the application, a JSON number or string.
	Subprotocol json.RawMessage

	// Channels that each client subscribes to; %d becomes the client's number, counted round at ChannelCount when that is not 0.
	Channels     []Template
	ChannelCount int

	ActionRate int // actions a second of all clients together; 0: none
	Action     Template
	// FanOut says that the back-end re-sends each action to the channel that it was made for. Then every subscriber but its author has
	// to get it, and what one misses is counted as lost.
	FanOut bool
}

// Check says what cannot be.
func (c *Config) Check() error {
	switch {
	case c.URL == nil || c.URL.Scheme != "ws" && c.URL.Scheme != "wss" || c.URL.Hostname() == "" || c.URL.Fragment != "":
		return errors.New("the server's address is unusable; write it as ws://127.0.0.1:31337 or wss://example.com/path")
	case c.Clients < 1 || c.ConnectRate < 1 || c.ActionRate < 0 || c.ChannelCount < 0:
		return errors.New("numbers must be positive")
	case c.Duration < 0 || c.Patience <= 0:
		return errors.New("times must be positive")
	case c.Protocol < wire.MinProtocol || c.Protocol > wire.MaxProtocol:
		return fmt.Errorf("the protocol is %d; use %d to %d", c.Protocol, wire.MinProtocol, wire.MaxProtocol)
	case c.FanOut && (len(c.Channels) == 0 || c.ActionRate == 0):
		return errors.New("deliveries can only be counted with a channel and actions; give both")
	}
	if err := c.checkSubprotocol(); err != nil {
		return err
	}
	// The last number is the longest.
	if user := c.User.of(c.Clients - 1); user == "" || strings.ContainsAny(user, ": \t\r\n") {
		return errors.New("the user is empty or holds a colon or a space; write it as user-%d")
	}
	if c.ActionRate == 0 {
		return nil
	}
	if c.Action.has('c') && len(c.Channels) == 0 {
		return errors.New("the action names a channel by %c, and there is none; give one, or another action")
	}
	var action struct{ Type *string }
	body := c.Action.append(nil, values{channel: "channel", number: 1, ms: 1, run: "run"}, true)
	if json.Unmarshal(body, &action) != nil || action.Type == nil {
		return errors.New(`the action is no JSON object with a string as its type; write it as '{"type":"INC","at":%t}'`)
	}
	if strings.HasPrefix(*action.Type, "logux/") {
		return errors.New("the action's type begins with logux/, which is the protocol's own; use another one")
	}
	return nil
}

// checkSubprotocol holds it against the protocol: a string up to 4, a number from 5 on (PROTOCOL section 2).
func (c *Config) checkSubprotocol() error {
	var text string
	var number float64
	switch {
	case c.Protocol < 5 && json.Unmarshal(c.Subprotocol, &text) != nil:
		return fmt.Errorf("the subprotocol is a version with protocol %d; write it as 1.0.0", c.Protocol)
	case c.Protocol >= 5 && json.Unmarshal(c.Subprotocol, &number) != nil:
		return fmt.Errorf("the subprotocol is a number with protocol %d; write it as 1, or use protocol 4", c.Protocol)
	}
	return nil
}

// channelNames are the channels of each client, as numbers into names.
func (c *Config) channelNames() (names []string, of func(client, k int) int) {
	numbers := make(map[string]int)
	lookUp := make([][]int, len(c.Channels))
	for k, t := range c.Channels {
		round := 1
		if t.has('d') {
			if round = c.Clients; c.ChannelCount > 0 {
				round = min(round, c.ChannelCount)
			}
		}
		for i := range round {
			name := t.of(i)
			number, known := numbers[name]
			if !known {
				number = len(names)
				numbers[name] = number
				names = append(names, name)
			}
			lookUp[k] = append(lookUp[k], number)
		}
	}
	return slices.Clip(names), func(client, k int) int { return lookUp[k][client%len(lookUp[k])] }
}
