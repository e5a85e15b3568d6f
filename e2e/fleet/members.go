package fleet

import (
	"net/http"
	"strings"
)

// Members is how many nodes the node sees, itself included; 0 when it does not answer.
func (n *Node) Members() int { return int(n.Metric("logux_members")) }

// Bus is how the node stands with Redis: "ok", "degraded" or "down"; "" when it does not answer.
func (n *Node) Bus() string {
	status, page := n.Get("/readyz")
	if status != http.StatusOK && status != http.StatusServiceUnavailable {
		return ""
	}
	_, state, _ := strings.Cut(page, "bus ")
	if end := strings.IndexAny(state, ",)"); end >= 0 {
		return state[:end]
	}
	return state
}
