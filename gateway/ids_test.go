package gateway

import (
	"sync"
	"testing"

	"logux-proxy/wire"
)

// PROTOCOL section 1: an action ID is "unique for ever", and IDs of one server increase, whatever its clock does.
func TestIDsWhenTheClockJumpsBack(t *testing.T) {
	clock := []int64{1000, 1000, 1001, 900, 1001, 1002, -5, 1002, 1003}
	s := ids{server: "server:one", wall: func() int64 { now := clock[0]; clock = clock[1:]; return now }}
	want := []wire.ActionID{
		"1000 server:one 0", "1000 server:one 1", "1001 server:one 0", "1001 server:one 1", "1001 server:one 2", "1002 server:one 0",
		"1002 server:one 1", "1002 server:one 2", "1003 server:one 0",
	}
	for i, id := range want {
		got, ms := s.next()
		if got != id {
			t.Errorf("ID %d is %s, want %s", i, got, id)
		}
		if parsed, _, _, ok := wire.ParseActionID(got); !ok || parsed != ms {
			t.Errorf("%s has %d ms", got, ms)
		}
	}
}

func TestIDsOfManyGoroutines(t *testing.T) {
	var mu sync.Mutex
	now := int64(1000)
	s := ids{server: "server:one", wall: func() int64 {
		mu.Lock()
		defer mu.Unlock()
		now += 1 - 3*(now%2) // to and fro
		return now
	}}
	const goroutines, each = 8, 2000
	got := make([][]wire.ActionID, goroutines)
	var wait sync.WaitGroup
	for i := range got {
		wait.Go(func() {
			for range each {
				id, _ := s.next()
				got[i] = append(got[i], id)
			}
		})
	}
	wait.Wait()
	seen := make(map[wire.ActionID]bool)
	for _, list := range got {
		var lastMS, lastCounter int64
		for _, id := range list {
			ms, _, counter, _ := wire.ParseActionID(id)
			if seen[id] || ms < lastMS || ms == lastMS && counter <= lastCounter && lastMS != 0 {
				t.Fatalf("%s after %d %d", id, lastMS, lastCounter)
			}
			seen[id] = true
			lastMS, lastCounter = ms, counter
		}
	}
}
