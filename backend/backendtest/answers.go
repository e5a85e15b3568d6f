package backendtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
)

// An Exchange answers one command. Answers leave at once; commands of one request are handled side by side.
type Exchange struct {
	*Command
	Ctx context.Context // ends when the proxy hangs up

	backend *Backend
	out     *response
}

// A response is the array that the commands of a request share.
type response struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	begun bool
	ended bool
}

// element writes one element of the array and flushes it.
func (o *response) element(v any) {
	raw, ok := v.(json.RawMessage)
	if !ok {
		raw = encode(v)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	head := ","
	if !o.begun {
		head = "["
		o.begun = true
	}
	o.writeLocked(head + string(raw))
}

func (o *response) raw(s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begun = true
	o.writeLocked(s)
}

func (o *response) writeLocked(s string) {
	_, _ = io.WriteString(o.w, s)
	_ = http.NewResponseController(o.w).Flush()
}

func (o *response) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.ended:
	case o.begun:
		o.writeLocked("]")
	default:
		o.writeLocked("[]")
	}
}

// encode is JSON as JavaScript writes it, without escapes for HTML.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // only values of tests get here
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Targets are the keys of resend and of an action's meta.
type Targets struct {
	Channels       []string `json:"channels,omitempty"`
	Users          []string `json:"users,omitempty"`
	Clients        []string `json:"clients,omitempty"`
	Nodes          []string `json:"nodes,omitempty"`
	ExcludeClients []string `json:"excludeClients,omitempty"`
}

// Meta is the meta of an action that the back-end makes. Zero values are left out.
type Meta struct {
	ID   string  `json:"id,omitempty"`
	Time float64 `json:"time,omitempty"`
	Targets
}

type plainAnswer struct {
	Answer string `json:"answer"`
	ID     string `json:"id"`
}

// plain writes an answer of a name and the command's ID.
func (x *Exchange) plain(name string) {
	if x.Version < 4 {
		x.out.element([]string{name, x.id()})
		return
	}
	if x.Auth {
		x.out.element(struct {
			Answer string `json:"answer"`
			AuthID string `json:"authId"`
		}{name, x.AuthID})
		return
	}
	x.out.element(plainAnswer{name, x.ID})
}

func (x *Exchange) id() string {
	if x.Auth {
		return x.AuthID
	}
	return x.ID
}

// Resend names the receivers of the action.
func (x *Exchange) Resend(t Targets) {
	if x.Version < 4 {
		x.out.element([]any{"resend", x.ID, t})
		return
	}
	x.out.element(struct {
		plainAnswer
		Targets
	}{plainAnswer{"resend", x.ID}, t})
}

// Approved lets the action or subscription pass.
func (x *Exchange) Approved() { x.plain("approved") }

// Forbidden denies it.
func (x *Exchange) Forbidden() { x.plain("forbidden") }

// UnknownAction says that the action's type is unknown.
func (x *Exchange) UnknownAction() { x.plain("unknownAction") }

// UnknownChannel says that the subscription's channel is unknown.
func (x *Exchange) UnknownChannel() { x.plain("unknownChannel") }

// Processed ends the command.
func (x *Exchange) Processed() { x.plain("processed") }

// Error ends the command or the auth with an error.
func (x *Exchange) Error(details string) {
	switch {
	case x.Version < 4:
		x.out.element([]string{"error", x.id(), details})
	case x.Auth:
		x.out.element(struct {
			Answer  string `json:"answer"`
			AuthID  string `json:"authId"`
			Details string `json:"details"`
		}{"error", x.AuthID, details})
	default:
		x.out.element(struct {
			plainAnswer
			Details string `json:"details"`
		}{plainAnswer{"error", x.ID}, details})
	}
}

// Send gives a new action to the receivers of m: as an action answer in version 4, by the control API before, which must be
// set then.
func (x *Exchange) Send(action json.RawMessage, m Meta) {
	if x.Version < 4 {
		control := x.backend.Control()
		control.Version = x.Version
		if err := control.Send(x.Ctx, Action{action, m}); err != nil {
			x.backend.note(err)
		}
		return
	}
	x.out.element(struct {
		plainAnswer
		Action json.RawMessage `json:"action"`
		Meta   Meta            `json:"meta"`
	}{plainAnswer{"action", x.ID}, action, m})
}

// Authenticated lets the client in. subprotocol is the application's, a JSON string or number.
func (x *Exchange) Authenticated(subprotocol json.RawMessage) {
	if x.Version < 4 {
		x.plain("authenticated")
		return
	}
	x.out.element(struct {
		Answer      string          `json:"answer"`
		AuthID      string          `json:"authId"`
		Subprotocol json.RawMessage `json:"subprotocol"`
	}{"authenticated", x.AuthID, subprotocol})
}

// Denied refuses the client's credentials.
func (x *Exchange) Denied() { x.plain("denied") }

// WrongSubprotocol refuses the client's version of the application.
func (x *Exchange) WrongSubprotocol(supported string) {
	x.out.element(struct {
		Answer    string `json:"answer"`
		AuthID    string `json:"authId"`
		Supported string `json:"supported"`
	}{"wrongSubprotocol", x.AuthID, supported})
}

// Element writes any JSON as an element of the response.
func (x *Exchange) Element(raw string) { x.out.element(json.RawMessage(raw)) }

// Raw writes bytes into the response as they are, outside of the array's commas.
func (x *Exchange) Raw(s string) { x.out.raw(s) }

// NoEnd leaves the closing bracket out.
func (x *Exchange) NoEnd() {
	x.out.mu.Lock()
	defer x.out.mu.Unlock()
	x.out.ended = true
}

// Hang waits until the proxy gives up.
func (x *Exchange) Hang() { <-x.Ctx.Done() }
