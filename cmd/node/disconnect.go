package main

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// A disconnecter ends connections of users and clients on all nodes, and says how many were here. *gateway.Gateway is one.
type disconnecter interface {
	Disconnect(users []wire.UserID, clients []wire.ClientID) (here int, err error)
}

// Bounds of a request to disconnect, in bytes.
const (
	maxDisconnect     = 4096
	maxDisconnectName = 1024
)

// A target is whom to disconnect: all connections of a user, or one client.
type target struct {
	User   string `json:"user"`
	Client string `json:"client"`
}

// disconnectHandler ends the connections of a user or a client on all nodes, for an operator. It takes JSON, or a form
// or a query with a header of its own: a web page that the operator has open can send neither.
func disconnectHandler(d disconnecter, log *zap.Logger) http.Handler {
	refused := newRefusalLog(log)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t, err := readTarget(http.MaxBytesReader(w, r.Body, maxDisconnect), r)
		if err != nil {
			status := http.StatusBadRequest
			if errors.Is(err, errForged) {
				status = http.StatusForbidden
			}
			refused.add(r, status, err.Error())
			writeText(w, status, oneLine(err.Error())+"\n")
			return
		}
		var users []wire.UserID
		var clients []wire.ClientID
		if t.User != "" {
			users = []wire.UserID{wire.UserID(t.User)}
		}
		if t.Client != "" {
			clients = []wire.ClientID{wire.ClientID(t.Client)}
		}
		here, err := d.Disconnect(users, clients)
		log.Info("An operator disconnects", auditAdmin, zap.String("user", t.User), zap.String("client", t.Client),
			zap.String("from", r.RemoteAddr), zap.Int("closedHere", here), zap.Error(err))
		answer := struct {
			target
			Closed int    `json:"closed"` // connections of this node
			Error  string `json:"error,omitempty"`
		}{target: t, Closed: here}
		status := http.StatusOK
		if err != nil {
			status, answer.Error = http.StatusBadGateway, "the other nodes were not told: "+oneLine(err.Error())
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer) // the caller may be gone
	})
}

var (
	errForged     = errors.New("send JSON with Content-Type: application/json, or the header X-Logux-Admin: 1")
	errNotATarget = errors.New(`name one: {"user":"10"} or {"client":"10:uuid"}`)
)

// readTarget reads whom to disconnect.
func readTarget(body io.Reader, r *http.Request) (t target, err error) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case kind == "application/json":
		decoder := json.NewDecoder(body)
		decoder.DisallowUnknownFields()
		if decoder.Decode(&t) != nil || decoder.Decode(new(any)) != io.EOF {
			return t, errNotATarget
		}
	case r.Header.Get("X-Logux-Admin") != "":
		r.Body = io.NopCloser(body)
		if err := r.ParseForm(); err != nil {
			return t, errNotATarget
		}
		t = target{User: r.Form.Get("user"), Client: r.Form.Get("client")}
	default:
		return t, errForged
	}
	return t, t.check()
}

func (t *target) check() error {
	if (t.User == "") == (t.Client == "") || len(t.User)+len(t.Client) > maxDisconnectName {
		return errNotATarget
	}
	if t.Client == "" {
		return nil
	}
	// A node ID has a third part.
	if user, rest, ok := strings.Cut(t.Client, ":"); !ok || user == "" || rest == "" || strings.Contains(rest, ":") {
		return errNotATarget
	}
	return nil
}
