package main

import (
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
)

// A counter is an example of a back-end behind the proxy: an http.Handler that speaks the Logux back-end protocol, version 4. The proxy posts commands to
// it; it writes answers, each as soon as it knows it.
type counter struct {
	secret string

	mu sync.Mutex
	// Guarded by mu.
	value   int
	counted map[string]bool // IDs of the actions that are in value
	last    []string        // the last of them
}

// remembered is how many counted actions a window is told of when it subscribes: more than can be on their way to it.
const remembered = 200

// count counts an action, once: a proxy that takes over for one that was killed asks about its actions again.
func (b *counter) count(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.counted[id] {
		return
	}
	if b.counted == nil {
		b.counted = make(map[string]bool)
	}
	b.counted[id] = true
	b.value++
	b.last = append(b.last[max(0, len(b.last)-remembered+1):], id)
}

// state is the action that tells a new subscriber the value, and what is in it.
func (b *counter) state() object {
	b.mu.Lock()
	defer b.mu.Unlock()
	return object{"type": "INC", "value": b.value, "counted": append([]string{}, b.last...)}
}

type commands struct {
	Version  int       `json:"version"`
	Secret   string    `json:"secret"`
	Commands []command `json:"commands"`
}

type command struct {
	Command     string          `json:"command"`
	AuthID      string          `json:"authId"`
	Subprotocol json.RawMessage `json:"subprotocol"`
	Action      struct {
		Type    string `json:"type"`
		Channel string `json:"channel"`
	} `json:"action"`
	Meta struct {
		ID string `json:"id"`
	} `json:"meta"`
}

// clientID is the author of an action: "38:Y7bysd" of the action ID "1560954012838 38:Y7bysd:O0ETfc 0".
func (c *command) clientID() string {
	_, node, _ := strings.Cut(c.Meta.ID, " ")
	parts := strings.SplitN(node, ":", 3)
	return strings.Join(parts[:min(2, len(parts))], ":")
}

type object map[string]any

func (b *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body commands
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 10<<20)).Decode(&body); err != nil {
		http.Error(w, "Wrong body", http.StatusBadRequest)
		return
	}
	if subtle.ConstantTimeCompare([]byte(body.Secret), []byte(b.secret)) != 1 {
		http.Error(w, "Wrong secret", http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	a := answers{w: w, separator: "["}
	for i := range body.Commands {
		b.answer(&body.Commands[i], &a)
	}
	a.end()
}

func (b *counter) answer(c *command, a *answers) {
	id := c.Meta.ID
	switch {
	case c.Command == "auth":
		// Everybody may come in. A real application looks at the token or the cookie here.
		a.write(object{"answer": "authenticated", "authId": c.AuthID, "subprotocol": c.Subprotocol})

	case c.Action.Type == "logux/subscribe" && c.Action.Channel == "counter":
		a.write(object{"answer": "approved", "id": id})
		a.write(object{"answer": "action", "id": id, "action": b.state(), "meta": object{"clients": []string{c.clientID()}}})
		a.write(object{"answer": "processed", "id": id})

	case c.Action.Type == "logux/subscribe":
		a.write(object{"answer": "unknownChannel", "id": id})

	case c.Action.Type == "INC":
		b.count(id) // before anybody hears of it, so that who hears of it can tell whether a state has it
		a.write(object{"answer": "resend", "id": id, "channels": []string{"counter"}})
		a.write(object{"answer": "approved", "id": id})
		a.write(object{"answer": "processed", "id": id})

	default:
		a.write(object{"answer": "unknownAction", "id": id})
	}
}

// answers writes the JSON array of a response, one element at a time.
type answers struct {
	w         http.ResponseWriter
	separator string
}

func (a *answers) write(answer object) {
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err) // only our own values get here
	}
	a.raw(a.separator + string(text))
	a.separator = ","
}

func (a *answers) end() {
	if a.separator == "[" {
		a.raw("[")
	}
	a.raw("]")
}

// raw sends text at once. When the proxy has gone nobody is left to be told.
func (a *answers) raw(text string) {
	_, _ = io.WriteString(a.w, text)
	_ = http.NewResponseController(a.w).Flush()
}
