package session

import (
	"testing"
	"time"

	"logux-proxy/wire"
)

// With Claims a synced that is due asks for claims, by the timer alone: an outcome that comes in the same moment does not
// use the question up.
func TestOverdueIsAskedByTheTimer(t *testing.T) {
	cfg := &Config{Claims: true, AckLimit: 10 * time.Second, Ping: time.Hour, Timeout: time.Hour}
	s := &Session{cfg: cfg, state: ready}
	pair := func(ids ...wire.ActionID) (all []Received) {
		for _, id := range ids {
			all = append(all, Received{Action: &wire.Action{ID: id}})
		}
		return all
	}
	s.await(Time{}, 1, pair("a", "b"))
	s.await(Time{Mono: 6 * time.Second}, 2, pair("c"))
	var out Ready
	due := Time{Mono: 10 * time.Second}
	s.Settled(due, "a", &out)
	if len(out.Overdue) != 0 || len(out.Acknowledged) != 0 {
		t.Fatalf("%+v", out)
	}
	s.Advance(due, &out)
	if len(out.Overdue) != 1 || out.Overdue[0] != "b" || len(out.Acknowledged) != 0 {
		t.Fatalf("overdue %v, acknowledged %v", out.Overdue, out.Acknowledged)
	}
	out.Reset()
	// It is not safe yet: it is asked for again, and never acknowledged without.
	s.Advance(Time{Mono: 20 * time.Second}, &out)
	if len(out.Overdue) != 2 || len(out.Acknowledged) != 0 {
		t.Fatalf("overdue %v, acknowledged %v", out.Overdue, out.Acknowledged)
	}
	out.Reset()
	s.Settled(Time{Mono: 21 * time.Second}, "b", &out)
	if len(out.Acknowledged) != 2 {
		t.Fatalf("acknowledged %v", out.Acknowledged)
	}
}
