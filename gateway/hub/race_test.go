package hub

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"logux-proxy/wire"
)

// Members come, go and replace each other on many goroutines, as on many loops, while others
// resolve: a member that stays is met exactly once each time, and nothing is left at the end.
func TestConcurrent(t *testing.T) {
	const loops, rounds = 4, 400
	h := New[string]()
	stays := add(t, h, "1:stays:t")
	h.Subscribe(stays, plain("a"), Active)
	h.Subscribe(stays, plain("b"), Pending)

	var changing, resolving sync.WaitGroup
	for loop := range loops {
		changing.Go(func() {
			random := rand.New(rand.NewPCG(uint64(loop), 2))
			mine := map[*Member[string]]bool{}
			for range rounds {
				m := &Member[string]{Peer: "m", Node: wire.NodeID(fmt.Sprintf("1:%d:%d", random.IntN(8), loop))}
				h.Add(m)
				mine[m] = true
				for m := range mine {
					h.Subscribe(m, plain([]string{"a", "b", "c"}[random.IntN(3)]), Pending+State(random.IntN(2)))
					h.Unsubscribe(m, plain("c"))
					if random.IntN(3) == 0 {
						h.Remove(m, func(string) {})
						delete(mine, m)
					}
				}
			}
			for m := range mine {
				h.Remove(m, func(string) {})
			}
		})
	}
	done := make(chan struct{})
	for range 2 {
		resolving.Go(func() {
			var dst []Match[string]
			targets := []*wire.Targets{
				{Channels: []string{"a"}},
				{Users: []wire.UserID{"1"}},
				{Channels: []string{"a", "b", "c"}, Users: []wire.UserID{"1"}, Clients: []wire.ClientID{"1:1", "1:stays"}},
			}
			for {
				select {
				case <-done:
					return
				default:
				}
				for i, target := range targets {
					met := 0
					dst = h.Resolve(dst[:0], target, "1:0")
					for _, m := range dst {
						if m.Peer == "1:stays:t" && !m.Pending {
							met++
						}
					}
					if met != 1 {
						t.Errorf("targets %d met the one that stays %d times", i, met)
						return
					}
				}
				h.Counts()
				h.Client("1:2")
			}
		})
	}
	changing.Wait()
	close(done)
	resolving.Wait()
	if got := h.Counts(); got != (Counts{Members: 1, Users: 1, Channels: 2, Subscriptions: 2}) {
		t.Errorf("at the end the hub holds %+v", got)
	}
}

// A client that reconnects all the time is met by every Resolve of its client ID and its user ID:
// the new connection is known before the old one is forgotten.
func TestReplaceLeavesNoGap(t *testing.T) {
	h := New[string]()
	h.Add(&Member[string]{Peer: "0", Node: "1:a:0"})
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		defer close(done)
		for i := range 2000 {
			if old := h.Add(&Member[string]{Peer: "m", Node: wire.NodeID(fmt.Sprintf("1:a:%d", i))}); old == nil {
				t.Error("Add replaced nobody")
				return
			} else {
				h.Remove(old, func(string) {})
			}
		}
	})
	for {
		select {
		case <-done:
			wait.Wait()
			return
		default:
		}
		if n := len(h.Resolve(nil, &wire.Targets{Clients: []wire.ClientID{"1:a"}}, "")); n != 1 {
			t.Fatalf("client met %d times", n)
		}
		if n := len(h.Resolve(nil, &wire.Targets{Users: []wire.UserID{"1"}}, "")); n == 0 {
			t.Fatal("user met nobody")
		}
	}
}
