//go:build faults

package faults

import (
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
)

// Two faults at once, for make faults only: while Redis comes back, which takes seconds, a client may be at another server before the one that it left is heard.

// Clients drop and come back to any node, with actions under way, while Redis is killed and comes back empty.
func TestRedisIsKilledUnderChurn(t *testing.T) {
	t.Parallel()
	r, redis := oneRedis(t)
	l := load
	l.Churn, l.Slow, l.SlowTime = 5*time.Second, 100, 2500*time.Millisecond
	f := start(t, fleet.Options{Nodes: 3, Redis: redis, Load: l})
	for range rounds {
		f.Moment(2 * time.Second)
		f.Note("Redis is killed")
		r.Kill()
		awaitBusTroubled(t, f)
		f.Pass(away())
		f.Note("Redis is started")
		r.Start()
		awaitBus(t, f, "ok")
	}
	f.Pass(time.Second)
	f.Judge()
}
