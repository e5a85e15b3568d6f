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

	mu    sync.Mutex
	value int // guarded by mu
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
		b.mu.Lock()
		value := b.value
		b.mu.Unlock()
		a.write(object{
			"answer": "action", "id": id,
			"action": object{"type": "INC", "value": value},
			"meta":   object{"clients": []string{c.clientID()}},
		})
		a.write(object{"answer": "processed", "id": id})

	case c.Action.Type == "logux/subscribe":
		a.write(object{"answer": "unknownChannel", "id": id})

	case c.Action.Type == "INC":
		a.write(object{"answer": "resend", "id": id, "channels": []string{"counter"}})
		a.write(object{"answer": "approved", "id": id})
		b.mu.Lock()
		b.value++
		b.mu.Unlock()
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
