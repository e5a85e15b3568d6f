package backendtest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"sync"
)

// The application: users who have a name, as in the sample that back-end libraries are tested with, and
// the counter of the Logux README.
//
//   - Everybody comes in with the token "USER:good", or the same in the cookie "token". The header "error" makes auth, subscribing
//     and renaming throw. Client subprotocols ^1.0.0 are supported.
//   - users/name renames a user who does it himself and is re-sent to the channel users/USER, to which only USER may subscribe and which starts
//     with the present name. The last one by meta.time wins.
//   - users/clean takes all names away and tells the channels. error throws.
//   - INC counts and is re-sent to the channel counter, which starts with the present value.
type app struct {
	open bool

	mu sync.Mutex
	// Guarded by mu.

	names map[string]name
	count int
}

type name struct {
	value string
	time  float64
	id    string // of the action that set it
}

func newApp(open bool) *app {
	return &app{open: open, names: make(map[string]name)}
}

func (a *app) handle(x *Exchange) {
	switch {
	case x.Auth:
		a.auth(x)
	case x.Subscribe():
		a.subscribe(x)
	case x.Type == "error":
		x.Error("Error: Error in action\n    at access (app.js:1:1)")
	case x.Type == "users/name":
		a.rename(x)
	case x.Type == "users/clean":
		a.clean(x)
	case x.Type == "INC":
		a.inc(x)
	default:
		x.UnknownAction()
	}
}

var supported = regexp.MustCompile(`^(1|"1\.[0-9]+\.[0-9]+")$`)

func (a *app) auth(x *Exchange) {
	sub := x.Subprotocol
	good := x.User() + ":good"
	switch {
	case x.Header("error") != "":
		x.Error("Error: " + x.Header("error"))
	case a.open:
		if len(sub) == 0 {
			sub = json.RawMessage(`"1.0.0"`)
		}
		x.Authenticated(sub)
	case x.Version == 4 && !supported.Match(sub):
		x.WrongSubprotocol("^1.0.0")
	case x.Token == good || x.Cookie["token"] == good:
		if len(sub) > 0 && sub[0] != '"' {
			x.Authenticated(json.RawMessage("1"))
		} else {
			x.Authenticated(json.RawMessage(`"1.0.0"`))
		}
	default:
		x.Denied()
	}
}

func (a *app) subscribe(x *Exchange) {
	user, isUser := strings.CutPrefix(x.Channel, "users/")
	me := Meta{Targets: Targets{Clients: []string{x.Client()}}}
	switch {
	case x.Channel == "counter":
		x.Approved()
		a.mu.Lock()
		action := encode(incAction{"INC", a.count})
		a.mu.Unlock()
		x.Send(action, me)
		x.Processed()
	case !isUser:
		x.UnknownChannel()
	case x.Header("error") != "":
		x.Error("Error: " + x.Header("error"))
	case user != x.User():
		x.Forbidden()
	default:
		x.Approved()
		a.mu.Lock()
		n, ok := a.names[user]
		a.mu.Unlock()
		if ok {
			me.Time = n.time
			x.Send(nameAction(user, n.value), me)
		}
		x.Processed()
	}
}

func (a *app) rename(x *Exchange) {
	var action struct {
		Payload struct {
			Name   string `json:"name"`
			UserID string `json:"userId"`
		} `json:"payload"`
	}
	switch err := json.Unmarshal(x.Action, &action); {
	case x.Header("error") != "":
		x.Error("Error: " + x.Header("error"))
		return
	case err != nil:
		x.Error(fmt.Sprintf("TypeError: %v", err))
		return
	case action.Payload.UserID != x.User():
		x.Forbidden()
		return
	}
	user := action.Payload.UserID
	x.Resend(Targets{Channels: []string{"users/" + user}})
	x.Approved()
	a.mu.Lock()
	if old, ok := a.names[user]; !ok || old.time < x.Time || old.time == x.Time && old.id < x.ID {
		a.names[user] = name{action.Payload.Name, x.Time, x.ID}
	}
	a.mu.Unlock()
	x.Processed()
}

func (a *app) clean(x *Exchange) {
	x.Approved()
	a.mu.Lock()
	users := make([]string, 0, len(a.names))
	for user := range a.names {
		users = append(users, user)
	}
	clear(a.names)
	a.mu.Unlock()
	sort.Strings(users)
	for _, user := range users {
		x.Send(nameAction(user, ""), Meta{Targets: Targets{Channels: []string{"users/" + user}}})
	}
	x.Processed()
}

type incAction struct {
	Type  string `json:"type"`
	Value int    `json:"value"`
}

func (a *app) inc(x *Exchange) {
	x.Resend(Targets{Channels: []string{"counter"}})
	x.Approved()
	a.mu.Lock()
	a.count++
	a.mu.Unlock()
	x.Processed()
}

func nameAction(user, value string) json.RawMessage {
	type payload struct {
		Name   string `json:"name"`
		UserID string `json:"userId"`
	}
	return encode(struct {
		Payload payload `json:"payload"`
		Type    string  `json:"type"`
	}{payload{value, user}, "users/name"})
}

// Name is the present name of a user.
func (b *Backend) Name(user string) string {
	b.app.mu.Lock()
	defer b.app.mu.Unlock()
	return b.app.names[user].value
}

// Counter is how often INC was processed.
func (b *Backend) Counter() int {
	b.app.mu.Lock()
	defer b.app.mu.Unlock()
	return b.app.count
}
