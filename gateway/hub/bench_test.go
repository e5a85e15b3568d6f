package hub

import (
	"fmt"
	"runtime"
	"testing"

	"logux-proxy/wire"
)

// fill adds n members with one subscription each; node and channel name the i-th one's.
func fill(h *Hub[*int], n int, node func(int) wire.NodeID, channel func(int) string) []*Member[*int] {
	members := make([]*Member[*int], n)
	peer := new(int)
	for i := range members {
		members[i] = &Member[*int]{Peer: peer, Node: node(i)}
		h.Add(members[i])
		h.Subscribe(members[i], plain(channel(i)), Active)
	}
	return members
}

func ownUser(i int) wire.NodeID { return wire.NodeID(fmt.Sprintf("%d:client%d:tab", i, i)) }
func oneUser(i int) wire.NodeID { return wire.NodeID(fmt.Sprintf("1:client%d:tab", i)) }

// The whole cost of a member with one subscription in memory, but for its node ID's text.
func BenchmarkMemory(b *testing.B) {
	const n = 100_000
	channels := make([]string, n)
	for i := range channels {
		channels[i] = fmt.Sprintf("posts/%d", i%1000)
	}
	for _, c := range []struct {
		name    string
		node    func(int) wire.NodeID
		channel func(int) string
	}{
		{"own-users/1000-channels", ownUser, func(i int) string { return channels[i] }},
		{"one-user/1000-channels", oneUser, func(i int) string { return channels[i] }},
		{"own-users/one-channel", ownUser, func(int) string { return "posts" }},
		{"own-users/own-channels", ownUser, func(i int) string { return string(ownUser(i)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			nodes := make([]wire.NodeID, n)
			for i := range nodes {
				nodes[i] = c.node(i)
			}
			for b.Loop() {
				before := heap()
				h := New[*int]()
				members := fill(h, n, func(i int) wire.NodeID { return nodes[i] }, c.channel)
				used := heap() - before
				clear(members)
				b.ReportMetric(float64(used)/n-8, "B/member") // 8 are the benchmark's own list
				runtime.KeepAlive(h)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkResolve(b *testing.B) {
	h := New[*int]()
	for _, n := range []int{1, 100, 10_000} {
		for i, m := range fill(h, n, func(i int) wire.NodeID { return wire.NodeID(fmt.Sprintf("%d:%d:tab", n, i)) }, func(int) string { return fmt.Sprint(n) }) {
			if i%2 == 0 {
				h.Subscribe(m, plain(fmt.Sprint(n, " too")), Active)
			}
		}
	}
	for _, n := range []int{1, 100, 10_000} {
		channel := fmt.Sprint(n)
		for _, c := range []struct {
			name    string
			targets wire.Targets
		}{
			{"channel", wire.Targets{Channels: []string{channel}}},
			{"user", wire.Targets{Users: []wire.UserID{wire.UserID(channel)}}},
			{"channels", wire.Targets{Channels: []string{channel, channel + " too"}}},
		} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				b.ReportAllocs()
				dst := make([]Match[*int], 0, n)
				for b.Loop() {
					dst = h.Resolve(dst[:0], &c.targets, "10000:7")
				}
			})
		}
	}
}

// Subscribing and unsubscribing cost the same in a channel of one and of a million.
func BenchmarkSubscribe(b *testing.B) {
	for _, n := range []int{1, 1000, 1_000_000} {
		b.Run(fmt.Sprint("channel of ", n), func(b *testing.B) {
			h := New[*int]()
			members := fill(h, n, ownUser, func(int) string { return "c" })
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				m := members[i%n]
				i += 7
				h.Unsubscribe(m, plain("c"))
				h.Subscribe(m, plain("c"), Active)
			}
		})
	}
}

// So do coming and going, for a user with one connection and with a million.
func BenchmarkAddRemove(b *testing.B) {
	for _, n := range []int{1, 1000, 1_000_000} {
		b.Run(fmt.Sprint("user of ", n), func(b *testing.B) {
			h := New[*int]()
			members := fill(h, n, oneUser, func(int) string { return "c" })
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				m := members[i%n]
				i += 7
				h.Remove(m, func(string) {})
				h.Add(m)
				h.Subscribe(m, plain("c"), Active)
			}
		})
	}
}

// Resolve promises to allocate nothing when dst has room.
func TestResolveAllocatesNothing(t *testing.T) {
	h := New[*int]()
	fill(h, 1000, oneUser, func(i int) string { return fmt.Sprint("c", i%2) })
	dst := make([]Match[*int], 0, 1000)
	for name, targets := range map[string]*wire.Targets{
		"channel":  {Channels: []string{"c0"}, ExcludeClients: []wire.ClientID{"1:client2", "1:client4"}},
		"user":     {Users: []wire.UserID{"1"}},
		"client":   {Clients: []wire.ClientID{"1:client1"}},
		"node":     {Nodes: []wire.NodeID{"1:client1:tab"}},
		"channels": {Channels: []string{"c0", "c1"}},
		"mixed":    {Channels: []string{"c0"}, Users: []wire.UserID{"1"}, Clients: []wire.ClientID{"1:client1"}},
	} {
		met := 0
		allocs := testing.AllocsPerRun(200, func() { met = len(h.Resolve(dst, targets, "1:client3")) })
		if allocs != 0 || met == 0 {
			t.Errorf("%s: %v allocations, %d met", name, allocs, met)
		}
	}
}
