package faults

import (
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
)

// start runs a fleet with what all tests share.
func start(t *testing.T, o fleet.Options) *fleet.Fleet {
	t.Helper()
	if o.Program == "" {
		o.Program = *program
	}
	if o.Load.Clients == 0 {
		o.Load = load
	}
	o.Seed = seed
	f := fleet.New(t, o)
	f.Crowd.Act(true)
	return f
}

// A single node, with clients that drop every few seconds.
func TestChurnOnOneNode(t *testing.T) {
	t.Parallel()
	l := load
	l.Churn = 3 * time.Second
	f := start(t, fleet.Options{Nodes: 1, Load: l})
	f.Pass(steady())
	f.Judge()
}
