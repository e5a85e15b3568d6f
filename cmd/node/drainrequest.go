package main

import (
	"encoding/json"
	"mime"
	"net/http"
	"sync"

	"go.uber.org/zap"
)

// A drainAnswer says what a node does that was asked to drain.
type drainAnswer struct {
	Node       string  `json:"node"`
	Clients    int     `json:"clients"`
	GraceS     float64 `json:"graceSeconds"`
	DrainS     float64 `json:"drainSeconds"`
	Repetition bool    `json:"repetition"` // it was draining already
}

// A drainRequest is an operator's wish that the node stops in order, as SIGTERM is.
type drainRequest struct {
	once  sync.Once
	asked chan struct{} // closed by the first
}

func newDrainRequest() *drainRequest { return &drainRequest{asked: make(chan struct{})} }

// handler takes the wish, from where a request to disconnect is taken, and answers at once.
func (d *drainRequest) handler(look func() drainAnswer, log *zap.Logger) http.Handler {
	refused := newRefusalLog(log)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" && r.Header.Get("X-Logux-Admin") == "" {
			refused.add(r, http.StatusForbidden, errForged.Error())
			writeText(w, http.StatusForbidden, errForged.Error()+"\n")
			return
		}
		answer := look()
		first := false
		d.once.Do(func() { first = true; close(d.asked) })
		answer.Repetition = answer.Repetition || !first
		log.Info("An operator drains this node", auditAdmin, zap.String("from", r.RemoteAddr), zap.Bool("repetition", answer.Repetition),
			zap.Int("clients", answer.Clients))
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(answer) // the caller may be gone
	})
}

// drainPlan is what the node would do, or does, when it is asked to drain.
func (n *node) drainPlan() drainAnswer {
	return drainAnswer{
		Node: "server:" + n.config.ID, Clients: n.gateway.Connected(), Repetition: n.draining.Load(),
		GraceS: n.config.DrainGrace.Seconds(), DrainS: n.config.DrainTime.Seconds(),
	}
}
