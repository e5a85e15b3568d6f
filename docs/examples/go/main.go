// Command go is a chat behind the Logux proxy, on the standard library alone.
//
//	LOGUX_CONTROL_SECRET=… go run ./docs/examples/go
//
// It listens on PORT (3000). PROXY is the control API of the proxy (http://127.0.0.1:31337/).
package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

func main() {
	c := &chat{
		secret:  os.Getenv("LOGUX_CONTROL_SECRET"),
		control: cmp.Or(os.Getenv("PROXY"), "http://127.0.0.1:31337/"),
		known:   make(map[string]bool),
	}
	if c.secret == "" {
		log.Fatal("LOGUX_CONTROL_SECRET is not set")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /logux", c.logux)
	mux.HandleFunc("POST /announce", c.announce)
	addr := "127.0.0.1:" + cmp.Or(os.Getenv("PORT"), "3000")
	log.Printf("Listening on http://%s", addr)
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// tokens let users in. A real application checks a session or a signed token.
var tokens = map[string]string{"10": "token-of-ann", "20": "token-of-bob"}

// A chat stands for a database: known is the unique key of a table of messages. A command may come twice with the same
// meta.id; the second one must change nothing and is answered like the first.
type chat struct {
	secret, control string

	mu       sync.Mutex
	known    map[string]bool // IDs of messages
	messages []message
	said     int // announcements
}

type message struct {
	id, room, text string
	time           int64 // ms, by the author's clock
	came           int64 // ms, by ours
}

type request struct {
	Version  int       `json:"version"`
	Secret   string    `json:"secret"`
	Commands []command `json:"commands"`
}

type command struct {
	Command     string          `json:"command"`
	AuthID      string          `json:"authId"`
	UserID      string          `json:"userId"`
	Token       string          `json:"token"`
	Subprotocol json.RawMessage `json:"subprotocol"`
	Action      json.RawMessage `json:"action"`
	Meta        struct {
		ID   string `json:"id"`
		Time int64  `json:"time"`
	} `json:"meta"`
}

type object map[string]any

// logux answers the commands of the proxy. They belong to different clients, so that one must not wait for another.
func (c *chat) logux(w http.ResponseWriter, r *http.Request) {
	var body request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<20)).Decode(&body); err != nil {
		http.Error(w, "Wrong body", http.StatusBadRequest)
		return
	}
	if body.Version != 4 {
		http.Error(w, "Back-end protocol version is not supported", http.StatusBadRequest)
		return
	}
	given, want := sha256.Sum256([]byte(body.Secret)), sha256.Sum256([]byte(c.secret))
	if subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
		http.Error(w, "Wrong secret", http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := &answers{w: w, separator: "["}
	var running sync.WaitGroup
	for i := range body.Commands {
		running.Go(func() { c.handle(&body.Commands[i], out.write) })
	}
	running.Wait()
	out.end()
}

func (c *chat) handle(cmd *command, answer func(object)) {
	id := cmd.Meta.ID
	var action struct {
		Type    string `json:"type"`
		Channel string `json:"channel"`
		Room    string `json:"room"`
		Text    string `json:"text"`
		Since   *struct {
			Time int64 `json:"time"`
		} `json:"since"`
	}
	switch {
	case cmd.Command == "auth":
		name := "denied"
		if token := tokens[cmd.UserID]; token != "" && token == cmd.Token {
			name = "authenticated"
		}
		answer(object{"answer": name, "authId": cmd.AuthID, "subprotocol": cmd.Subprotocol})

	case json.Unmarshal(cmd.Action, &action) != nil:
		answer(object{"answer": "forbidden", "id": id})

	case action.Type == "logux/subscribe" && strings.HasPrefix(action.Channel, "chat/"):
		// From here on the client gets what is sent to the channel, so load after it and not before.
		answer(object{"answer": "approved", "id": id})
		since := int64(0)
		if action.Since != nil { // it was away; clocks differ: rather ten seconds too much
			since = action.Since.Time - 10_000
		}
		for _, m := range c.load(action.Channel, since) {
			answer(object{
				"answer": "action", "id": id,
				"action": object{"type": "chat/send", "room": m.room, "text": m.text},
				"meta":   object{"id": m.id, "time": m.time, "clients": []string{clientOf(id)}},
			})
		}
		answer(object{"answer": "processed", "id": id})

	case action.Type == "logux/subscribe":
		answer(object{"answer": "unknownChannel", "id": id})

	case action.Type == "chat/send" && strings.HasPrefix(action.Room, "chat/") && action.Text != "":
		answer(object{"answer": "resend", "id": id, "channels": []string{action.Room}})
		answer(object{"answer": "approved", "id": id}) // now the others see it
		c.save(message{id: id, room: action.Room, text: action.Text, time: cmd.Meta.Time})
		answer(object{"answer": "processed", "id": id})

	case action.Type == "chat/send":
		answer(object{"answer": "forbidden", "id": id})

	default:
		answer(object{"answer": "unknownAction", "id": id})
	}
}

// announce is what the application says by itself, here to a room: POST /announce {"room":"chat/1","text":"Hello"}
func (c *chat) announce(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Room string `json:"room"`
		Text string `json:"text"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&body); err != nil {
		http.Error(w, "Wrong body", http.StatusBadRequest)
		return
	}
	now := time.Now().UnixMilli()
	c.mu.Lock()
	c.said++
	id := fmt.Sprintf("%d app:%d %d", now, os.Getpid(), c.said)
	c.mu.Unlock()
	c.save(message{id: id, room: body.Room, text: body.Text, time: now})
	err := c.send(object{"type": "chat/send", "room": body.Room, "text": body.Text}, object{"id": id, "time": now, "channels": []string{body.Room}})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// send gives an action to the proxy.
func (c *chat) send(action, meta object) error {
	body, err := json.Marshal(object{
		"version": 4, "secret": c.secret,
		"commands": []object{{"command": "action", "action": action, "meta": meta}},
	})
	if err != nil {
		return err
	}
	res, err := http.Post(c.control, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, 1024))
	if res.StatusCode != http.StatusOK {
		err = fmt.Errorf("the proxy answered %s: %s", res.Status, text)
	}
	return errors.Join(err, res.Body.Close())
}

func (c *chat) save(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known[m.id] {
		m.came = time.Now().UnixMilli()
		c.known[m.id], c.messages = true, append(c.messages, m)
	}
}

func (c *chat) load(room string, since int64) (found []message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.messages {
		if m.room == room && m.came >= since {
			found = append(found, m)
		}
	}
	return found
}

// clientOf is the author of an action: "10:Y7bysd" of the ID "1560954012838 10:Y7bysd:O0ETfc 0".
func clientOf(id string) string {
	_, node, _ := strings.Cut(id, " ")
	parts := strings.SplitN(node, ":", 3)
	return strings.Join(parts[:min(2, len(parts))], ":")
}

// answers writes the array of a response, an element at a time: the proxy does not wait for the end.
type answers struct {
	mu        sync.Mutex
	w         http.ResponseWriter
	separator string
}

func (a *answers) write(answer object) {
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err) // only our own values get here
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, _ = fmt.Fprintf(a.w, "%s%s", a.separator, text)
	_ = http.NewResponseController(a.w).Flush()
	a.separator = ","
}

func (a *answers) end() {
	if a.separator == "[" {
		_, _ = io.WriteString(a.w, "[")
	}
	_, _ = io.WriteString(a.w, "]")
}
