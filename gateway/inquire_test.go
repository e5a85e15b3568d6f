package gateway

import (
	"fmt"
	"testing"
	"time"

	"logux-proxy/wire"
)

// However many actions wait for servers that are gone, the store has few questions to answer at a time, and each action has its
// turn.
func TestInquiriesAreBounded(t *testing.T) {
	const actions = 3*inquireMost + 7
	now := time.Unix(1_000, 0)
	all := make([]absence, actions)
	for i := range all {
		all[i] = absence{client: "10:a", InFlight: wire.InFlight{ID: wire.ActionID(fmt.Sprint(i, " 10:a:tab 0")), Owner: "server:x/1-X"}, since: now}
	}
	dead := func(wire.ServerID) bool { return false }
	var q inquiries
	times := make(map[wire.ActionID]int)
	for range 2 {
		ask := q.due(now, all, dead)
		if len(times) == 0 && len(ask) != inquireMost || len(times) > 0 && len(ask) != 0 {
			t.Fatalf("%d questions, with %d open", len(ask), len(times))
		}
		for _, a := range ask {
			times[a.ID]++
		}
	}
	for range 3 {
		for id := range times {
			if i := q.of[id]; i.open {
				q.end(i)
			}
		}
		for _, a := range q.due(now, all, dead) {
			times[a.ID]++
		}
	}
	if len(times) != actions {
		t.Errorf("%d of %d had their turn", len(times), actions)
	}
	for id, n := range times {
		if n != 1 {
			t.Fatalf("%s was asked about %d times at once", id, n)
		}
	}
}

// An action that still waits is asked about less and less often, one at a living server seldom.
func TestInquiriesBecomeRare(t *testing.T) {
	for alive, want := range map[bool]string{false: "[0s 1s 3s 7s 15s 23s 31s]", true: "[10s 20s 30s]"} {
		start := time.Unix(1_000, 0)
		all := []absence{{client: "10:a", InFlight: wire.InFlight{ID: "1 10:a:tab 0", Owner: "server:x/1-X"}, since: start}}
		var q inquiries
		var at []time.Duration
		for now := start; now.Sub(start) <= 32*time.Second; now = now.Add(inquireEvery) {
			for _, a := range q.due(now, all, func(wire.ServerID) bool { return alive }) {
				at = append(at, now.Sub(start))
				q.end(q.of[a.ID])
			}
		}
		if got := fmt.Sprint(at); got != want {
			t.Errorf("alive %v: asked at %s, want %s", alive, got, want)
		}
	}
}
